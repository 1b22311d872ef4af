//! O1: what happens inside a store can be observed, by ids of nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use profile_store::{
    Batch, ErrorKind, Event, ExternalUserId, GuruSlug, Probe, ProfileStore, StoreOptions, User, open_with,
};
use tempfile::TempDir;

type Seen = Arc<Mutex<Vec<Event>>>;

fn observed(options: StoreOptions) -> (StoreOptions, Seen) {
    let seen = Seen::default();
    let own = Arc::clone(&seen);
    (options.with_observer(move |event: &Event| own.lock().unwrap().push(event.clone())), seen)
}

fn open(scheme: &str, directory: &TempDir, options: StoreOptions) -> Arc<dyn ProfileStore> {
    let url = format!("{scheme}:{}", directory.path().join("store").display());
    pollster::block_on(open_with(&url, options)).unwrap()
}

fn slug() -> GuruSlug {
    GuruSlug::new("secret-guru").unwrap()
}

fn upsert(store: &dyn ProfileStore, ids: &[&str], text: &str) -> Result<(), ErrorKind> {
    let memory = serde_json::json!({ "text": text });
    let batch = Batch::from_users(ids.iter().map(|id| User::serialize(*id, &memory)));
    match pollster::block_on(store.upsert_batch(&slug(), batch)) {
        Ok(report) => {
            assert!(report.is_complete());
            Ok(())
        }
        Err(error) => Err(error.kind()),
    }
}

/// The one event of a kind.
fn one(seen: &Seen, kind: impl Fn(&Event) -> bool) -> Event {
    let all = seen.lock().unwrap().clone();
    let found: Vec<_> = all.iter().filter(|event| kind(event)).collect();
    assert_eq!(found.len(), 1, "{all:?}");
    found[0].clone()
}

#[test]
fn a_life_is_told_with_its_figures() {
    for scheme in ["sqlite", "sled"] {
        let directory = TempDir::new().unwrap();
        let (options, seen) = observed(StoreOptions::default());
        let store = open(scheme, &directory, options);
        upsert(&*store, &["secret-a", "secret-b"], "secret-text").unwrap();
        let id = ExternalUserId::new("secret-a").unwrap();
        assert_eq!(pollster::block_on(store.delete_many(&slug(), &[id])).unwrap(), [true]);
        let gauges = store.gauges();
        assert!(!gauges.refusing && gauges.writes == 0 && gauges.reads == 0, "{gauges:?}");
        assert_eq!(gauges.log_bytes > 0, scheme == "sqlite", "{gauges:?}");
        pollster::block_on(store.close()).unwrap();
        pollster::block_on(store.close()).unwrap();
        one(&seen, |event| matches!(event, Event::Opened { took, .. } if !took.is_zero()));
        one(&seen, |event| matches!(event, Event::Closed { error: None, .. }));
        let bytes = 2 * ("secret-a".len() + r#"{"text":"secret-text"}"#.len());
        one(&seen, |event| {
            matches!(event, Event::Committed { writes: 1, failed: 0, users: 2, bytes: told, took, .. }
                if *told == bytes && !took.is_zero())
        });
        one(&seen, |event| matches!(event, Event::Committed { writes: 1, users: 1, bytes: 8, .. }));
        let told = format!("{:?}", seen.lock().unwrap());
        assert!(!told.contains("secret"), "{told}");
    }
}

#[test]
fn who_waits_for_a_lock_or_for_room_is_told_of() {
    let directory = TempDir::new().unwrap();
    let options = StoreOptions::default().with_busy_timeout(Duration::from_millis(300));
    let (options, seen) = observed(options.with_queue_bytes(1 << 10));
    let store = open("sqlite", &directory, options);
    upsert(&*store, &["a"], "first").unwrap();
    let foreign = rusqlite::Connection::open(directory.path().join("store")).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let text = "x".repeat(700);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..2).map(|_| scope.spawn(|| upsert(&*store, &["a"], &text))).collect();
        thread::sleep(Duration::from_millis(100));
        let gauges = store.gauges();
        assert_eq!(gauges.writes, 1, "the other one waits for room: {gauges:?}");
        assert!((700..1024).contains(&gauges.write_bytes), "{gauges:?}");
        for call in calls {
            assert_eq!(call.join().unwrap(), Err(ErrorKind::Busy));
        }
    });
    let timed_out =
        |event: &Event| matches!(event, Event::TimedOut { waited, .. } if waited.as_millis() >= 300);
    assert_eq!(seen.lock().unwrap().iter().filter(|event| timed_out(event)).count(), 2);
    seen.lock().unwrap().clear();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..2).map(|_| scope.spawn(|| upsert(&*store, &["a"], &text))).collect();
        thread::sleep(Duration::from_millis(100));
        foreign.execute_batch("ROLLBACK").unwrap();
        for call in calls {
            assert_eq!(call.join().unwrap(), Ok(()));
        }
    });
    one(&seen, |event| matches!(event, Event::WaitedForRoom { waited, .. } if waited.as_millis() >= 90));
    let waited =
        |event: &&Event| matches!(event, Event::Committed { waited, .. } if waited.as_millis() >= 40);
    assert!(seen.lock().unwrap().iter().any(|event| waited(&event)), "{:?}", seen.lock().unwrap());
}

#[test]
fn a_checkpoint_and_a_failed_write_are_told() {
    let directory = TempDir::new().unwrap();
    let (options, seen) = observed(StoreOptions::default().with_log_bytes(1 << 20));
    let store = open("sqlite", &directory, options);
    for n in 0..200 {
        upsert(&*store, &["a"], &format!("{n}{}", "x".repeat(20_000))).unwrap();
    }
    let checkpoints = seen
        .lock()
        .unwrap()
        .iter()
        .filter(|event| matches!(event, Event::Checkpoint { pages, error: None, .. } if *pages > 0))
        .count();
    assert!(checkpoints > 0);
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON profile BEGIN SELECT raise(ABORT, 'refused'); END";
    rusqlite::Connection::open(directory.path().join("store")).unwrap().execute_batch(refuse).unwrap();
    upsert(&*store, &["a"], "other").unwrap_err();
    one(&seen, |event| matches!(event, Event::Failed { writes: 1, redone: false, .. }));
    // It works on: nothing was said about refusing.
    pollster::block_on(store.health(Probe::Write)).unwrap();
    assert!(!store.gauges().refusing);
    assert!(!seen.lock().unwrap().iter().any(|event| matches!(event, Event::Refusing { .. })));
}

/// A killed process's log is reported when it is made durable.
#[test]
fn healing_is_told() {
    let directory = TempDir::new().unwrap();
    let store = open("sqlite", &directory, StoreOptions::default());
    upsert(&*store, &["a"], "first").unwrap();
    let (options, seen) = observed(StoreOptions::default());
    let second = open("sqlite", &directory, options);
    one(&seen, |event| matches!(event, Event::Healed { bytes, .. } if *bytes > 0));
    drop((second, store));
}

/// P3: a panic ends the observer, and nothing else.
#[test]
fn an_observer_that_panics_is_not_called_again() {
    for scheme in ["sqlite", "sled"] {
        let directory = TempDir::new().unwrap();
        let called = Arc::new(AtomicUsize::new(0));
        let own = Arc::clone(&called);
        let options = StoreOptions::default().with_observer(move |event: &Event| {
            own.fetch_add(1, Ordering::SeqCst);
            assert!(!matches!(event, Event::Committed { .. }), "an observer");
        });
        let store = open(scheme, &directory, options);
        for n in 0..3 {
            upsert(&*store, &["a"], &n.to_string()).unwrap();
        }
        pollster::block_on(store.close()).unwrap();
        assert_eq!(called.load(Ordering::SeqCst), 2, "{scheme}: when it was opened, and by the first commit");
    }
}
