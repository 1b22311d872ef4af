//! P2: a waiting call is answered in time, and holds up nobody.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_core::Stream as _;
use profile_store::{
    Batch, ErrorKind, GuruSlug, ListOptions, Probe, ProfileStore, Profiles, Result, SqliteStore,
    StoreOptions, User, open_with,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(2);

fn guru() -> GuruSlug {
    GuruSlug::new("g").unwrap()
}

fn upsert(store: &dyn ProfileStore, n: usize) -> Result<()> {
    let user = User::serialize(format!("u{n}"), &serde_json::json!({ "n": n }));
    let stored = pollster::block_on(store.upsert_batch(&guru(), Batch::from_users([user])));
    stored.map(|report| assert!(report.is_complete()))
}

fn open(directory: &TempDir, patience: Duration) -> (Arc<SqliteStore>, rusqlite::Connection) {
    let path = directory.path().join("p.db");
    let options = StoreOptions::default().with_busy_timeout(patience);
    let store = pollster::block_on(SqliteStore::open_with(&path, options)).unwrap();
    (Arc::new(store), rusqlite::Connection::open(path).unwrap())
}

#[test]
fn writes_behind_a_foreign_lock_are_each_told_in_their_own_time() {
    let directory = TempDir::new().unwrap();
    let (store, foreign) = open(&directory, PATIENCE);
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let timed = |call: &dyn Fn() -> ErrorKind| {
            let begun = Instant::now();
            (call(), begun.elapsed())
        };
        let mut calls = Vec::new();
        for n in 0..20 {
            let store = &*store;
            calls.push(scope.spawn(move || timed(&|| upsert(store, n).unwrap_err().kind())));
            thread::sleep(Duration::from_millis(20));
        }
        // Upkeep waits in the same queue.
        let store = &*store;
        calls
            .push(scope.spawn(move || {
                timed(&|| pollster::block_on(store.health(Probe::Write)).unwrap_err().kind())
            }));
        for call in calls {
            let (told, waited) = call.join().unwrap();
            assert_eq!(told, ErrorKind::Busy);
            // Timers may be early by a tick.
            let early = Duration::from_millis(1);
            assert!(waited + early >= PATIENCE, "{waited:?}");
            // Behind another one that waits for the lock in one step, it would be told after two.
            assert!(waited < PATIENCE * 7 / 4, "{waited:?}");
        }
    });
    // Reads go on meanwhile, and see that nothing was written.
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 0);
    foreign.execute_batch("ROLLBACK").unwrap();
    upsert(&*store, 1).unwrap();
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 1);
    pollster::block_on(store.close()).unwrap();
}

/// A lock that is let go of in time is no failure.
#[test]
fn a_write_is_made_as_soon_as_the_lock_is_free() {
    let directory = TempDir::new().unwrap();
    let (store, foreign) = open(&directory, Duration::MAX);
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| upsert(&*store, 1).map(|()| Instant::now()));
        thread::sleep(Duration::from_millis(300));
        foreign.execute_batch("ROLLBACK").unwrap();
        let freed = Instant::now();
        let stored = call.join().unwrap().unwrap();
        assert!(stored.saturating_duration_since(freed) < Duration::from_secs(30), "it still waits");
    });
}

#[test]
fn streams_that_are_polled_once_and_left_stall_no_read() {
    for scheme in ["sqlite", "sled"] {
        let directory = TempDir::new().unwrap();
        let url = format!("{scheme}:{}", directory.path().join("store").display());
        let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(10)).with_read_threads(1);
        let store = pollster::block_on(open_with(&url, options)).unwrap();
        for n in 0..3 {
            upsert(&*store, n).unwrap();
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut left: Vec<_> = (0..5000)
            .map(|_| Profiles::new(Arc::clone(&store), &guru(), ListOptions::default().with_limit(1)))
            .collect();
        for stream in &mut left {
            let _ = pin!(stream).as_mut().poll_next(&mut context);
        }
        let begun = Instant::now();
        assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 3, "{scheme}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        drop(left);
        let mut closing = pin!(store.close());
        assert!(closing.as_mut().poll(&mut context).is_pending());
        pollster::block_on(closing).unwrap();
    }
}

/// `Duration::MAX` and its neighbours, on every backend.
#[test]
fn any_busy_timeout_is_fine() {
    for scheme in ["memory", "sqlite", "sled"] {
        for timeout in
            [Duration::MAX, Duration::from_millis(i32::MAX as u64 + 1), Duration::from_secs(u32::MAX.into())]
        {
            let directory = TempDir::new().unwrap();
            let url = match scheme {
                "memory" => "memory:".to_owned(),
                _ => format!("{scheme}:{}", directory.path().join("store").display()),
            };
            let options = StoreOptions::default().with_busy_timeout(timeout);
            let store = pollster::block_on(open_with(&url, options)).unwrap();
            upsert(&*store, 1).unwrap();
            pollster::block_on(async {
                store.health(Probe::Write).await.unwrap();
                assert_eq!(store.count(&guru()).await.unwrap(), 1);
                store.close().await.unwrap();
            });
        }
    }
}
