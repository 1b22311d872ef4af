//! The commit thread's work with its connection, which ends after a failed sync.
//!
//! Statements are stepped to their end and commits are explicit, so that no error of a sync is lost on
//! the way.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;

use super::checkpointer::Checkpointer;
use super::emptying::{self, Emptying};
use super::error::{failed, is_failed_index, is_failed_sync};
use super::open::{STEP, pragma, wait_for_locks};
use super::{transaction, upkeep};
use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::engine::identity::Opened;
use crate::engine::threaded::LogBytes;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::timestamp::Timestamp;
use crate::store::options::StoreOptions;

/// The engine under [`GroupCommit`](crate::engine::group_commit::GroupCommit).
pub(super) struct Writer {
    // It goes first, and leaves the log to the connection.
    checkpointer: Checkpointer,
    connection: Connection,
    opened: Opened,
    /// A deleted guru may have left rows.
    to_empty: bool,
    emptying: Emptying,
    /// Tripped by a failed sync: nothing is acknowledged any more.
    breaker: Breaker,
}

impl Engine for Writer {
    fn commit(&mut self, group: &[(&Task, Timestamp)], _: Deadline) -> Result<Vec<Result<Done>>> {
        self.to_empty |= group.iter().any(|(task, _)| matches!(task, Task::DeleteGuru { .. }));
        self.opened.check(&self.breaker)?;
        self.tidied(|writer| transaction::commit(&writer.connection, group))
    }

    fn upkeep(&mut self, upkeep: Upkeep, until: Deadline) -> Result<()> {
        self.opened.check(&self.breaker)?;
        wait_for_locks(&self.connection, until.remaining())?;
        let kept = self.tidied(|writer| match upkeep {
            Upkeep::Compact => writer.compact(),
            Upkeep::Probe => writer.probe(),
        });
        wait_for_locks(&self.connection, STEP)?;
        kept
    }

    fn rest(&mut self) -> Result<bool> {
        self.checkpointer.after_commit(&self.connection);
        if self.to_empty {
            // After a failure, such as a foreign lock, there is still something to remove.
            self.to_empty = self.tidied(|writer| writer.emptying.step(&writer.connection))?;
        }
        Ok(self.to_empty)
    }

    fn close(self) -> Result<()> {
        const CLOSING: &str = "to close";
        let Self { checkpointer, connection, breaker, opened, .. } = self;
        drop(checkpointer);
        if let Err(error) = breaker.check().and_then(|()| opened.check(&breaker)) {
            // The last pass over the log has failed to sync, and the log is for recovery to judge; or the files are gone.
            leave_log(&connection);
            return Err(error);
        }
        // Reports that others still read are no failure: the last of them clears the log away.
        let moved = pragma(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").map(drop).map_err(failed(CLOSING));
        if moved.is_err() {
            // SQLite would move the log once more as it closes, over pages that a failed sync has lost.
            leave_log(&connection);
        }
        moved.and(connection.close().map_err(|(_, error)| failed(CLOSING)(error)))
    }

    /// Dropping it rolls back.
    fn abandon(self) {
        leave_log(&self.connection);
    }
}

impl Writer {
    pub fn new(
        mut connection: Connection,
        checkpointer: Connection,
        opened: Opened,
        options: &StoreOptions,
        breaker: &Breaker,
        log_bytes: &LogBytes,
    ) -> Result<Self> {
        let checkpointer = Checkpointer::start(&mut connection, checkpointer, options, breaker, log_bytes)?;
        // An earlier process may have left something.
        let (to_empty, emptying, breaker) = (true, Emptying::default(), breaker.clone());
        Ok(Self { checkpointer, connection, opened, to_empty, emptying, breaker })
    }

    /// Works, and leaves no transaction open. Trips the breaker if a sync has failed.
    fn tidied<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = work(self).map_err(|error| {
            let is_unsynced = is_failed_sync(&error);
            if is_unsynced {
                self.breaker.trip(&error);
            }
            let may_be_stored = is_unsynced || is_failed_index(&error);
            error.with_may_be_stored(may_be_stored)
        });
        if result.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = pragma(&self.connection, "ROLLBACK").map_err(failed("to roll back"))
        {
            // The connection is of no use any more.
            self.breaker.trip(&error);
        }
        result
    }

    /// Rebuilds the file without its free room, and cuts the log, which holds older pages.
    fn compact(&mut self) -> Result<()> {
        const COMPACTING: &str = "to compact";
        // What is damaged does not keep the rest from being removed; it is reported in the end (L3).
        let mut damage = None;
        self.emptying = Emptying::default();
        loop {
            let passed_over = self.emptying.passed_over();
            match self.emptying.step(&self.connection) {
                Ok(true) => {}
                Ok(false) => break,
                // The next steps pass over this damage.
                Err(error) if self.emptying.passed_over() > passed_over => {
                    if !self.connection.is_autocommit() {
                        pragma(&self.connection, "ROLLBACK").map_err(failed(COMPACTING))?;
                    }
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        pragma(&self.connection, "BEGIN IMMEDIATE").map_err(failed(COMPACTING))?;
        damage = damage.or(upkeep::recount(&self.connection)?);
        pragma(&self.connection, "COMMIT").map_err(failed(COMPACTING))?;
        // SQLite does not wait for another checkpoint that is under way.
        let _paused = self.checkpointer.pause();
        match pragma(&self.connection, "VACUUM").map_err(failed(COMPACTING)) {
            // It can't copy a row that it can't read.
            Err(error) if error.kind() == ErrorKind::Corrupt => damage = damage.or(Some(error)),
            rebuilt => drop(rebuilt?),
        }
        match pragma(&self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed(COMPACTING))? {
            Value::Integer(0) => {
                self.checkpointer.log_is_cut();
                // The rows of a damaged mark are still there (L3).
                match damage.or(emptying::find_mark(&self.connection, Result::err)?) {
                    Some(error) => Err(error),
                    None => Ok(()),
                }
            }
            _ => {
                let message =
                    "others read the SQLite store for too long for its log to be cut: compact again";
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Writes the first page as it is: SQLite does not look whether a header field changes.
    fn probe(&self) -> Result<()> {
        const PROBING: &str = "to write a probe";
        let run = |sql: &str| pragma(&self.connection, sql).map_err(failed(PROBING));
        run("BEGIN IMMEDIATE")?;
        let Value::Integer(version) = run("PRAGMA user_version")? else {
            unreachable!("this pragma gives an integer")
        };
        run(&format!("PRAGMA user_version = {version}"))?;
        run("COMMIT").map(drop)
    }
}

/// Closing leaves the log as it is, for the next opening to recover. If even asking for that fails, what is
/// moved out of the log was committed.
fn leave_log(connection: &Connection) {
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}
