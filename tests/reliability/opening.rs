//! Opening SQLite's file: its log has a durable name before anything is acknowledged, what is not
//! ours is left with its log, and several may create it at once.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libc::EIO;
use profile_store::{Durability, ErrorKind, StoreOptions};

use crate::child::{End, Job, Order, each};
use crate::power::survey;
use crate::recorder::{self, Act, Class};
use crate::replay::load;
use crate::scratch::{Scratch, size, spread};
use crate::workload::{self, Backend, observe, open_with, perform, state};

const ONCE: Act = Act::Fail { errno: EIO, sticky: false };

pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "opening" => opening_child(order),
        "opening-fault" => opening_fault_child(order),
        "at-once" => at_once_child(order),
        _ => return false,
    }
    true
}

/// S2: SQLite syncs the directory when it first syncs a new log, and drops the error. Each sync of an
/// opening and a write fails in turn; where the write says `Ok`, it survives a power cut.
pub fn names_the_log_durably(backend: Backend) {
    let run = |before: u64, at: u64| {
        let scratch = Scratch::new();
        let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
        let job = Job::new("opening", backend, &directory).with("before", before).with("at", at);
        match job.with("record", record.display()).run() {
            End::Done(words) => {
                let verify = Job::new("verify", backend, &directory);
                let from = words["from"].parse().unwrap();
                (words, survey(&verify, 1, &load(&record), from, size(12, 200)))
            }
            other => panic!("{other:?}"),
        }
    };
    let (mut failed, mut unheard, mut images, mut lost) = (0, 0, 0, Vec::new());
    // A file that is created, and one that was closed and has no log.
    for before in [0, 3] {
        let syncs: u64 = run(before, u64::MAX).0["syncs"].parse().unwrap();
        for at in 1..=syncs {
            let (words, (some, wrong)) = run(before, at);
            failed += 1;
            unheard += u64::from(words["told"] == "no");
            images += some;
            lost.extend(wrong.into_iter().map(|wrong| format!("sync {at} of {syncs} failed, {wrong}")));
        }
    }
    println!(
        "  {failed} syncs failed, {unheard} of them unheard; {images} images, lost or torn {}",
        lost.len()
    );
    assert!(unheard > 0, "SQLite tells of its failed sync of the directory: the test has nothing to test");
    assert!(lost.is_empty(), "the first: {}", lost[0]);
}

fn opening_child(order: &Order) {
    recorder::record();
    let before = order.number("before").unwrap();
    if before > 0 {
        let store = order.open().unwrap();
        (0..before).for_each(|n| perform(&store, 0, n).unwrap());
        recorder::acknowledge(0, before);
        pollster::block_on(store.close()).unwrap();
    }
    let mut events = recorder::drain();
    let from = events.len();
    recorder::arm(Class::Syncs, order.number("at").unwrap(), ONCE);
    let told = order.open().and_then(|store| {
        perform(&store, 0, before)?;
        recorder::acknowledge(0, before + 1);
        // Before it is dropped, which closes it.
        events.extend(recorder::recorded());
        Ok(())
    });
    let (_, syncs) = recorder::disarm();
    events.extend(recorder::recorded());
    order.save(&events);
    println!("from={from} syncs={syncs} told={}", if told.is_ok() { "no" } else { "yes" });
}

/// S13: SQLite opens a file for reading that it can't open for writing, and says that its log is on
/// where turning it on has failed. Each operation of an opening fails once: the store works, with its
/// log, or it is refused.
pub fn works_or_is_refused(backend: Backend) {
    let run = |(before, at): (&str, u64)| {
        let scratch = Scratch::new();
        let job = Job::new("opening-fault", backend, &scratch.path("files")).with("before", before);
        match job.with("at", at).run() {
            End::Done(words) => words,
            other => panic!("operation {at} of opening what is {before}: {other:?}"),
        }
    };
    for before in ["none", "closed", "killed"] {
        let total: u64 = run((before, u64::MAX))["operations"].parse().unwrap();
        let points: Vec<_> = spread(total, size(90, 1_000)).map(|at| (before, at)).collect();
        let words = each(&points, |&point| run(point));
        let refused = words.iter().filter(|words| words["opened"] == "no").count();
        println!("  {} of {total} operations failed: refused {refused}, the others work", points.len());
        assert!(refused > 0);
    }
}

fn opening_fault_child(order: &Order) {
    let before = order.text("before").unwrap();
    let steps = if before == "none" { 0 } else { 3 };
    let open = |directory: &Path| workload::open(order.backend, directory, Durability::PowerLoss);
    let (owner, left) = (order.directory.join("owner"), order.directory.join("left"));
    for directory in [&owner, &left] {
        fs::create_dir(directory).unwrap();
    }
    let first = (steps > 0).then(|| open(&owner).unwrap());
    if let Some(store) = &first {
        (0..steps).for_each(|n| perform(store, 0, n).unwrap());
        if before == "closed" {
            pollster::block_on(store.close()).unwrap();
        }
        // With the log, where there is one.
        for file in fs::read_dir(&owner).unwrap().map(|file| file.unwrap()) {
            if file.file_name() != "store-shm" {
                fs::copy(file.path(), left.join(file.file_name())).unwrap();
            }
        }
    }
    recorder::arm(Class::All, order.number("at").unwrap(), ONCE);
    let store = open(&left);
    let (_, operations) = recorder::disarm();
    if let Ok(store) = &store {
        perform(store, 0, steps).unwrap();
        assert_eq!(observe(store, 0).unwrap(), state(0, steps + 1));
        let log = fs::metadata(left.join("store-wal"));
        assert!(log.is_ok_and(|log| log.len() > 0), "its log is off");
    }
    println!("operations={operations} opened={}", if store.is_ok() { "yes" } else { "no" });
}

/// S13: a file of something else keeps its log, also where its owner was killed.
pub fn leaves_what_is_not_ours(backend: Backend) {
    let scratch = Scratch::new();
    let (owner, left) = (scratch.path("owner"), scratch.path("left"));
    let connection = rusqlite::Connection::open(owner.join("store")).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    for name in ["store", "store-wal"] {
        fs::copy(owner.join(name), left.join(name)).unwrap();
    }
    let files = || ["store", "store-wal"].map(|name| fs::read(left.join(name)).unwrap_or_default());
    let before = files();
    assert!(!before[1].is_empty(), "there is a log");
    let error = workload::open(backend, &left, Durability::PowerLoss).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    assert!(files() == before, "it is not as it was");
    println!("  {} and {} bytes, as they were", before[0].len(), before[1].len());
}

/// Several processes create the file, write to it and open it again at once: all of them open it, wait
/// for each other's writes, and lose none.
pub fn at_once(backend: Backend) {
    const PROCESSES: u64 = 4;
    for _ in 0..size(6, 80) {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let writers: Vec<u64> = (0..PROCESSES).collect();
        let start = since_epoch() + Duration::from_millis(60);
        let ends = std::thread::scope(|scope| {
            let jobs = writers.iter().map(|writer| {
                let job = Job::new("at-once", backend, &directory).with("writer", writer);
                let job = job.with("start", start.as_micros());
                scope.spawn(move || job.patience(Duration::from_secs(60)).run())
            });
            let jobs: Vec<_> = jobs.collect();
            jobs.into_iter().map(|job| job.join().unwrap()).collect::<Vec<_>>()
        });
        let bad: Vec<_> = ends.iter().filter(|end| !matches!(end, End::Done(_))).collect();
        assert!(bad.is_empty(), "{bad:?}");
        let store = workload::open(backend, &directory, Durability::PowerLoss).unwrap();
        for writer in writers {
            assert_eq!(observe(&store, writer).unwrap(), state(writer, AT_ONCE));
        }
    }
    println!("  {PROCESSES} processes at once, {AT_ONCE} steps each");
}

/// Steps of each process.
const AT_ONCE: u64 = 10;

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn at_once_child(order: &Order) {
    let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(30));
    let start = Duration::from_micros(order.number("start").unwrap());
    while since_epoch() < start {
        std::hint::spin_loop();
    }
    let writer = order.number("writer").unwrap();
    for n in 0..AT_ONCE {
        // Opening secures the log that the others write.
        let store = open_with(order.backend, &order.directory, options.clone()).unwrap();
        perform(&store, writer, n).unwrap();
        assert_eq!(observe(&store, writer).unwrap(), state(writer, n + 1));
        pollster::block_on(store.close()).unwrap();
    }
}
