//! `cargo run --release`: users a second, PostgresStore beside hand-written upserts, on a server that it
//! starts itself with syncs on. Each round measures every subject, in an order that turns from round to
//! round. It prints the median of the rates, and of the ratio to tokio-postgres within a round.
//!
//! - `-- ROUNDS` for so many rounds (5)
//! - `--size N`, `--callers N` for only these
//! - `--store N` for at most so many connections of the store
//! - `--pair` for only the store and tokio-postgres

mod rivals;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../tests/postgres/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Instant;

use rivals::{HAND, NAMES, Row, Subject, TABLE};
use server::{Server, sql};

const PHASES: [&str; 3] = ["insert", "change", "retry"];

/// Users of a batch, how many batches all callers together write at least, and each of them.
const WORK: [(usize, usize, usize); 4] = [(1, 800, 100), (100, 100, 8), (1000, 40, 4), (10_000, 6, 1)];

const CALLERS: [usize; 3] = [1, 8, 32];

/// The rates of a subject in a round.
type Rates = [f64; PHASES.len()];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let given = |name| arguments.iter().position(|argument| argument == name);
    let number = |name| given(name).map(|at| arguments[at + 1].parse::<usize>().expect("a number"));
    let rounds = arguments.first().and_then(|argument| argument.parse().ok()).unwrap_or(5);
    let most = number("--store").unwrap_or(usize::MAX);
    let names = if given("--pair").is_some() { &NAMES[..2] } else { &NAMES };
    let server =
        Server::start("fsync = on\nshared_buffers = 512MB\nmax_wal_size = 8GB\ncheckpoint_timeout = 1h");
    let url = server.url("postgres");
    sql(&url, TABLE);
    println!(
        "| users a batch | callers | | insert/s | of tokio-postgres | change/s | of it | retry/s | of it |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (size, batches, each) in WORK {
        for callers in CALLERS {
            if number("--size").is_some_and(|only| only != size)
                || number("--callers").is_some_and(|only| only != callers)
            {
                continue;
            }
            let batches = batches.max(callers * each);
            let mut measured: Vec<Vec<Rates>> = vec![Vec::new(); names.len()];
            for round in 0..rounds {
                for turn in 0..names.len() {
                    let subject = (round + turn) % names.len();
                    let rates = measure(names[subject], &url, callers, most, size, batches);
                    measured[subject].push(rates);
                }
            }
            for (name, rates) in names.iter().zip(&measured) {
                let cell = |phase: usize| {
                    let ratios =
                        rates.iter().zip(&measured[HAND]).map(|(own, hand)| own[phase] / hand[phase]);
                    format!("{:.0} | {:.2} |", median(rates.iter().map(|own| own[phase])), median(ratios))
                };
                let cells: Vec<_> = (0..PHASES.len()).map(cell).collect();
                println!("| {size} | {callers} | {name} | {}", cells.join(" "));
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Users a second of each phase, by callers that share the batches, one for each connection.
fn measure(name: &str, url: &str, connections: usize, most: usize, size: usize, batches: usize) -> Rates {
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
