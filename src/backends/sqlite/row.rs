//! Rows as they stand in the tables, verified as they are read (S12).

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, Row, params};

use super::error::failed;
use crate::engine::checksum;
use crate::engine::record::StoredRecord;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::plan::record::RecordRef;

pub(super) const READING: &str = "to read";

/// A profile that is in the index alone.
pub(super) const NO_ROW: &str = "the index has no row for it";

/// The columns that [`GuruRow::read`] reads, for all gurus.
pub(super) const SELECT_GURUS: &str = "SELECT id, checksum, profiles, profiles_checksum, slug FROM guru";

/// The same of one guru.
const SELECT_GURU: &str = "SELECT id, checksum, profiles, profiles_checksum, slug FROM guru WHERE slug = ?1";

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

/// For the error of a statement about one profile: if SQLite finds damage then, it is this record's.
pub(super) fn unreadable(guru: &GuruSlug, id: &str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| of_record(guru, id, failed(READING)(source))
}

/// The error of a statement about one profile, by its names if it is damage.
pub(super) fn of_record(guru: &GuruSlug, id: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => {
            let what = "SQLite can't read it";
            Error::corrupt_record(guru.as_str(), id, what).with_source(error)
        }
        _ => error,
    }
}

/// Whether the file has triggers. A transaction that has begun to write keeps others from making some.
pub(super) fn is_watched(connection: &Connection) -> Result<bool> {
    let mut select =
        prepare(connection, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger')")?;
    select.query_row([], |row| row.get(0)).map_err(failed(READING))
}

/// The bytes of a text, which need not be UTF-8; none of what is no text.
pub(super) fn bytes<'r>(row: &'r Row<'_>, at: usize) -> &'r [u8] {
    match row.get_ref(at) {
        Ok(ValueRef::Text(text)) => text,
        _ => &[],
    }
}

/// The profile in a row that [`verify`] accepts.
pub(super) fn profile(guru: &GuruSlug, id: ExternalUserId, row: &Row<'_>, first: usize) -> Result<Profile> {
    Ok(verify(guru, id.as_str(), row, first)?.into_profile(id))
}

/// How many profiles a guru has, as its row says. That decides nothing but answers to "how many": whether
/// a profile is there is always looked up (S12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    Known(u64),
    /// To be counted.
    Unknown,
    /// It does not match its checksum.
    Damaged,
}

impl Tally {
    /// After a change by so many. A number that would be negative was wrong before.
    pub fn grown(self, by: i64) -> Self {
        match self {
            Self::Known(profiles) => profiles.checked_add_signed(by).map_or(Self::Unknown, Self::Known),
            Self::Unknown | Self::Damaged => Self::Unknown,
        }
    }

    /// As recorded, or as counted in the transaction that the row was read in.
    pub fn or_counted(self, connection: &Connection, key: i64) -> Result<u64> {
        match self {
            Self::Known(profiles) => Ok(profiles),
            Self::Unknown | Self::Damaged => {
                let mut count = prepare(connection, "SELECT count(*) FROM profile WHERE guru = ?1")?;
                count.query_row([key], |row| row.get(0)).map(i64::cast_unsigned).map_err(failed(READING))
            }
        }
    }
}

/// A guru's row: its key and the number of its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GuruRow {
    pub key: i64,
    pub profiles: Tally,
}

impl GuruRow {
    /// A row of [`SELECT_GURUS`], its key verified.
    pub fn read(slug: &str, row: &Row<'_>) -> Result<Self> {
        let key = verified_key(slug, row, 0)?;
        let number = |at: usize| match row.get_ref(at) {
            Ok(ValueRef::Integer(number)) => Some(number.cast_unsigned()),
            _ => None,
        };
        let profiles = match (number(2), number(3)) {
            (Some(profiles), Some(sum)) if checksum::of_guru(slug, key, profiles) == sum => {
                Tally::Known(profiles)
            }
            (None, None) => Tally::Unknown,
            _ => Tally::Damaged,
        };
        Ok(Self { key, profiles })
    }

    /// The columns profiles and profiles_checksum as they are to be stored.
    fn number(self, slug: &str) -> (Option<i64>, Option<i64>) {
        let Tally::Known(profiles) = self.profiles else { return (None, None) };
        let sum = checksum::of_guru(slug, self.key, profiles);
        (Some(profiles.cast_signed()), Some(sum.cast_signed()))
    }

    pub fn insert(self, connection: &Connection, slug: &str) -> Result<()> {
        let (profiles, sum) = self.number(slug);
        let key_sum = checksum::of_key(slug, self.key).cast_signed();
        execute_one(
            connection,
            "INSERT INTO guru (id, slug, checksum, profiles, profiles_checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![self.key, slug, key_sum, profiles, sum],
        )
    }

    /// Writes the number of the row that is there.
    pub fn update(self, connection: &Connection, slug: &str) -> Result<()> {
        let (profiles, sum) = self.number(slug);
        execute_one(
            connection,
            "UPDATE guru SET profiles = ?2, profiles_checksum = ?3 WHERE id = ?1",
            params![self.key, profiles, sum],
        )
    }

    /// Whether the index has a profile of it.
    pub fn has_profiles(self, connection: &Connection) -> Result<bool> {
        let mut select = prepare(connection, "SELECT EXISTS (SELECT 1 FROM profile WHERE guru = ?1)")?;
        select.query_row([self.key], |row| row.get(0)).map_err(failed(READING))
    }

    pub fn delete(self, connection: &Connection) -> Result<()> {
        execute_one(connection, "DELETE FROM guru WHERE id = ?1", [self.key])
    }
}

/// A guru's key, verified: the columns id and checksum from `first` on.
pub(super) fn verified_key(slug: &str, row: &Row<'_>, first: usize) -> Result<i64> {
    let corrupt = |what| Error::corrupt_guru(slug, what);
    let integer = |at: usize| {
        row.get::<_, i64>(first + at).map_err(|source| corrupt("a column is wrong").with_source(source))
    };
    let (key, sum) = (integer(0)?, integer(1)?);
    if checksum::of_key(slug, key).cast_signed() != sum {
        return Err(corrupt("its checksum does not match"));
    }
    Ok(key)
}

/// The guru's row, as the transaction sees it.
pub(super) fn guru(connection: &Connection, guru: &GuruSlug) -> Result<Option<GuruRow>> {
    let mut select = prepare(connection, SELECT_GURU)?;
    let row = select.query_row([guru.as_str()], |row| Ok(GuruRow::read(guru.as_str(), row)));
    row.optional().map_err(failed(READING))?.transpose()
}

/// Runs a statement that writes one row. A trigger that somebody has put into the file may leave it out, and
/// SQLite calls that a success.
pub(super) fn execute_one(connection: &Connection, sql: &str, params: impl Params) -> Result<()> {
    match prepare(connection, sql)?.execute(params).map_err(failed("to write"))? {
        1 => Ok(()),
        rows => {
            let message = format!(
                "the SQLite file took {rows} rows where one was written: it has a trigger that leaves rows out"
            );
            Err(Error::new(ErrorKind::Incompatible, message))
        }
    }
}
