//! O1: what happens inside a store can be observed, by ids of nothing.

use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

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
    let url = match scheme {
        "memory" => "memory:".to_owned(),
        _ => format!("{scheme}:{}", directory.path().join("store").display()),
    };
    pollster::block_on(open_with(&url, options)).unwrap()
}

fn slug() -> GuruSlug {
    GuruSlug::new("secret-guru").unwrap()
}

async fn put(store: &dyn ProfileStore, ids: &[&str], text: &str) -> Result<(), ErrorKind> {
    let memory = serde_json::json!({ "text": text });
    let batch = Batch::from_users(ids.iter().map(|id| User::serialize(*id, &memory)));
    match store.upsert_batch(&slug(), batch).await {
        Ok(report) => {
            assert!(report.is_complete());
            Ok(())
        }
        Err(error) => Err(error.kind()),
    }
}

fn upsert(store: &dyn ProfileStore, ids: &[&str], text: &str) -> Result<(), ErrorKind> {
    pollster::block_on(put(store, ids, text))
}

/// Writes of one user each that have come as far as they can: into the queue, or to waiting for room. In this order.
fn queued<'a, const N: usize>(
    store: &'a dyn ProfileStore,
    ids: &'a [[&'a str; 1]; N],
    text: &'a str,
) -> [Pin<Box<impl Future<Output = Result<(), ErrorKind>>>>; N] {
    let mut calls = ids.each_ref().map(|id| Box::pin(put(store, id, text)));
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    calls
}

/// Waits for an event of a kind: some come after the answer.
fn wait_for(seen: &Seen, kind: impl Fn(&Event) -> bool) {
    let begun = Instant::now();
    while !seen.lock().unwrap().iter().any(&kind) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", seen.lock().unwrap());
        thread::sleep(Duration::from_millis(2));
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
    for scheme in ["memory", "sqlite", "fjall", "sled"] {
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
        assert!(store.gauges().refusing, "once closed");
        drop(store);
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
    let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(2));
    let (options, seen) = observed(options.with_queue_bytes(1 << 10));
    let store = open("sqlite", &directory, options);
    upsert(&*store, &["a"], "first").unwrap();
    let foreign = rusqlite::Connection::open(directory.path().join("store")).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let text = "x".repeat(700);
    let calls = queued(&*store, &[["a"], ["a"]], &text);
    let gauges = store.gauges();
    assert_eq!(gauges.writes, 1, "the other one waits for room: {gauges:?}");
    assert!((700..1024).contains(&gauges.write_bytes), "{gauges:?}");
    assert_eq!(calls.map(pollster::block_on), [Err(ErrorKind::Busy); 2]);
    let timed_out = |event: &Event| matches!(event, Event::TimedOut { waited, .. } if waited.as_secs() >= 2);
    assert_eq!(seen.lock().unwrap().iter().filter(|event| timed_out(event)).count(), 2);
    seen.lock().unwrap().clear();
    let calls = queued(&*store, &[["a"], ["a"]], &text);
    thread::sleep(Duration::from_millis(100));
    foreign.execute_batch("ROLLBACK").unwrap();
    assert_eq!(calls.map(pollster::block_on), [Ok(()); 2]);
    one(&seen, |event| matches!(event, Event::WaitedForRoom { waited, .. } if waited.as_millis() >= 100));
    let waited =
        |event: &&Event| matches!(event, Event::Committed { waited, .. } if waited.as_millis() >= 100);
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

/// A group fails for one of them: they are made one by one, and none of it is kept quiet.
#[test]
fn a_group_that_is_redone_is_told() {
    let directory = TempDir::new().unwrap();
    let (options, seen) = observed(StoreOptions::default());
    let store = open("sqlite", &directory, options);
    let foreign = rusqlite::Connection::open(directory.path().join("store")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON profile WHEN new.external_user_id = 'bad'
                  BEGIN SELECT raise(ABORT, 'refused'); END; BEGIN IMMEDIATE";
    foreign.execute_batch(refuse).unwrap();
    // The first one may be taken by itself, and so may the last: the second one shares a group in any case.
    let calls = queued(&*store, &[["first"], ["bad"], ["good"]], "text");
    foreign.execute_batch("COMMIT").unwrap();
    let [first, bad, good] = calls.map(pollster::block_on);
    assert_eq!((first, good), (Ok(()), Ok(())));
    bad.unwrap_err();
    one(&seen, |event| matches!(event, Event::Failed { writes: 2 | 3, redone: true, .. }));
    one(&seen, |event| matches!(event, Event::Failed { writes: 1, redone: false, .. }));
    let committed = |event: &&Event| matches!(event, Event::Committed { writes: 1, users: 1, .. });
    assert_eq!(seen.lock().unwrap().iter().filter(committed).count(), 2, "{:?}", seen.lock().unwrap());
}

/// P4: a store that gives up says so once, whatever is asked of it afterwards.
#[test]
fn refusing_is_told_once() {
    let directory = TempDir::new().unwrap();
    let (options, seen) = observed(StoreOptions::default());
    let store = open("sqlite", &directory, options);
    upsert(&*store, &["a"], "first").unwrap();
    assert!(!store.gauges().refusing);
    fs::remove_file(directory.path().join("store")).unwrap();
    for _ in 0..3 {
        assert_eq!(upsert(&*store, &["a"], "second"), Err(ErrorKind::Closed));
    }
    assert!(store.gauges().refusing);
    pollster::block_on(store.close()).unwrap_err();
    let refusing = one(&seen, |event| matches!(event, Event::Refusing { .. }));
    assert!(matches!(refusing, Event::Refusing { error: ErrorKind::Closed, .. }), "{refusing:?}");
    one(&seen, |event| matches!(event, Event::Closed { error: Some(ErrorKind::Closed), .. }));
}

/// The rows of deleted gurus are removed while no caller waits, so an error can reach only the observer.
#[test]
fn a_removal_that_fails_is_told() {
    let directory = TempDir::new().unwrap();
    let (options, seen) = observed(StoreOptions::default());
    let store = open("sqlite", &directory, options);
    upsert(&*store, &["a"], "text").unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE DELETE ON profile BEGIN SELECT raise(ABORT, 'refused'); END";
    rusqlite::Connection::open(directory.path().join("store")).unwrap().execute_batch(refuse).unwrap();
    assert_eq!(pollster::block_on(store.delete_guru(&slug())).unwrap(), 1);
    wait_for(&seen, |event| matches!(event, Event::RemovalFailed { .. }));
    pollster::block_on(store.close()).unwrap();
    one(&seen, |event| matches!(event, Event::RemovalFailed { error: ErrorKind::Incompatible, .. }));
}

/// The log is empty once it is cut, and is said to be.
#[test]
fn the_bytes_of_the_log_follow_it() {
    let directory = TempDir::new().unwrap();
    let store = open("sqlite", &directory, StoreOptions::default());
    assert_eq!(store.gauges().log_bytes, 0);
    upsert(&*store, &["a"], &"x".repeat(100_000)).unwrap();
    // The commit thread looks after the answer.
    pollster::block_on(store.health(Probe::Write)).unwrap();
    let log = fs::metadata(directory.path().join("store-wal")).unwrap().len();
    let told = store.gauges().log_bytes;
    assert!((100_000..=log).contains(&told), "{told} of {log}");
    pollster::block_on(store.compact()).unwrap();
    assert_eq!(store.gauges().log_bytes, 0);
    // Nor is it taken for full once the commit thread has looked.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(store.gauges().log_bytes, 0);
}

/// A killed process's log, or its files, are reported when they are made durable.
#[test]
fn healing_is_told() {
    for scheme in ["sqlite", "fjall", "sled"] {
        let (left, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let store = open(scheme, &left, StoreOptions::default());
        upsert(&*store, &["a"], "first").unwrap();
        let (options, seen) = observed(StoreOptions::default());
        // The files as a kill would leave them. A copy of SQLite's would drop the locks of the open store.
        let second = if scheme == "sqlite" {
            open(scheme, &left, options)
        } else {
            copy_tree(left.path(), copy.path());
            open(scheme, &copy, options)
        };
        let healed = one(&seen, |event| matches!(event, Event::Healed { .. }));
        assert!(matches!(healed, Event::Healed { bytes, .. } if bytes > 0), "{scheme}: {healed:?}");
        drop(second);
        drop(store);
        let (options, seen) = observed(StoreOptions::default());
        drop(open(scheme, &left, options));
        let healed = seen.lock().unwrap().iter().any(|event| matches!(event, Event::Healed { .. }));
        assert!(!healed, "{scheme}: a clean end leaves nothing");
    }
}

/// Copies a directory, as it would be found after a kill if a store is open in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// P3: a panic ends the observer, and nothing else.
#[test]
fn an_observer_that_panics_is_not_called_again() {
    for scheme in ["memory", "sqlite", "fjall", "sled"] {
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
