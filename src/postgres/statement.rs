//! The one DML for PostgreSQL and all that speak its dialect.
//!
//! No prepared statements, which a pooler in transaction mode breaks; no `FOR UPDATE`, which Citus takes
//! on a single shard alone. Rows come in as `VALUES` or, where there are many, as arrays, which are
//! read faster; except on Citus, which takes arrays many times slower, as it asks the coordinator to
//! spread them. Numbers among `VALUES` stand in the text: they need no quoting, and a parameter each
//! would cost more than their digits.

use std::fmt::Write as _;
use std::pin::pin;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::error::Failure;
use super::group::{Group, RowChange};
use super::stream::next;
use crate::batch::Record;

/// The most rows of one statement.
const CHUNK_ROWS: usize = 1000;

/// A statement takes no more rows once their memories come to so many bytes.
const CHUNK_BYTES: usize = 8 << 20;

const INTO: &str = "INSERT INTO profile_store.profile AS stored \
    (guru_slug, external_user_id, memory, created_at, updated_at, checksum, expected) ";

const VALUES: &str = "VALUES ";

const ON_CONFLICT: &str = " ON CONFLICT (guru_slug, external_user_id) DO UPDATE SET ";

/// From so many rows on, arrays are read faster.
const ARRAYS_FROM: usize = 4;

/// A statement and its parameters.
pub(super) struct Statement<'a> {
    sql: String,
    texts: Vec<&'a str>,
    /// Instead of texts.
    columns: Option<Columns<'a>>,
}

/// Rows as an array for each column.
#[derive(Default)]
struct Columns<'a> {
    gurus: Vec<&'a str>,
    ids: Vec<&'a str>,
    memories: Vec<&'a str>,
    created: Vec<i64>,
    updated: Vec<i64>,
    sums: Vec<i64>,
    expected: Vec<Option<i64>>,
}

/// What a statement that stores rows has come to.
pub(super) struct Stored {
    /// Rows written.
    pub rows: u64,
    /// Rows that were to replace one that is gone, and so were written as new.
    pub astray: u64,
}

impl<'a> Statement<'a> {
    fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), texts: Vec::new(), columns: None }
    }

    fn push(&mut self, sql: std::fmt::Arguments<'_>) {
        self.sql.write_fmt(sql).expect("a string takes all");
    }

    /// The number of the parameter that is this text.
    fn text(&mut self, text: &'a str) -> usize {
        self.texts.push(text);
        self.texts.len()
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

    /// Stores rows, in the order of the key, where each is still what it was when it was read: a row
    /// with the checksum expected, or none. It locks them in this order, those that it leaves alone too.
    ///
    /// Where all are new, one that is not new any more is an error of the statement,
    /// [`is_no_longer_new`].
    pub fn store(group: &Group<'a>, changes: &'a [RowChange], arrays: bool) -> Self {
        let mut statement = if arrays && changes.len() >= ARRAYS_FROM {
            Self::arrays(group, changes)
        } else {
            Self::values(group, changes)
        };
        if !are_new(changes) {
            statement.sql.push_str(ON_CONFLICT);
            statement.sql.push_str(
                "memory = excluded.memory, created_at = excluded.created_at, \
                 updated_at = excluded.updated_at, checksum = excluded.checksum, expected = NULL \
                 WHERE stored.checksum = excluded.expected RETURNING expected IS NOT NULL",
            );
        }
        statement
    }

    fn arrays(group: &Group<'a>, changes: &'a [RowChange]) -> Self {
        let mut columns = Columns::default();
        for (change, (record, sum)) in records(changes) {
            let (guru, id) = group.key(change.slot);
            columns.gurus.push(guru.as_str());
            columns.ids.push(id.as_str());
            columns.memories.push(record.memory.as_str());
            columns.created.push(record.created_at.as_micros());
            columns.updated.push(record.updated_at.as_micros());
            columns.sums.push(*sum);
            columns.expected.push(change.expected);
        }
        Self {
            sql: format!("{INTO}SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)"),
            texts: Vec::new(),
            columns: Some(columns),
        }
    }

    fn values(group: &Group<'a>, changes: &'a [RowChange]) -> Self {
        let mut statement = Self::new(INTO);
        statement.sql.push_str(VALUES);
        let mut guru = None;
        for (at, (change, (record, sum))) in records(changes).enumerate() {
            if at > 0 {
                statement.sql.push(',');
            }
            statement.key(group, change.slot, &mut guru);
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
    pub fn lock(group: &Group<'a>, changes: &[RowChange]) -> Self {
        let mut statement = Self::new(INTO);
        statement.sql.push_str(VALUES);
        let mut guru = None;
        for (at, change) in changes.iter().enumerate() {
            if at > 0 {
                statement.sql.push(',');
            }
            statement.key(group, change.slot, &mut guru);
            statement.sql.push_str(",'',0,0,0,0)");
        }
        statement.sql.push_str(ON_CONFLICT);
        // Never true, but the row has been locked by then.
        statement.sql.push_str("expected = NULL WHERE stored.checksum IS NULL");
        statement
    }

    /// Makes a single change by itself, if the row is still what it was when it was read.
    pub fn single(group: &Group<'a>, change: &'a RowChange) -> Self {
        let (Some(expected), (guru, id)) = (change.expected, group.key(change.slot)) else {
            return Self::store(group, std::slice::from_ref(change), false);
        };
        let mut statement = Self::new("");
        let (guru, id) = (statement.text(guru.as_str()), statement.text(id.as_str()));
        match &change.record {
            Some((Record { memory, created_at, updated_at }, sum)) => {
                let memory = statement.text(memory.as_str());
                let (created, updated) = (created_at.as_micros(), updated_at.as_micros());
                statement.push(format_args!(
                    "UPDATE profile_store.profile SET memory = ${memory}, created_at = {created}, \
                     updated_at = {updated}, checksum = {sum}"
                ));
            }
            None => statement.sql.push_str("DELETE FROM profile_store.profile"),
        }
        statement.push(format_args!(
            " WHERE guru_slug = ${guru} AND external_user_id = ${id} AND checksum = {expected}"
        ));
        statement
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
    pub async fn run(self, client: &Client) -> Result<Stored, Failure> {
        let rows = match &self.columns {
            None => {
                let texts = self.texts.iter().map(|text| (*text, Type::TEXT));
                client.query_typed_raw(&self.sql, texts).await?
            }
            Some(columns) => {
                let params: [(&(dyn ToSql + Sync), Type); 7] = [
                    (&columns.gurus, Type::TEXT_ARRAY),
                    (&columns.ids, Type::TEXT_ARRAY),
                    (&columns.memories, Type::TEXT_ARRAY),
                    (&columns.created, Type::INT8_ARRAY),
                    (&columns.updated, Type::INT8_ARRAY),
                    (&columns.sums, Type::INT8_ARRAY),
                    (&columns.expected, Type::INT8_ARRAY),
                ];
                client.query_typed_raw(&self.sql, params).await?
            }
        };
        let mut rows = pin!(rows);
        let mut astray = 0;
        while let Some(row) = next(rows.as_mut()).await? {
            astray += u64::from(row.try_get::<_, bool>(0)?);
        }
        Ok(Stored { rows: rows.rows_affected().unwrap_or(0), astray })
    }
}

/// Whether all changes store rows where there were none.
pub(super) fn are_new(changes: &[RowChange]) -> bool {
    changes.iter().all(|change| change.record.is_some() && change.expected.is_none())
}

/// Whether a statement failed because a row that was to be new is there already.
pub(super) fn is_no_longer_new(failure: &Failure) -> bool {
    matches!(failure, Failure::Server(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
}

/// The rows to be stored.
fn records(changes: &[RowChange]) -> impl Iterator<Item = (&RowChange, &(Record, i64))> {
    changes.iter().filter_map(|change| change.record.as_ref().map(|record| (change, record)))
}

/// Splits changes into what one statement takes.
pub(super) fn chunks(changes: &[RowChange]) -> Vec<&[RowChange]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        let more = change.record.as_ref().map_or(0, |(record, _)| record.memory.as_str().len());
        if at - start == CHUNK_ROWS || (at > start && bytes + more > CHUNK_BYTES) {
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
