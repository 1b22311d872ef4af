//! Power cuts after any recorded operation, by replay: nothing acknowledged is lost.

use std::collections::HashSet;
use std::fs;

use crate::child::{End, Job, acknowledgements, each};
use crate::recorder::Event;
use crate::replay::{Cut, Disk, Image, load};
use crate::scratch::{Scratch, size, spread};
use crate::workload::Backend;

const WRITERS: u64 = 2;

/// Images that are held in memory at a time.
const BATCH: usize = 16;

/// sled takes ten times as long to open, and fjall has a journal of 64 MiB.
pub fn slice(backend: Backend, slice: u64, full: u64) -> u64 {
    let slow = matches!(backend, Backend::Fjall | Backend::Sled);
    size(if slow { slice / 4 } else { slice }, full)
}

pub fn cuts(backend: Backend) {
    // sled leaves fewer ways to cut a step short: more steps, and more cuts that come to the same.
    let wanted = slice(backend, 500, if backend == Backend::Sled { 26_000 } else { 15_000 });
    let (images, lost) = replayed(backend, "power-loss", wanted);
    println!("  distinct images of a power cut: {images}, lost or torn {}", lost.len());
    assert!(lost.is_empty(), "the first: {}", lost[0]);
    let (images, lost) = replayed(backend, "process-crash", 40);
    println!("  control, durable for process crashes only: {images} images, lost or torn {}", lost.len());
    assert!(!lost.is_empty(), "the missing sync goes unnoticed");
}

fn replayed(backend: Backend, durability: &str, wanted: u64) -> (usize, Vec<String>) {
    let scratch = Scratch::new();
    let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
    let steps = size(40, if backend == Backend::Sled { 440 } else { 40 });
    let job = Job::new("work", backend, &directory).with("writers", WRITERS).with("steps", steps);
    match job.with("durability", durability).with("record", record.display()).run() {
        End::Done(_) => {}
        other => panic!("undisturbed, it ends: {other:?}"),
    }
    survey(&Job::new("verify", backend, &directory), WRITERS, &load(&record), 0, wanted)
}

/// A store that is compacted is the one before or the one after, and what is added to it is as durable (S2).
pub fn compacting(backend: Backend) {
    const STEPS: u64 = 12;
    let scratch = Scratch::new();
    let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
    let job = Job::new("work", backend, &directory).with("steps", STEPS).with("compact", STEPS - 1);
    match job.with("record", record.display()).run() {
        End::Done(_) => {}
        other => panic!("undisturbed, it ends: {other:?}"),
    }
    let mut events = load(&record);
    let is_acknowledged = |event: &Event| matches!(event, Event::Acknowledged { .. });
    // The last step but one is acknowledged before.
    let end = events.iter().rposition(is_acknowledged).unwrap();
    let from = events[..end].iter().rposition(is_acknowledged).unwrap();
    let verify = Job::new("verify", backend, &directory);
    let (images, lost) = survey(&verify, 1, &events, from, slice(backend, 200, 4_000));
    println!("  distinct images of a power cut: {images}, lost or torn {}", lost.len());
    assert!(lost.is_empty(), "the first: {}", lost[0]);
    events.truncate(end + 1);
    let events: Vec<_> = (0..).zip(events).filter(|(n, event)| *n <= from || !is_sync(event)).collect();
    let events: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    let (images, lost) = survey(&verify, 1, &events, from, 40);
    println!("  control, nothing synced from there on: {images} images, lost or torn {}", lost.len());
    assert!(!lost.is_empty(), "missing syncs go unnoticed");
}

fn is_sync(event: &Event) -> bool {
    matches!(event, Event::Synced { .. } | Event::SyncedDirectory { .. })
}

/// Verifies about as many distinct images as wanted of power cuts, spread over the events after the
/// first `from`. `verify` is the job for the directory that was recorded. Returns how many images
/// there were, and what was wrong with some.
pub fn survey(
    verify: &Job,
    writers: u64,
    events: &[Event],
    from: usize,
    wanted: u64,
) -> (usize, Vec<String>) {
    let cuttable = (events.len() - from) as u64;
    let cuts = (wanted * 4 / 3).div_ceil(cuttable).max(4);
    let points = (wanted * 4 / 3 / cuts).max(1);
    let points = spread(cuttable, points).map(|point| from as u64 + point);
    survey_at(verify, writers, events, points, cuts)
}

/// The same after events of these numbers, in order, from 1, with so many cuts at each. `verify` is
/// the job for the directory that was recorded.
pub fn survey_at(
    verify: &Job,
    writers: u64,
    events: &[Event],
    points: impl Iterator<Item = u64>,
    cuts: u64,
) -> (usize, Vec<String>) {
    let mut disk = Disk::new(&verify.directory, writers);
    let mut points = points.peekable();
    let (mut seen, mut batch, mut lost, mut images) = (HashSet::new(), Vec::new(), Vec::new(), 0);
    for (n, event) in (1..).zip(events) {
        disk.play(event);
        if points.next_if_eq(&n).is_some() {
            for cut in cuts_of(n, cuts) {
                let image = disk.image(cut);
                if seen.insert((image.fingerprint(), disk.acknowledged.clone())) {
                    batch.push((image, disk.acknowledged.clone(), n, cut));
                }
            }
        }
        if batch.len() >= BATCH || n == events.len() as u64 {
            images += batch.len();
            let verdicts = each(&batch, |(image, acknowledged, n, cut)| {
                let end = verified(verify, image, acknowledged);
                let done = matches!(end, End::Done(_));
                (!done).then(|| format!("after event {n} of {}, {cut:?}: {end:?}", events.len()))
            });
            lost.extend(verdicts.into_iter().flatten());
            batch.clear();
        }
    }
    (images, lost)
}

fn verified(verify: &Job, image: &Image, acknowledged: &[u64]) -> End {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    image.lay_out(&directory);
    let lines = (0..).zip(acknowledged).map(|(writer, steps): (u64, _)| format!("{writer} {steps}\n"));
    fs::write(acknowledgements(&directory), lines.collect::<String>()).unwrap();
    verify.clone().moved(&directory).with("writers", acknowledged.len()).run()
}

fn cuts_of(n: u64, count: u64) -> impl Iterator<Item = Cut> {
    let tossed = (0..).flat_map(move |k| [Cut::Half((n << 20) | k), Cut::Torn((n << 20) | k)]);
    [Cut::Dropped, Cut::Kept].into_iter().chain(tossed).take(count as usize)
}
