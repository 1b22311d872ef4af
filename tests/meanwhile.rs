//! What others write between the read and the write of one call.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use profile_store::{HasGurus as _, ListOptions, Result, SqliteStore, StoreOptions, User};
use tempfile::TempDir;

/// How many profiles are deleted if `write` is made once they have been found.
fn deleted(deletion: impl Future<Output = Result<u64>>, write: impl FnOnce()) -> u64 {
    let mut deletion = pin!(deletion);
    assert!(deletion.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // They have been found by then, and are deleted when it is polled again.
    std::thread::sleep(Duration::from_millis(100));
    write();
    pollster::block_on(deletion).unwrap()
}

/// A profile that has changed since it was found is not deleted (L2, S7, S9).
#[test]
fn what_changes_after_it_was_found_is_not_deleted() {
    let directory = TempDir::new().unwrap();
    let options = StoreOptions::default().with_read_threads(1);
    let store = SqliteStore::open_with(directory.path().join("p.db"), options);
    let store = pollster::block_on(store).unwrap();
    let guru = store.guru("g").unwrap();
    let put = |n: u8| {
        let user = User::serialize("ada", &serde_json::json!({ "n": n }));
        pollster::block_on(guru.upsert(user)).unwrap();
    };
    put(1);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(deleted(guru.sweep(SystemTime::now()), || put(2)), 0);
    let all = ListOptions::default().with_prefix("a");
    assert_eq!(deleted(guru.delete_where(&all), || put(3)), 0);
    assert_eq!(pollster::block_on(guru.count()).unwrap(), 1);
}
