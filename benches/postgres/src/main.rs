//! `cargo run --release`: users a second, PostgresStore beside hand-written upserts, on a server that it
//! starts itself with syncs on. `-- --quick` for a tenth of the work; `-- ROUNDS` for the best of so many;
//! `-- --store N` for at most so many connections of the store; `-- --size N` for batches of this size alone.

mod rivals;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../tests/postgres/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Instant;

use rivals::{NAMES, Row, Subject, TABLE};
use server::{Server, sql};

const PHASES: [&str; 3] = ["insert", "change", "retry"];

/// Users of a batch, and batches of all callers together.
const WORK: [(usize, usize); 4] = [(1, 4000), (100, 400), (1000, 64), (10_000, 32)];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let given = |name| arguments.iter().position(|argument| argument == name);
    let number = |name| given(name).map(|at| arguments[at + 1].parse::<usize>().expect("a number"));
    let quick = given("--quick").is_some();
    let rounds = arguments.first().and_then(|argument| argument.parse().ok());
    let rounds = rounds.unwrap_or(if quick { 1 } else { 3 });
    let most = number("--store").unwrap_or(usize::MAX);
    let server =
        Server::start("fsync = on\nshared_buffers = 512MB\nmax_wal_size = 8GB\ncheckpoint_timeout = 1h");
    let url = server.url("postgres");
    sql(&url, TABLE);
    println!(
        "| users a batch | connections | | insert/s | of tokio-postgres | change/s | of it | retry/s | of it |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (size, batches) in WORK {
        if number("--size").is_some_and(|only| only != size) {
            continue;
        }
        for connections in [1, 8, 32] {
            let batches = (if quick { batches / 10 } else { batches }).max(connections);
            let mut best = [[0.0_f64; PHASES.len()]; NAMES.len()];
            for _ in 0..rounds {
                for (name, best) in NAMES.iter().zip(&mut best) {
                    let rates = measure(name, &url, connections, most, size, batches);
                    for (best, rate) in best.iter_mut().zip(rates) {
                        *best = best.max(rate);
                    }
                }
            }
            for (name, rates) in NAMES.iter().zip(best) {
                let cells =
                    rates.iter().zip(best[1]).map(|(rate, hand)| format!("{rate:.0} | {:.2} |", rate / hand));
                println!("| {size} | {connections} | {name} | {}", cells.collect::<Vec<_>>().join(" "));
            }
        }
    }
}

/// Users a second of each phase, by callers that share the batches, one for each connection.
fn measure(
    name: &str,
    url: &str,
    connections: usize,
    most: usize,
    size: usize,
    batches: usize,
) -> [f64; PHASES.len()] {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let subject = Arc::new(runtime.block_on(Subject::open(name, url, connections, most)));
    sql(url, "TRUNCATE rival; TRUNCATE profile_store.profile; CHECKPOINT");
    let each = batches / connections;
    let rates = PHASES.map(|phase| {
        let work: Vec<Vec<Vec<Row>>> = (0..connections)
            .map(|caller| (0..each).map(|batch| rows(phase, caller, batch, size)).collect())
            .collect();
        let started = Instant::now();
        let callers = work.into_iter().enumerate().map(|(caller, batches)| {
            let subject = Arc::clone(&subject);
            runtime.spawn(async move {
                let mut written = 0;
                for batch in &batches {
                    written += subject.upsert(caller, batch).await;
                }
                written
            })
        });
        let callers: Vec<_> = callers.collect();
        let written: u64 =
            callers.into_iter().map(|caller| runtime.block_on(caller).expect("a caller ends")).sum();
        let users = (each * connections * size) as f64;
        assert_eq!(written as f64, if phase == "retry" { 0.0 } else { users }, "{name} {phase}");
        users / started.elapsed().as_secs_f64()
    });
    let subject = Arc::into_inner(subject).expect("no caller is left");
    runtime.block_on(subject.close());
    rates
}

/// Users with random ids and memories of some 280 bytes, the same for the same arguments.
fn rows(phase: &str, caller: usize, batch: usize, size: usize) -> Vec<Row> {
    let plan = if phase == "insert" { "free" } else { "pro" };
    let row = |user: usize| {
        let mut seed = ((caller * 1_000_003 + batch) * 1_000_003 + user) as u64;
        let mut random = || {
            // SplitMix64.
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let id = format!("{:016x}{:016x}", random(), random());
        let words: Vec<_> = (0..12).map(|_| format!("{:016x}", random())).collect();
        (id, format!(r#"{{"plan":"{plan}","notes":"{}","seats":{user}}}"#, words.join(" ")))
    };
    (0..size).map(row).collect()
}
