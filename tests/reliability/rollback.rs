//! SQLite rolls a transaction back by itself when it can't read a page. Whatever of the group came
//! next would be a transaction by itself, statement by statement.

use libc::{EIO, ETIMEDOUT, c_int};
use profile_store::StoreOptions;

use crate::child::{End, Job, Order};
use crate::gate::Gate;
use crate::power::survey;
use crate::recorder::{self, Act, Class};
use crate::replay::load;
use crate::scratch::{Scratch, size, spread};
use crate::workload::{Backend, open_with, perform, performing};

/// Writers of the group; one more holds the engine until they are queued.
const WRITERS: u64 = 4;

/// Steps of each before; the next one is an upsert of several profiles.
const STEPS: u64 = 7;

/// S1: an error at any operation of a group, then a kill or a power cut at any later one.
pub fn of_a_group(backend: Backend) {
    let run = |errno: c_int, at: u64, images: u64| {
        let scratch = Scratch::new();
        let (directory, record) = (scratch.path("files"), scratch.path("record").join("events"));
        let job = Job::new("rollback", backend, &directory).with("errno", errno).with("at", at);
        match job.with("record", record.display()).run() {
            End::Done(words) => {
                let number = |key: &str| words[key].parse::<u64>().unwrap();
                let verify = Job::new("verify", backend, &directory);
                let from = number("from") as usize;
                let (images, lost) = survey(&verify, WRITERS + 1, &load(&record), from, images);
                (number("operations"), number("failed"), images, lost)
            }
            other => (0, 0, 0, vec![format!("{other:?}")]),
        }
    };
    let (operations, _, _, lost) = run(EIO, u64::MAX, 1);
    assert!(lost.is_empty(), "{lost:?}");
    let (mut images, mut failed, mut lost, mut points) = (0, 0, Vec::new(), 0);
    // SQLite calls some errors of reading damage, and rolls nothing back for these.
    for errno in [ETIMEDOUT, EIO] {
        for at in spread(operations, if errno == EIO { size(2, 1_000) } else { size(20, 1_000) }) {
            let (_, errors, some, wrong) = run(errno, at, size(8, 80));
            points += 1;
            images += some;
            failed += errors;
            lost.extend(wrong.into_iter().map(|wrong| format!("error {errno} at {at}, {wrong}")));
        }
    }
    println!(
        "  errors at {points} of {operations} operations of a group, {failed} calls failed, {images} images, \
         lost or torn {}",
        lost.len()
    );
    assert!(lost.is_empty(), "the first: {}", lost[0]);
}

pub fn child(order: &Order) {
    recorder::record();
    let store = order.open().unwrap();
    for n in 0..STEPS {
        for writer in 0..WRITERS {
            perform(&store, writer, n).unwrap();
            recorder::acknowledge(writer, n + 1);
        }
    }
    pollster::block_on(store.close()).unwrap();
    drop(store);
    // Opened again, so that the pages are not in SQLite's cache.
    let gate = Gate::default();
    let options = StoreOptions::default().with_read_threads(1).with_clock(gate.clock());
    let store = open_with(order.backend, &order.directory, options).unwrap();
    let mut events = recorder::drain();
    let from = events.len();
    gate.shut();
    let steps = (0..=WRITERS).rev().map(|writer| (writer, if writer == WRITERS { 0 } else { STEPS }));
    let mut writes = Vec::new();
    for (writer, n) in steps {
        let mut write = Box::pin(performing(&store, writer, n));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(write.as_mut().poll(&mut context).is_pending());
        writes.push((writer, n, write));
        gate.holds_one();
    }
    let errno = order.number("errno").unwrap() as c_int;
    recorder::arm(Class::All, order.number("at").unwrap(), Act::Fail { errno, sticky: false });
    gate.open();
    let mut failed = 0;
    for (writer, n, write) in writes {
        match pollster::block_on(write) {
            Ok(()) => recorder::acknowledge(writer, n + 1),
            Err(error) => {
                failed += 1;
                eprintln!("{error:?}");
            }
        }
    }
    let (_, operations) = recorder::disarm();
    events.extend(recorder::recorded());
    order.save(&events);
    println!("from={from} operations={operations} failed={failed}");
}
