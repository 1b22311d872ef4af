//! O1: syncs that are slow or fail show in the events, with the right figures.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libc::EIO;
use profile_store::{ErrorKind, Event, StoreOptions};

use crate::child::{End, Job, Order};
use crate::recorder::{self, Act, Class};
use crate::scratch::Scratch;
use crate::workload::{Backend, Store, observe, open_with, perform};

const SLOW: Duration = Duration::from_secs(1);

type Seen = Arc<Mutex<Vec<Event>>>;

pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "observed-slow-sync" => slow_sync_child(order),
        "observed-failed-sync" => failed_sync_child(order),
        "observed-failed-checkpoint" => failed_checkpoint_child(order),
        _ => return false,
    }
    true
}

fn run(role: &'static str, backend: Backend) {
    let scratch = Scratch::new();
    match Job::new(role, backend, &scratch.path("files")).run() {
        End::Done(words) => println!("  {words:?}"),
        other => panic!("{other:?}"),
    }
}

/// A commit takes as long as its sync, and the next one has waited for it.
pub fn slow_sync(backend: Backend) {
    run("observed-slow-sync", backend);
}

/// A write whose sync fails, and the end of writing that follows.
pub fn failed_sync(backend: Backend) {
    run("observed-failed-sync", backend);
}

/// A checkpoint that fails, beside commits that are good.
pub fn failed_checkpoint(backend: Backend) {
    run("observed-failed-checkpoint", backend);
}

fn observed(order: &Order) -> (Store, Seen) {
    let seen = Seen::default();
    let own = Arc::clone(&seen);
    let options =
        StoreOptions::default().with_observer(move |event: &Event| own.lock().unwrap().push(event.clone()));
    (open_with(order.backend, &order.directory, options).unwrap(), seen)
}

fn count(seen: &Seen, kind: impl Fn(&Event) -> bool) -> usize {
    seen.lock().unwrap().iter().filter(|event| kind(event)).count()
}

fn slow_sync_child(order: &Order) {
    let (store, seen) = observed(order);
    perform(&store, 0, 0).unwrap();
    assert_eq!(count(&seen, |event| matches!(event, Event::Committed { took, .. } if *took >= SLOW)), 0);
    recorder::arm(Class::Syncs, 0, Act::Delay(SLOW));
    std::thread::scope(|scope| {
        scope.spawn(|| perform(&store, 0, 1).unwrap());
        // From here on, the second one waits for the first one's sync.
        while recorder::fired() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        perform(&store, 1, 0).unwrap();
    });
    recorder::disarm();
    let slow = |event: &Event| matches!(event, Event::Committed { writes: 1, took, .. } if *took >= SLOW);
    assert_eq!(count(&seen, slow), 2, "{seen:?}");
    let behind = |event: &Event| matches!(event, Event::Committed { waited, .. } if *waited >= SLOW / 4);
    assert_eq!(count(&seen, behind), 1, "{seen:?}");
}

fn failed_sync_child(order: &Order) {
    let (store, seen) = observed(order);
    perform(&store, 0, 0).unwrap();
    recorder::arm(Class::Syncs, 1, Act::Fail { errno: EIO, sticky: false });
    assert!(perform(&store, 0, 1).unwrap_err().may_be_stored());
    recorder::disarm();
    assert_eq!(perform(&store, 0, 2).unwrap_err().kind(), ErrorKind::Closed);
    if order.backend == Backend::Sled {
        // It shows what it has applied, durable or not.
        assert_eq!(observe(&store, 0).unwrap_err().kind(), ErrorKind::Closed);
    }
    let failed = |event: &Event| {
        matches!(event, Event::Failed { writes: 1, redone: false, error: ErrorKind::Storage, .. })
    };
    assert_eq!(count(&seen, failed), 1, "{seen:?}");
    let refusing = |event: &Event| matches!(event, Event::Refusing { error: ErrorKind::Storage, .. });
    assert_eq!(count(&seen, refusing), 1, "{seen:?}");
    assert!(store.gauges().refusing);
}

fn failed_checkpoint_child(order: &Order) {
    let (store, seen) = observed(order);
    let is_checkpoint = |event: &Event| matches!(event, Event::Checkpoint { .. });
    let mut failed = false;
    for n in 0..200 {
        let known = count(&seen, is_checkpoint);
        perform(&store, 0, n).unwrap();
        // The checkpoint that is due after this commit is under way: nothing else syncs.
        recorder::arm(Class::Syncs, 1, Act::Fail { errno: EIO, sticky: false });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) && count(&seen, is_checkpoint) == known {
            std::thread::sleep(Duration::from_millis(1));
        }
        recorder::disarm();
        failed = count(&seen, |event| matches!(event, Event::Checkpoint { error: Some(_), .. })) > 0;
        if failed {
            break;
        }
    }
    assert!(failed, "no checkpoint meets the fault: {seen:?}");
    let told =
        |event: &Event| matches!(event, Event::Checkpoint { pages: 0, error: Some(ErrorKind::Storage), .. });
    assert_eq!(count(&seen, told), 1, "{seen:?}");
    let refusing = |event: &Event| matches!(event, Event::Refusing { error: ErrorKind::Storage, .. });
    assert_eq!(count(&seen, refusing), 1, "{seen:?}");
    assert_eq!(
        count(&seen, |event| matches!(event, Event::Failed { .. })),
        0,
        "no write has failed: {seen:?}"
    );
}
