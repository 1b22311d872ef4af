//! The cost of the main job, side by side in one run: `cargo bench --features sled --bench stores`.
//!
//! Prints a table. With `--quick` (or under `cargo test`) each row runs once over little data: that
//! it runs, not how fast.

mod nowhere;
#[expect(dead_code, reason = "other benches take more of it")]
mod users;

use std::hint::black_box;
use std::time::Instant;

use nowhere::Nowhere;
use profile_store::{Batch, Filter, Guru, GuruSlug, ListOptions, MemoryStore, ProfileStore};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use users::{self as meter, body};

/// The best of a few runs, as units a second.
fn rate(runs: usize, units: u64, mut run: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(|_| units as f64 / time(&mut run)).fold(0.0, f64::max)
}

fn row(what: &str, rate: f64) {
    println!("| {what} | {:.0} |", rate);
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
    let (users, runs) = if quick { (100, 1) } else { (10_000, 10) };
    let guru = GuruSlug::new("my-guru").expect("a valid slug");
    let request = body(&meter::users(0, users, 0));
    println!("| {users} users, {} bytes each | users/s |", request.len() as u64 / users);
    println!("|---|---|");
    row(
        "`serde_json` into `IgnoredAny`",
        rate(runs, users, || {
            black_box(serde_json::from_str::<IgnoredAny>(&request).expect("valid JSON"));
        }),
    );
    row(
        "`serde_json` into `Map<String, Value>`",
        rate(runs, users, || {
            black_box(serde_json::from_str::<Map<String, Value>>(&request).expect("valid JSON"));
        }),
    );
    let nowhere = Nowhere::default();
    row(
        "request to report, stored nowhere",
        rate(runs, users, || {
            assert!(
                black_box(
                    pollster::block_on(Guru::new(&nowhere, guru.clone()).upsert_json(request.as_bytes()))
                        .expect("admitted"),
                )
                .is_complete()
            );
        }),
    );
    row(
        "request to response, `MemoryStore`",
        rate(runs, users, || {
            let store = MemoryStore::new();
            let report = pollster::block_on(Guru::new(&store, guru.clone()).upsert_json(request.as_bytes()))
                .expect("stored");
            black_box(report.to_json());
        }),
    );
    let directory = tempfile::tempdir().expect("a directory");
    for scheme in ["sqlite", "sled"] {
        let url = format!("{scheme}:{}", directory.path().join(scheme).display());
        match pollster::block_on(profile_store::open(&url)) {
            Ok(store) => {
                let users = if quick { 1_000 } else { 100_000 };
                persistent(scheme, &*store, &guru, users);
                if scheme == "sqlite" {
                    in_sql(&directory.path().join(scheme), users);
                }
            }
            Err(error) => println!("| {scheme} | {error} |"),
        }
    }
}

/// A persistent store, durable, in batches of 1,000.
fn persistent(name: &str, store: &dyn ProfileStore, guru: &GuruSlug, users: u64) {
    let upsert = |version| {
        let bodies: Vec<_> =
            (0..users / 1000).map(|n| body(&meter::users(n * 1000, 1000, version))).collect();
        rate(1, users, || {
            for body in &bodies {
                let report = pollster::block_on(store.upsert_batch(guru, Batch::from_json(body.as_bytes())));
                assert!(report.expect("stored").is_complete());
            }
        })
    };
    row(&format!("{name}: insert"), upsert(0));
    row(&format!("{name}: change"), upsert(1));
    row(&format!("{name}: retry"), upsert(1));
    let mut after = None;
    row(
        &format!("{name}: list"),
        rate(1, users, || {
            loop {
                let options = ListOptions::default().with_after(after.take());
                after = pollster::block_on(store.list(guru, &options)).expect("a page").next;
                if after.is_none() {
                    break;
                }
            }
        }),
    );
    let filter = Filter::at("/name").expect("a pointer").eq("User 00000007");
    let by_content = ListOptions::default().with_filter(filter).expect("one comparison");
    row(
        &format!("{name}: read through a filter"),
        rate(3, users, || {
            let found = pollster::block_on(Guru::new(&store, guru.clone()).count_where(&by_content));
            assert_eq!(found.expect("a number"), 1);
        }),
    );
    let ids: Vec<_> = (0..1000).map(|n| meter::id(n * users / 1000)).collect();
    row(
        &format!("{name}: get"),
        rate(3, 1000, || {
            for id in &ids {
                assert!(pollster::block_on(Guru::new(&store, guru.clone()).get(id)).expect("read").is_some());
            }
        }),
    );
}

/// The same question in SQL, which no other backend could be asked.
fn in_sql(path: &std::path::Path, users: u64) {
    let connection = rusqlite::Connection::open(path).expect("the file of the store");
    row(
        "sqlite: read through `json_extract`",
        rate(3, users, || {
            let sql = "SELECT count(*) FROM profile WHERE json_extract(memory, '$.name') = 'User 00000007'";
            let found: i64 = connection.query_row(sql, [], |row| row.get(0)).expect("a number");
            assert_eq!(found, 1);
        }),
    );
}
