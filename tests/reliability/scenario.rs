// One small life of a store's commit thread, in one schedule.

use std::future::Future as _;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Waker};

use profile_store::{Error, ErrorKind, GuruSlug, Result, StoreOptions, Timestamp};
use shuttle::future::block_on;
use shuttle::thread;

use super::engine::breaker::Breaker;
use super::engine::deadline::{Deadline, Timer};
use super::store::observe::Observing;
use super::engine::workers::Waiting;
use super::engine::group_commit::{GroupCommit, Done, Engine, Task, Upkeep};

/// Tasks that an engine has done, in order, by number.
#[derive(Default)]
struct Seen {
    stored: std::sync::Mutex<Vec<u64>>,
    closed: AtomicU64,
    abandoned: AtomicU64,
    kept: AtomicU64,
}

struct Toy {
    seen: Arc<Seen>,
    /// Fails groups as a whole.
    moody: bool,
    /// Can't begin every other time.
    locked: bool,
    tries: u64,
    /// Panics when it meets this task.
    panics_at: Option<u64>,
}

/// Tasks whose number ends so fail by themselves.
const BAD: u64 = 7;

fn slug(number: u64) -> GuruSlug {
    GuruSlug::new(&format!("{number}")).unwrap()
}

impl Engine for Toy {
    fn commit(&mut self, group: &[(&Task, Timestamp)], _: Deadline) -> Result<Vec<Result<Done>>> {
        assert_eq!(self.seen.closed.load(SeqCst) + self.seen.abandoned.load(SeqCst), 0);
        // Other threads go on meanwhile.
        thread::yield_now();
        self.tries += 1;
        if self.locked && self.tries % 2 == 1 {
            return Err(Error::new(ErrorKind::Busy, "locked"));
        }
        if self.moody && group.len() > 1 {
            return Err(Error::new(ErrorKind::Storage, "in a mood"));
        }
        let mut stored = Vec::new();
        let results = group.iter().map(|(task, _)| {
            let Task::DeleteGuru { guru } = task else { panic!("nothing else is in a group") };
            let number: u64 = guru.as_str().parse().unwrap();
            if self.panics_at == Some(number) {
                // Without the panic's words.
                resume_unwind(Box::new("as planned"));
            }
            if number % 10 == BAD {
                return Err(Error::new(ErrorKind::Corrupt, "bad luck"));
            }
            stored.push(number);
            Ok(Done::Deleted(number))
        });
        let results = results.collect();
        self.seen.stored.lock().unwrap().extend(stored);
        Ok(results)
    }

    fn upkeep(&mut self, _: Upkeep, _: Deadline) -> Result<()> {
        self.seen.kept.fetch_add(1, SeqCst);
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.seen.closed.fetch_add(1, SeqCst);
        Ok(())
    }

    fn abandon(self) {
        self.seen.abandoned.fetch_add(1, SeqCst);
    }
}

/// Callers write, one of them drops a write, one closes; the number chooses the variant.
pub fn run(number: u64) {
    let seen = Arc::new(Seen::default());
    let panics_at = (number % 5 == 0).then_some(10);
    let toy = Toy { seen: Arc::clone(&seen), moody: number % 2 == 0, locked: number % 3 == 1, tries: 0, panics_at };
    // From a queue that holds one write to one that holds all.
    let queue = [64, 130, 4096][(number % 3) as usize];
    let (options, breaker) = (StoreOptions::default().with_queue_bytes(queue), Breaker::default());
    let waiting = Waiting { timer: Timer, patience: options.busy_timeout(), observing: Observing::default() };
    let (committer, ()) = block_on(GroupCommit::start(&options, &waiting, &breaker, 0, move || Ok((toy, Vec::new(), ())))).unwrap();
    let committer = Arc::new(committer);
    let callers: Vec<_> = (0..3)
        .map(|caller| {
            let committer = Arc::clone(&committer);
            thread::spawn(move || {
                let mut told = Vec::new();
                for n in 0..2 {
                    let task = caller * 10 + if caller == 1 && n == 1 { BAD } else { n };
                    told.push((task, block_on(committer.delete_guru(&slug(task)))));
                }
                told
            })
        })
        .collect();
    let dropper = {
        let committer = Arc::clone(&committer);
        thread::spawn(move || {
            let guru = slug(40);
            let mut write = Box::pin(committer.delete_guru(&guru));
            let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            thread::yield_now();
            drop(write);
            drop(polled);
            block_on(committer.upkeep(Upkeep::Probe))
        })
    };
    let closer = (number % 4 < 2).then(|| {
        let committer = Arc::clone(&committer);
        thread::spawn(move || block_on(committer.close()))
    });
    let told: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    let kept = dropper.join().unwrap();
    let early = closer.map(|closer| closer.join().unwrap());
    // Whether by closing or by dropping the last handle: then the threads are gone.
    let late = (number % 7 < 3).then(|| block_on(committer.close()));
    drop(committer);
    let stored = seen.stored.lock().unwrap().clone();
    let count = |task| stored.iter().filter(|stored| **stored == task).count();
    let panicked = seen.abandoned.load(SeqCst) == 1;
    assert_eq!(seen.closed.load(SeqCst), u64::from(!panicked), "one end, of the right kind");
    for (task, told) in &told {
        match told {
            Ok(answer) => assert_eq!((*answer, count(*task)), (*task, 1), "stored once, and told its own result"),
            Err(error) => {
                assert_eq!(count(*task), 0, "told as failed, and stored: {task}");
                match error.kind() {
                    ErrorKind::Corrupt => assert_eq!(task % 10, BAD),
                    ErrorKind::Busy => {}
                    ErrorKind::Closed => assert!(panicked || early.is_some(), "closed, says {task}"),
                    kind => panic!("{kind:?} for {task}"),
                }
            }
        }
    }
    assert!(count(40) <= 1, "a dropped write is made once or not at all");
    assert_eq!(kept.is_ok(), seen.kept.load(SeqCst) == 1);
    for caller in 0..3 {
        let own: Vec<_> = stored.iter().filter(|stored| **stored / 10 == caller).collect();
        assert!(own.is_sorted(), "a caller's writes in its order");
    }
    for closed in [early, late].into_iter().flatten() {
        assert_eq!(closed.is_err(), panicked, "all who close are told how it went");
    }
}
