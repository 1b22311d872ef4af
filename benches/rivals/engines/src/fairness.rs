//! How long single users wait while large batches go through the same store.

use std::time::{Duration, Instant};

use profile_store::Batch;
use profile_store_meter::singles::latencies;
use profile_store_meter::table::line;
use profile_store_meter::users::users;

use crate::library::{Library, typed};

const TASKS: u64 = 8;
const BATCH: u64 = 10_000;

/// Lets tasks store single users for a while, by themselves and then beside another that sends one batch
/// of 10,000 new users after the other. Call it inside a runtime.
pub async fn fairness(library: Library, name: &str, duration: Duration) {
    // The file grows to its usual size.
    latencies(library.clone(), 0..TASKS, duration).await;
    let alone = latencies(library.clone(), 0..TASKS, duration).await;

    let (store, guru) = library.parts();
    let start = Instant::now();
    let batches = tokio::spawn(async move {
        let mut batches = Vec::new();
        while start.elapsed() < duration {
            // None of those that the tasks draw from.
            let first = 1_000_000 + batches.len() as u64 * BATCH;
            let batch = Batch::from_users(users(first, BATCH, 0).into_iter().map(typed));
            let asked = Instant::now();
            assert!(store.upsert_batch(&guru, batch).await.expect("stored").is_complete());
            batches.push(asked.elapsed());
        }
        batches
    });
    let beside = latencies(library, 0..TASKS, duration).await;
    let batches = batches.await.expect("no panic");

    let told = |what: &str, mut times: Vec<Duration>| {
        times.sort_unstable();
        let quantile = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        for (title, value) in [("p50", quantile(0.5)), ("p99", quantile(0.99)), ("longest", quantile(1.0))] {
            line("fairness", name, &format!("{what} {title} ms"), value);
        }
        quantile(1.0)
    };
    told("alone", alone);
    let (longest, batch) = (told("beside", beside), told("batch", batches));
    line("fairness", name, "longest wait / longest batch", longest / batch);
}
