//! Writes of others between the read and the write of one call.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use profile_store::{
    Clock, HasGurus as _, ListOptions, Outcome, Result, SqliteStore, StoreOptions, Timestamp, User,
};
use tempfile::TempDir;

struct Woken(SyncSender<()>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // A later wake than the first one says nothing new.
        let _ = self.0.try_send(());
    }
}

/// How many profiles are deleted if `write` is made once they have been found.
fn deleted(deletion: impl Future<Output = Result<u64>>, write: impl FnOnce()) -> u64 {
    let mut deletion = pin!(deletion);
    let (found, finding) = sync_channel(1);
    let waker = Waker::from(Arc::new(Woken(found)));
    assert!(deletion.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // It is woken with what it has found, and deletes that when it is polled again.
    finding.recv_timeout(Duration::from_secs(60)).expect("the read is answered");
    write();
    pollster::block_on(deletion).unwrap()
}

/// A profile that has changed since it was found is not deleted (L2, S7, S9).
#[test]
fn what_changes_after_it_was_found_is_not_deleted() {
    let directory = TempDir::new().unwrap();
    // The system's may be set back at any time.
    static NOW: AtomicI64 = AtomicI64::new(0);
    let clock = Clock::from_fn(|| Timestamp::from_micros(NOW.fetch_add(1, SeqCst)));
    let options = StoreOptions::default().with_read_threads(1).with_clock(clock);
    let store = SqliteStore::open_with(directory.path().join("p.db"), options);
    let store = pollster::block_on(store).unwrap();
    let guru = store.guru("g").unwrap();
    let put = |n: u8| {
        let user = User::serialize("ada", &serde_json::json!({ "n": n }));
        pollster::block_on(guru.upsert(user)).unwrap()
    };
    let all = ListOptions::default().with_prefix("a");
    // The last way brings back the memory that was seen, at another time.
    for (by_time, and_back) in [(true, false), (false, false), (false, true)] {
        let was_in_between = (0..200).any(|n| {
            put(n);
            let (moment, mut outcome) = (Timestamp::from_micros(NOW.load(SeqCst)), Outcome::Unchanged);
            let write = || {
                outcome = put(n + 1);
                if and_back {
                    put(n);
                }
            };
            let deleted = if by_time {
                deleted(guru.sweep(moment), write)
            } else {
                deleted(guru.delete_where(&all), write)
            };
            // A read that is answered at once is followed by the deletion, before the write.
            assert_eq!(deleted, u64::from(outcome == Outcome::Created), "{outcome:?}");
            outcome == Outcome::Updated
        });
        assert!(was_in_between);
        assert_eq!(pollster::block_on(guru.count()).unwrap(), 1);
    }
}
