//! Removing what deleted gurus have left, a bounded step at a time.
//!
//! Deleting a guru removes its row, so that no read finds its profiles, and leaves a mark with its key: one
//! small step, whatever its size. The rows are removed afterwards, so that nobody waits for all of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::failed;
use super::row::{execute_one, is_watched, prepare};
use crate::engine::checksum;
use crate::model::error::{Error, ErrorKind, Result};

const EMPTYING: &str = "to remove what a deleted guru has left";

/// How long a step removes rows, about. Writes wait that long, and for its commit.
const STEP: Duration = Duration::from_millis(10);

/// Rows that are removed between two looks at the time.
const ROWS: u32 = 20;

/// A mark's checksum. No guru has the empty slug.
fn sum(key: i64) -> i64 {
    checksum::of_key("", key).cast_signed()
}

/// Notes that the rows under `key` are nobody's any more.
pub(super) fn mark(connection: &Connection, key: i64) -> Result<()> {
    execute_one(connection, "INSERT INTO emptied (guru, checksum) VALUES (?1, ?2)", params![key, sum(key)])
}

/// Gives `visit` the marked keys until it gives something. One with a damaged mark, or that a guru has, is
/// an error (S12).
pub(super) fn find_mark<T>(
    connection: &Connection,
    mut visit: impl FnMut(Result<i64>) -> Option<T>,
) -> Result<Option<T>> {
    let mut select = prepare(
        connection,
        "SELECT guru, checksum, EXISTS (SELECT 1 FROM guru WHERE id = emptied.guru) FROM emptied ORDER BY guru",
    )?;
    let mut rows = select.query([]).map_err(failed(EMPTYING))?;
    while let Some(row) = rows.next().map_err(failed(EMPTYING))? {
        let mark = || Ok((row.get(0)?, row.get_ref(1)?, row.get(2)?));
        let (key, found, is_used): (i64, ValueRef<'_>, bool) = mark().map_err(failed(EMPTYING))?;
        let mark = if found == ValueRef::Integer(sum(key)) && !is_used {
            Ok(key)
        } else {
            Err(Error::new(ErrorKind::Corrupt, format!("the mark of a deleted guru, key {key}, is damaged")))
        };
        if let Some(found) = visit(mark) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether there is such a mark.
pub(super) fn is_marked(connection: &Connection, key: i64) -> Result<bool> {
    let mut select =
        prepare(connection, "SELECT EXISTS (SELECT 1 FROM emptied WHERE guru = ?1 AND checksum = ?2)")?;
    select.query_row([key, sum(key)], |row| row.get(0)).map_err(failed(EMPTYING))
}

/// The work of the commit thread between the writes.
#[derive(Default)]
pub(super) struct Emptying {
    /// Keys with rows that SQLite can't remove, as they or their index are damaged. The others' are removed.
    stuck: BTreeSet<i64>,
    /// Something is damaged: a transaction that meets it can't commit what it has done before.
    one_at_a_time: bool,
}

impl Emptying {
    /// How often damage was met that later steps pass over.
    pub fn passed_over(&self) -> usize {
        self.stuck.len() + usize::from(self.one_at_a_time)
    }

    /// Removes some rows durably, and gives whether there may be more. After an error the transaction may still
    /// be open.
    pub fn step(&mut self, connection: &Connection) -> Result<bool> {
        let step = self.attempt(connection);
        self.one_at_a_time |= step.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt);
        step
    }

    fn attempt(&mut self, connection: &Connection) -> Result<bool> {
        // The guru of a damaged mark is not known; a scrub reports the mark.
        let find = |stuck: &BTreeSet<i64>| {
            find_mark(connection, |mark| mark.ok().filter(|key| !stuck.contains(key)))
        };
        let run = |sql| prepare(connection, sql)?.execute([]).map_err(failed(EMPTYING));
        let mut next = find(&self.stuck)?;
        if next.is_none() {
            return Ok(false);
        }
        run("BEGIN IMMEDIATE")?;
        let start = Instant::now();
        while let Some(key) = next {
            if let Err(error) = remove(connection, key) {
                if error.kind() == ErrorKind::Corrupt {
                    self.stuck.insert(key);
                }
                return Err(error);
            }
            if self.one_at_a_time || start.elapsed() >= STEP {
                break;
            }
            next = find(&self.stuck)?;
        }
        run("COMMIT")?;
        Ok(next.is_some())
    }
}

/// Removes rows of a key, and its mark once none is left.
fn remove(connection: &Connection, key: i64) -> Result<()> {
    let mut first = prepare(connection, "SELECT external_user_id FROM profile WHERE guru = ?1 LIMIT 1")?;
    let mut first = || {
        let id = first.query_row([key], |row| row.get::<_, Value>(0));
        id.optional().map_err(failed(EMPTYING))
    };
    let mut delete = prepare(
        connection,
        "DELETE FROM profile WHERE rowid IN (SELECT rowid FROM profile WHERE guru = ?1 LIMIT ?2)",
    )?;
    let before = first()?;
    delete.execute(params![key, ROWS]).map_err(failed(EMPTYING))?;
    let after = first()?;
    if after.is_none() {
        return execute_one(connection, "DELETE FROM emptied WHERE guru = ?1", [key]);
    }
    // Rows go in the order of their ids.
    if after != before {
        return Ok(());
    }
    Err(if is_watched(connection)? {
        let message = "the SQLite file has a trigger that keeps rows of a deleted guru";
        Error::new(ErrorKind::Incompatible, message)
    } else {
        let message = format!("the index has profiles of a deleted guru, key {key}, that the table lacks");
        Error::new(ErrorKind::Corrupt, message)
    })
}
