//! Breaks the library on purpose, in every place of `catalogue/`, and sees which tests notice.
//!
//! ```text
//! cargo run                 every mutant
//! cargo run -- --sample     those marked `sample`
//! cargo run -- sqlite sync  those whose names contain one of the words
//! ```
//!
//! A mutant replaces one piece of text. All of them are compiled into one copy of the tree, each behind
//! the switch that `MUTANT` in its replacement stands for, so a hundred mutants cost one build. Mutants
//! of the same text go to further copies. For each mutant, the tests that are meant to notice it run with
//! its switch on. It is killed if one of them fails, and has survived if all pass.
//!
//! The exit code is 1 if a mutant survived of which the catalogue does not say why that is not dangerous, if a
//! piece of text no longer stands once in its file, or if a test fails without any mutant.

mod catalogue;
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use catalogue::Mutant;
use tests::Binaries;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (equivalent, alive): (Vec<_>, Vec<_>) =
        catalogue::read().into_iter().partition(|mutant| mutant.equivalent.is_some());
    let (mut killed, mut dangerous, mut known) = (0, Vec::new(), 0);
    for (number, round) in tree::rounds(alive).into_iter().enumerate() {
        // All are in the copy, whichever are chosen: it is built once.
        let tree = tree::write(number, &round);
        let round: Vec<Mutant> = round.into_iter().filter(|mutant| mutant.is_meant(&words)).collect();
        let binaries = Binaries::build(&tree, &round);
        let patience = times_without_mutants(&binaries, &round);
        let noticed = in_parallel(&round, |mutant| {
            let start = Instant::now();
            let fails = |test: &&String| binaries.run(test, Some(&mutant.name), patience[*test]).is_none();
            let noticed = mutant.noticed_by.iter().find(fails);
            let Mutant { name, noticed_by, survives, .. } = mutant;
            let seconds = start.elapsed().as_secs();
            match (noticed, survives) {
                (Some(test), _) => println!("killed    {name:70} {seconds:4} s by {test}"),
                (None, Some(why)) => println!("survived  {name:70} {seconds:4} s {why}"),
                (None, None) => println!("SURVIVED  {name:70} {seconds:4} s {}", noticed_by.join(", ")),
            }
            noticed.is_some()
        });
        for (mutant, noticed) in round.into_iter().zip(noticed) {
            match (noticed, mutant.survives) {
                (true, _) => killed += 1,
                (false, Some(_)) => known += 1,
                (false, None) => dangerous.push(mutant.name),
            }
        }
    }
    let equivalent: Vec<_> = equivalent.into_iter().filter(|mutant| mutant.is_meant(&words)).collect();
    for Mutant { name, equivalent, .. } in &equivalent {
        println!("equal     {name:70} {}", equivalent.as_deref().unwrap_or_default());
    }
    println!("{killed} killed, {} survived, {} equivalent", dangerous.len() + known, equivalent.len());
    if dangerous.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("survived: {}", dangerous.join(", "));
    ExitCode::FAILURE
}

/// How long each test may take with a mutant. A test that fails anyway notices nothing.
fn times_without_mutants<'m>(binaries: &Binaries, round: &'m [Mutant]) -> BTreeMap<&'m String, Duration> {
    let tests: BTreeSet<&String> = round.iter().flat_map(|mutant| &mutant.noticed_by).collect();
    let tests: Vec<_> = tests.into_iter().collect();
    let times = in_parallel(&tests, |test| {
        // On a busy machine one that looks at the time may fail once.
        let mut tries = (0..3).map(|_| binaries.run(test, None, Duration::from_secs(1200)));
        let time = tries.find_map(|time| time);
        let time = time.unwrap_or_else(|| panic!("{test} fails without a mutant: see its log"));
        // A test that takes far longer hangs, which is a way to notice.
        Duration::from_secs(30) + 6 * time
    });
    tests.into_iter().zip(times).collect()
}

/// The results of `work`, in order, made by as many threads as there are processors.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(index)
                {
                    let result = work(item);
                    results.lock().expect("no thread panics with the lock").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics with the lock");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
