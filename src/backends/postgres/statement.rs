//! The SQL that writes profiles, for PostgreSQL and Citus.
//!
//! Nothing depends on prepared statements, which a pooler in transaction mode breaks; if the session is the
//! connection's own, those of a fixed text are prepared. Rows come in as arrays, which are read faster, or as
//! `VALUES`: Citus takes arrays many times slower, as it asks the coordinator to spread them. Numbers among
//! `VALUES` stand in the text: they need no quoting, and a parameter each would cost more than their digits.

use std::fmt::Write as _;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::connection::Session;
use super::error::Failure;
use super::group::{Group, RowChange};
use super::row::{COLUMNS, returning};
use crate::plan::record::Record;

/// The most rows of one statement that has them as values.
const CHUNK_ROWS: usize = 1000;

/// The most rows of one statement that has them as arrays.
const CHUNK_ARRAY_ROWS: usize = 10_000;

/// A statement takes no more rows once their memories come to so many bytes.
const CHUNK_BYTES: usize = 8 << 20;

const INTO: &str = "INSERT INTO profile_store.profile AS stored \
    (guru_slug, external_user_id, memory, created_at, updated_at, checksum, expected) ";

const ARRAYS: &str = "SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)";

/// Replaces a row by the one proposed, if it is still the one that was expected.
const REPLACE: &str = " ON CONFLICT (guru_slug, external_user_id) DO UPDATE SET memory = excluded.memory, \
    created_at = excluded.created_at, updated_at = excluded.updated_at, checksum = excluded.checksum, \
    expected = NULL WHERE stored.checksum = excluded.expected RETURNING ";

/// Never true of a row, which has been locked by then.
const LOCK: &str = " ON CONFLICT (guru_slug, external_user_id) DO UPDATE SET expected = NULL \
    WHERE stored.checksum IS NULL";

/// A statement and its parameters.
pub(super) struct Statement<'a> {
    sql: String,
    /// Whether the text is one of few, in which case it can be prepared.
    fixed: bool,
    params: Vec<(Param<'a>, Type)>,
}

type Param<'a> = Box<dyn ToSql + Sync + 'a>;

impl<'a> Statement<'a> {
    /// Stores rows, in the order of the key, which it locks in this order, and returns those that it has stored. A
    /// row is not touched if it has changed since it was read. One that has vanished since is made, and
    /// comes back with what was expected in its place.
    pub fn store(group: &Group<'a>, changes: &[&'a RowChange], arrays: bool) -> Self {
        let records = changes.iter().filter_map(|change| change.record.as_ref().map(|of| (*change, of)));
        let mut statement = if arrays { Self::arrays(group, records) } else { Self::values(group, records) };
        statement.sql.push_str(REPLACE);
        statement.sql.push_str(&returning(COLUMNS, !arrays));
        statement
    }

    fn arrays(
        group: &Group<'a>,
        records: impl Iterator<Item = (&'a RowChange, &'a (Record, i64))> + Clone,
    ) -> Self {
        fn column<'a, T: ToSql + Sync + 'a>(values: impl Iterator<Item = T>) -> Param<'a> {
            Box::new(values.collect::<Vec<_>>())
        }
        let key = |(change, _): (&RowChange, _)| group.key(change.slot);
        let each = || records.clone();
        let params: Vec<(Param<'a>, Type)> = vec![
            (column(each().map(|row| key(row).0.as_str())), Type::TEXT_ARRAY),
            (column(each().map(|row| key(row).1.as_str())), Type::TEXT_ARRAY),
            (column(each().map(|(_, (record, _))| record.memory.as_str())), Type::TEXT_ARRAY),
            (column(each().map(|(_, (record, _))| record.created_at.as_micros())), Type::INT8_ARRAY),
            (column(each().map(|(_, (record, _))| record.updated_at.as_micros())), Type::INT8_ARRAY),
            (column(each().map(|(_, (_, sum))| *sum)), Type::INT8_ARRAY),
            (column(each().map(|(change, _)| change.expected)), Type::INT8_ARRAY),
        ];
        Self { sql: format!("{INTO}{ARRAYS}"), fixed: true, params }
    }

    fn values(group: &Group<'a>, records: impl Iterator<Item = (&'a RowChange, &'a (Record, i64))>) -> Self {
        let mut statement = Self { sql: format!("{INTO}VALUES "), fixed: false, params: Vec::new() };
        for (at, (change, (record, sum))) in records.enumerate() {
            statement.key(group, change.slot, at);
            let Record { memory, created_at, updated_at } = record;
            let memory = statement.text(memory.as_str());
            let (created, updated) = (created_at.as_micros(), updated_at.as_micros());
            statement.push(format_args!(",${memory},{created},{updated},{sum},"));
            match change.expected {
                Some(expected) => statement.push(format_args!("{expected})")),
                None => statement.sql.push_str("NULL)"),
            }
        }
        statement
    }

    /// Locks the keys of changes, in their order, those without a row by a placeholder.
    pub fn lock(group: &Group<'a>, changes: &[&RowChange]) -> Self {
        let mut statement = Self { sql: format!("{INTO}VALUES "), fixed: false, params: Vec::new() };
        for (at, change) in changes.iter().enumerate() {
            statement.key(group, change.slot, at);
            statement.sql.push_str(",'',0,0,0,0)");
        }
        statement.sql.push_str(LOCK);
        statement
    }

    fn push(&mut self, sql: std::fmt::Arguments<'_>) {
        self.sql.write_fmt(sql).expect("a string takes all");
    }

    /// The number of the parameter that is this text.
    fn text(&mut self, text: &'a str) -> usize {
        self.params.push((Box::new(text), Type::TEXT));
        self.params.len()
    }

    /// `($guru, $id`, the beginning of a row.
    fn key(&mut self, group: &Group<'a>, slot: usize, at: usize) {
        let (guru, id) = group.key(slot);
        let (guru, id) = (self.text(guru.as_str()), self.text(id.as_str()));
        let comma = if at > 0 { "," } else { "" };
        self.push(format_args!("{comma}(${guru},${id}"));
    }

    /// Runs it, and gives the rows that it returns.
    pub async fn run(self, session: &Session) -> Result<Vec<Row>, Failure> {
        let params: Vec<(&(dyn ToSql + Sync), Type)> =
            self.params.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect();
        if self.fixed {
            session.rows(&self.sql, &params).await
        } else {
            Ok(session.client.query_typed(&self.sql, &params).await?)
        }
    }
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
