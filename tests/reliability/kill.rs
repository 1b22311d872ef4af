//! kill −9 before every file operation, creation included; at random times; and again while the
//! store recovers from the first.

use std::path::Path;
use std::time::Duration;

use crate::child::{End, Job, acknowledgements, each};
use crate::power::slice;
use crate::scratch::{Scratch, copy, size, spread};
use crate::workload::{Backend, scramble};

/// The results of many kills.
#[derive(Default)]
struct Tally {
    kills: usize,
    lost: Vec<String>,
}

impl Tally {
    fn of(ends: impl IntoIterator<Item = Option<End>>) -> Self {
        let mut tally = Self::default();
        for end in ends.into_iter().flatten() {
            tally.kills += 1;
            match end {
                End::Done(_) => {}
                other => tally.lost.push(format!("{other:?}")),
            }
        }
        tally
    }

    fn report(&self, what: &str) {
        println!("  {what}: {}, lost or torn {}", self.kills, self.lost.len());
    }

    fn clean(&self) {
        assert!(self.lost.is_empty(), "the first: {}", self.lost[0]);
    }
}

fn working(backend: Backend, directory: &Path, writers: u64, steps: u64) -> Job {
    Job::new("work", backend, directory).with("writers", writers).with("steps", steps)
}

/// How many operations the work takes when nobody kills it.
fn operations(job: &Job) -> u64 {
    match job.run() {
        End::Done(words) => words["operations"].parse().unwrap(),
        other => panic!("undisturbed, it ends: {other:?}"),
    }
}

fn verify(backend: Backend, directory: &Path, writers: u64) -> Job {
    Job::new("verify", backend, directory).with("writers", writers)
}

/// Kills before operation `at`, and verifies what is left. `None` if it ended before.
fn kill_at(backend: Backend, writers: u64, steps: u64, at: u64, early: bool) -> Option<End> {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let mut job = working(backend, &directory, writers, steps).with("kill", at);
    if early {
        job = job.with("acknowledge", "early");
    }
    match job.run() {
        End::Killed => Some(verify(backend, &directory, writers).run()),
        End::Done(_) => None,
        other => Some(other),
    }
}

pub fn enumerated(backend: Backend) {
    let mut all = Tally::default();
    for (writers, steps, default, full) in [(1, size(120, 360), 220, 1_600), (3, 40, 120, 600)] {
        let scratch = Scratch::new();
        let total = operations(&working(backend, &scratch.path("files"), writers, steps));
        let points: Vec<u64> = spread(total, slice(backend, default, full)).collect();
        let tally = Tally::of(each(&points, |&at| kill_at(backend, writers, steps, at, false)));
        println!("  {writers} writers, {steps} steps each: {total} operations, {} kill points", points.len());
        all.kills += tally.kills;
        all.lost.extend(tally.lost);
    }
    all.report("kills before an operation");
    all.clean();
    let points: Vec<u64> = spread(600, 24).collect();
    let control = Tally::of(each(&points, |&at| kill_at(backend, 1, 120, at, true)));
    control.report("control, acknowledged early");
    assert!(!control.lost.is_empty(), "an early acknowledgement goes unnoticed");
}

pub fn at_random(backend: Backend) {
    let rounds: Vec<u64> = (0..slice(backend, 40, 500)).collect();
    let ends = each(&rounds, |&round| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let job = working(backend, &directory, 3, 100_000);
        let time = Duration::from_micros(scramble(round) % 150_000);
        match job.run_for(time) {
            End::Killed => Some(verify(backend, &directory, 3).run()),
            other => Some(other),
        }
    });
    let tally = Tally::of(ends);
    tally.report("kills at random times");
    tally.clean();
}

/// Kills the work, then the recovery before each of its operations, then verifies.
pub fn pairs(backend: Backend) {
    let steps = 30;
    let scratch = Scratch::new();
    let total = operations(&working(backend, &scratch.path("files"), 1, steps));
    let firsts: Vec<u64> = spread(total, slice(backend, 16, 120)).collect();
    let most = slice(backend, 12, 40);
    let ends = each(&firsts, |&first| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        match working(backend, &directory, 1, steps).with("kill", first).run() {
            End::Killed => {}
            other => return vec![Some(other)],
        }
        let probe = scratch.path("probe");
        copy(&directory, &probe);
        copy_acknowledgements(&directory, &probe);
        let recovery = match verify(backend, &probe, 1).run() {
            End::Done(words) => words["operations"].parse().unwrap(),
            other => return vec![Some(other)],
        };
        spread(recovery, most)
            .map(|second| {
                let again = scratch.path("again");
                copy(&directory, &again);
                copy_acknowledgements(&directory, &again);
                match verify(backend, &again, 1).with("kill", second).run() {
                    End::Killed => Some(verify(backend, &again, 1).run()),
                    End::Done(_) => None,
                    other => Some(other),
                }
            })
            .collect()
    });
    let tally = Tally::of(ends.into_iter().flatten());
    tally.report("kills during the recovery from a kill");
    tally.clean();
}

fn copy_acknowledgements(from: &Path, to: &Path) {
    let (from, to) = (acknowledgements(from), acknowledgements(to));
    match std::fs::copy(from, &to) {
        Ok(_) => {}
        // Killed before the first one.
        Err(_) => drop(std::fs::remove_file(to)),
    }
}
