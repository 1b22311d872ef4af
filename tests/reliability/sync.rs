//! A sync fails, the kernel drops the pages it could not write, and calls the next sync a success.
//!
//! From then on the page cache shows what the disk does not hold. The handle must acknowledge
//! nothing more; what is acknowledged after opening again must survive a power cut all the same.

use std::path::Path;

use libc::EIO;
use profile_store::ErrorKind;

use crate::child::{End, Job, Order};
use crate::power::{slice, survey};
use crate::recorder::{self, Act, Class};
use crate::replay::{load, save};
use crate::scratch::{Scratch, spread};
use crate::workload::{Backend, observe, perform, state};

const STEPS: u64 = 24;

pub fn failed(backend: Backend) {
    let run = |at: u64, ignore: bool, images: u64| {
        let scratch = Scratch::new();
        let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
        let job = Job::new("sync", backend, &directory).with("at", at).with("record", record.display());
        match (if ignore { job.with("ignore", "yes") } else { job }).run() {
            End::Done(words) => {
                let verify = Job::new("verify", backend, &directory);
                (words["syncs"].parse().unwrap(), survey(&verify, 1, &load(&record), 0, images))
            }
            other => (0, (0, vec![format!("sync {at}: {other:?}")])),
        }
    };
    let (syncs, _): (u64, _) = run(u64::MAX, false, 1);
    let wanted = slice(backend, 360, if backend == Backend::Sled { 8_000 } else { 5_400 });
    let points: Vec<u64> = spread(syncs, 24.min(wanted / 10)).collect();
    let (mut images, mut lost) = (0, Vec::new());
    for &at in &points {
        let (_, (some, wrong)) = run(at, false, wanted / points.len() as u64);
        images += some;
        lost.extend(wrong.into_iter().map(|wrong| format!("sync {at} failed, {wrong}")));
    }
    println!("  {} of {syncs} syncs failed, {images} images, lost or torn {}", points.len(), lost.len());
    for lost in lost.iter().take(4) {
        println!("    {}", lost.chars().take(300).collect::<String>());
    }
    let noticed: usize = spread(syncs, 6).map(|at| run(at, true, 12).1.1.len()).sum();
    println!("  control, acknowledged although the sync failed: noticed {noticed}");
    assert!(noticed > 0, "an acknowledgement after a failed sync goes unnoticed");
    assert!(lost.is_empty());
}

/// P4: the first write syncs more than itself, such as the note that the store is in use. None of it is tried again.
pub fn of_the_first_write(backend: Backend) {
    let run = |at: u64| {
        let scratch = Scratch::new();
        match Job::new("sync-first", backend, &scratch.path("files")).with("at", at).run() {
            End::Done(words) => words["syncs"].parse::<u64>().unwrap(),
            other => panic!("sync {at}: {other:?}"),
        }
    };
    let syncs = run(u64::MAX);
    (1..=syncs).for_each(|at| _ = run(at));
    println!("  each of {syncs} syncs failed");
}

pub fn first_child(order: &Order) {
    let store = order.open().unwrap();
    recorder::arm(Class::Syncs, order.number("at").unwrap(), Act::Fail { errno: EIO, sticky: false });
    let told = perform(&store, 0, 0);
    let (failed, syncs) = recorder::disarm();
    assert_eq!(told.is_err(), failed > 0, "{told:?}");
    if failed > 0 {
        for _ in 0..3 {
            assert_eq!(perform(&store, 0, 0).unwrap_err().kind(), ErrorKind::Closed);
        }
    }
    println!("syncs={syncs}");
}

pub fn child(order: &Order) {
    let ignore = order.text("ignore").is_some();
    recorder::record();
    recorder::arm(Class::Syncs, order.number("at").unwrap(), Act::Fail { errno: EIO, sticky: false });
    let mut store = order.open().unwrap_or_else(|_| order.open().expect("it opens at the second time"));
    for n in 0..STEPS {
        if let Err(error) = perform(&store, 0, n)
            && !ignore
        {
            assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Closed), "{error:?}");
            for later in n..n + 3 {
                let error = perform(&store, 0, later).expect_err("it acknowledges after a failed sync");
                assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
            }
            let _ = pollster::block_on(store.close());
            drop(store);
            store = order.open().expect("it opens again");
            let found = observe(&store, 0).unwrap();
            assert!(found == state(0, n) || found == state(0, n + 1), "after opening again at step {n}");
            assert!(
                found == state(0, n) || error.may_be_stored(),
                "S3: a stored batch was denied: {error:?}"
            );
            perform(&store, 0, n).expect("it takes writes again");
        }
        recorder::acknowledge(0, n + 1);
    }
    let (_, syncs) = recorder::disarm();
    save(Path::new(order.text("record").unwrap()), &recorder::recorded());
    println!("syncs={syncs}");
}
