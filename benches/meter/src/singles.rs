//! Tasks that each store one user after the other, as the handlers of a service do.

use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::files::Counts;
use crate::table::line;
use crate::users::{User, user};

/// The users that are stored and changed, at random.
const USERS: u64 = 100_000;

/// A store that tasks share.
pub trait Singles: Clone + Send + 'static {
    /// Stores one user durably.
    fn upsert(&self, user: User) -> impl Future<Output = ()> + Send;
}

/// How many tasks warm a store up.
const WARMING: u64 = 64;

/// Lets `tasks` tasks store single users for a while; call it inside a runtime.
///
/// Before, many tasks do so for as long: a service runs for weeks, and an engine that appends to files
/// which grow for the first minutes is not what it is later.
pub async fn singles(store: impl Singles, name: &str, tasks: u64, duration: Duration) {
    latencies(store.clone(), 0..WARMING, duration).await;
    let before = Counts::now();
    let start = Instant::now();
    let mut latencies = latencies(store, WARMING..WARMING + tasks, duration).await;
    let time = start.elapsed();
    let syncs = (Counts::now() - before).syncs;
    latencies.sort_unstable();
    let count = latencies.len();
    let quantile = |part: f64| latencies[(count as f64 * part) as usize].as_secs_f64() * 1e3;
    let workload = &format!("{tasks} tasks");
    line(workload, name, "upserts/s", count as f64 / time.as_secs_f64());
    line(workload, name, "p50 ms", quantile(0.5));
    line(workload, name, "p99 ms", quantile(0.99));
    line(workload, name, "upserts/sync", if syncs == 0 { 0.0 } else { count as f64 / syncs as f64 });
}

/// Lets `count` tasks that are all there at once store a user each; call it inside a runtime.
pub async fn deep(store: impl Singles, name: &str, count: u64) {
    let start = Instant::now();
    let running: Vec<_> = (0..count)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.upsert(user(n, 0)).await })
        })
        .collect();
    for task in running {
        task.await.expect("no panic");
    }
    line("deep queue", name, "upserts/s", count as f64 / start.elapsed().as_secs_f64());
}

/// How long each upsert took. Each task draws its own users, by its number.
pub async fn latencies(store: impl Singles, tasks: Range<u64>, duration: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let running: Vec<_> = tasks
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                // Knuth's constants.
                let mut draw = task.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
                while start.elapsed() < duration {
                    draw =
                        draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let user = user((draw >> 33) % USERS, draw >> 40 & 0xFFF);
                    let asked = Instant::now();
                    store.upsert(user).await;
                    latencies.push(asked.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await.expect("no panic"));
    }
    latencies
}
