//! I/O errors at every operation: nothing is acknowledged falsely, nothing hangs, nothing panics,
//! and the store heals.

use std::collections::BTreeMap;

use libc::{EIO, ENOSPC};
use profile_store::{Error, ErrorKind};

use crate::child::{End, Job, Order, each};
use crate::power::slice;
use crate::recorder::{self, Act, Class};
use crate::scratch::{Scratch, size, spread};
use crate::workload::{Backend, Store, observe, perform, state};

const WRITERS: u64 = 2;

/// Steps of each writer. SQLite takes more operations for one.
fn steps(backend: Backend) -> u64 {
    size(14, if backend == Backend::Sqlite { 28 } else { 125 })
}

const FAULTS: [&str; 5] = ["eio-once", "eio-sticky", "enospc-once", "enospc-sticky", "short"];

fn act(name: &str) -> Act {
    match name {
        "eio-once" => Act::Fail { errno: EIO, sticky: false },
        "eio-sticky" => Act::Fail { errno: EIO, sticky: true },
        "enospc-once" => Act::Fail { errno: ENOSPC, sticky: false },
        "enospc-sticky" => Act::Fail { errno: ENOSPC, sticky: true },
        "short" => Act::Short,
        _ => panic!("unknown fault {name}"),
    }
}

pub fn everywhere(backend: Backend) {
    let run = |fault: &str, at: u64, early: bool| {
        let scratch = Scratch::new();
        let job = Job::new("fault", backend, &scratch.path("files")).with("fault", fault).with("at", at);
        let job = job.with("steps", steps(backend));
        if early { job.with("acknowledge", "early") } else { job }.run()
    };
    let End::Done(words) = run("short", u64::MAX, false) else { panic!("undisturbed, it ends") };
    let total: u64 = words["operations"].parse().unwrap();
    let mut points = Vec::new();
    for fault in FAULTS {
        points.extend(spread(total, slice(backend, 60, 850)).map(|at| (fault, at)));
    }
    let ends = each(&points, |&(fault, at)| (fault, at, run(fault, at, false)));
    let mut sums = BTreeMap::<String, u64>::new();
    let mut bad = Vec::new();
    for (fault, at, end) in ends {
        match end {
            End::Done(words) => {
                for (key, value) in words {
                    if let Ok(value) = value.parse::<u64>() {
                        *sums.entry(key).or_default() += value;
                    }
                }
            }
            other => bad.push((fault, at, other)),
        }
    }
    let sum = |key: &str| sums.get(key).copied().unwrap_or(0);
    println!(
        "  {total} operations; faults injected {}, in {} runs; calls failed for {} of them",
        sum("injected"),
        points.len(),
        sum("hit"),
    );
    println!(
        "  calls failed {}, of these Storage {}, Closed {}, Busy {}, Corrupt {}, Incompatible {}",
        sum("failed"),
        sum("Storage"),
        sum("Closed"),
        sum("Busy"),
        sum("Corrupt"),
        sum("Incompatible"),
    );
    println!(
        "  healed by itself {}, by opening again {}; failed, yet there after opening again {}; panics caught {}",
        sum("healed"),
        sum("reopened"),
        sum("turned_up"),
        sum("panics"),
    );
    let hung = bad.iter().filter(|(_, _, end)| *end == End::Hung).count();
    println!("  hangs {hung}, other violations {}", bad.len() - hung);
    for (fault, at, end) in bad.iter().take(5) {
        println!("    {fault} at {at}: {end:?}");
    }
    assert!(bad.is_empty());
    assert!(sum("injected") >= size(1, 3_000), "too few faults for a full run");
    let points: Vec<u64> = spread(total, 40).collect();
    // Sticky, as SQLite gets over most that fail once.
    let control = each(&points, |&at| run("eio-sticky", at, true));
    let noticed = control.iter().filter(|end| matches!(end, End::Failed(_))).count();
    println!("  control, acknowledged early: noticed {noticed} of {}", points.len());
    assert!(noticed > 0, "a false acknowledgement goes unnoticed");
}

/// Errors by kind, and what else came up.
#[derive(Default)]
struct Findings(BTreeMap<String, u64>);

impl Findings {
    fn count(&mut self, what: impl ToString) {
        *self.0.entry(what.to_string()).or_default() += 1;
    }

    fn typed(&mut self, error: &Error) {
        self.count("failed");
        self.count(format!("{:?}", error.kind()));
        if !matches!(error.kind(), ErrorKind::Storage | ErrorKind::Closed) {
            eprintln!("kind {:?}: {error:?}", error.kind());
        }
    }
}

/// One run with one fault. It panics where a promise is broken.
pub fn child(order: &Order) {
    let mut findings = Findings::default();
    let early = order.text("acknowledge") == Some("early");
    let steps = order.number("steps").unwrap();
    recorder::arm(Class::All, order.number("at").unwrap(), act(order.text("fault").unwrap()));
    let mut operations = 0;
    let heal = |operations: &mut u64| {
        let (fired, counted) = recorder::disarm();
        *operations = (*operations).max(counted);
        fired > 0
    };
    let mut store = order.open().unwrap_or_else(|error| {
        findings.typed(&error);
        heal(&mut operations);
        findings.count("hit");
        findings.count("reopened");
        order.open().expect("it opens once the fault is gone")
    });
    let mut acknowledged = [0; WRITERS as usize];
    for n in 0..steps {
        let results = round(&store, n);
        let mut failed = Vec::new();
        for (writer, result) in results.into_iter().enumerate() {
            match result {
                Err(error) if !early => {
                    findings.typed(&error);
                    failed.push((writer as u64, error));
                }
                _ => acknowledged[writer] = n + 1,
            }
        }
        if failed.is_empty() {
            continue;
        }
        findings.count("hit");
        // S3: what failed is not visible, what did not fail is.
        for writer in 0..WRITERS {
            match observe(&store, writer) {
                Ok(found) => {
                    let expected = state(writer, acknowledged[writer as usize]);
                    assert_eq!(found, expected, "writer {writer} after a failure at step {n}");
                }
                Err(error) => findings.typed(&error),
            }
        }
        heal(&mut operations);
        for (writer, error) in failed {
            // SQLite calls a sector that can't be read corrupt: also that passes by.
            let closed = error.kind() == ErrorKind::Closed;
            let retried = if closed { Err(error) } else { perform(&store, writer, n) };
            match retried {
                Ok(()) => findings.count("healed"),
                Err(error) => {
                    assert_eq!(
                        error.kind(),
                        ErrorKind::Closed,
                        "it heals, or has to be opened again: {error:?}"
                    );
                    findings.count("reopened");
                    // The handle that is broken stays so, and closes without a hang.
                    let _ = pollster::block_on(store.close());
                    drop(store);
                    store = order.open().expect("it opens once the fault is gone");
                    for writer in 0..WRITERS {
                        let before = acknowledged[writer as usize];
                        let found = observe(&store, writer).unwrap();
                        if found != state(writer, before) {
                            assert_eq!(found, state(writer, before + 1), "writer {writer} after reopening");
                            findings.count("turned_up");
                        }
                    }
                    perform(&store, writer, n).expect("it takes writes after reopening");
                }
            }
            acknowledged[writer as usize] = n + 1;
        }
    }
    if let Err(error) = pollster::block_on(store.close()) {
        findings.count("hit");
        findings.typed(&error);
    }
    drop(store);
    // Not where a full disk is read, what is to be cut is no write, or the run ends before.
    if heal(&mut operations) {
        findings.count("injected");
    }
    verify(&order.open().expect("it opens after the end"), steps);
    for (what, count) in findings.0 {
        println!("{what}={count}");
    }
    println!("operations={operations}");
}

/// All writers' step `n`, at the same time.
fn round(store: &Store, n: u64) -> Vec<profile_store::Result<()>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || perform(store, writer, n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn verify(store: &Store, steps: u64) {
    for writer in 0..WRITERS {
        assert_eq!(observe(store, writer).unwrap(), state(writer, steps), "writer {writer} at the end");
    }
}
