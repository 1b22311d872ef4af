//! Rows as they stand in the tables, verified as they are read (S12).

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row};

use super::error::failed;
use crate::engine::checksum;
use crate::engine::record::StoredRecord;
use crate::model::error::{Error, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::plan::record::RecordRef;

pub(super) const READING: &str = "to read";

/// What [`GuruRow::read`] reads.
pub(super) const SELECT_GURU: &str = "SELECT id, profiles, checksum FROM guru WHERE slug = ?1";

pub(super) fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<CachedStatement<'c>> {
    connection.prepare_cached(sql).map_err(failed(READING))
}

/// Reads the columns from `first` on: memory, created_at, updated_at, checksum.
pub(super) fn verify<'r>(guru: &GuruSlug, id: &str, row: &'r Row<'_>, first: usize) -> Result<RecordRef<'r>> {
    let corrupt = |what| Error::corrupt_record(guru.as_str(), id, what);
    let column = |at: usize| {
        row.get_ref(first + at).map_err(|source| corrupt("a column is missing").with_source(source))
    };
    let (
        ValueRef::Text(memory),
        ValueRef::Integer(created_at),
        ValueRef::Integer(updated_at),
        ValueRef::Integer(sum),
    ) = (column(0)?, column(1)?, column(2)?, column(3)?)
    else {
        return Err(corrupt("a column has the wrong type"));
    };
    let record = StoredRecord { guru: guru.as_str(), id, memory, created_at, updated_at };
    record.verify(sum.cast_unsigned())
}

/// The profile in a row that [`verify`] accepts.
pub(super) fn profile(guru: &GuruSlug, id: ExternalUserId, row: &Row<'_>, first: usize) -> Result<Profile> {
    Ok(verify(guru, id.as_str(), row, first)?.into_profile(id))
}

/// A guru's row: its key and the number of its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GuruRow {
    pub key: i64,
    pub profiles: u64,
}

impl GuruRow {
    /// The columns id, profiles, checksum, verified.
    pub(super) fn read(slug: &str, row: &Row<'_>) -> Result<Self> {
        let corrupt = |what| Error::corrupt_guru(slug, what);
        let integer = |at: usize| {
            row.get::<_, i64>(at).map_err(|source| corrupt("a column is wrong").with_source(source))
        };
        let (key, profiles, sum) = (integer(0)?, integer(1)?.cast_unsigned(), integer(2)?);
        if checksum::of_guru(slug, key, profiles).cast_signed() != sum {
            return Err(corrupt("its checksum does not match"));
        }
        Ok(Self { key, profiles })
    }
}
