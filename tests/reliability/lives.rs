//! Power cuts over several processes on one sled store: in its blob files, at its end, at the next
//! opening.
//!
//! Each test has controls: the same recording without the syncs that the store is there to make.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::child::{End, Job, Order, acknowledgements};
use crate::power::survey_at;
use crate::recorder::{self, Act, Class, Event};
use crate::replay;
use crate::scratch::{Scratch, size};
use crate::workload::{Backend, perform};

/// The work of one process on the store in `directory`, until `steps` are done.
fn chapter(directory: &Path, steps: u64) -> Job {
    Job::new("work", Backend::Sled, directory).with("steps", steps)
}

fn verify(directory: &Path) -> Job {
    Job::new("verify", Backend::Sled, directory)
}

/// The file operations of processes that follow each other, one list for each.
fn live(scratch: &Scratch, chapters: &[Job]) -> Vec<Vec<Event>> {
    let record = scratch.path("record").join("events");
    let recorded = chapters.iter().map(|chapter| {
        match chapter.clone().with("record", record.display()).run() {
            End::Done(_) => {}
            other => panic!("undisturbed, it ends: {other:?}"),
        }
        replay::load(&record)
    });
    recorded.collect()
}

/// The numbers, from 1, of the events that are so.
fn numbers(events: &[Event], is_so: impl Fn(&Event) -> bool) -> Vec<u64> {
    (1..).zip(events).filter(|(_, event)| is_so(event)).map(|(n, _)| n).collect()
}

fn is_acknowledgement(event: &Event) -> bool {
    matches!(event, Event::Acknowledged { .. })
}

fn is_sync_of_blobs_names(event: &Event) -> bool {
    matches!(event, Event::SyncedDirectory { path } if path.ends_with("data/blobs"))
}

/// The files that were ever created in the blobs' directory.
fn blobs_of(directory: &Path, events: &[Event]) -> HashSet<u64> {
    let blobs = directory.join("store").join("data").join("blobs");
    let of_blob = |event: &Event| match event {
        Event::Created { path, inode } if path.parent() == Some(&blobs) => Some(*inode),
        _ => None,
    };
    events.iter().filter_map(of_blob).collect()
}

/// Ways to cut the power after one event. The first drops all that is not synced.
fn ways() -> u64 {
    size(1, 6)
}

/// Cuts the power after these events: nothing is lost.
fn cut(verify: &Job, events: &[Event], points: &[u64], ways: u64) {
    let (images, lost) = survey_at(verify, 1, events, points.iter().copied(), ways);
    println!("  distinct images of a power cut: {images}, lost or torn {}", lost.len());
    assert!(lost.is_empty(), "the first: {}", lost[0]);
}

/// The same events without some; the others keep their numbers.
fn without(events: &[Event], is_left_out: impl Fn(u64, &Event) -> bool) -> Vec<Event> {
    let nothing = Event::Synced { inode: 0 };
    let kept =
        (1..).zip(events).map(|(n, event)| if is_left_out(n, event) { &nothing } else { event }.clone());
    kept.collect()
}

/// The same without some syncs: that must be noticed.
fn control(
    what: &str,
    verify: &Job,
    events: &[Event],
    points: &[u64],
    ways: u64,
    is_left_out: impl Fn(u64, &Event) -> bool,
) {
    let weak = without(events, is_left_out);
    let (images, lost) = survey_at(verify, 1, &weak, points.iter().copied(), ways);
    println!("  control, {what} not synced: {images} images, lost or torn {}", lost.len());
    assert!(!lost.is_empty(), "{what} not synced: that goes unnoticed");
}

/// Memories in sled's blob files are as durable as the others: these files are synced, and their names
/// (S2).
///
/// The power is cut when a step is acknowledged, and not within one: see
/// [`missing_blob`](crate::findings::missing_blob).
pub fn blobs(_: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let job = chapter(&directory, size(5, 24)).with("memories", "large").with("close", "no");
    let events = live(&scratch, &[job]).concat();
    let blobs = blobs_of(&directory, &events);
    assert!(!blobs.is_empty(), "no memory is in a blob file");
    let is_first = |event: &Event| matches!(event, Event::Created { inode, .. } if blobs.contains(inode));
    let first = numbers(&events, is_first)[0];
    let mut acknowledged = numbers(&events, is_acknowledgement);
    acknowledged.retain(|&n| n > first);
    let verify = verify(&directory).with("memories", "large");
    cut(&verify, &events, &acknowledged, ways());
    let of_blob = |event: &Event| matches!(event, Event::Synced { inode } if blobs.contains(inode));
    control("blob files", &verify, &events, &acknowledged, ways(), |_, event| of_blob(event));
    control("the blobs' names", &verify, &events, &acknowledged, ways(), |_, event| {
        is_sync_of_blobs_names(event)
    });
}

/// A store that is closed, opened and closed again loses nothing and opens, whenever the power is cut
/// from the first end on (S2, S12).
pub fn ends(_: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let chapters = live(&scratch, &[chapter(&directory, 3), chapter(&directory, 5)]);
    let first_end = *numbers(&chapters[0], is_acknowledgement).last().unwrap();
    let opened = chapters[0].len() as u64;
    let events = chapters.concat();
    let second_end = *numbers(&events, is_acknowledgement).last().unwrap();
    let verify = verify(&directory);
    let all: Vec<u64> = (first_end..=events.len() as u64).collect();
    cut(&verify, &events, &all, 4 * ways());
    let is_sync = |event: &Event| matches!(event, Event::Synced { .. });
    let ending: Vec<u64> = (first_end..=opened).collect();
    control("the end", &verify, &events, &ending, 4 * ways(), |n, event| {
        ending.contains(&n) && is_sync(event)
    });
    let is_removal = |event: &Event| matches!(event, Event::Removed { path } if path.ends_with("closed"));
    let removed = *numbers(&events, is_removal).first().expect("the next process removes the note");
    let ending: Vec<u64> = (second_end..=events.len() as u64).collect();
    control("the removal of the end's note", &verify, &events, &ending, 4 * ways(), |n, _| n == removed + 1);
}

/// A store that is closed is durable as a whole, also one that was opened for process crashes only: its
/// end is noted durably, and what is missing later is taken for damage.
pub fn closed(_: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let job = chapter(&directory, 4).with("memories", "large").with("durability", "process-crash");
    let events = live(&scratch, &[job]).concat();
    let blobs = blobs_of(&directory, &events);
    assert!(!blobs.is_empty(), "no memory is in a blob file");
    let verify = verify(&directory).with("memories", "large");
    let end = [events.len() as u64];
    cut(&verify, &events, &end, ways());
    let is_sync = |event: &Event| matches!(event, Event::Synced { inode } if blobs.contains(inode));
    control("blob files", &verify, &events, &end, ways(), |_, event| is_sync(event));
    control("the blobs' names", &verify, &events, &end, ways(), |_, event| is_sync_of_blobs_names(event));
}

/// Syncs that fail in a step with a blob file, and at the end that follows: the next process builds on
/// nothing that the kernel has dropped (S2, S3).
pub fn failed_syncs(_: Backend) {
    let (mut failures, mut of_blobs, mut noticed) = (0, 0, 0);
    // Their number depends on sled's threads; the last ones are not reached.
    for at in 1..=size(9, 12) {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let failing = Job::new("failed-sync", Backend::Sled, &directory).with("steps", 4).with("at", at);
        let next = chapter(&directory, 5).with("close", "no");
        let chapters = live(&scratch, &[failing, next].map(|chapter| chapter.with("memories", "large")));
        let opened = chapters[0].len() as u64;
        let events = chapters.concat();
        let blobs = blobs_of(&directory, &events);
        for event in &events {
            if let Event::SyncFailed { inode } = event {
                failures += 1;
                of_blobs += u64::from(blobs.contains(inode));
            }
        }
        // The first answer may be that nothing has changed: then all was synced by opening.
        let answered = numbers(&events, is_acknowledgement).into_iter().find(|&n| n > opened).unwrap();
        let verify = verify(&directory).with("memories", "large");
        let cut = |events: &[Event]| survey_at(&verify, 1, events, [answered].into_iter(), ways()).1;
        let lost = cut(&events);
        assert!(lost.is_empty(), "sync {at} failed; the first: {}", lost[0]);
        if at <= 3 {
            // Opening makes the blobs' names durable once it has written all files again.
            let healed = numbers(&events, is_sync_of_blobs_names).into_iter().find(|&n| n > opened).unwrap();
            let healing =
                |n, event: &Event| n > opened && n < healed && matches!(event, Event::Written { .. });
            noticed += cut(&without(&events, healing)).len();
        }
    }
    println!("  {failures} files failed to sync, {of_blobs} of them of blobs; nothing is lost");
    println!("  control, nothing written again: noticed {noticed}");
    assert!(of_blobs > 0, "no sync of a blob file failed");
    assert!(noticed > 0, "nothing written again: that goes unnoticed");
}

/// Takes steps and closes; in the last step or later, one sync fails. It stops at the first error.
pub fn failed_sync_child(order: &Order) {
    recorder::record();
    let store = order.open().unwrap();
    let steps = order.number("steps").unwrap();
    let fail = Act::Fail { errno: libc::EIO, sticky: false };
    let done = (0..steps).find(|&n| {
        if n + 1 == steps {
            recorder::arm(Class::Syncs, order.number("at").unwrap(), fail);
        }
        let performed = perform(&store, 0, n);
        if performed.is_ok() {
            recorder::acknowledge(0, n + 1);
        }
        performed.is_err()
    });
    let done = done.unwrap_or(steps);
    // That it fails is no news.
    let _ = pollster::block_on(store.close());
    drop(store);
    recorder::disarm();
    fs::write(acknowledgements(&order.directory), format!("0 {done}\n")).unwrap();
    replay::save(Path::new(order.text("record").unwrap()), &recorder::recorded());
}

/// The next process may build on what was left by one that was killed before its sync: a retry that
/// changes nothing, and so writes nothing, is durable once it is answered (S2, S5).
pub fn leavings(_: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let killed = chapter(&directory, 4).with("durability", "process-crash");
    let next = chapter(&directory, 4).with("again", 1);
    let chapters = [killed, next].map(|chapter| chapter.with("memories", "large").with("close", "no"));
    let mut chapters = live(&scratch, &chapters);
    // These were told no more than that a kill does no harm.
    chapters[0].retain(|event| !is_acknowledgement(event));
    // Nor did it live to sync the name of the store that it had made.
    let is_sync_of_name =
        |event: &Event| matches!(event, Event::SyncedDirectory { path } if *path == directory);
    chapters[0].retain(|event| !is_sync_of_name(event));
    let killed = chapters[0].len() as u64;
    let events = chapters.concat();
    let blobs = blobs_of(&directory, &events);
    assert!(!blobs.is_empty(), "no memory is in a blob file");
    let answered = numbers(&events, is_acknowledgement);
    let verify = verify(&directory).with("memories", "large");
    cut(&verify, &events, &answered, ways());
    control("what a killed process left in the log", &verify, &events, &answered, ways(), |n, event| {
        n > killed && matches!(event, Event::Synced { inode } if !blobs.contains(inode))
    });
    control("what a killed process left in blob files", &verify, &events, &answered, ways(), |n, event| {
        n > killed && matches!(event, Event::Synced { inode } if blobs.contains(inode))
    });
    control(
        "the names of blob files that a killed process left",
        &verify,
        &events,
        &answered,
        ways(),
        |n, event| n > killed && is_sync_of_blobs_names(event),
    );
    control("the name of the store that it made", &verify, &events, &answered, ways(), |n, event| {
        n > killed && is_sync_of_name(event)
    });
}

/// The same on the other engines, whatever they do to recover: what they show is durable before it answers.
pub fn retried(backend: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let work = Job::new("work", backend, &directory).with("steps", 4).with("close", "no");
    let mut chapters =
        live(&scratch, &[work.clone().with("durability", "process-crash"), work.with("again", 1)]);
    chapters[0].retain(|event| !is_acknowledgement(event));
    let killed = chapters[0].len() as u64;
    let events = chapters.concat();
    let answered = numbers(&events, is_acknowledgement);
    let verify = Job::new("verify", backend, &directory);
    cut(&verify, &events, &answered, 4 * ways());
    control("what a killed process left", &verify, &events, &answered, 4 * ways(), |n, event| {
        n > killed && matches!(event, Event::Synced { .. })
    });
}
