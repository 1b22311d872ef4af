//! Code that people would write by hand instead of the library, measured beside it.
//!
//! A process measures one contestant, so that its memory, writes and syncs are its own; `../run`
//! starts them in turns. Contestants that share a program take turns inside it.

mod admission;
mod fairness;
mod fjall;
mod footprint;
mod library;
mod memory;
#[path = "../../../nowhere.rs"]
mod nowhere;
mod plot;
mod redb;
mod report;
mod results;
mod rounds;
mod sled;
mod sqlite;
mod targets;

use std::path::Path;
use std::time::Duration;

use profile_store_meter::bulk::{Bulk, growth, life};
use profile_store_meter::files::check_counting;
use profile_store_meter::reads::{Reads, fill, reads};
use profile_store_meter::singles::{Singles, deep, singles};

use self::fjall::RawFjall;
use self::redb::Redb;
use self::sled::{OpenDal, RawSled};
use library::{Bodies, Library, Rows};
use sqlite::{Bare, BareReads, Expert, SpawnBlocking};

const USAGE: &str = "\
usage: profile-store-rivals DIRECTORY bulk CONTESTANT USERS
                            DIRECTORY growth CONTESTANT USERS STEP
                            DIRECTORY singles CONTESTANT TASKS MILLISECONDS
                            DIRECTORY fairness CONTESTANT MILLISECONDS
                            DIRECTORY deep CONTESTANT TASKS
                            DIRECTORY reads CONTESTANT MILLISECONDS
                            - admission|memory TURNS
                            DIRECTORY body nowhere|memory|sqlite|fjall|sled USERS PADDING
                            DIRECTORY import TOOL sqlite|fjall|sled USERS PADDING
                            - report RESULTS.csv GROWTH.csv IMPORT.csv TABLE.md PLOT.svg";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number\n{USAGE}"));
    check_counting();
    match *arguments {
        ["-", "report", results, growth, import, table, plot] => {
            report::report(results, growth, import, table, plot);
        }
        [directory, "bulk", name, users] => {
            bulk(Path::new(directory), name, Length::Life(number(users)));
        }
        [directory, "growth", name, users, step] => {
            bulk(Path::new(directory), name, Length::Growth(number(users), number(step)));
        }
        [directory, "singles", name, tasks, milliseconds] => {
            let duration = Duration::from_millis(number(milliseconds));
            one_by_one(Path::new(directory), name, Queue::Tasks(number(tasks), duration));
        }
        [directory, "deep", name, tasks] => {
            one_by_one(Path::new(directory), name, Queue::Deep(number(tasks)));
        }
        [directory, "fairness", name, milliseconds] => {
            let library = Library::open(scheme(name), Path::new(directory));
            let duration = Duration::from_millis(number(milliseconds));
            runtime().block_on(fairness::fairness(library, name, duration));
        }
        [directory, "reads", name, milliseconds] => {
            read(Path::new(directory), name, Duration::from_millis(number(milliseconds)));
        }
        ["-", "admission", turns] => admission::admission(number(turns) as usize),
        ["-", "memory", turns] => memory::memory(number(turns) as usize),
        [directory, "body", store, users, padding] => {
            footprint::body(Path::new(directory), store, number(users), number(padding) as usize);
        }
        [directory, "import", tool, store, users, padding] => {
            let (users, padding) = (number(users), number(padding) as usize);
            footprint::import(Path::new(directory), Path::new(tool), store, users, padding);
        }
        _ => panic!("{USAGE}"),
    }
}

enum Length {
    Life(u64),
    Growth(u64, u64),
}

fn bulk(directory: &Path, name: &str, length: Length) {
    fn run(store: impl Bulk, name: &str, length: &Length) {
        match *length {
            Length::Life(users) => life(store, name, users),
            Length::Growth(users, step) => growth(store, name, users, step),
        }
    }
    match name {
        "profile-store-body" => run(Bodies(Library::open("sqlite", directory)), name, &length),
        "bare" => run(Bare::open(directory), name, &length),
        "expert" => run(Expert::open(directory), name, &length),
        "fjall" => run(RawFjall::open(directory), name, &length),
        "redb" => run(Redb::open(directory), name, &length),
        "sled" => run(RawSled::open(directory), name, &length),
        "opendal" => run(OpenDal::open(directory), name, &length),
        _ => run(Rows(Library::open(scheme(name), directory)), name, &length),
    }
}

/// The library's store of this name.
fn scheme(name: &str) -> &str {
    match name.strip_prefix("profile-store") {
        Some("") => "sqlite",
        Some(scheme) => scheme.trim_start_matches('-'),
        None => panic!("no contestant of this name: {name}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().build().expect("a runtime")
}

#[derive(Clone, Copy)]
enum Queue {
    Tasks(u64, Duration),
    Deep(u64),
}

fn one_by_one(directory: &Path, name: &str, queue: Queue) {
    fn run(store: impl Singles, name: &str, queue: Queue) {
        match queue {
            Queue::Tasks(tasks, duration) => runtime().block_on(singles(store, name, tasks, duration)),
            Queue::Deep(tasks) => runtime().block_on(deep(store, name, tasks)),
        }
    }
    match name {
        "spawn-blocking" => run(SpawnBlocking::open(directory), name, queue),
        "sled" => run(RawSled::open(directory), name, queue),
        "opendal" => run(OpenDal::open(directory), name, queue),
        _ => run(Library::open(scheme(name), directory), name, queue),
    }
}

fn read(directory: &Path, name: &str, duration: Duration) {
    fn run(store: impl Reads, name: &str, duration: Duration) {
        runtime().block_on(reads(store, name, duration));
    }
    match name {
        "bare" => {
            let mut bare = Bare::open(directory);
            fill(&mut bare);
            run(BareReads::open(&bare), name, duration);
        }
        "fjall" => {
            let mut raw = RawFjall::open(directory);
            fill(&mut raw);
            run(raw, name, duration);
        }
        _ => {
            let library = Library::open(scheme(name), directory);
            fill(&mut Rows(library.clone()));
            run(library, name, duration);
        }
    }
}
