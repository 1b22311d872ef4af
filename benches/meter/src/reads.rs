//! Reading profiles: one by one by many tasks, and page after page by one.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::bulk::{BATCH, Bulk};
use crate::table::line;
use crate::users::{id, users};

/// Profiles in the store.
const USERS: u64 = 100_000;
const TASKS: u64 = 8;
/// Profiles in a page.
pub const PAGE: usize = 1000;

/// A store that tasks read from.
pub trait Reads: Clone + Send + 'static {
    /// Reads one profile, which is there.
    fn get(&self, id: String) -> impl Future<Output = ()> + Send;

    /// Reads up to [`PAGE`] profiles after an id, in the order of their ids. Returns their number and the last id.
    fn list(&self, after: String) -> impl Future<Output = (usize, String)> + Send;
}

/// Stores the profiles to read.
pub fn fill(store: &mut impl Bulk) {
    for first in (0..USERS).step_by(BATCH as usize) {
        let batch = store.prepare(users(first, BATCH, 0));
        store.upsert(batch);
    }
}

/// Lets tasks read for a while; call it inside a runtime.
pub async fn reads(store: impl Reads, name: &str, duration: Duration) {
    // Caches fill up first.
    gets(store.clone(), TASKS, duration).await;
    for tasks in [TASKS, 1] {
        line(&format!("get {tasks}"), name, "reads/s", gets(store.clone(), tasks, duration).await);
    }
    let (start, mut read, mut after) = (Instant::now(), 0, String::new());
    while start.elapsed() < duration {
        let (count, last) = store.list(after).await;
        read += count;
        after = if count < PAGE { String::new() } else { last };
    }
    line("list", name, "profiles/s", read as f64 / start.elapsed().as_secs_f64());
}

/// Reads a second.
async fn gets(store: impl Reads, tasks: u64, duration: Duration) -> f64 {
    let (read, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..tasks)
        .map(|mut draw| {
            let (store, read) = (store.clone(), Arc::clone(&read));
            tokio::spawn(async move {
                while start.elapsed() < duration {
                    // Knuth's constants.
                    draw =
                        draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    store.get(id((draw >> 33) % USERS)).await;
                    read.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    read.load(Relaxed) as f64 / start.elapsed().as_secs_f64()
}
