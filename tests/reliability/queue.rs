//! The queue before the commit thread, while the engine is held: how many bytes wait in it, who
//! shares a transaction, and how long they wait for somebody else's lock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use profile_store::{Batch, ErrorKind, Memory, Result, StoreOptions, UpsertReport, User};

use crate::gate::Gate;
use crate::scratch::Scratch;
use crate::workload::{Backend, Store, guru, open_with};

type Write<'a> = Pin<Box<dyn Future<Output = Result<UpsertReport>> + Send + 'a>>;

/// A write of one profile of so many bytes.
fn upsert(store: &Store, id: &str, bytes: usize) -> Write<'static> {
    let (store, id, memory) = (store.clone(), id.to_owned(), memory(bytes));
    Box::pin(async move { store.upsert_batch(&guru(0), Batch::from(User::new(id, memory))).await })
}

/// The same, polled: it is queued, if there is room.
fn write(store: &Store, id: &str, bytes: usize) -> Write<'static> {
    let mut write = upsert(store, id, bytes);
    assert!(poll(&mut write), "the engine is held");
    write
}

/// The same, where there is room: polled until it is queued. A large one is judged on a thread of its own before.
fn queued(store: &Store, id: &str, bytes: usize) -> Write<'static> {
    let (before, start) = (store.gauges().writes, Instant::now());
    let mut write = write(store, id, bytes);
    while store.gauges().writes == before {
        assert!(start.elapsed() < Duration::from_secs(30), "it is never queued");
        std::thread::sleep(Duration::from_millis(1));
        assert!(poll(&mut write), "the engine is held");
    }
    write
}

fn memory(bytes: usize) -> Memory {
    Memory::from_json(&format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - r#"{"x":""}"#.len()))).unwrap()
}

/// Whether it still waits.
fn poll(write: &mut Write<'_>) -> bool {
    write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn count(store: &Store) -> u64 {
    pollster::block_on(store.count(&guru(0))).unwrap()
}

/// Waits until there are more than `count` profiles, and tells how many.
fn more_than(store: &Store, known: u64) -> u64 {
    let start = Instant::now();
    loop {
        let count = count(store);
        if count > known {
            return count;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "what is queued is not written");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn finish(writes: Vec<Write<'_>>) {
    writes.into_iter().for_each(|write| assert!(pollster::block_on(write).unwrap().is_complete()));
}

/// P2: what is queued, with what is being written, is within the budget. A write heavier than the
/// whole budget passes when it is alone.
pub fn bytes(backend: Backend) {
    const BUDGET: usize = 32 << 10;
    const EACH: usize = 1000;
    let (scratch, gate) = (Scratch::new(), Gate::default());
    let options = StoreOptions::default().with_queue_bytes(BUDGET).with_clock(gate.clock());
    let store = open_with(backend, &scratch.path("files"), options).unwrap();
    gate.shut();
    let mut writes = vec![write(&store, "held", EACH)];
    gate.holds_one();
    writes.extend((0..2 * BUDGET / EACH).map(|n| write(&store, &n.to_string(), EACH)));
    // From here on nobody polls: only what is queued is written, as one group after the held one.
    gate.open();
    let queued = more_than(&store, 1) as usize;
    println!("  a budget of {BUDGET} bytes: {queued} of {} writes of {EACH} bytes", writes.len());
    assert!(queued * EACH <= BUDGET, "more than the budget");
    assert!(queued * EACH > BUDGET * 3 / 4, "the budget is not used");
    finish(writes);

    let known = count(&store);
    gate.shut();
    let held = write(&store, "held again", EACH);
    gate.holds_one();
    let (mut heavy, small) = (write(&store, "heavy", 3 * BUDGET), write(&store, "small", EACH));
    gate.open();
    finish(vec![held]);
    assert_eq!(count(&store), known + 1, "the heavy one was queued beside another");
    gate.shut();
    // The one before gives its room back a moment after its answer.
    let start = Instant::now();
    while !gate.is_holding() {
        assert!(poll(&mut heavy), "the engine is held");
        assert!(start.elapsed() < Duration::from_secs(30), "the heavy one never passes");
        std::thread::yield_now();
    }
    let late = write(&store, "late", EACH);
    gate.open();
    assert_eq!(more_than(&store, known + 1), known + 2, "another was queued beside the heavy one");
    finish(vec![heavy, small, late]);
    assert_eq!(count(&store), known + 4);
    pollster::block_on(store.close()).unwrap();
}

/// Small writes share a transaction, large ones do not make others wait; who has gone gets nothing
/// written (S10).
pub fn groups(backend: Backend) {
    let (scratch, gate) = (Scratch::new(), Gate::default());
    let options = StoreOptions::default().with_clock(gate.clock());
    let store = open_with(backend, &scratch.path("files"), options).unwrap();
    // How many profiles are seen while the last of three writes is in its transaction.
    let seen = |name: &str, bytes: usize| {
        let known = count(&store);
        gate.shut();
        let first = queued(&store, &format!("{name} 0"), bytes);
        gate.holds_one();
        let gone = queued(&store, &format!("{name} gone"), bytes);
        let rest = [1, 2].map(|n| queued(&store, &format!("{name} {n}"), bytes));
        drop(gone);
        gate.holds_the_next();
        gate.holds_the_next();
        let seen = count(&store) - known;
        gate.open();
        finish([first].into_iter().chain(rest).collect());
        assert_eq!(count(&store) - known, 3, "a write was made that nobody waited for");
        seen
    };
    let (small, large) = (seen("small", 100), seen("large", 900_000));
    println!("  small writes share a transaction, large ones have one each: {small}, {large}");
    assert_eq!((small, large), (1, 2));
    pollster::block_on(store.close()).unwrap();
}

/// While another process writes, the writes of a group wait for it together, not one by one (P2).
pub fn busy(backend: Backend) {
    const TIMEOUT: Duration = Duration::from_millis(200);
    const WRITES: u64 = 24;
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let store = open_with(backend, &directory, StoreOptions::default().with_busy_timeout(TIMEOUT)).unwrap();
    let other = rusqlite::Connection::open(directory.join("store")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = Instant::now();
    // The first one waits by itself, the others are queued by then.
    let mut writes: Vec<_> = (0..WRITES).map(|n| upsert(&store, &n.to_string(), 100)).collect();
    assert!(writes.iter_mut().all(poll), "another process writes");
    for write in writes {
        assert_eq!(pollster::block_on(write).unwrap_err().kind(), ErrorKind::Busy);
    }
    let time = start.elapsed();
    println!("  {WRITES} writes were told that the file is busy, in {time:.1?}");
    assert!(time < TIMEOUT * WRITES as u32 / 2, "they waited one by one");
    other.execute_batch("ROLLBACK").unwrap();
    finish(vec![upsert(&store, "later", 100)]);
}
