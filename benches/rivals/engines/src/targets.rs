//! The library's targets, and the run's result for each.

use std::fmt::Write as _;

use crate::results::Results;

/// A table of the targets; what was not measured is said so.
pub fn table(results: &Results, growth: &Results) -> String {
    let bulk = |name: &str, measure: &str| results.median("bulk 100000", name, measure);
    let ours = "profile-store";
    let ahead = |workload: &str, rival: &str, measure: &str| {
        Some(results.median(workload, ours, measure)? / results.median(workload, rival, measure)?)
    };
    let overhead = |measure| Some(100.0 * (1.0 / ahead("bulk 100000", "bare", measure)? - 1.0));
    // A pass that stores and one that changes, and what closing still had to do.
    let written = |name: &str| {
        let parts = ["insert bytes/user", "change bytes/user", "close bytes/user"];
        Some(parts.iter().map(|part| bulk(name, part)).sum::<Option<f64>>()? / 2.0)
    };
    let rivals = ["expert", "tokio-rusqlite", "sqlx"];
    let least_written = rivals.iter().filter_map(|rival| written(rival)).reduce(f64::min);
    let tail =
        |tasks: &str| Some(results.median(tasks, ours, "p99 ms")? / results.median(tasks, ours, "p50 ms")?);
    let peak = |store| {
        let ratio = |users: &str| results.median(&format!("body {users} users"), store, "peak / body");
        ratio("10000")?.max(ratio("100000")?).into()
    };
    let stores = [ours, "profile-store-sled", "profile-store-memory"];
    let retries = |measure: &str| stores.iter().map(|name| bulk(name, measure)).sum::<Option<f64>>();
    let two_tasks =
        || Some(results.median("memory 2", ours, "users/s")? / results.median("memory 1", ours, "users/s")?);

    let mut text = "| | target | measured | |\n|---|---|---|---|\n".to_owned();
    let mut at_least = |what: &str, target: f64, value: Option<f64>, unit: &str| {
        row(&mut text, what, "at least", target, value, unit, |value| value >= target);
    };
    at_least(
        "admission against `Map<String, Value>`",
        5.0,
        ahead("admission", "serde-json-map", "users/s"),
        "×",
    );
    at_least("admission against `IgnoredAny`", 0.5, ahead("admission", "ignored-any", "users/s"), "×");
    for (rival, title, target) in
        [("expert", "the expert's rusqlite", 1.8), ("sqlx", "sqlx", 3.0), ("autocommit", "autocommit", 100.0)]
    {
        for phase in ["insert", "change"] {
            let measure = format!("{phase} users/s");
            let theirs = bulk(rival, &measure).or_else(|| {
                // Too slow for the others' number of profiles.
                let slow = results.sizes("bulk").into_iter().find(|size| *size < 10_000)?;
                results.median(&format!("bulk {slow}"), rival, &measure)
            });
            let times = bulk(ours, &measure).zip(theirs).map(|(ours, theirs)| ours / theirs);
            at_least(&format!("{phase}, 100,000 profiles, against {title}"), target, times, "×");
        }
    }
    // All the way there: a single step lasts a minute, in which a shared machine may do anything.
    let rate_until = |name: &str, size: u64| {
        let sizes = growth.sizes("growth").into_iter().filter(|at| *at <= size);
        let seconds =
            sizes.map(|at| Some(1.0 / growth.median(&format!("growth {at}"), name, "insert users/s")?));
        Some(1.0 / seconds.sum::<Option<f64>>()?)
    };
    for size in [1_000_000, 4_000_000] {
        let times =
            rate_until(ours, size).zip(rate_until("expert", size)).map(|(ours, theirs)| ours / theirs);
        at_least(&format!("insert up to {size} profiles against the expert's rusqlite"), 1.3, times, "×");
    }
    for phase in ["change", "retry"] {
        let rate = |name: &str| growth.median("bulk 1000000", name, &format!("{phase} users/s"));
        let times = rate(ours).zip(rate("expert")).map(|(ours, theirs)| ours / theirs);
        at_least(&format!("{phase}, 1,000,000 profiles, against the expert's rusqlite"), 1.3, times, "×");
    }
    let written_less = least_written.zip(written(ours)).map(|(theirs, ours)| theirs / ours);
    at_least("bytes written: the thriftiest SQLite rival's against ours", 1.0, written_less, "×");
    let (singles, one) = ("64 tasks", "1 tasks");
    at_least(
        "64 tasks against `Mutex` + `spawn_blocking`",
        20.0,
        ahead(singles, "spawn-blocking", "upserts/s"),
        "×",
    );
    at_least("64 tasks, upserts a sync", 20.0, results.median(singles, ours, "upserts/sync"), "");
    at_least(
        "one task against `Mutex` + `spawn_blocking`",
        1.0,
        ahead(one, "spawn-blocking", "upserts/s"),
        "×",
    );
    at_least(
        "retry, SQLite, thousand users/s",
        400.0,
        bulk(ours, "retry users/s").map(|rate| rate / 1e3),
        " k",
    );
    at_least("`get`, 8 tasks, against the bare engine", 0.5, ahead("get", "bare", "reads/s"), "×");
    at_least("`get_many` of 100 against the bare engine", 0.8, ahead("get_many", "bare", "profiles/s"), "×");
    at_least("`list` of 1,000 against the bare engine", 0.8, ahead("list", "bare", "profiles/s"), "×");
    at_least(
        "in memory against `DashMap` of `Value`, 1 task",
        4.0,
        ahead("memory 1", "dashmap", "users/s"),
        "×",
    );
    at_least("in memory, 2 tasks against 1", 1.5, two_tasks(), "×");
    let mut at_most = |what: &str, target: f64, value: Option<f64>, unit: &str| {
        row(&mut text, what, "at most", target, value, unit, |value| value <= target);
    };
    at_most("insert, overhead over the bare engine loop", 10.0, overhead("insert users/s"), " %");
    at_most("change, overhead over the bare engine loop", 10.0, overhead("change users/s"), " %");
    for (name, title) in [(ours, "SQLite"), ("profile-store-sled", "sled")] {
        let wait = results.median("fairness", name, "longest wait / longest batch");
        at_most(
            &format!("longest wait beside batches of 10,000, in longest batches, {title}"),
            1.0,
            wait,
            "×",
        );
    }
    at_most("64 tasks, p99 against p50", 10.0, tail(singles), "×");
    at_most("retry, bytes written, all backends", 0.0, retries("retry bytes/user"), "");
    at_most("retry, syncs, all backends", 0.0, retries("retry syncs/batch"), "");
    at_most("peak memory against a body of 34 MB, `MemoryStore`", 3.0, peak("memory"), "×");
    at_most("peak memory against a body of 34 MB, SQLite", 3.0, peak("sqlite"), "×");
    text
}

fn row(
    text: &mut String,
    what: &str,
    bound: &str,
    target: f64,
    value: Option<f64>,
    unit: &str,
    met: impl Fn(f64) -> bool,
) {
    let (value, verdict) = match value {
        Some(value) => (format!("{value:.2}{unit}"), if met(value) { "met" } else { "**not met**" }),
        None => ("not measured".to_owned(), ""),
    };
    writeln!(text, "| {what} | {bound} {target}{unit} | {value} | {verdict} |").expect("text");
}
