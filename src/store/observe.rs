//! What happens inside a store, told to an observer (O1).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::model::error::ErrorKind;

/// Is told what happens inside a store; see
/// [`with_observer`](crate::StoreOptions::with_observer). Closures are observers.
///
/// It is called on the store's own threads, between groups of writes, and on the tasks of callers: a slow
/// observer delays commits by its own time. One that panics is not called again, and nothing else comes
/// of it (P3). It must not wait for a call of the store that it observes.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use profile_store::{Event, StoreOptions};
///
/// static USERS: AtomicUsize = AtomicUsize::new(0);
/// let options = StoreOptions::default().with_observer(|event: &Event| {
///     if let Event::Committed { users, .. } = event {
///         USERS.fetch_add(*users, Ordering::Relaxed);
///     }
/// });
/// ```
pub trait Observer: Send + Sync {
    /// Something has happened.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

/// What has happened inside a store: counts, durations and kinds of errors. No event names a guru, a user,
/// or anything that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The store is open.
    #[non_exhaustive]
    Opened {
        /// How long opening took.
        took: Duration,
    },
    /// Opening found a log that a killed process had left, and made it durable.
    #[non_exhaustive]
    Healed {
        /// The log's bytes.
        bytes: u64,
    },
    /// A group of writes shared a transaction, and it is durable.
    #[non_exhaustive]
    Committed {
        /// Calls in the group.
        writes: usize,
        /// Calls that failed by themselves, on a damaged record for example.
        failed: usize,
        /// Profiles that the calls name.
        users: usize,
        /// Bytes of their ids and memories.
        bytes: usize,
        /// How long the first of the calls has waited, from its first poll.
        waited: Duration,
        /// How long the engine took.
        took: Duration,
    },
    /// A group of writes failed as a whole. Several calls are then made one by one, unless the error says that
    /// they may be stored, or the store refuses.
    #[non_exhaustive]
    Failed {
        /// Calls in the group.
        writes: usize,
        /// Whether they are made one by one.
        redone: bool,
        /// Why.
        error: ErrorKind,
        /// How long the engine took.
        took: Duration,
    },
    /// A write or a read was told [`Busy`](ErrorKind::Busy): it had not begun within the time-out.
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
    /// Pages of SQLite's log were moved into its file, or could not be.
    #[non_exhaustive]
    Checkpoint {
        /// Pages of the log that are moved by now.
        pages: usize,
        /// How long it took.
        took: Duration,
        /// Whether the commit thread did it, and writes waited.
        commits_waited: bool,
        /// Why it failed.
        error: Option<ErrorKind>,
    },
    /// The store refuses writes from now on, until it is opened again.
    #[non_exhaustive]
    Refusing {
        /// The failure that it can't go on from.
        error: ErrorKind,
    },
    /// The store is closed.
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

    /// This moment, if anybody is told how long things take.
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

/// What a store holds at this moment besides profiles: for health endpoints and metrics. Taken without I/O
/// by [`gauges`](crate::ProfileStore::gauges).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Writes that wait for the engine or are at it.
    pub writes: usize,
    /// About the bytes that these hold in the queue.
    pub write_bytes: usize,
    /// Reads that wait for a thread or are at it.
    pub reads: usize,
    /// Bytes of SQLite's log that are in use.
    pub log_bytes: u64,
    /// Whether the store refuses writes until it is opened again.
    pub refusing: bool,
}
