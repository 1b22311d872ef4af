//! The commit thread's transaction.
//!
//! `BEGIN IMMEDIATE`, the writes of the group each inside a savepoint, `COMMIT`. Statements are
//! stepped to their end and the commit is explicit, so that no error of a sync is lost on the way.

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, params};

use super::checkpointer::Checkpointer;
use super::error::{failed, is_failed_sync};
use super::file::pragma;
use super::reader::SELECT_GURU;
use super::row::{self, GuruRow};
use crate::batch::{Applied, Plan, Record, Write, WriteBatch};
use crate::checksum;
use crate::clock::Clock;
use crate::commit::{Done, Engine, Task, Upkeep};
use crate::error::{Error, ErrorKind, Result};
use crate::profile::GuruSlug;

const WRITING: &str = "to write";

/// The engine behind [`Committer`](crate::commit::Committer).
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
        self.guarded(|writer| writer.transaction(group))
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
    pub fn new(mut connection: Connection, checkpointer: Connection, clock: Clock) -> Result<Self> {
        let checkpointer = Checkpointer::start(&mut connection, checkpointer)?;
        Ok(Self { checkpointer, connection, clock, broken: false })
    }

    fn is_broken(&self) -> bool {
        self.broken || self.checkpointer.is_broken()
    }

    /// Works, unless a sync has failed before, and leaves no transaction open.
    fn guarded<T>(&mut self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        if self.is_broken() {
            let message = "a sync of the SQLite store has failed: open the store again";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        let result = work(self);
        if let Err(error) = &result {
            self.broken |= is_failed_sync(error);
            if !self.connection.is_autocommit() {
                // If even this fails, the connection is of no use any more.
                self.broken |= self.execute("ROLLBACK", []).is_err();
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

    fn transaction(&self, group: &[&Task]) -> Result<Vec<Result<Done>>> {
        self.execute("BEGIN IMMEDIATE", [])?;
        let mut results = Vec::with_capacity(group.len());
        for task in group {
            if group.len() == 1 {
                results.push(Ok(self.run(task)?));
                break;
            }
            self.execute("SAVEPOINT task", [])?;
            let result = self.run(task);
            if result.is_err() {
                if self.connection.is_autocommit() {
                    // SQLite has rolled everything back (disk full, I/O error): nobody is stored.
                    return result.map(|_| Vec::new());
                }
                self.execute("ROLLBACK TO task", [])?;
            }
            self.execute("RELEASE task", [])?;
            results.push(result);
        }
        self.execute("COMMIT", [])?;
        Ok(results)
    }

    fn run(&self, task: &Task) -> Result<Done> {
        match task {
            Task::Apply { guru, batch } => self.apply(guru, batch).map(Done::Applied),
            Task::DeleteGuru { guru } => self.delete_guru(guru).map(Done::Deleted),
            Task::Upkeep(_) => unreachable!("upkeep is no part of a group"),
        }
    }

    fn apply(&self, guru: &GuruSlug, batch: &WriteBatch) -> Result<Applied> {
        let stored = self.guru(guru)?;
        let mut plan = batch.plan(self.clock.now());
        // The row of each change, in their order; of an insert, none.
        let mut rowids = Vec::new();
        let mut select = self.prepare(
            "SELECT memory, created_at, updated_at, checksum, rowid FROM profile
             WHERE guru = ?1 AND external_user_id = ?2",
        )?;
        // In the order of the index, so that neighbours are found, and put, on the same pages.
        let mut entries: Vec<_> = batch.entries().collect();
        entries.sort_unstable_by(|one, other| one.id().cmp(other.id()));
        for entry in entries {
            let id = entry.id().as_str();
            let mut rows = match stored {
                Some(guru) => Some(select.query(params![guru.key, id]).map_err(failed(WRITING))?),
                None => None,
            };
            let row = match &mut rows {
                Some(rows) => rows.next().map_err(failed(WRITING))?,
                None => None,
            };
            let changes = plan.changes().len();
            plan.resolve(entry, row.map(|row| row::current(guru, entry, row)).transpose()?);
            if plan.changes().len() > changes {
                rowids.push(row.map(|row| row.get::<_, i64>(4)).transpose().map_err(failed(WRITING))?);
            }
        }
        drop(select);
        if plan.changes().is_empty() {
            return Ok(plan.finish());
        }
        let key = self.grow(guru, stored, &plan)?;
        let mut insert = self.prepare(
            "INSERT INTO profile (guru, external_user_id, memory, created_at, updated_at, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut update = self.prepare(
            "UPDATE profile SET memory = ?2, created_at = ?3, updated_at = ?4, checksum = ?5 WHERE rowid = ?1",
        )?;
        let mut delete = self.prepare("DELETE FROM profile WHERE rowid = ?1")?;
        for (change, rowid) in plan.changes().iter().zip(rowids) {
            let id = change.id.as_str();
            let sum = |record: &Record| {
                let Record { memory, created_at, updated_at } = record;
                checksum::of_profile(guru.as_str(), id, memory.as_str(), *created_at, *updated_at)
                    .cast_signed()
            };
            match &change.write {
                Write::Insert(record) => insert.execute(params![
                    key,
                    id,
                    record.memory.as_str(),
                    record.created_at.as_micros(),
                    record.updated_at.as_micros(),
                    sum(record)
                ]),
                Write::Update(record) => update.execute(params![
                    rowid,
                    record.memory.as_str(),
                    record.created_at.as_micros(),
                    record.updated_at.as_micros(),
                    sum(record)
                ]),
                Write::Delete => delete.execute(params![rowid]),
            }
            .map_err(failed(WRITING))?;
        }
        Ok(plan.finish())
    }

    fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        let Some(stored) = self.guru(guru)? else { return Ok(0) };
        if stored.profiles == 0 {
            return Ok(0);
        }
        let deleted = self.execute("DELETE FROM profile WHERE guru = ?1", [stored.key])?;
        self.set_profiles(guru, stored.key, 0)?;
        Ok(deleted as u64)
    }

    fn guru(&self, guru: &GuruSlug) -> Result<Option<GuruRow>> {
        let mut select = self.prepare(SELECT_GURU)?;
        let row = select.query_row([guru.as_str()], |row| Ok(GuruRow::read(guru.as_str(), row)));
        row.optional().map_err(failed(WRITING))?.transpose()
    }

    /// Moves the guru's number of profiles, and tells its key. A guru not stored yet gets a row.
    fn grow(&self, guru: &GuruSlug, stored: Option<GuruRow>, plan: &Plan<'_>) -> Result<i64> {
        let Some(stored) = stored else {
            let mut next = self.prepare("SELECT coalesce(max(id), 0) + 1 FROM guru")?;
            let key: i64 = next.query_row([], |row| row.get(0)).map_err(failed(WRITING))?;
            let profiles = plan.grown(guru, 0)?;
            let sum = checksum::of_guru(guru.as_str(), key, profiles).cast_signed();
            let insert = "INSERT INTO guru (id, slug, profiles, checksum) VALUES (?1, ?2, ?3, ?4)";
            self.execute(insert, params![key, guru.as_str(), profiles.cast_signed(), sum])?;
            return Ok(key);
        };
        if plan.growth() != 0 {
            self.set_profiles(guru, stored.key, plan.grown(guru, stored.profiles)?)?;
        }
        Ok(stored.key)
    }

    fn set_profiles(&self, guru: &GuruSlug, key: i64, profiles: u64) -> Result<()> {
        let sum = checksum::of_guru(guru.as_str(), key, profiles).cast_signed();
        let update = "UPDATE guru SET profiles = ?2, checksum = ?3 WHERE id = ?1";
        self.execute(update, params![key, profiles.cast_signed(), sum])?;
        Ok(())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql).map_err(failed(WRITING))
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare(sql)?.execute(params).map_err(failed(WRITING))
    }
}
