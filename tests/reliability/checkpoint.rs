//! Moving SQLite's log into the file: a failed sync ends the writing, closing after one moves
//! nothing, and an error of closing is reported.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::EIO;
use profile_store::{Durability, ErrorKind, Probe, ProfileStore as _, SqliteStore, StoreOptions};

use crate::child::{End, Job, Order, acknowledgements, each};
use crate::power::survey;
use crate::recorder::{self, Act, Class, Event};
use crate::replay::load;
use crate::scratch::{Scratch, size, spread};
use crate::workload::{self, Backend, Store, observe, perform, state};

const STEPS: u64 = 24;

/// Steps of a second guru.
const ASIDE: u64 = 16;

const ONCE: Act = Act::Fail { errno: EIO, sticky: false };

pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "checkpoint-failed" => failed_child(order),
        "closing-after-a-failed-sync" => closing_after_a_failed_sync_child(order),
        "closing-fails" => closing_fails_child(order),
        "compacting" => compacting_child(order),
        _ => return false,
    }
    true
}

/// P4: after a failed sync of a checkpoint, by whichever thread, every write is refused.
pub fn failed(backend: Backend) {
    let run = |durability: &str, at: u64| {
        let scratch = Scratch::new();
        let job = Job::new("checkpoint-failed", backend, &scratch.path("files")).with("at", at);
        match job.with("durability", durability).run() {
            End::Done(words) => words,
            other => panic!("sync {at}, durable for {durability}: {other:?}"),
        }
    };
    for durability in ["power-loss", "process-crash"] {
        let syncs: u64 = run(durability, u64::MAX)["syncs"].parse().unwrap();
        let points: Vec<u64> = spread(syncs, size(30, 1_000)).collect();
        let words = each(&points, |&at| run(durability, at));
        let count = |of: &str| words.iter().filter(|words| words["failed"] == of).count();
        let own = words.iter().filter(|words| words["own"] == "true").count();
        println!(
            "  durable for {durability}: {} of {syncs} syncs failed: of checkpoints {} (of the commit thread {own}), of writes {}",
            points.len(),
            count("checkpoint"),
            count("write"),
        );
        assert!(count("checkpoint") > 0, "no checkpoint meets its sync");
    }
}

fn failed_child(order: &Order) {
    recorder::record();
    // Set if a pass fails that the commit thread makes itself.
    let own = Arc::new(AtomicBool::new(false));
    let waited = Arc::clone(&own);
    let options = StoreOptions::default().with_durability(order.durability()).with_observer(
        move |event: &profile_store::Event| {
            if let profile_store::Event::Checkpoint { commits_waited: true, error: Some(_), .. } = event {
                waited.store(true, Ordering::SeqCst);
            }
        },
    );
    let store = workload::open_with(order.backend, &order.directory, options).unwrap();
    // A probe is a durable write.
    recorder::drain();
    pollster::block_on(store.health(Probe::Write)).unwrap();
    let probed = recorder::drain();
    assert!(probed.iter().any(|event| matches!(event, Event::Written { .. })), "a probe writes");
    if order.text("durability") == Some("power-loss") {
        assert!(probed.iter().any(|event| matches!(event, Event::Synced { .. })), "and syncs");
    }
    recorder::arm(Class::Syncs, order.number("at").unwrap(), ONCE);
    let (mut failed, mut stored) = ("none", 0);
    for n in 0..STEPS {
        let result = perform(&store, 0, n);
        stored += u64::from(result.is_ok());
        match result {
            Err(error) if error.kind() == ErrorKind::Closed => failed = "checkpoint",
            Err(_) => failed = "write",
            // Not where it was a sync of the directory, which opening has synced.
            Ok(()) if recorder::drain().iter().any(|event| matches!(event, Event::SyncFailed { .. })) => {
                failed = "checkpoint";
            }
            Ok(()) => continue,
        }
        break;
    }
    if failed != "none" {
        let mut told = pollster::block_on(store.health(Probe::Write));
        assert!(
            told.is_err() || !own.load(Ordering::SeqCst),
            "the commit thread goes on after its own failure"
        );
        // The checkpoint's thread tells of it a moment later.
        for _ in 0..200 {
            if told.is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            told = pollster::block_on(store.health(Probe::Write));
        }
        assert_eq!(told.expect_err("it goes on after a failed sync").kind(), ErrorKind::Closed);
        for _ in 0..3 {
            assert_eq!(perform(&store, 0, stored).unwrap_err().kind(), ErrorKind::Closed);
        }
        assert_eq!(pollster::block_on(store.compact()).unwrap_err().kind(), ErrorKind::Closed);
        // Reads go on, S3.
        assert_eq!(observe(&store, 0).unwrap(), state(0, stored));
    }
    let (_, syncs) = recorder::disarm();
    let _ = pollster::block_on(store.close());
    drop(store);
    let store = order.open().expect("it opens again");
    let found = observe(&store, 0).unwrap();
    assert!(found == state(0, stored) || failed == "write" && found == state(0, stored + 1));
    perform(&store, 0, stored).expect("it takes writes again");
    println!("syncs={syncs} failed={failed} own={}", own.load(Ordering::SeqCst));
}

/// S1, S2: a sync fails, and the kernel forgets what it could not write; then the power is cut at any
/// later moment, while the store is closed included.
pub fn closing_after_a_failed_sync(backend: Backend) {
    let run = |durability: &str, at: u64, control: &str, images: u64| {
        let scratch = Scratch::new();
        let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
        let job = Job::new("closing-after-a-failed-sync", backend, &directory).with("at", at);
        let job = job.with("record", record.display()).with("durability", durability);
        let job = job.with("control", control);
        let syncs = match job.run() {
            End::Done(words) => words["syncs"].parse().unwrap(),
            other => panic!("sync {at}: {other:?}"),
        };
        let events = load(&record);
        let failed = events.iter().position(|event| matches!(event, Event::SyncFailed { .. }));
        let verify = Job::new("verify", backend, &directory);
        // Later batches may be lost with the power there, but each of them whole, and none before
        // the ones that are kept.
        let verify = if durability == "process-crash" { verify.with("slack", STEPS) } else { verify };
        (syncs, failed.map(|failed| survey(&verify, 1, &events, failed, images)))
    };
    let failing = |durability: &str, points: u64, control: &str| {
        let (syncs, _): (u64, _) = run(durability, u64::MAX, "no", 0);
        let (mut failed, mut images, mut lost) = (0, 0, Vec::new());
        for at in spread(syncs, points) {
            // One of the directory leaves nothing undone that a later one does not do.
            let (_, Some((some, wrong))) = run(durability, at, control, size(16, 120)) else { continue };
            failed += 1;
            images += some;
            lost.extend(wrong.into_iter().map(|wrong| format!("sync {at} of {syncs} failed, {wrong}")));
        }
        (failed, images, lost)
    };
    for durability in ["process-crash", "power-loss"] {
        let (failed, images, lost) = failing(durability, size(16, 1_000), "no");
        println!(
            "  durable for {durability}: {failed} syncs failed, {images} images, lost or torn {}",
            lost.len()
        );
        assert!(failed > 0);
        assert!(lost.is_empty(), "the first: {}", lost[0]);
    }
    let noticed = (0..5).any(|_| {
        let (_, images, lost) = failing("process-crash", 16, "yes");
        println!("  control, SQLite closes by itself: {images} images, lost or torn {}", lost.len());
        !lost.is_empty()
    });
    assert!(noticed, "a log that is moved after a failed sync goes unnoticed");
}

/// If the store does not survive power loss, nothing is acknowledged.
fn closing_after_a_failed_sync_child(order: &Order) {
    let survives = order.text("durability") == Some("power-loss");
    recorder::record();
    let store = order.open().unwrap();
    recorder::arm(Class::Syncs, order.number("at").unwrap(), ONCE);
    for n in 0..STEPS {
        match perform(&store, 0, n) {
            Ok(()) if survives => recorder::acknowledge(0, n + 1),
            Ok(()) => {}
            Err(_) => break,
        }
    }
    let _ = pollster::block_on(store.close());
    drop(store);
    if order.text("control") == Some("yes") {
        // It recovers what the page cache shows, and moves that into the file.
        let connection = rusqlite::Connection::open(order.directory.join("store")).unwrap();
        // Recovery is its first read's part; that it fails is as good.
        let _ = connection.query_row("SELECT count(*) FROM profile", [], |row| row.get::<_, i64>(0));
        connection.close().unwrap();
    }
    let (_, syncs) = recorder::disarm();
    order.save(&recorder::recorded());
    println!("syncs={syncs}");
}

/// `close` reports that it could not leave a clean file: where it says `Ok`, the file has everything
/// without its log.
pub fn closing_fails(backend: Backend) {
    let run = |what: &str, at: u64| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let words = match Job::new("closing-fails", backend, &directory).with(what, at).run() {
            End::Done(words) => words,
            other => panic!("{what} {at}: {other:?}"),
        };
        if words["closed"] == "yes" {
            let alone = scratch.path("alone");
            fs::copy(directory.join("store"), alone.join("store")).unwrap();
            fs::write(acknowledgements(&alone), format!("0 {STEPS}\n")).unwrap();
            let end = Job::new("verify", backend, &alone).run();
            assert!(matches!(end, End::Done(_)), "{what} {at}: closed, and not clean: {end:?}");
        }
        words
    };
    for what in ["change", "changes-from", "sync"] {
        let total: u64 = run(what, u64::MAX)["operations"].parse().unwrap();
        let points: Vec<u64> = spread(total, size(24, 1_000)).collect();
        let words = each(&points, |&at| run(what, at));
        let hit: Vec<_> = words.iter().filter(|words| words["hit"] == "yes").collect();
        let told = hit.iter().filter(|words| words["closed"] == "no").count();
        println!("  {what}: {} of {total} failed while closing, told of {told}", hit.len());
        assert!(told > 0, "closing fails and nobody is told");
        // A log that can't be removed is no failure; a sync that fails always is.
        assert!(what != "sync" || told == hit.len(), "a failed sync is not told");
    }
}

/// S2: SQLite does not sync a pass that a reader has cut short. If closing then fails to sync the rest, the kernel
/// has lost the pages of both, and only the log has them all: the power is cut at any later moment.
pub fn closing_fails_to_sync(backend: Backend) {
    let run = |at: u64, images: u64| {
        let scratch = Scratch::new();
        let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
        let job = Job::new("closing-fails", backend, &directory).with("sync", at);
        let words = match job.with("record", record.display()).run() {
            End::Done(words) => words,
            other => panic!("sync {at}: {other:?}"),
        };
        let events = load(&record);
        let failed = events.iter().position(|event| matches!(event, Event::SyncFailed { .. }));
        let verify = Job::new("verify", backend, &directory);
        (words, failed.map(|failed| survey(&verify, 2, &events, failed, images)))
    };
    let syncs: u64 = run(u64::MAX, 0).0["operations"].parse().unwrap();
    let (mut failed, mut images, mut lost) = (0, 0, Vec::new());
    for at in 1..=syncs {
        let (_, Some((some, wrong))) = run(at, size(24, 240)) else { continue };
        failed += 1;
        images += some;
        lost.extend(wrong.into_iter().map(|wrong| format!("sync {at} of {syncs} failed, {wrong}")));
    }
    println!("  {failed} of {syncs} syncs failed, {images} images, lost or torn {}", lost.len());
    assert!(failed > 0, "closing syncs nothing");
    assert!(lost.is_empty(), "the first: {}", lost[0]);
}

fn closing_fails_child(order: &Order) {
    let recorded = order.text("record").is_some();
    if recorded {
        recorder::record();
    }
    // The log is so long that the checkpoint's thread never moves it.
    let path = order.directory.join("store");
    let store: Store = Arc::new(pollster::block_on(SqliteStore::open(&path)).unwrap());
    let steps = |steps: std::ops::Range<u64>| steps.for_each(|n| perform(&store, 0, n).unwrap());
    steps(0..STEPS / 2);
    // Pages that nobody writes to again.
    (0..ASIDE).for_each(|n| perform(&store, 1, n).unwrap());
    // A pass comes as far as this read lets it, and is not synced: the rest is closing's.
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM profile").unwrap();
    steps(STEPS / 2..STEPS);
    recorder::acknowledge(0, STEPS);
    recorder::acknowledge(1, ASIDE);
    let (log, moved) = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
        .unwrap();
    assert!(0 < moved && moved < log, "{moved} of {log} pages are moved");
    match (order.number("change"), order.number("changes-from"), order.number("sync")) {
        (Some(at), ..) => recorder::arm(Class::Changes, at, ONCE),
        (_, Some(at), _) => recorder::arm(Class::Changes, at, Act::Fail { errno: EIO, sticky: true }),
        (.., at) => recorder::arm(Class::Syncs, at.unwrap(), ONCE),
    }
    drop(reader);
    let closed = pollster::block_on(store.close());
    let (fired, operations) = recorder::disarm();
    if recorded {
        order.save(&recorder::recorded());
    }
    let word = |yes| if yes { "yes" } else { "no" };
    println!("operations={operations} hit={} closed={}", word(fired > 0), word(closed.is_ok()));
}

/// L3: compacting cuts the log, or says that it could not. A reader keeps it from that, the checkpoint's
/// own thread does not.
pub fn compacting(backend: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let store = workload::open(backend, &directory, Durability::PowerLoss).unwrap();
    let compact = || pollster::block_on(store.compact());
    let log = || fs::metadata(directory.join("store-wal")).unwrap().len();
    (0..4).for_each(|n| perform(&store, 0, n).unwrap());
    let reader = rusqlite::Connection::open(directory.join("store")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM profile").unwrap();
    perform(&store, 0, 4).unwrap();
    assert_eq!(compact().unwrap_err().kind(), ErrorKind::Busy);
    assert!(log() > 0);
    reader.execute_batch("ROLLBACK").unwrap();
    compact().unwrap();
    assert_eq!(log(), 0, "the log holds what was deleted");
    assert_eq!(observe(&store, 0).unwrap(), state(0, 5));
    match Job::new("compacting", backend, &scratch.path("beside")).run() {
        End::Done(words) => {
            println!("  {} times beside a checkpoint, by {} slow syncs", words["times"], words["syncs"])
        }
        other => panic!("{other:?}"),
    }
}

fn compacting_child(order: &Order) {
    const TIMES: u64 = 6;
    let store = order.open().unwrap();
    recorder::arm(Class::Syncs, 0, Act::Delay(Duration::from_millis(20)));
    let mut n = 0;
    for _ in 0..TIMES {
        // The last of so many pages wake the thread.
        let length = || fs::metadata(order.directory.join("store-wal")).map_or(0, |log| log.len());
        while length() < 41 * 4120 {
            perform(&store, 0, n).unwrap();
            n += 1;
        }
        pollster::block_on(store.compact()).unwrap();
    }
    assert_eq!(observe(&store, 0).unwrap(), state(0, n));
    println!("times={TIMES} syncs={}", recorder::disarm().0);
}
