//! How a store is opened, the same for every backend.

use std::time::Duration;

use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::limits::{Limits, within};
use crate::store::observe::{Observer, Observing};

/// The promise of `Ok` from a write ([S2](crate::contract#s2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The write survives a power cut: it is synced to the device before `Ok`.
    #[default]
    PowerLoss,
    /// The write survives a crash of the process, and batches stay atomic, but the last ones may
    /// be lost with the machine's power. Saves the sync, which is most of the cost of a small batch.
    ProcessCrash,
}

/// How a store is opened, the same for every backend.
///
/// An option that tunes (threads, connections, queue, log, waiting) is accepted by every backend, and ignored by one
/// that has no use for it: the same options open `memory:` in tests and SQLite in production. An option that promises
/// ([`with_erasing`](Self::with_erasing), [`with_read_only`](Self::with_read_only)) is [`Unsupported`](ErrorKind::Unsupported) if the engine can't hold it. A
/// value out of its range is an error when the store is opened, except for the busy timeout and the cache, which are
/// clamped. The module [`backend`](crate::backend#opening) lists all, for authors of
/// backends.
///
/// ```
/// use profile_store::{Limits, StoreOptions};
///
/// let options = StoreOptions::default().with_limits(Limits::default().with_batch_items(500));
/// assert_eq!(options.limits().batch_items(), 500);
/// ```
#[derive(Clone, Debug)]
pub struct StoreOptions {
    limits: Limits,
    clock: Clock,
    durability: Durability,
    busy_timeout: Duration,
    read_threads: usize,
    write_connections: usize,
    queue_bytes: usize,
    cache_bytes: u64,
    log_bytes: u64,
    erasing: bool,
    create: bool,
    read_only: bool,
    observing: Observing,
}

impl Default for StoreOptions {
    /// Default limits, the system's clock, durable against power loss, and a busy timeout of 5 seconds. 4 read
    /// threads, 8 connections that write, a queue of 64 MiB, a cache of 64 MiB, and a log of at most 320 MiB. No
    /// erasing; a missing store is created, and it can be written.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            clock: Clock::default(),
            durability: Durability::PowerLoss,
            busy_timeout: Duration::from_secs(5),
            read_threads: 4,
            write_connections: 8,
            queue_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            log_bytes: 320 << 20,
            erasing: false,
            create: true,
            read_only: false,
            observing: Observing::default(),
        }
    }
}

impl StoreOptions {
    /// The limits that items are judged by ([A5](crate::contract#a5)).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The source of timestamps ([S7](crate::contract#s7)).
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The promise of `Ok` ([S2](crate::contract#s2)).
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long a call may wait for its transaction to begin, counted from its first poll: for room in the
    /// queue, after other calls, for another process's lock, for a server ([P2](crate::contract#p2)). Then it returns
    /// [`Busy`](crate::ErrorKind::Busy), and has written nothing. A call that has begun is not cut short.
    /// Durations below 10 ms are clamped to 10 ms. Opening waits as long.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout.max(Duration::from_millis(10));
        self
    }

    /// How many threads read at the same time, 1 to 64. Each holds a connection of its own.
    #[must_use]
    pub fn with_read_threads(mut self, threads: usize) -> Self {
        self.read_threads = threads;
        self
    }

    /// How many connections write at the same time, 1 to 64, each with a thread of its own. For
    /// `PostgresStore`; the embedded engines have one writer.
    #[must_use]
    pub fn with_write_connections(mut self, connections: usize) -> Self {
        self.write_connections = connections;
        self
    }

    /// How many bytes of ids and memories may wait to be written, 1 KiB to 1 GiB. Further writers
    /// wait, in order, without blocking (backpressure). A batch larger than this waits until the queue is empty.
    #[must_use]
    pub fn with_queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How many bytes SQLite's log (`-wal`) may take, 64 KiB to 1 TiB; other engines ignore it.
    ///
    /// From a quarter of it on, the log is moved into the file beside the commits, and then begins again. The batch that
    /// reaches the limit is still appended whole. A long read (`backup`, `verify`, another process) holds the log, which
    /// grows until the read ends. A short log costs writes, because a page that changes often is moved more often.
    #[must_use]
    pub fn with_log_bytes(mut self, bytes: u64) -> Self {
        self.log_bytes = bytes;
        self
    }

    /// How many bytes of the engine's files are kept in memory for reading, at least 1 MiB. For `FjallStore`.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes.max(1 << 20);
        self
    }

    /// Overwrites deleted and replaced content with zeros ([L3](crate::contract#l3)), in SQLite (`secure_delete`), at the cost of
    /// more bytes written. It shortens the time for which such bytes are in the file.
    ///
    /// **Warning.** It does not promise that the bytes are gone: SQLite leaves copies on pages that it has
    /// rearranged, and in its log. [`compact`](crate::ProfileStore::compact) is that promise, with this
    /// option and without. fjall, sled and PostgreSQL can't overwrite: opening them with this option is
    /// [`Unsupported`](ErrorKind::Unsupported).
    #[must_use]
    pub fn with_erasing(mut self, erasing: bool) -> Self {
        self.erasing = erasing;
        self
    }

    /// Whether to create a store if there is none. If not, opening fails with
    /// [`NotFound`](ErrorKind::NotFound): a mistyped path is noticed.
    #[must_use]
    pub fn with_create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens an existing store for reading only, such as a backup, a replica, or one on a volume that can't
    /// be written. Every write, `compact` and the probe of a write fail with [`ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// SQLite: no file is created except `-wal` and `-shm`, nothing is rewritten, and no writer's lock is taken. PostgreSQL: all
    /// transactions are read-only.
    /// `memory:`, sled and fjall are [`Unsupported`](crate::ErrorKind::Unsupported).
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets the observer, which gets every event inside the store ([O1](crate::contract#o1)): see [`Observer`]. Without one,
    /// observing costs nothing.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observing = Observing::new(observer);
        self
    }

    /// The observer, if there is one.
    pub(crate) fn observing(&self) -> &Observing {
        &self.observing
    }

    /// Whether every value is within its range. Every backend asks when it opens.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput), which names the option and its range.
    ///
    /// ```
    /// use profile_store::{ErrorKind, MemoryStore, StoreOptions};
    ///
    /// let error = MemoryStore::open_with(StoreOptions::default().with_read_threads(0)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// assert_eq!(error.to_string(), "read_threads is 0, allowed are 1 to 64");
    /// ```
    pub fn check(&self) -> Result<()> {
        self.limits.check()?;
        within("read_threads", self.read_threads as u64, 1..=64)?;
        within("write_connections", self.write_connections as u64, 1..=64)?;
        within("queue_bytes", self.queue_bytes as u64, 1 << 10..=1 << 30)?;
        within("log_bytes", self.log_bytes, 64 << 10..=1 << 40)
    }

    /// For engines that can't overwrite what is deleted.
    #[cfg(any(feature = "fjall", feature = "sled", feature = "postgres"))]
    pub(crate) fn refuse_erasing(&self, engine: &str) -> Result<()> {
        if self.erasing {
            let message = format!("{engine} can't overwrite what is deleted: open it without erasing");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }

    /// The limits that items are judged by.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The source of timestamps.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The promise of `Ok`.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// How long a call may wait for its transaction to begin.
    #[must_use]
    pub fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// How many threads read at the same time.
    #[must_use]
    pub fn read_threads(&self) -> usize {
        self.read_threads
    }

    /// How many connections write at the same time.
    #[must_use]
    pub fn write_connections(&self) -> usize {
        self.write_connections
    }

    /// How many bytes of the engine's files are kept in memory.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.cache_bytes
    }

    /// How many bytes may wait to be written.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// How many bytes SQLite's log may take.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Whether a store is created if there is none.
    #[must_use]
    pub fn create(&self) -> bool {
        self.create
    }

    /// For engines that can't do so.
    pub(crate) fn refuse_read_only(&self, engine: &str) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        let message = format!("{engine} can't be opened for reading only");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Whether the store is opened to read it only.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether what is deleted or replaced is overwritten.
    #[must_use]
    pub fn erasing(&self) -> bool {
        self.erasing
    }
}
