//! Code that people would write by hand instead of the library, measured beside it.
//!
//! A process measures one contestant, so that its memory, writes and syncs are its own; `../run`
//! starts them in turns. Contestants that share a program take turns inside it.

mod admission;
mod fairness;
mod footprint;
mod library;
mod memory;
#[path = "../../../nowhere.rs"]
mod nowhere;
mod plot;
mod reads;
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
use profile_store_meter::singles::{Singles, singles};

use library::{Bodies, Library, Rows};
use sled::{OpenDal, Raw};
use sqlite::{Autocommit, Bare, Expert, SpawnBlocking};

const USAGE: &str = "\
usage: profile-store-rivals DIRECTORY bulk CONTESTANT USERS
                            DIRECTORY growth CONTESTANT USERS STEP
                            DIRECTORY singles CONTESTANT TASKS MILLISECONDS
                            DIRECTORY fairness CONTESTANT MILLISECONDS
                            DIRECTORY reads|admission|memory TURNS
                            DIRECTORY body nowhere|memory|sqlite|sled USERS PADDING
                            DIRECTORY import EXAMPLE sqlite|sled USERS PADDING
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
            one_by_one(Path::new(directory), name, number(tasks), duration);
        }
        [directory, "fairness", name, milliseconds] => {
            let library =
                Library::open(name.strip_prefix("profile-store-").unwrap_or("sqlite"), Path::new(directory));
            let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
            let duration = Duration::from_millis(number(milliseconds));
            runtime.block_on(fairness::fairness(library, name, duration));
        }
        [directory, "reads", turns] => reads::reads(Path::new(directory), number(turns) as usize),
        [_, "admission", turns] => admission::admission(number(turns) as usize),
        [_, "memory", turns] => memory::memory(number(turns) as usize),
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
        "profile-store" => run(Rows(Library::open("sqlite", directory)), name, &length),
        "profile-store-body" => run(Bodies(Library::open("sqlite", directory)), name, &length),
        "profile-store-sled" => run(Rows(Library::open("sled", directory)), name, &length),
        "profile-store-memory" => run(Rows(Library::open("memory", directory)), name, &length),
        "bare" => run(Bare::open(directory), name, &length),
        "expert" => run(Expert::open(directory), name, &length),
        "autocommit" => run(Autocommit(Expert::open(directory)), name, &length),
        "sled-flush" => run(Raw::open(directory, false), name, &length),
        "sled-synced" => run(Raw::open(directory, true), name, &length),
        "opendal" => run(OpenDal::open(directory), name, &length),
        _ => panic!("no contestant of this name: {name}"),
    }
}

fn one_by_one(directory: &Path, name: &str, tasks: u64, duration: Duration) {
    fn run(store: impl Singles, name: &str, tasks: u64, duration: Duration) {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
        runtime.block_on(singles(store, name, tasks, duration));
    }
    match name {
        "profile-store" => run(Library::open("sqlite", directory), name, tasks, duration),
        "profile-store-sled" => run(Library::open("sled", directory), name, tasks, duration),
        "spawn-blocking" => run(SpawnBlocking::open(directory), name, tasks, duration),
        "sled-flush" => run(Raw::open(directory, false), name, tasks, duration),
        "sled-synced" => run(Raw::open(directory, true), name, tasks, duration),
        "opendal" => run(OpenDal::open(directory), name, tasks, duration),
        _ => panic!("no contestant of this name: {name}"),
    }
}
