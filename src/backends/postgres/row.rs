//! Rows as they stand in the table, verified as they are read (S12).

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::engine::checksum;
use crate::engine::record::StoredRecord;
use crate::model::error::{Error, Result};
use crate::model::name::ExternalUserId;
use crate::model::profile::Profile;
use crate::plan::record::{Record, RecordRef};

/// The columns of every row that is read, in this order.
pub(super) const COLUMNS: &str =
    "external_user_id, memory, created_at, updated_at, checksum, created_checksum";

/// The checksums of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub content: i64,
    pub creation: i64,
}

impl Sums {
    /// Those of a placeholder.
    pub const NONE: Self = Self { content: 0, creation: 0 };

    pub fn of(guru: &str, id: &str, record: &Record) -> Self {
        Self::of_ref(guru, id, record.into())
    }

    fn of_ref(guru: &str, id: &str, record: RecordRef<'_>) -> Self {
        let (memory, updated_at) = (record.memory(), record.updated_at());
        Self {
            content: checksum::of_content(guru, id, memory, updated_at).cast_signed(),
            creation: checksum::of_creation(guru, id, record.created_at()).cast_signed(),
        }
    }

    /// What tells one state of a row from the others, as `checksum # created_checksum` does.
    pub fn version(self) -> i64 {
        self.content ^ self.creation
    }
}

/// A column of a guru's row; one of another type, or NULL, is damage.
fn column<'r, T: FromSql<'r>>(guru: &str, id: &str, row: &'r Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(|_| Error::corrupt_record(guru, id, "a column is wrong"))
}

/// The id in a row.
pub(super) fn id<'r>(guru: &str, row: &'r Row) -> Result<&'r str> {
    column(guru, "", row, 0)
}

/// The memory in a row, not verified.
pub(super) fn memory<'r>(guru: &str, id: &str, row: &'r Row) -> Result<&'r str> {
    column(guru, id, row, 1)
}

/// When the profile was made, not verified.
pub(super) fn created_at(guru: &str, id: &str, row: &Row) -> Result<i64> {
    column(guru, id, row, 2)
}

/// The checksums in a row, as they stand there.
pub(super) fn sums(guru: &str, id: &str, row: &Row) -> Result<Sums> {
    Ok(Sums { content: column(guru, id, row, 4)?, creation: column(guru, id, row, 5)? })
}

/// Whether a row that was read with `expected IS NOT NULL` behind the columns is a placeholder.
pub(super) fn is_placeholder(guru: &str, id: &str, row: &Row) -> Result<bool> {
    column(guru, id, row, 6)
}

pub(super) fn verify<'r>(guru: &str, id: &str, row: &'r Row) -> Result<RecordRef<'r>> {
    let (memory, sums) = (memory(guru, id, row)?.as_bytes(), sums(guru, id, row)?);
    let (created_at, updated_at) = (created_at(guru, id, row)?, column(guru, id, row, 3)?);
    let record = StoredRecord { guru, id, memory, created_at, updated_at };
    record.verify_by(|record| Sums::of_ref(guru, id, record) == sums)
}

/// The profile in a row.
pub(super) fn profile(guru: &str, row: &Row) -> Result<Profile> {
    let text = id(guru, row)?;
    let id =
        ExternalUserId::new(text).map_err(|_| Error::corrupt_record(guru, text, "its id can't be one"))?;
    Ok(verify(guru, text, row)?.into_profile(id))
}
