//! Moving the log into the file, beside the commit thread.
//!
//! A commit only appends to the log. Once that has [`LOG_PAGES`], a thread with a connection of its
//! own moves it into the file while commits go on, and again what they have added meanwhile, until
//! little is left. The commit thread moves that itself, so that the log can begin anew. Should the
//! thread not keep up, the commit thread waits for it: the log is bounded.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::error::{failed, is_failed_sync};
use crate::model::error::{Error, ErrorKind, Result};

/// Pages of the log at which the thread begins to move it. Tests that are built with the library,
/// and the reliability tests beside it, which name a number when they build it, have a shorter one.
pub(super) const LOG_PAGES: usize = match option_env!("PROFILE_STORE_TEST_LOG_PAGES") {
    Some(pages) => match usize::from_str_radix(pages, 10) {
        Ok(pages) => pages,
        Err(_) => panic!("PROFILE_STORE_TEST_LOG_PAGES is a number"),
    },
    None if cfg!(test) => 100,
    None => 20_000,
};

/// Pages at which the commit thread waits for it.
const MOST_LOG_PAGES: usize = 4 * LOG_PAGES;

/// Pages that the commit thread may move itself.
const LAST_PAGES: usize = LOG_PAGES / 10;

#[derive(Debug)]
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    /// `None` once the thread is to end.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Pages of the log at which to wake the thread next.
    due: usize,
    /// Pages of the log at which to wait for it next.
    overdue: usize,
    /// Pages of the log behind the last commit.
    pages: usize,
}

#[derive(Debug, Default)]
struct Shared {
    /// Pages of the log, as the last commit left it.
    log: AtomicUsize,
    /// Pages that the thread has moved in a pass that the commit thread has not looked at yet.
    moved: AtomicUsize,
    /// Held while the thread moves pages.
    working: Mutex<()>,
    /// A sync has failed.
    broken: AtomicBool,
}

impl Shared {
    fn working(&self) -> MutexGuard<'_, ()> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After any other failure the log is as it was, and a later pass moves it.
    fn note(&self, error: &Error) {
        self.broken.fetch_or(is_failed_sync(error), Ordering::AcqRel);
    }
}

impl Checkpointer {
    /// Starts the thread over a connection of its own, and listens to the commits of `writer`.
    pub fn start(writer: &mut Connection, own: Connection) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let listening = Arc::clone(&shared);
        let hook = move |_: &mut _, pages| {
            listening.log.store(usize::try_from(pages).unwrap_or(usize::MAX), Ordering::Relaxed);
            Ok(())
        };
        // This takes the place of SQLite's own checkpoints.
        writer.wal_hook(Some(hook)).map_err(failed("to open"))?;
        let (wake, woken) = sync_channel(1);
        let working = Arc::clone(&shared);
        let run = move || {
            while woken.recv().is_ok() {
                let _working = working.working();
                match checkpoint(&own) {
                    Ok(moved) => working.moved.store(moved, Ordering::Release),
                    Err(error) => working.note(&error),
                }
            }
        };
        let thread = thread::Builder::new().name("profile-store-log".to_owned()).spawn(run);
        let thread = thread.map_err(|source| {
            Error::new(ErrorKind::Storage, "can't start a thread of the store").with_source(source)
        })?;
        Ok(Self {
            shared,
            wake: Some(wake),
            thread: Some(thread),
            due: LOG_PAGES,
            overdue: MOST_LOG_PAGES,
            pages: 0,
        })
    }

    /// Whether a sync has failed: nothing more may be acknowledged then.
    pub fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Acquire)
    }

    /// Behind a commit whose callers have been answered: has the log moved where it is due.
    pub fn after_commit(&mut self, writer: &Connection) {
        let pages = self.shared.log.load(Ordering::Relaxed);
        if pages < self.pages {
            // The log has begun anew.
            (self.due, self.overdue) = (LOG_PAGES, MOST_LOG_PAGES);
        }
        self.pages = pages;
        let moved = self.shared.moved.swap(0, Ordering::AcqRel);
        let little_is_left = moved > 0 && pages.saturating_sub(moved) <= LAST_PAGES;
        if little_is_left || pages >= self.overdue {
            // Where a reader holds the log, it is of no use to try again soon.
            self.overdue = pages.max(MOST_LOG_PAGES) + LOG_PAGES;
            let _paused = self.pause();
            if let Err(error) = checkpoint(writer) {
                self.shared.note(&error);
            }
        } else if moved > 0 || pages >= self.due {
            self.due = pages + LOG_PAGES;
            // Where it has been woken already, it works, and what it leaves is looked at afterwards.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
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

/// Moves what readers do not hold back, without waiting for anybody, and tells how many pages of the
/// log are moved by now.
fn checkpoint(connection: &Connection) -> Result<usize> {
    const MOVING: &str = "to move its log into the file";
    let mut statement = connection.prepare("PRAGMA wal_checkpoint(PASSIVE)").map_err(failed(MOVING))?;
    let mut rows = statement.query([]).map_err(failed(MOVING))?;
    let mut moved = 0;
    while let Some(row) = rows.next().map_err(failed(MOVING))? {
        let pages: i64 = row.get(2).map_err(failed(MOVING))?;
        // None at all where another process is at it.
        moved = usize::try_from(pages).unwrap_or(0);
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::sqlite::open::{self, Connections};
    use crate::store::options::StoreOptions;

    /// Commits of a few pages each, and the most pages that the log had.
    fn commit(writer: &Connection, checkpointer: &mut Checkpointer, commits: usize) -> usize {
        let insert = "INSERT INTO profile VALUES (1, hex(randomblob(8)), hex(zeroblob(20000)), 0, 0, 0)";
        let mut most = 0;
        for _ in 0..commits {
            writer.execute(insert, []).unwrap();
            checkpointer.after_commit(writer);
            most = most.max(checkpointer.pages);
        }
        assert!(!checkpointer.is_broken());
        most
    }

    fn opened(directory: &tempfile::TempDir) -> (Connection, Checkpointer, Vec<Connection>) {
        let path = directory.path().join("p.db");
        let Connections { mut writer, checkpointer, readers, .. } =
            open::open(&path, &StoreOptions::default()).unwrap();
        let checkpointer = Checkpointer::start(&mut writer, checkpointer).unwrap();
        (writer, checkpointer, readers)
    }

    #[test]
    fn the_log_stays_bounded_under_constant_load() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer, _readers) = opened(&directory);
        let most = commit(&writer, &mut checkpointer, 1000);
        assert!(most >= LOG_PAGES, "{most} pages: the test has too little to move");
        assert!(most < MOST_LOG_PAGES + 2 * LOG_PAGES, "{most} pages");
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
        assert!(most > MOST_LOG_PAGES + 2 * LOG_PAGES, "{most} pages");
        assert_eq!(count(&snapshot), 10);
        drop(snapshot);
        // Once more at most before what is due is noticed.
        commit(&writer, &mut checkpointer, 200);
        let most = commit(&writer, &mut checkpointer, 600);
        assert!(most < MOST_LOG_PAGES + 2 * LOG_PAGES, "{most} pages");
        assert_eq!(count(&readers[0]), 1410);
    }
}
