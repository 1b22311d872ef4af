//! Moving the log into the file, beside the commit thread.
//!
//! A commit only appends to the log. Once that has a quarter of the bytes that it may have, a thread with
//! a connection of its own moves it into the file while commits go on, and again what they have added
//! meanwhile, until little is left. The commit thread moves that itself, so that the log begins again at
//! its start. If the thread can't keep up, the commit thread does it all: the log is bounded.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::error::{failed, is_failed_sync};
use super::open::number;
use crate::engine::breaker::Breaker;
use crate::engine::threaded::LogBytes;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::{Event, Observing, since};
use crate::store::options::StoreOptions;

/// Bytes of a page's header in the log.
const FRAME_HEADER_BYTES: u64 = 24;

/// The lengths of the log that matter, in pages.
#[derive(Clone, Copy, Debug)]
struct LogPages {
    /// The thread begins to move the log.
    enough: usize,
    /// The commit thread moves it.
    most: usize,
    /// The commit thread may move so many whenever they are all that is left.
    last: usize,
}

impl LogPages {
    fn new(log_bytes: u64, page_bytes: u64) -> Self {
        let most = usize::try_from(log_bytes / (page_bytes + FRAME_HEADER_BYTES)).unwrap_or(usize::MAX);
        let enough = (most / 4).max(1);
        Self { enough, most, last: enough / 10 }
    }
}

thread_local! {
    /// Pages of the log after the last commit on this thread. SQLite calls the hook on the thread that commits,
    /// which is a store's own. Before rusqlite 0.41 a hook is a plain function.
    static LOG: Cell<usize> = const { Cell::new(0) };
}

/// Sets the hook by `wal_hook`, whose types differ before rusqlite 0.41.
fn listen<R: Hooked<F>, F>(wal_hook: impl FnOnce(Option<F>) -> R) -> rusqlite::Result<()> {
    LOG.set(0);
    wal_hook(Some(R::HOOK)).result()
}

/// The result of setting a hook of type `F`.
trait Hooked<F> {
    const HOOK: F;
    fn result(self) -> rusqlite::Result<()>;
}

/// Before rusqlite 0.41.
impl Hooked<fn(&Wal, c_int) -> rusqlite::Result<()>> for () {
    const HOOK: fn(&Wal, c_int) -> rusqlite::Result<()> = |_, pages| note(pages);

    fn result(self) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// Since rusqlite 0.41.
impl Hooked<fn(&mut Wal, c_int) -> rusqlite::Result<()>> for rusqlite::Result<()> {
    const HOOK: fn(&mut Wal, c_int) -> rusqlite::Result<()> = |_, pages| note(pages);

    fn result(self) -> rusqlite::Result<()> {
        self
    }
}

fn note(pages: c_int) -> rusqlite::Result<()> {
    LOG.set(usize::try_from(pages).unwrap_or(usize::MAX));
    Ok(())
}

#[derive(Debug)]
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    log: LogPages,
    /// `None` once the thread is to end.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Pages of the log at which to wake the thread next.
    due: usize,
    /// Pages of the log at which to wait for it next.
    overdue: usize,
    /// Pages of the log after the last commit.
    pages: usize,
    /// Bytes of one of them there.
    frame_bytes: u64,
    used: LogBytes,
}

#[derive(Debug, Default)]
struct Shared {
    /// Pages that the thread has moved in a pass that the commit thread has not looked at yet.
    moved: AtomicUsize,
    /// Held while the thread moves pages.
    working: Mutex<()>,
    /// Tripped by a failed sync.
    breaker: Breaker,
    observing: Observing,
}

impl Shared {
    fn working(&self) -> MutexGuard<'_, ()> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what can be moved. After a failure that is none of a sync, the log is as it was, and a later pass
    /// moves it.
    fn checkpoint(&self, connection: &Connection, commits_waited: bool) -> Option<usize> {
        let begun = self.observing.now();
        let moved = checkpoint(connection);
        self.observing.tell(|| Event::Checkpoint {
            pages: *moved.as_ref().unwrap_or(&0),
            took: since(begun),
            commits_waited,
            error: moved.as_ref().err().map(Error::kind),
        });
        if let Err(error) = &moved
            && is_failed_sync(error)
        {
            self.breaker.trip(error);
        }
        moved.ok()
    }
}

impl Checkpointer {
    /// Starts the thread over a connection of its own, and listens to the commits of `writer`. The log
    /// is kept below the bytes of the options, and noted in `used`.
    pub fn start(
        writer: &mut Connection,
        own: Connection,
        options: &StoreOptions,
        breaker: &Breaker,
        used: &LogBytes,
    ) -> Result<Self> {
        // Somebody else may have made the file with pages of another size.
        let page_bytes = number(writer, "PRAGMA page_size").map_err(failed("to open"))?;
        let log = LogPages::new(options.log_bytes(), page_bytes);
        let (breaker, observing) = (breaker.clone(), options.observing().clone());
        let shared = Arc::new(Shared { breaker, observing, ..Shared::default() });
        // This takes the place of SQLite's own checkpoints.
        listen(|hook| writer.wal_hook(hook)).map_err(failed("to open"))?;
        let (wake, woken) = sync_channel(1);
        let working = Arc::clone(&shared);
        let run = move || {
            while woken.recv().is_ok() {
                let _working = working.working();
                if let Some(moved) = working.checkpoint(&own, false) {
                    working.moved.store(moved, Ordering::Release);
                }
            }
        };
        let thread = thread::Builder::new().name("profile-store-log".to_owned()).spawn(run);
        let thread = thread.map_err(|source| {
            Error::new(ErrorKind::Storage, "can't start a thread of the store").with_source(source)
        })?;
        Ok(Self {
            shared,
            log,
            wake: Some(wake),
            thread: Some(thread),
            due: log.enough,
            overdue: log.most,
            pages: 0,
            frame_bytes: page_bytes + FRAME_HEADER_BYTES,
            used: Arc::clone(used),
        })
    }

    /// Called after a commit whose callers have been answered: has the log moved if it is due.
    pub fn after_commit(&mut self, writer: &Connection) {
        let pages = LOG.get();
        if pages < self.pages {
            // The log has begun again.
            (self.due, self.overdue) = (self.log.enough, self.log.most);
        }
        self.pages = pages;
        self.used.store((pages as u64).saturating_mul(self.frame_bytes), Ordering::Relaxed);
        let moved = self.shared.moved.swap(0, Ordering::AcqRel);
        let little_is_left = moved > 0 && pages.saturating_sub(moved) <= self.log.last;
        if little_is_left || pages >= self.overdue {
            // If a reader holds the log, trying again soon is of no use.
            self.overdue = pages.max(self.log.most) + self.log.enough;
            let _paused = self.pause();
            self.shared.checkpoint(writer, true);
        } else if moved > 0 || pages >= self.due {
            self.due = pages + self.log.enough;
            // If it has been woken already, it works, and the rest is looked at afterwards.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }

    /// Somebody has moved all of the log, and cut it.
    pub fn log_is_cut(&self) {
        LOG.set(0);
        self.used.store(0, Ordering::Relaxed);
    }

    /// Keeps the thread from working, once it has ended what it is at.
    pub fn pause(&self) -> impl Drop + '_ {
        self.shared.working()
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic: it calls SQLite, and stores numbers.
            let _ = thread.join();
        }
    }
}

/// Moves the pages that readers do not hold back, without waiting for anybody. Returns how many pages of the log are
/// moved by now.
fn checkpoint(connection: &Connection) -> Result<usize> {
    const MOVING: &str = "to move its log into the file";
    let mut statement = connection.prepare("PRAGMA wal_checkpoint(PASSIVE)").map_err(failed(MOVING))?;
    let mut rows = statement.query([]).map_err(failed(MOVING))?;
    let mut moved = 0;
    while let Some(row) = rows.next().map_err(failed(MOVING))? {
        let pages: i64 = row.get(2).map_err(failed(MOVING))?;
        // None at all if another process is at it.
        moved = usize::try_from(pages).unwrap_or(0);
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::sqlite::open::{self, Connections};

    const PAGES: usize = 400;
    const LOG_BYTES: u64 = PAGES as u64 * (4096 + FRAME_HEADER_BYTES);

    /// Commits of a few pages each, and the most pages that the log had.
    fn commit(writer: &Connection, checkpointer: &mut Checkpointer, commits: usize) -> usize {
        let insert = "INSERT INTO profile VALUES (1, hex(randomblob(8)), hex(zeroblob(20000)), 0, 0, 0)";
        let mut most = 0;
        for _ in 0..commits {
            writer.execute(insert, []).unwrap();
            checkpointer.after_commit(writer);
            most = most.max(checkpointer.pages);
        }
        checkpointer.shared.breaker.check().unwrap();
        most
    }

    fn opened(directory: &tempfile::TempDir) -> (Connection, Checkpointer, Vec<Connection>) {
        let path = directory.path().join("p.db");
        let options = StoreOptions::default().with_log_bytes(LOG_BYTES);
        let Connections { mut writer, checkpointer, readers, .. } = open::open(&path, &options).unwrap();
        let checkpointer = Checkpointer::start(
            &mut writer,
            checkpointer,
            &options,
            &Breaker::default(),
            &LogBytes::default(),
        )
        .unwrap();
        (writer, checkpointer, readers)
    }

    #[test]
    fn the_log_stays_bounded_under_constant_load() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer, _readers) = opened(&directory);
        let most = commit(&writer, &mut checkpointer, 1000);
        assert!(most >= PAGES / 4, "{most} pages: the test has too little to move");
        assert!(most < PAGES * 3 / 2, "{most} pages");
        let pages: i64 = writer.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        assert!(pages > 5000, "{pages} pages in all: the log has begun anew many times");
    }

    /// The log grows, as it must, commits go on, and afterwards it is bounded again.
    #[test]
    fn a_reader_that_holds_the_log_holds_no_commit() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer, readers) = opened(&directory);
        commit(&writer, &mut checkpointer, 10);
        let count = |reader: &Connection| -> i64 {
            reader.query_row("SELECT count(*) FROM profile", [], |row| row.get(0)).unwrap()
        };
        let snapshot = readers[0].unchecked_transaction().unwrap();
        assert_eq!(count(&snapshot), 10);
        let most = commit(&writer, &mut checkpointer, 600);
        assert!(most > PAGES * 3 / 2, "{most} pages");
        assert_eq!(count(&snapshot), 10);
        drop(snapshot);
        // Once more at most before what is due is noticed.
        commit(&writer, &mut checkpointer, 200);
        let most = commit(&writer, &mut checkpointer, 600);
        assert!(most < PAGES * 3 / 2, "{most} pages");
        assert_eq!(count(&readers[0]), 1410);
    }

    /// Bytes count, not pages: a file made with large pages has as long a log.
    #[test]
    fn the_log_is_measured_in_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.db");
        for page_bytes in [512, 4096, 65536] {
            let log = LogPages::new(320 << 20, page_bytes);
            let bytes = log.most as u64 * (page_bytes + FRAME_HEADER_BYTES);
            assert!(bytes <= 320 << 20 && bytes > 319 << 20, "{bytes} with pages of {page_bytes}");
        }
        let other = Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA page_size = 16384; CREATE TABLE t (a); DROP TABLE t").unwrap();
        drop(other);
        let (_writer, checkpointer, _readers) = opened(&directory);
        assert_eq!(checkpointer.log.most, (LOG_BYTES / (16384 + FRAME_HEADER_BYTES)) as usize);
    }
}
