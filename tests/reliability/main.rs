//! Crashes, power cuts, faults and damage, made on purpose.
//!
//! `cargo test --release` in this directory runs a slice of minutes, with `RELIABILITY=full` the full
//! figures. Words after `--` choose tests by their names. A debug build of fjall 3.1.13 refuses a torn
//! journal by an assertion, which a release build opens.
//!
//! | file | what it holds |
//! |---|---|
//! | `recorder.rs` | the C library's file operations, overridden: record, fail, kill |
//! | `workload.rs` | what the stores are put to, and the state after each step |
//! | `replay.rs` | what a power cut may leave of recorded operations |
//! | `child.rs` | this program as its own child, with a watchdog |
//! | `scratch.rs` | room for files, and how much is to be done |
//! | `beside.rs` | kills amid upkeep, deep queues, dropped futures, misleading clocks and other processes |
//! | `kill.rs` | kill −9 at every operation, at random, during recovery |
//! | `power.rs` | power cuts by replay |
//! | `lives.rs` | power cuts over several processes, most on one sled store |
//! | `device.rs` | power cuts of ext4 and xfs on a loop device |
//! | `fault.rs` | I/O errors, full disks, short writes at every operation |
//! | `sync.rs` | failed syncs whose pages the kernel has dropped |
//! | `checkpoint.rs` | failed syncs and other errors of moving SQLite's log, while working and when closing |
//! | `opening.rs` | SQLite's opening: the name of its log, others' files, several at once |
//! | `rollback.rs` | a group of writes that SQLite has rolled back by itself |
//! | `backup.rs` | power cuts of a backup |
//! | `queue.rs`, `gate.rs` | what waits while the engine is held |
//! | `damage.rs` | flipped, zeroed, cut and swapped bytes |
//! | `model.rs` | all of it in random sequences, beside a map |
//! | `history.rs` | what real threads were told, checked for linearizability |
//! | `schedules.rs`, `scenario.rs`, `build.rs` | group commit under shuttle |
//! | `isolation.rs` | names made to be taken for one another |
//! | `findings.rs` | what the engines do by themselves that the stores guard against |
//! | `volume.rs` | volumes that are full or can't be written |
//! | `observing.rs` | what an observer is told of slow and failed syncs |
//! | `places.rs` | mount points, links, directories below one that is not ours |
//! | `threads.rs` | a process that may start few threads |
//! | `callers.rs` | dropped futures, crowds, panics, and a thread that a slow disk must not hold up |

mod backup;
mod beside;
mod callers;
mod checkpoint;
mod child;
mod damage;
mod device;
mod fault;
mod findings;
mod gate;
mod history;
mod isolation;
mod kill;
mod lives;
mod model;
#[path = "../../src/conformance/names.rs"]
mod names;
mod observing;
mod opening;
mod places;
mod power;
mod queue;
mod recorder;
mod replay;
mod rollback;
mod schedules;
mod scratch;
mod sync;
mod threads;
mod volume;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use workload::Backend;

type Test = fn(Backend);

use Backend as B;

const TESTS: &[(&str, &[Backend], Test)] = &[
    ("kill::enumerated", B::PERSISTENT, kill::enumerated),
    ("kill::at_random", B::PERSISTENT, kill::at_random),
    ("kill::pairs", B::PERSISTENT, kill::pairs),
    ("beside::kills", B::PERSISTENT, beside::kills),
    ("beside::clocks", B::PERSISTENT, beside::clocks),
    ("beside::processes", &[B::Sqlite], beside::processes),
    ("beside::second_process", B::PERSISTENT, beside::second_process),
    ("power::cuts", B::PERSISTENT, power::cuts),
    ("power::compacting", &[B::Sqlite, B::Fjall], power::compacting),
    ("lives::blobs", &[B::Sled], lives::blobs),
    ("lives::ends", &[B::Sled], lives::ends),
    ("lives::closed", &[B::Sled], lives::closed),
    ("lives::failed_syncs", &[B::Sled], lives::failed_syncs),
    ("lives::leavings", &[B::Sled], lives::leavings),
    ("lives::retried", &[B::Sqlite, B::Fjall], lives::retried),
    ("device::ext4", B::PERSISTENT, device::ext4),
    ("device::xfs", B::PERSISTENT, device::xfs),
    ("fault::everywhere", B::PERSISTENT, fault::everywhere),
    ("sync::failed", B::PERSISTENT, sync::failed),
    ("sync::of_the_first_write", &[B::Fjall, B::Sled], sync::of_the_first_write),
    ("checkpoint::failed", &[B::Sqlite], checkpoint::failed),
    ("checkpoint::closing_after_a_failed_sync", &[B::Sqlite], checkpoint::closing_after_a_failed_sync),
    ("checkpoint::closing_fails", &[B::Sqlite], checkpoint::closing_fails),
    ("checkpoint::closing_fails_to_sync", &[B::Sqlite], checkpoint::closing_fails_to_sync),
    ("checkpoint::compacting", &[B::Sqlite], checkpoint::compacting),
    ("opening::names_the_log_durably", &[B::Sqlite], opening::names_the_log_durably),
    ("opening::works_or_is_refused", &[B::Sqlite], opening::works_or_is_refused),
    ("opening::leaves_what_is_not_ours", &[B::Sqlite], opening::leaves_what_is_not_ours),
    ("opening::at_once", &[B::Sqlite], opening::at_once),
    ("rollback::of_a_group", &[B::Sqlite], rollback::of_a_group),
    ("backup::cuts", &[B::Sqlite], backup::cuts),
    ("queue::bytes", B::PERSISTENT, queue::bytes),
    ("queue::groups", B::PERSISTENT, queue::groups),
    ("queue::busy", &[B::Sqlite], queue::busy),
    ("damage::closed", B::PERSISTENT, damage::closed),
    ("damage::unclean", B::PERSISTENT, damage::unclean),
    ("model::sequences", B::ALL, model::sequences),
    ("isolation::adversarial", B::ALL, isolation::adversarial),
    ("schedules::explored", &[B::Memory], schedules::explored),
    ("history::threads", B::ALL, history::threads),
    ("findings::sqlite_opens_for_reading_and_says_nothing", &[B::Sqlite], findings::opens_for_reading),
    ("findings::sqlite_drops_the_error_of_the_directorys_sync", &[B::Sqlite], findings::directory_sync),
    ("findings::sqlite_calls_an_error_of_reading_damage", &[B::Sqlite], findings::read_error),
    ("findings::sqlite_recovers_what_no_sync_has_written", &[B::Sqlite], findings::unsynced_recovery),
    ("findings::sled_flushes_without_a_sync", &[B::Sled], findings::bare_flush),
    ("findings::sled_never_opens_with_half_a_snapshot", &[B::Sled], findings::half_snapshot),
    ("findings::sled_passes_over_a_missing_blob", &[B::Sled], findings::missing_blob),
    ("observing::slow_sync", B::PERSISTENT, observing::slow_sync),
    ("observing::failed_sync", B::PERSISTENT, observing::failed_sync),
    ("observing::failed_checkpoint", &[B::Sqlite], observing::failed_checkpoint),
    ("places::mount_point", &[B::Fjall, B::Sled], places::mount_point),
    ("places::foreign_parent", &[B::Fjall, B::Sled], places::foreign_parent),
    ("threads::few", B::PERSISTENT, threads::few),
    ("volume::full_disk", B::PERSISTENT, volume::full_disk),
    ("volume::unwritable", B::PERSISTENT, volume::unwritable),
    ("volume::read_only", &[B::Sqlite], volume::read_only),
    ("callers::slow_sync", B::PERSISTENT, callers::slow_sync),
    ("callers::dropped_futures", B::PERSISTENT, callers::dropped_futures),
    ("callers::dropped_opening", B::PERSISTENT, callers::dropped_opening),
    ("callers::every_await", B::ALL, callers::every_await),
    ("callers::many_tasks", B::PERSISTENT, callers::many_tasks),
    ("callers::panicking_caller", B::PERSISTENT, callers::panicking_caller),
];

/// Tests that could not run on this machine.
static LEFT_OUT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says so loudly, here and at the end.
fn did_not_run(what: &str, reason: &str) {
    println!("  DID NOT RUN: {what}: {reason}");
    LEFT_OUT.lock().unwrap().push(format!("{what}: {reason}"));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "child") {
        return child::main(&arguments[1..]);
    }
    let filters: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, backends, test) in TESTS {
        for &backend in *backends {
            let name = format!("{name}::{}", backend.name());
            if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
                continue;
            }
            println!("{name}");
            let start = Instant::now();
            let passed = catch_unwind(AssertUnwindSafe(|| test(backend))).is_ok();
            println!("  {} in {:.1} s", if passed { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
            if !passed {
                failed.push(name);
            }
        }
    }
    for left_out in LEFT_OUT.lock().unwrap().iter() {
        println!("NOT TESTED HERE: {left_out}");
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
        std::process::exit(1);
    }
}
