//! What the commit thread does with its connection, and no longer does after a failed sync.
//!
//! Statements are stepped to their end and commits are explicit, so that no error of a sync is lost on
//! the way.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;

use super::checkpointer::Checkpointer;
use super::error::{failed, is_failed_sync};
use super::open::pragma;
use super::transaction;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::StoreOptions;

/// The engine behind [`GroupCommit`](crate::engine::group_commit::GroupCommit).
pub(super) struct Writer {
    // It goes first, and leaves the log to the connection.
    checkpointer: Checkpointer,
    connection: Connection,
    clock: Clock,
    /// A sync has failed: nothing is acknowledged any more.
    broken: bool,
}

impl Engine for Writer {
    fn commit(&mut self, group: &[&Task]) -> Result<Vec<Result<Done>>> {
        self.guarded(|Self { connection, clock, .. }| transaction::commit(connection, clock, group))
    }

    fn keep(&mut self, upkeep: Upkeep) -> Result<()> {
        self.guarded(|writer| match upkeep {
            Upkeep::Compact => writer.compact(),
            Upkeep::Probe => writer.probe(),
        })
    }

    fn rest(&mut self) {
        if !self.is_broken() {
            self.checkpointer.after_commit(&self.connection);
        }
    }

    fn close(self) -> Result<()> {
        const CLOSING: &str = "to close";
        let broken = self.is_broken();
        drop(self.checkpointer);
        if broken {
            // What the log holds is for recovery to judge, not for this connection.
            let keep = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            keep.map_err(failed(CLOSING))?;
        } else {
            // Reports that others still read are no failure: the last of them clears the log away.
            pragma(&self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed(CLOSING))?;
        }
        self.connection.close().map_err(|(_, error)| failed(CLOSING)(error))
    }

    fn abandon(self) {
        // Dropping it rolls back. The log stays as it is, for the next opening to recover; if even
        // asking for that fails, what is moved out of it is committed all the same.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

impl Writer {
    pub fn new(mut connection: Connection, checkpointer: Connection, options: &StoreOptions) -> Result<Self> {
        let checkpointer = Checkpointer::start(&mut connection, checkpointer, options.log_bytes())?;
        let clock = options.clock().clone();
        Ok(Self { checkpointer, connection, clock, broken: false })
    }

    fn is_broken(&self) -> bool {
        self.broken || self.checkpointer.is_broken()
    }

    /// Works, unless a sync has failed before, and leaves no transaction open.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.is_broken() {
            let message = "a sync of the SQLite store has failed: open the store again";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        let result = work(self).map_err(|error| {
            let unsettled = is_failed_sync(&error);
            self.broken |= unsettled;
            error.with_may_be_stored(unsettled)
        });
        if result.is_err() {
            if !self.connection.is_autocommit() {
                // If even this fails, the connection is of no use any more.
                self.broken |= pragma(&self.connection, "ROLLBACK").is_err();
            }
        }
        result
    }

    /// Rebuilds the file without its free room, and cuts the log, which holds older pages.
    fn compact(&self) -> Result<()> {
        const COMPACTING: &str = "to compact";
        // Where another checkpoint is under way, SQLite does not wait for it.
        let _paused = self.checkpointer.pause();
        pragma(&self.connection, "VACUUM").map_err(failed(COMPACTING))?;
        match pragma(&self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed(COMPACTING))? {
            Value::Integer(0) => Ok(()),
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
