//! The aims, each a ratio within one run, and the run's result for each.

use std::fmt::Write as _;

use crate::report::{Kind, best};
use crate::results::Results;

/// A table of the aims. A figure that was not measured is marked.
pub fn table(results: &Results, growth: &Results) -> String {
    const OURS: &str = "profile-store";
    const FJALL: &str = "profile-store-fjall";
    const PHASES: [&str; 3] = ["insert users/s", "change users/s", "retry users/s"];
    let (bulk, million) = ("bulk 100000", "bulk 1000000");
    let ratio = |from: &Results, workload: &str, measure: &str, ours: &str, theirs: &str| {
        Some(from.median(workload, ours, measure)? / from.median(workload, theirs, measure)?)
    };
    let against_best = |workload: &str, measure: &str| {
        let (_, peer) = best(results, Kind::Peer, workload, measure)?;
        Some(results.median(workload, OURS, measure)? / peer)
    };
    // A pass that stores and one that changes, and what closing still had to do.
    let written = |name: &str| {
        let parts = ["insert bytes/user", "change bytes/user", "close bytes/user"];
        parts.iter().map(|part| results.median(bulk, name, part)).sum::<Option<f64>>()
    };
    let inserted = |from: &Results, at: &str| ratio(from, at, "insert bytes/user", FJALL, "expert");
    let peak = |store| {
        let ratio = |users: &str| results.median(&format!("body {users} users"), store, "peak / body");
        ratio("10000")?.max(ratio("100000")?).into()
    };
    let ours = [OURS, FJALL, "profile-store-sled", "profile-store-memory"];
    let retries =
        |measure: &str| ours.iter().map(|name| results.median(bulk, name, measure)).sum::<Option<f64>>();

    let mut text = "| | aim | measured | |\n|---|---|---|---|\n".to_owned();
    let mut at_least = |what: &str, aim: f64, value: Option<f64>| {
        row(&mut text, what, "at least", aim, value, |value| value >= aim);
    };
    at_least(
        "fjall, inserts at 100,000, against the expert's rusqlite",
        2.5,
        ratio(results, bulk, PHASES[0], FJALL, "expert"),
    );
    at_least(
        "fjall, inserts at 1,000,000, against the expert's rusqlite",
        4.0,
        ratio(growth, million, PHASES[0], FJALL, "expert"),
    );
    for (title, workload, measure) in [
        ("inserts", bulk, PHASES[0]),
        ("changes", bulk, PHASES[1]),
        ("retries", bulk, PHASES[2]),
        ("`get`, 8 tasks", "get 8", "reads/s"),
        ("`list`", "list", "profiles/s"),
    ] {
        at_least(
            &format!("fjall, {title}, against its bare loop"),
            0.85,
            ratio(results, workload, measure, FJALL, "fjall"),
        );
    }
    at_least(
        "fjall, `get` with 8 tasks, against SQLite's",
        1.0,
        ratio(results, "get 8", "reads/s", FJALL, OURS),
    );
    for (title, workload, measure, aim) in [
        ("inserts", bulk, PHASES[0], 1.4),
        ("changes", bulk, PHASES[1], 1.0),
        ("retries", bulk, PHASES[2], 1.1),
        ("one task", "1 tasks", "upserts/s", 1.0),
        ("64 tasks", "64 tasks", "upserts/s", 7.0),
        ("`get` with 8 tasks", "get 8", "reads/s", 1.0),
        ("`list`", "list", "profiles/s", 2.0),
    ] {
        at_least(&format!("SQLite, {title}, against the best peer"), aim, against_best(workload, measure));
    }
    at_least(
        "SQLite, retries, against the expert's rusqlite",
        1.1,
        ratio(results, bulk, PHASES[2], OURS, "expert"),
    );
    at_least(
        "admission against `Map<String, Value>`",
        5.0,
        ratio(results, "admission", "users/s", OURS, "serde-json-map"),
    );
    at_least(
        "in memory against `DashMap` of `Value`, 1 task",
        4.0,
        ratio(results, "memory 1", "users/s", OURS, "dashmap"),
    );
    let mut at_most = |what: &str, aim: f64, value: Option<f64>| {
        row(&mut text, what, "at most", aim, value, |value| value <= aim);
    };
    at_most(
        "fjall, bytes written by inserts at 100,000, against the expert's",
        0.25,
        inserted(results, bulk),
    );
    at_most(
        "fjall, bytes written by inserts at 1,000,000, against the expert's",
        0.25,
        inserted(growth, million),
    );
    at_most(
        "SQLite, bytes written, against the expert's",
        1.0,
        written(OURS).zip(written("expert")).map(|(ours, theirs)| ours / theirs),
    );
    for (name, title) in [(OURS, "SQLite"), (FJALL, "fjall"), ("profile-store-sled", "sled")] {
        let wait = results.median("fairness", name, "longest wait / longest batch");
        at_most(&format!("{title}, longest wait beside batches of 10,000, in longest batches"), 1.0, wait);
    }
    at_most("retries, bytes written, all backends", 0.0, retries("retry bytes/user"));
    at_most("retries, syncs, all backends", 0.0, retries("retry syncs/batch"));
    at_most("memory, peak against a body of 34 MB", 3.0, peak("memory"));
    at_most("SQLite, peak against a body of 34 MB", 3.0, peak("sqlite"));
    text
}

fn row(text: &mut String, what: &str, bound: &str, aim: f64, value: Option<f64>, met: impl Fn(f64) -> bool) {
    let (value, verdict) = match value {
        Some(value) => (format!("{value:.2}"), if met(value) { "met" } else { "**not met**" }),
        None => ("not measured".to_owned(), ""),
    };
    writeln!(text, "| {what} | {bound} {aim} | {value} | {verdict} |").expect("text");
}
