//! The events inside a store, for an observer (O1).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::model::error::ErrorKind;

/// Receives what happens inside a store: a store is opened with one by
/// [`StoreOptions::with_observer`](crate::StoreOptions::with_observer). Functions and closures are observers.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use profile_store::{Event, HasGurus, Memory, StoreOptions, User, open_with};
///
/// # pollster::block_on(async {
/// let users = Arc::new(AtomicUsize::new(0));
/// let counted = Arc::clone(&users);
/// let options = StoreOptions::default().with_observer(move |event: &Event| match event {
///     Event::Committed { users, .. } => drop(counted.fetch_add(*users, Ordering::Relaxed)),
///     Event::Refusing { error, .. } => eprintln!("the store refuses writes: {error:?}"),
///     _ => {}
/// });
/// let store = open_with("memory:", options).await?;
/// store.guru("my-guru")?.upsert(User::new("ada", Memory::from_json("{}")?)).await?;
/// assert_eq!(users.load(Ordering::Relaxed), 1);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
///
/// # Rules
/// - It runs on the store's own threads, between groups of writes and beside checkpoints, and on the tasks of
///   callers. A slow observer delays commits by its own time.
/// - One that panics is not called again. The store goes on ([P3](crate::contract#p3)).
/// - It must not wait for a call of the store that it observes, nor drop the store's last handle.
/// - Events of different threads arrive at the same time, and in any order.
/// - A store without an observer pays nothing for it: it reads no clock, and makes no event.
///
/// # Events
/// Times are [`Duration`]s of a clock that never goes back. Bytes are those of ids and memories, unless an event
/// says otherwise.
///
/// | event | from | an alarm is worth it |
/// |---|---|---|
/// | [`Opened`](Event::Opened) | all | if it takes longer than a restart may |
/// | [`Healed`](Event::Healed) | SQLite, fjall, sled | if nobody has killed the process before it, and no other one has the file open |
/// | [`Committed`](Event::Committed) | all | if `took` is long: the device or server is slow. If `waited` is many times `took`, more writes come in than the engine can take |
/// | [`Failed`](Event::Failed) | all but memory | if there are several a minute |
/// | [`TimedOut`](Event::TimedOut) | all but memory | on each: a caller got [`Busy`](ErrorKind::Busy) |
/// | [`WaitedForRoom`](Event::WaitedForRoom) | all but memory | if it is usual: the engine is too slow, or [`with_queue_bytes`](crate::StoreOptions::with_queue_bytes) too little for the writes. Reads wait beyond 1,024 of them, whatever the option |
/// | [`Checkpoint`](Event::Checkpoint) | SQLite | if it has an `error`, or `commits_waited` and `took` is long |
/// | [`RemovalFailed`](Event::RemovalFailed) | SQLite, fjall, sled | if it comes again and again: deleted profiles stay on the disk |
/// | [`Retrying`](Event::Retrying) | PostgreSQL | if `attempt` keeps rising, or for codes that should not occur |
/// | [`Reconnected`](Event::Reconnected) | PostgreSQL | if nobody has restarted the server |
/// | [`Refusing`](Event::Refusing) | SQLite, fjall, sled | always: open the store again |
/// | [`Closed`](Event::Closed) | all | if it has an `error`, or nobody has closed the store |
///
/// The level between two events is in [`gauges`](crate::ProfileStore::gauges).
///
/// All events come from the stores of this crate. A backend of your own makes none; `Traced` (feature `tracing`) makes a span
/// for each call of any store.
pub trait Observer: Send + Sync {
    /// Something has happened.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

/// An event inside a store: counts, durations and kinds of errors. No event names a guru or a user, or
/// holds anything that is stored. [`Observer`] explains each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The store is open.
    #[non_exhaustive]
    Opened {
        /// How long opening took.
        took: Duration,
    },
    /// Opening found what a process may not have been able to sync, as after a kill, and made it durable.
    #[non_exhaustive]
    Healed {
        /// Bytes of the log, or of the files, that were looked through.
        bytes: u64,
    },
    /// A group of writes shared a transaction, which is as durable as the store was opened for.
    #[non_exhaustive]
    Committed {
        /// Calls in the group. Those that delete are writes too.
        writes: usize,
        /// Calls of these that failed by themselves, on a damaged record for example.
        failed: usize,
        /// Profiles that the calls name, whether or not they were changed.
        users: usize,
        /// Bytes of their ids and memories.
        bytes: usize,
        /// How long the call that came first has waited, from its first poll.
        waited: Duration,
        /// How long the engine took, its sync included.
        took: Duration,
    },
    /// A group of writes failed as a whole, and nothing of it is visible, unless it may be stored.
    #[non_exhaustive]
    Failed {
        /// Calls in the group.
        writes: usize,
        /// Whether its calls are made one by one now, so that a bad one does not fail the others. If not, all of
        /// them got the error.
        redone: bool,
        /// Why.
        error: ErrorKind,
        /// How long the engine took.
        took: Duration,
    },
    /// A call could not begin within the time-out, and got [`Busy`](ErrorKind::Busy).
    #[non_exhaustive]
    TimedOut {
        /// How long it has waited.
        waited: Duration,
    },
    /// A call had to wait for room in the queue, and got some.
    #[non_exhaustive]
    WaitedForRoom {
        /// How long.
        waited: Duration,
    },
    /// Pages of SQLite's log were moved into its file, or could not be. `compact` and `close` move them without an event.
    #[non_exhaustive]
    Checkpoint {
        /// Pages of the log that are in the file by now. 0 after a failure, or if another process runs a checkpoint.
        pages: usize,
        /// How long it took.
        took: Duration,
        /// Whether the commit thread did it, so that writes waited.
        commits_waited: bool,
        /// Why it failed. Unless a sync failed, a later one moves these pages.
        error: Option<ErrorKind>,
    },
    /// Removing the rows of deleted gurus has failed. No read finds these rows. They are removed after a later write.
    #[non_exhaustive]
    RemovalFailed {
        /// Why.
        error: ErrorKind,
    },
    /// A call to the server failed, and is retried.
    #[non_exhaustive]
    Retrying {
        /// The number of failed tries in a row, this one included. For writes it counts all calls of a thread, until one
        /// succeeds.
        attempt: u32,
        /// The error that the caller would get.
        error: ErrorKind,
        /// The server's code (SQLSTATE), if it sent one. `None` means that the connection failed, others had changed the
        /// same rows, or all connections were in use.
        code: Option<String>,
    },
    /// A connection to the server was opened in the place of one that was lost.
    #[non_exhaustive]
    Reconnected {
        /// How long connecting took.
        took: Duration,
    },
    /// The store refuses writes from now on, until it is opened again ([P4](crate::contract#p4)).
    #[non_exhaustive]
    Refusing {
        /// The failure that it can't go on from.
        error: ErrorKind,
    },
    /// The store is closed, or its last handle was dropped.
    #[non_exhaustive]
    Closed {
        /// Why it could not leave a clean file.
        error: Option<ErrorKind>,
    },
}

/// The observer of a store, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observing(Option<Arc<Told>>);

struct Told {
    observer: Box<dyn Observer>,
    /// It has panicked.
    ended: AtomicBool,
}

impl Observing {
    pub fn new(observer: impl Observer + 'static) -> Self {
        Self(Some(Arc::new(Told { observer: Box::new(observer), ended: AtomicBool::new(false) })))
    }

    /// Tells the observer, if there is one.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        let Some(told) = self.0.as_deref().filter(|told| !told.ended.load(Ordering::Relaxed)) else { return };
        let observed = catch_unwind(AssertUnwindSafe(|| told.observer.observe(&event())));
        if let Err(payload) = observed {
            told.ended.store(true, Ordering::Relaxed);
            // Dropping it is the caller's code again.
            std::mem::forget(payload);
        }
    }

    /// This moment, if there is an observer.
    pub fn now(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }
}

impl fmt::Debug for Observing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "an observer" } else { "no observer" })
    }
}

/// How long ago that was.
pub(crate) fn since(begun: Option<Instant>) -> Duration {
    begun.map_or(Duration::ZERO, |begun| begun.elapsed())
}

/// A store's present load, for health endpoints and metrics. Taken without I/O
/// by [`gauges`](crate::ProfileStore::gauges).
///
/// | backend | `writes`, `write_bytes`, `reads` | `log_bytes` | `refusing` |
/// |---|---|---|---|
/// | `MemoryStore` | 0, as no call waits | 0 | once closed |
/// | `SqliteStore` | yes | yes | after a failed sync or rollback, or a panic; once a write or `health(Write)` has found its files removed or replaced; once closed |
/// | `FjallStore`, `SledStore` | yes | 0 | after any failed write, or a panic; once a write or `health(Write)` has found its files removed or replaced; once closed |
/// | `PostgresStore` | yes | 0 | once closed |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Writes that wait for the engine or are at it. Those that still wait for room in the queue are not counted.
    pub writes: usize,
    /// About the bytes that these hold in the queue, of at most
    /// [`with_queue_bytes`](crate::StoreOptions::with_queue_bytes).
    pub write_bytes: usize,
    /// Reads that wait for a thread or are at it.
    pub reads: usize,
    /// Bytes of SQLite's log that were in use after this store's last commit; 0 before the first. The log's file may
    /// be longer.
    pub log_bytes: u64,
    /// Whether the store refuses writes until it is opened again. A store that was opened for reading only does not
    /// count as refusing.
    pub refusing: bool,
}
