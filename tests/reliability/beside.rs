//! Work beside the steps of a workload: upkeep, deep queues, dropped futures, clocks that mislead,
//! other processes on the same file. And kill −9 in the midst of it, life after life.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use profile_store::{
    Clock, CopyOptions, Durability, Error, ErrorKind, GuruSlug, Memory, MemoryStore, Result, SqliteStore,
    Timestamp, User, copy,
};

use crate::child::{End, Job, Order, each};
use crate::power::slice;
use crate::scratch::Scratch;
use crate::workload::{Backend, Store, observe, perform, performing, scramble, state};

/// Single users that wait in the queue before a step, at times.
const QUEUED: u64 = 200;

static BESIDE: OnceLock<Beside> = OnceLock::new();

/// A child's orders for this work.
struct Beside {
    backend: Backend,
    directory: PathBuf,
    is_busy: bool,
    clock: Option<String>,
    patience: Option<Duration>,
}

pub fn begin(order: &Order) {
    let begun = BESIDE.set(Beside {
        backend: order.backend,
        directory: order.directory.clone(),
        is_busy: order.text("beside").is_some(),
        clock: order.text("clock").map(str::to_owned),
        patience: order.number("patience").map(Duration::from_secs),
    });
    assert!(begun.is_ok(), "a child begins once");
}

/// How long calls may wait, where that is not the usual second.
pub fn patience() -> Option<Duration> {
    BESIDE.get()?.patience
}

/// A clock that misleads.
pub fn clock() -> Option<Clock> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let kind = BESIDE.get()?.clock.as_deref()?;
    let tick = || ASKED.fetch_add(1, Ordering::Relaxed);
    let at = |micros: u64| Timestamp::from_micros(micros as i64);
    Some(match kind {
        "still" => Clock::from_fn(move || at(1_700_000_000_000_000)),
        "back" => Clock::from_fn(move || at(1_700_000_000_000_000 - tick() * 1_000_000)),
        "ends" => Clock::from_fn(move || if tick().is_multiple_of(2) { at(0) } else { at(u64::MAX >> 1) }),
        "panics" => Clock::from_fn(move || {
            let tick = tick();
            assert!(!tick.is_multiple_of(3), "the clock of this test panics");
            at(1_700_000_000_000_000 + tick)
        }),
        other => panic!("no clock is called {other}"),
    })
}

pub fn clock_misleads() -> bool {
    BESIDE.get().is_some_and(|beside| beside.clock.is_some())
}

/// Whether a call failed because the clock panicked: by itself, and nothing of it is stored.
pub fn is_the_clocks(error: &Error) -> bool {
    clock_misleads() && error.kind() == ErrorKind::InvalidInput && !error.may_be_stored()
}

/// Whether upkeep asks to be repeated because other readers and writers went on.
fn is_for_the_others(error: &Error) -> bool {
    let words = error.to_string();
    error.kind() == ErrorKind::Busy && (words.ends_with("copy again") || words.ends_with("compact again"))
}

/// The work before a step, by its number.
pub async fn before(store: &Store, writer: u64, n: u64) -> Result<()> {
    let Some(beside) = BESIDE.get().filter(|beside| beside.is_busy) else { return Ok(()) };
    match n % 12 {
        1 => fill_the_queue(store, writer, n).await,
        4 => match store.compact().await {
            Err(error) if beside.backend == Backend::Sled && error.kind() == ErrorKind::Unsupported => Ok(()),
            Err(error) if is_for_the_others(&error) => Ok(()),
            compacted => compacted,
        },
        5 => {
            let found = store.verify().await?;
            assert!(found.is_sound(), "{found:?}");
            Ok(())
        }
        // Taken up or not, made or not: the step itself comes to the same.
        7 => {
            let mut step = Box::pin(performing(store, writer, n));
            poll_fn(|context| Poll::Ready(drop(step.as_mut().poll(context)))).await;
            Ok(())
        }
        8 => back_up(beside, store, writer, n).await,
        10 => store.stats().await.map(drop),
        _ => Ok(()),
    }
}

/// Many calls at once, of a guru that is nobody's.
async fn fill_the_queue(store: &Store, writer: u64, n: u64) -> Result<()> {
    let guru = noise(writer);
    let one = |number: u64| {
        let user = User::new(format!("user-{}", number % 500), noise_memory(scramble(n ^ number)));
        store.upsert_batch(&guru, vec![user].into())
    };
    let mut queued: Vec<_> = (0..QUEUED).map(|number| Some(one(n + number))).collect();
    poll_fn(|context| {
        for call in &mut queued {
            let polled = call.as_mut().map(|future| future.as_mut().poll(context));
            if let Some(Poll::Ready(report)) = polled {
                assert!(report?.is_complete());
                *call = None;
            }
        }
        if queued.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
    .or_else(|error| if is_the_clocks(&error) { Ok(()) } else { Err(error) })
}

/// A copy of all there is, and of SQLite a backup by another handle.
async fn back_up(beside: &Beside, store: &Store, writer: u64, n: u64) -> Result<()> {
    let to = MemoryStore::new();
    match copy(&**store, &to, CopyOptions::default()).await {
        Ok(copied) => assert!(copied.profiles > 0 || writer == 0 && n < 12, "there is something to copy"),
        Err(error) if is_for_the_others(&error) => {}
        Err(error) => return Err(error),
    }
    if beside.backend == Backend::Sqlite {
        let backup = beside.directory.with_extension(format!("backup-{writer}-{n}"));
        let _ = std::fs::remove_file(&backup);
        let other = SqliteStore::open(beside.directory.join("store")).await?;
        other.backup(&backup).await?;
        std::fs::remove_file(&backup).expect("it is ours");
    }
    Ok(())
}

fn noise(writer: u64) -> GuruSlug {
    GuruSlug::new(&format!("noise-{writer}")).unwrap()
}

fn noise_memory(dice: u64) -> Memory {
    Memory::from_json(&format!(r#"{{"noise":{dice},"filler":"{}"}}"#, "n".repeat((dice % 300) as usize)))
        .unwrap()
}

/// Everything is sound, what nobody has acknowledged included.
pub fn check(store: &Store) -> Result<()> {
    let found = pollster::block_on(store.verify())?;
    match found.damage.into_iter().next() {
        Some(damage) => Err(damage),
        None => Ok(()),
    }
}

/// Lives of one store, each killed at a random time and looked at.
fn lives(job: &Job, verify: &Job, lives: u64, seed: u64, most: Duration) -> (u64, Vec<String>) {
    let (mut kills, mut bad) = (0, Vec::new());
    for life in 0..lives {
        let time = Duration::from_micros(scramble((seed << 16) | life) % most.as_micros() as u64);
        match job.run_for(time) {
            End::Killed => kills += 1,
            End::Done(_) => {}
            other => bad.push(format!("{other:?}")),
        }
        match verify.run() {
            End::Done(_) => {}
            other => {
                bad.push(format!("{other:?}"));
                break;
            }
        }
    }
    (kills, bad)
}

pub fn kills(backend: Backend) {
    let run = |seed: u64, early: bool| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let job = |role| Job::new(role, backend, &directory).with("writers", 3).with("beside", "yes");
        let work = job("work").with("steps", 100_000).with("patience", 10);
        let work = if early { work.with("acknowledge", "early") } else { work };
        lives(&work, &job("verify"), 5, seed, Duration::from_millis(600))
    };
    let seeds: Vec<u64> = (0..slice(backend, 8, 100)).collect();
    let (mut kills, mut bad) = (0, Vec::new());
    for (killed, wrong) in each(&seeds, |&seed| run(seed, false)) {
        kills += killed;
        bad.extend(wrong);
    }
    println!("  kills amid upkeep, deep queues and dropped futures: {kills}, lost or torn {}", bad.len());
    assert!(kills > 0 && bad.is_empty(), "the first of {}: {:?}", bad.len(), bad.first());
    let noticed = each(&[1, 2, 3, 4, 5, 6], |&seed| !run(seed, true).1.is_empty());
    let noticed = noticed.into_iter().filter(|noticed| *noticed).count();
    println!("  control, acknowledged early: noticed in {noticed} of 6");
    assert!(noticed > 0, "an early acknowledgement goes unnoticed");
}

pub fn clocks(backend: Backend) {
    let clocks: Vec<(&str, u64)> = ["still", "back", "ends", "panics"]
        .into_iter()
        .flat_map(|clock| (0..slice(backend, 4, 40)).map(move |seed| (clock, seed)))
        .collect();
    let ends = each(&clocks, |&(clock, seed)| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let work = Job::new("work", backend, &directory).with("writers", 2).with("steps", 100_000);
        let work = work.with("clock", clock).with("beside", "yes").with("patience", 10);
        let verify = Job::new("verify", backend, &directory).with("writers", 2).with("beside", "yes");
        (clock, lives(&work, &verify, 3, seed, Duration::from_millis(500)))
    });
    let mut bad = Vec::new();
    for name in ["still", "back", "ends", "panics"] {
        let of_it = ends.iter().filter(|(clock, _)| *clock == name);
        let kills: u64 = of_it.clone().map(|(_, (kills, _))| kills).sum();
        println!("  a clock that {name}: {kills} kills");
        assert!(kills > 0, "it works under this clock until it is killed");
        bad.extend(
            of_it.flat_map(|(_, (_, wrong))| wrong.iter().map(move |wrong| format!("{name}: {wrong}"))),
        );
    }
    assert!(bad.is_empty(), "the first of {}: {}", bad.len(), bad[0]);
}

/// Three processes write one file, each killed at times of its own.
pub fn processes(backend: Backend) {
    let seeds: Vec<u64> = (0..slice(backend, 6, 60)).collect();
    let ends = each(&seeds, |&seed| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        let job = |role| Job::new(role, backend, &directory).with("writers", 3).with("beside", "yes");
        let mut bad = Vec::new();
        let mut kills = 0;
        for round in 0..3 {
            let ends: Vec<End> = std::thread::scope(|scope| {
                let running: Vec<_> = (0..3)
                    .map(|writer| {
                        let work =
                            job("work").with("only", writer).with("steps", 100_000).with("patience", 15);
                        let dice = scramble((seed << 16) | (round << 8) | writer);
                        let time = Duration::from_micros(100_000 + dice % 500_000);
                        scope.spawn(move || work.run_for(time))
                    })
                    .collect();
                running.into_iter().map(|process| process.join().unwrap()).collect()
            });
            kills += ends.iter().filter(|end| **end == End::Killed).count();
            bad.extend(ends.into_iter().filter(|end| !matches!(end, End::Killed | End::Done(_))));
            match job("verify").run() {
                End::Done(_) => {}
                other => bad.push(other),
            }
        }
        (kills, bad)
    });
    let kills: usize = ends.iter().map(|(kills, _)| kills).sum();
    let bad: Vec<_> = ends.into_iter().flat_map(|(_, bad)| bad).collect();
    println!("  kills of three processes on one file: {kills}, lost or torn {}", bad.len());
    assert!(kills > 0 && bad.is_empty(), "the first of {}: {:?}", bad.len(), bad.first());
}

/// A second process that opens the store is refused, or shares it.
pub fn second_process(backend: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let store = crate::workload::open(backend, &directory, Durability::PowerLoss).unwrap();
    for n in 0..5 {
        perform(&store, 0, n).unwrap();
    }
    let words = Job::new("hold", backend, &directory).done();
    match backend {
        Backend::Sqlite => {
            assert_eq!(words["opened"], "yes");
            // Both see each other's writes.
            assert_eq!(observe(&store, 1).unwrap(), state(1, 20));
        }
        Backend::Fjall | Backend::Sled => assert_eq!(words["opened"], "Busy"),
        Backend::Memory => unreachable!("it has no file"),
    }
    for n in 5..12 {
        perform(&store, 0, n).unwrap();
    }
    assert_eq!(observe(&store, 0).unwrap(), state(0, 12));
    println!("  a second process opens it: {}", words["opened"]);
}

pub fn hold_child(order: &Order) {
    match order.open() {
        Ok(store) => {
            assert_eq!(observe(&store, 0).unwrap(), state(0, 5));
            (0..20).for_each(|n| perform(&store, 1, n).unwrap());
            println!("opened=yes");
        }
        Err(error) => println!("opened={:?}", error.kind()),
    }
}
