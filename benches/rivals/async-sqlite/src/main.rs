//! The asynchronous SQLite libraries, at the same durability and on the same rows as the other rivals.

mod sqlx_rival;
mod tokio_rusqlite_rival;

use std::path::Path;
use std::time::Duration;

use profile_store_meter::bulk::life;
use profile_store_meter::files::check_counting;
use profile_store_meter::singles::singles;

use sqlx_rival::Sqlx;
use tokio_rusqlite_rival::TokioRusqlite;

const USAGE: &str = "\
usage: profile-store-rivals-async-sqlite DIRECTORY bulk tokio-rusqlite|sqlx USERS
                                         DIRECTORY singles tokio-rusqlite|sqlx TASKS MILLISECONDS";

/// The table that both use, as the expert's.
const SCHEMA: &str = "CREATE TABLE profile (guru TEXT NOT NULL, id TEXT NOT NULL, memory TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (guru, id))";

const GURU: &str = "my-guru";

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
    match *arguments {
        [directory, "bulk", name @ "tokio-rusqlite", users] => {
            life(TokioRusqlite::open(Path::new(directory), &runtime), name, number(users));
        }
        [directory, "bulk", name @ "sqlx", users] => {
            life(Sqlx::open(Path::new(directory), &runtime), name, number(users));
        }
        [directory, "singles", name @ "tokio-rusqlite", tasks, milliseconds] => {
            let (store, duration) = (
                TokioRusqlite::open(Path::new(directory), &runtime),
                Duration::from_millis(number(milliseconds)),
            );
            runtime.block_on(singles(store, name, number(tasks), duration));
        }
        [directory, "singles", name @ "sqlx", tasks, milliseconds] => {
            let (store, duration) =
                (Sqlx::open(Path::new(directory), &runtime), Duration::from_millis(number(milliseconds)));
            runtime.block_on(singles(store, name, number(tasks), duration));
        }
        _ => panic!("{USAGE}"),
    }
}
