//! Many users in batches, one batch after the other: stored, changed, and sent once more.

use std::time::{Duration, Instant};

use crate::files::Counts;
use crate::process::resident;
use crate::table::line;
use crate::users::{User, user, users};

/// Users in a batch.
pub const BATCH: u64 = 1000;

/// A store that takes batches. If it does not survive a power cut, its name says so.
pub trait Bulk {
    /// A batch in the form that a program would hold it in.
    type Batch;

    /// Makes it; not measured.
    fn prepare(&self, users: Vec<User>) -> Self::Batch;

    /// Stores it durably.
    fn upsert(&mut self, batch: Self::Batch);

    /// Leaves clean files.
    fn close(self);

    /// Bytes on disk.
    fn size(&self) -> u64;
}

/// Inserts `count` users, changes all of them, and sends the change again.
pub fn life(mut store: impl Bulk, name: &str, count: u64) {
    let workload = &format!("bulk {count}");
    for (phase, version) in [("insert", 0), ("change", 1), ("retry", 1)] {
        let before = Counts::settled();
        let time = pass(&mut store, 0, count, version);
        let cost = Counts::settled() - before;
        let batches = count.div_ceil(BATCH) as f64;
        let figure = |measure: &str, value| line(workload, name, &format!("{phase} {measure}"), value);
        figure("users/s", count as f64 / time.as_secs_f64());
        figure("bytes/user", cost.bytes as f64 / count as f64);
        figure("syncs/batch", cost.syncs as f64 / batches);
        figure("writes/batch", cost.writes as f64 / batches);
    }
    let (_, peak) = resident("self").expect("this process");
    line(workload, name, "peak MB", peak as f64 / 1e6);
    let size = store.size();
    let before = Counts::now();
    store.close();
    // The work left for the two passes that changed something.
    line(workload, name, "close bytes/user", (Counts::settled() - before).bytes as f64 / count as f64);
    line(workload, name, "file MB", size as f64 / 1e6);
}

/// Changes, in batches, at each step of the growth.
const CHANGED: u64 = 20;

/// Inserts users up to `count`, and reports every `step` of them how fast that was, and how fast users that are
/// drawn from all of them are changed.
pub fn growth(mut store: impl Bulk, name: &str, count: u64, step: u64) {
    for first in (0..count).step_by(step as usize) {
        let time = pass(&mut store, first, step.min(count - first), 0);
        let at = (first + step).min(count);
        let workload = &format!("growth {at}");
        line(workload, name, "insert users/s", step.min(count - first) as f64 / time.as_secs_f64());
        let mut time = Duration::ZERO;
        // A stride with no factor of the usual counts goes round all of them.
        let drawn: Vec<u64> = (0..CHANGED * BATCH).map(|n| n * 7_919_993 % at).collect();
        for drawn in drawn.chunks(BATCH as usize) {
            let batch = store.prepare(drawn.iter().map(|&n| user(n, 1 + at / step)).collect());
            let start = Instant::now();
            store.upsert(batch);
            time += start.elapsed();
        }
        line(workload, name, "change users/s", drawn.len() as f64 / time.as_secs_f64());
        line(workload, name, "file MB", store.size() as f64 / 1e6);
        line(workload, name, "resident MB", resident("self").expect("this process").0 as f64 / 1e6);
    }
    store.close();
}

/// The time that the store took; making the batches is not part of it.
fn pass<S: Bulk>(store: &mut S, first: u64, count: u64, version: u64) -> Duration {
    let mut time = Duration::ZERO;
    for first in (first..first + count).step_by(BATCH as usize) {
        let batch = store.prepare(users(first, BATCH.min(count), version));
        let start = Instant::now();
        store.upsert(batch);
        time += start.elapsed();
    }
    time
}

/// The bytes of all files whose path starts with `path`, or that lie below it.
#[must_use]
pub fn bytes_at(path: &std::path::Path) -> u64 {
    let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |found| found.len());
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a readable directory");
        return entries.map(|entry| bytes_at(&entry.expect("a readable directory").path())).sum();
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    length(path) + length(log.as_ref())
}
