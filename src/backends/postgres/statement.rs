//! The one DML for PostgreSQL and all that speak its dialect.
//!
//! Nothing depends on prepared statements, which a pooler in transaction mode breaks; where the session
//! is the connection's own, those of a fixed text are prepared. No `FOR UPDATE`, which Citus takes on a
//! single shard alone. Rows come in as `VALUES` or, where there are many, as arrays, which are
//! read faster; except on Citus, which takes arrays many times slower, as it asks the coordinator to
//! spread them. Numbers among `VALUES` stand in the text: they need no quoting, and a parameter each
//! would cost more than their digits.

use std::fmt::Write as _;
use std::pin::pin;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::connection::Session;
use super::error::Failure;
use super::group::{Group, RowChange};
use super::row::Sums;
use super::stream::next;
use crate::plan::record::Record;

/// The most rows of one statement that has them as values.
const CHUNK_ROWS: usize = 1000;

/// The most rows of one statement that has them as arrays.
pub(super) const CHUNK_ARRAY_ROWS: usize = 10_000;

/// A statement takes no more rows once their memories come to so many bytes.
pub(super) const CHUNK_BYTES: usize = 8 << 20;

const INTO: &str = "INSERT INTO profile_store.profile AS stored \
    (guru_slug, external_user_id, memory, created_at, updated_at, checksum, created_checksum, expected) ";

const VALUES: &str = "VALUES ";

const ARRAYS: &str = "SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)";

const ON_CONFLICT: &str = " ON CONFLICT (guru_slug, external_user_id) DO UPDATE SET ";

/// What replaces a row by the one proposed. Where the one that is there is not the one expected, or
/// gone, it is an error of the statement: a remainder of 0, for want of a plainer way to raise one.
const REPLACE: &str = "memory = excluded.memory, created_at = excluded.created_at, \
    updated_at = excluded.updated_at, created_checksum = excluded.created_checksum, expected = NULL, \
    checksum = CASE WHEN stored.checksum # stored.created_checksum = excluded.expected THEN excluded.checksum \
    ELSE excluded.checksum % (excluded.checksum - excluded.checksum) END \
    RETURNING CASE WHEN expected IS NOT NULL THEN checksum % (checksum - checksum) END";

/// A statement and its parameters.
pub(super) struct Statement<'a> {
    sql: String,
    /// Whether the text is one of few, in which case it can be prepared.
    fixed: bool,
    params: Vec<(Param<'a>, Type)>,
}

type Param<'a> = Box<dyn ToSql + Sync + 'a>;

/// Rows as an array for each column.
#[derive(Default)]
struct Columns<'a> {
    gurus: Vec<&'a str>,
    ids: Vec<&'a str>,
    memories: Vec<&'a str>,
    created: Vec<i64>,
    updated: Vec<i64>,
    contents: Vec<i64>,
    creations: Vec<i64>,
    expected: Vec<Option<i64>>,
}

impl<'a> Statement<'a> {
    fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), fixed: false, params: Vec::new() }
    }

    fn push(&mut self, sql: std::fmt::Arguments<'_>) {
        self.sql.write_fmt(sql).expect("a string takes all");
    }

    /// The number of the parameter that is this text.
    fn text(&mut self, text: &'a str) -> usize {
        self.params.push((Box::new(text), Type::TEXT));
        self.params.len()
    }

    /// `($guru, $id`, the guru once for all its rows, which follow each other.
    fn key(&mut self, group: &Group<'a>, slot: usize, guru: &mut Option<(&'a str, usize)>) {
        let (slug, id) = group.key(slot);
        let slug = slug.as_str();
        let number = match *guru {
            Some((last, number)) if last == slug => number,
            _ => self.text(slug),
        };
        *guru = Some((slug, number));
        let id = self.text(id.as_str());
        self.push(format_args!("(${number},${id}"));
    }

    /// Stores rows, in the order of the key, which it locks in this order. One that is not what it was
    /// when it was read, a row of the version expected or none, is an error of the statement,
    /// [`is_raced`].
    pub fn store(group: &Group<'a>, changes: &'a [RowChange], arrays: bool) -> Self {
        let mut statement = if arrays { Self::arrays(group, changes) } else { Self::values(group, changes) };
        if !are_new(changes) {
            statement.sql.push_str(ON_CONFLICT);
            statement.sql.push_str(REPLACE);
        }
        statement
    }

    fn arrays(group: &Group<'a>, changes: &'a [RowChange]) -> Self {
        let mut columns = Columns::default();
        for (change, (record, sums)) in records(changes) {
            let (guru, id) = group.key(change.slot);
            columns.gurus.push(guru.as_str());
            columns.ids.push(id.as_str());
            columns.memories.push(record.memory.as_str());
            columns.created.push(record.created_at.as_micros());
            columns.updated.push(record.updated_at.as_micros());
            columns.contents.push(sums.content);
            columns.creations.push(sums.creation);
            columns.expected.push(change.expected);
        }
        let Columns { gurus, ids, memories, created, updated, contents, creations, expected } = columns;
        let params: Vec<(Param<'a>, Type)> = vec![
            (Box::new(gurus), Type::TEXT_ARRAY),
            (Box::new(ids), Type::TEXT_ARRAY),
            (Box::new(memories), Type::TEXT_ARRAY),
            (Box::new(created), Type::INT8_ARRAY),
            (Box::new(updated), Type::INT8_ARRAY),
            (Box::new(contents), Type::INT8_ARRAY),
            (Box::new(creations), Type::INT8_ARRAY),
            (Box::new(expected), Type::INT8_ARRAY),
        ];
        Self { sql: format!("{INTO}{ARRAYS}"), fixed: true, params }
    }

    fn values(group: &Group<'a>, changes: &'a [RowChange]) -> Self {
        let mut statement = Self::new(INTO);
        statement.sql.push_str(VALUES);
        let mut guru = None;
        for (at, (change, (record, sums))) in records(changes).enumerate() {
            if at > 0 {
                statement.sql.push(',');
            }
            statement.key(group, change.slot, &mut guru);
            let Record { memory, created_at, updated_at } = record;
            let memory = statement.text(memory.as_str());
            let (created, updated) = (created_at.as_micros(), updated_at.as_micros());
            let Sums { content, creation } = sums;
            statement.push(format_args!(",${memory},{created},{updated},{content},{creation},"));
            match change.expected {
                Some(expected) => statement.push(format_args!("{expected})")),
                None => statement.sql.push_str("NULL)"),
            }
        }
        statement
    }

    /// Locks the keys of changes, in their order, those without a row by a placeholder.
    pub fn lock(group: &Group<'a>, changes: &[RowChange]) -> Self {
        let mut statement = Self::new(INTO);
        statement.sql.push_str(VALUES);
        let mut guru = None;
        for (at, change) in changes.iter().enumerate() {
            if at > 0 {
                statement.sql.push(',');
            }
            statement.key(group, change.slot, &mut guru);
            statement.sql.push_str(",'',0,0,0,0,0)");
        }
        statement.sql.push_str(ON_CONFLICT);
        // Never true, but the row has been locked by then.
        statement.sql.push_str("expected = NULL WHERE stored.checksum IS NULL");
        statement
    }

    /// Makes a single change by itself, if the row is still what it was when it was read.
    pub fn single(group: &Group<'a>, change: &'a RowChange, arrays: bool) -> Self {
        let (Some(expected), (guru, id)) = (change.expected, group.key(change.slot)) else {
            return Self::store(group, std::slice::from_ref(change), arrays);
        };
        let mut params: Vec<(Param<'a>, Type)> = vec![
            (Box::new(guru.as_str()), Type::TEXT),
            (Box::new(id.as_str()), Type::TEXT),
            (Box::new(expected), Type::INT8),
        ];
        let change = match &change.record {
            Some((Record { memory, created_at, updated_at }, sums)) => {
                params.push((Box::new(memory.as_str()), Type::TEXT));
                params.push((Box::new(created_at.as_micros()), Type::INT8));
                params.push((Box::new(updated_at.as_micros()), Type::INT8));
                params.push((Box::new(sums.content), Type::INT8));
                params.push((Box::new(sums.creation), Type::INT8));
                "UPDATE profile_store.profile \
                 SET memory = $4, created_at = $5, updated_at = $6, checksum = $7, created_checksum = $8"
            }
            None => "DELETE FROM profile_store.profile",
        };
        let sql = format!(
            "{change} WHERE guru_slug = $1 AND external_user_id = $2 AND checksum # created_checksum = $3"
        );
        Self { sql, fixed: true, params }
    }

    /// Removes rows that are locked.
    pub fn remove(group: &Group<'a>, changes: &[&RowChange]) -> Self {
        let mut statement = Self::new("DELETE FROM profile_store.profile WHERE ");
        let mut last = None;
        for change in changes {
            let (guru, id) = group.key(change.slot);
            if last != Some(guru) {
                let before = if last.is_none() { "" } else { ") OR " };
                let number = statement.text(guru.as_str());
                statement.push(format_args!("{before}guru_slug = ${number} AND external_user_id IN ("));
            }
            let comma = if last == Some(guru) { "," } else { "" };
            let number = statement.text(id.as_str());
            statement.push(format_args!("{comma}${number}"));
            last = Some(guru);
        }
        statement.sql.push(')');
        statement
    }

    /// Runs it and tells how many rows it has written.
    pub async fn run(self, session: &Session) -> Result<u64, Failure> {
        let params: Vec<(&(dyn ToSql + Sync), Type)> =
            self.params.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect();
        let rows = if self.fixed {
            session.run_fixed(&self.sql, &params).await
        } else {
            session.client.query_typed_raw(&self.sql, params).await
        };
        let mut rows = pin!(rows?);
        while next(rows.as_mut()).await?.is_some() {}
        Ok(rows.rows_affected().unwrap_or(0))
    }
}

/// Whether all changes store rows where there were none.
fn are_new(changes: &[RowChange]) -> bool {
    changes.iter().all(|change| change.record.is_some() && change.expected.is_none())
}

/// Whether a statement failed because a row is not what it was when it was read: a new one is there
/// already, or [`REPLACE`] says so.
pub(super) fn is_raced(failure: &Failure) -> bool {
    let Failure::Server(error) = failure else { return false };
    matches!(error.code(), Some(&SqlState::UNIQUE_VIOLATION | &SqlState::DIVISION_BY_ZERO))
}

/// The rows to be stored.
fn records(changes: &[RowChange]) -> impl Iterator<Item = (&RowChange, &(Record, Sums))> {
    changes.iter().filter_map(|change| change.record.as_ref().map(|record| (change, record)))
}

/// Splits changes into what one statement takes.
pub(super) fn chunks(changes: &[RowChange], arrays: bool) -> Vec<&[RowChange]> {
    let rows = if arrays { CHUNK_ARRAY_ROWS } else { CHUNK_ROWS };
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        let more = change.record.as_ref().map_or(0, |(record, _)| record.memory.as_str().len());
        if at - start == rows || (at > start && bytes + more > CHUNK_BYTES) {
            chunks.push(&changes[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    if start < changes.len() {
        chunks.push(&changes[start..]);
    }
    chunks
}
