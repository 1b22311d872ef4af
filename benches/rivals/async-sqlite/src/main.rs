//! The asynchronous SQLite libraries, at the same durability and on the same rows as the other rivals.

mod sqlx_rival;
mod tokio_rusqlite_rival;

use std::path::Path;
use std::time::Duration;

use profile_store_meter::bulk::{Bulk, life};
use profile_store_meter::files::check_counting;
use profile_store_meter::reads::{Reads, fill, reads};
use profile_store_meter::singles::{Singles, deep, singles};
use tokio::runtime::Runtime;

use sqlx_rival::Sqlx;
use tokio_rusqlite_rival::TokioRusqlite;

const USAGE: &str = "\
usage: profile-store-rivals-async-sqlite DIRECTORY bulk tokio-rusqlite|sqlx USERS
                                         DIRECTORY singles tokio-rusqlite|sqlx TASKS MILLISECONDS
                                         DIRECTORY deep tokio-rusqlite|sqlx TASKS
                                         DIRECTORY reads tokio-rusqlite|sqlx MILLISECONDS";

/// The table that both use, as the expert's.
const SCHEMA: &str = "CREATE TABLE profile (guru TEXT NOT NULL, id TEXT NOT NULL, memory TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (guru, id))";

const GURU: &str = "my-guru";

/// Connections that read: as many as the library has threads that read.
const READERS: u32 = 4;

const GET: &str = "SELECT id, memory, created_at, updated_at FROM profile WHERE guru = ? AND id = ?";

const LIST: &str = "SELECT id, memory, created_at, updated_at FROM profile
    WHERE guru = ? AND id > ? ORDER BY id LIMIT ?";

/// Id, memory, and both times.
type Row = (String, String, i64, i64);

/// Microseconds since 1970, as the library keeps them.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_micros() as i64
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number\n{USAGE}"));
    check_counting();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let [directory, work, name, ref numbers @ ..] = *arguments else { panic!("{USAGE}") };
    let (directory, numbers) =
        (Path::new(directory), numbers.iter().map(|text| number(text)).collect::<Vec<_>>());
    match name {
        "tokio-rusqlite" => measure(TokioRusqlite::open(directory, &runtime), name, work, &numbers, &runtime),
        "sqlx" => measure(Sqlx::open(directory, &runtime), name, work, &numbers, &runtime),
        _ => panic!("{USAGE}"),
    }
}

fn measure(
    mut store: impl Bulk + Singles + Reads,
    name: &str,
    work: &str,
    numbers: &[u64],
    runtime: &Runtime,
) {
    match (work, numbers) {
        ("bulk", &[users]) => life(store, name, users),
        ("singles", &[tasks, milliseconds]) => {
            runtime.block_on(singles(store, name, tasks, Duration::from_millis(milliseconds)));
        }
        ("deep", &[tasks]) => runtime.block_on(deep(store, name, tasks)),
        ("reads", &[milliseconds]) => {
            fill(&mut store);
            runtime.block_on(reads(store, name, Duration::from_millis(milliseconds)));
        }
        _ => panic!("{USAGE}"),
    }
}
