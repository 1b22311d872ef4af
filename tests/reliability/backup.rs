//! Power cuts of a backup: at the moment that it has its name it is whole, and after `Ok` it is there.

use std::fs;
use std::sync::Arc;

use profile_store::{ProfileStore as _, SqliteStore};

use crate::child::{End, Job, Order, acknowledged};
use crate::power::survey;
use crate::recorder;
use crate::replay::load;
use crate::scratch::{Scratch, size};
use crate::workload::{Backend, Store, observe, perform, state};

const WRITERS: u64 = 2;
const STEPS: u64 = 20;

pub fn cuts(backend: Backend) {
    let run = |early: &str, images: u64| {
        let scratch = Scratch::new();
        let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
        let job = Job::new("backup", backend, &directory).with("record", record.display());
        let words = match job.with("acknowledge", early).run() {
            End::Done(words) => words,
            other => panic!("undisturbed, it ends: {other:?}"),
        };
        let verify = Job::new("verify-backup", backend, &directory);
        survey(&verify, WRITERS + 1, &load(&record), words["from"].parse().unwrap(), images)
    };
    let (images, lost) = run("when-stored", size(160, 4_000));
    println!("  distinct images of a power cut: {images}, missing or not whole {}", lost.len());
    assert!(lost.is_empty(), "the first: {}", lost[0]);
    let (images, lost) = run("early", 40);
    println!("  control, acknowledged early: {images} images, missing or not whole {}", lost.len());
    assert!(!lost.is_empty(), "a missing backup goes unnoticed");
}

/// Acknowledges the backup as a further writer's only step.
pub fn child(order: &Order) {
    recorder::record();
    let sqlite = SqliteStore::open(order.directory.join("store"));
    let sqlite = Arc::new(pollster::block_on(sqlite).unwrap());
    let store: Store = sqlite.clone();
    for writer in 0..WRITERS {
        for n in 0..STEPS {
            perform(&store, writer, n).unwrap();
        }
        recorder::acknowledge(writer, STEPS);
    }
    let mut events = recorder::drain();
    let from = events.len();
    if order.text("acknowledge") == Some("early") {
        recorder::acknowledge(WRITERS, 1);
    }
    pollster::block_on(sqlite.backup(order.directory.join("backup"))).unwrap();
    recorder::acknowledge(WRITERS, 1);
    events.extend(recorder::recorded());
    order.save(&events);
    println!("from={from}");
}

/// Opens the backup in the store's place, as somebody would who needs it.
pub fn verify(order: &Order) {
    let acknowledged = acknowledged(&order.directory, WRITERS + 1);
    let path = |name: &str| order.directory.join(name);
    if !path("backup").exists() {
        assert_eq!(acknowledged[WRITERS as usize], 0, "the backup is not there");
        return;
    }
    for name in ["store", "store-wal", "store-shm"] {
        drop(fs::remove_file(path(name)));
    }
    fs::rename(path("backup"), path("store")).unwrap();
    let store = order.open().unwrap();
    for writer in 0..WRITERS {
        assert_eq!(observe(&store, writer).unwrap(), state(writer, acknowledged[writer as usize]));
    }
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
    pollster::block_on(store.close()).unwrap();
}
