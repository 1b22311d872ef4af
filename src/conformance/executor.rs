//! Checks of the executor's time that a call takes (S11).

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use pollster::block_on;

use super::harness::{MakeFixture, Stage, assert_complete, assert_sound, body, ids, slug};
use crate::admission::batch::Batch;
use crate::backends::memory::MemoryStore;
use crate::model::error::ErrorKind;
use crate::model::timestamp::Timestamp;
use crate::store::handle::Guru;
use crate::store::list::ListOptions;
use crate::store::upkeep::Probe;
use crate::transfer::copy::{CopyOptions, copy};
use crate::transfer::export::Export;
use crate::transfer::import::Import;

/// A poll that takes longer blocks. Far more than any should take, as a busy machine counts in.
const BLOCKS: Duration = Duration::from_secs(1);

/// S11: every poll of every call is short, and the longest ones are printed.
pub(super) fn no_call_blocks_the_executor(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let (store, guru) = (&store.0, slug("g"));
    let known: Vec<_> = (0..2000).map(|n| format!("u{n:04}")).collect();
    let request = body(known.iter().map(|id| (id, format!(r#"{{"a":"{}"}}"#, "x".repeat(300)))));
    let (known, options) = (ids(&known), ListOptions::default());
    let large = body([("large", format!(r#"{{"n":1e100,"a":"{}"}}"#, "x".repeat(1 << 19)))]);
    let batch = || Batch::from_json(request.as_bytes());
    for call in ["upsert_batch", "upsert_batch again"] {
        let report = timed(call, store.upsert_batch(&guru, batch())).expect("the store takes the request");
        assert_complete(&report);
    }
    let report = timed(
        "upsert_batch of a large memory",
        store.upsert_batch(&guru, Batch::from_json(large.as_bytes())),
    );
    assert_complete(&report.expect("the store takes the request"));
    timed("get_many", store.get_many(&guru, &known)).expect("the store reads profiles");
    timed("list", store.list(&guru, &options)).expect("the store lists a page");
    timed("count", store.count(&guru)).expect("the store counts");
    timed("gurus", store.gurus(None, 10)).expect("the store lists gurus");
    timed("stats", store.stats()).expect("the store tells its size");
    assert_sound(&timed("verify", store.verify()).expect("the store scrubs itself"));
    timed("health", store.health(Probe::Write)).expect("the store is healthy");
    match timed("compact", store.compact()) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {}
        compacted => compacted.expect("the store compacts"),
    }
    let to = MemoryStore::new();
    timed("copy", copy(&store, &to, CopyOptions::default())).expect("the store is copied");
    let lines = timed("export", Export::profiles(&store).with_prefix("large").next());
    let lines = lines.expect("the store is read").expect("it has a profile");
    let mut import = Import::profiles(&store);
    let failed = timed("import", async {
        assert_eq!(*import.push(lines.as_bytes()).await?, []);
        import.finish().await
    });
    assert_eq!(*failed.expect("the store takes the line"), []);
    let (handle, selected) = (Guru::new(&store, guru.clone()), options.with_prefix("large"));
    let page = timed("list", handle.list(&selected)).expect("the store lists a page");
    timed("restore", handle.restore(page.profiles)).expect("the store restores");
    timed("count_where", handle.count_where(&selected)).expect("the store counts");
    timed("delete_where", handle.delete_where(&selected)).expect("the store deletes");
    timed("sweep", handle.sweep(Timestamp::from_micros(1))).expect("the store sweeps");
    timed("delete_many", store.delete_many(&guru, &known[..1000])).expect("the store deletes");
    timed("delete_guru", store.delete_guru(&guru)).expect("the store deletes a guru");
    timed("close", store.close()).expect("the store closes");
}

/// Returns the call's result and prints its longest poll. Fails if that poll blocks.
fn timed<T>(call: &str, future: impl Future<Output = T>) -> T {
    let (mut future, mut longest) = (pin!(future), Duration::ZERO);
    let given = block_on(poll_fn(|context| {
        let (before, begun) = (waited(), Instant::now());
        let polled = future.as_mut().poll(context);
        longest = longest.max(begun.elapsed().saturating_sub(waited() - before));
        polled
    }));
    println!("longest poll of {call}: {longest:?}");
    assert!(longest <= BLOCKS, "the longest poll of {call}: expected {BLOCKS:?} at most, got {longest:?}");
    given
}

/// How long this thread has been ready and has waited for a processor: the machine's time, not the store's. Zero if the
/// system is not Linux.
fn waited() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = statistics.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}
