//! Rows as they stand in the table, verified as they are read (S12).

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::batch::{Current, Entry};
use crate::checksum;
use crate::error::{Error, Result};
use crate::profile::{ExternalUserId, GuruSlug, Profile, Timestamp};

/// The columns of every row that is read, in this order.
pub(super) const COLUMNS: &str = "external_user_id, memory, created_at, updated_at, checksum";

/// A column of a guru's row; one of another type, or NULL, is damage.
fn column<'r, T: FromSql<'r>>(guru: &str, id: &str, row: &'r Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(|_| Error::corrupt_record(guru, id, "a column is wrong"))
}

/// The id in a row.
pub(super) fn id<'r>(guru: &str, row: &'r Row) -> Result<&'r str> {
    column(guru, "", row, 0)
}

/// The checksum in a row, as it stands there.
pub(super) fn checksum(guru: &str, id: &str, row: &Row) -> Result<i64> {
    column(guru, id, row, 4)
}

/// Whether a row that was read with `expected IS NOT NULL` behind the columns is a placeholder.
pub(super) fn is_placeholder(guru: &str, id: &str, row: &Row) -> Result<bool> {
    column(guru, id, row, 5)
}

fn verify<'r>(guru: &str, id: &str, row: &'r Row) -> Result<Current<'r>> {
    let memory = column(guru, id, row, 1)?;
    let created_at = Timestamp::from_micros(column(guru, id, row, 2)?);
    let updated_at = Timestamp::from_micros(column(guru, id, row, 3)?);
    if checksum::of_profile(guru, id, memory, created_at, updated_at).cast_signed()
        != checksum(guru, id, row)?
    {
        return Err(Error::corrupt_record(guru, id, "its checksum does not match"));
    }
    Ok(Current::new(memory, created_at, updated_at))
}

/// What a row holds, for an entry to be resolved against.
pub(super) fn current<'r>(guru: &GuruSlug, entry: &Entry, row: &'r Row) -> Result<Current<'r>> {
    entry.current(|| verify(guru.as_str(), entry.id().as_str(), row))
}

/// The profile in a row.
pub(super) fn profile(guru: &str, row: &Row) -> Result<Profile> {
    let text = id(guru, row)?;
    let id =
        ExternalUserId::new(text).map_err(|_| Error::corrupt_record(guru, text, "its id can't be one"))?;
    Ok(verify(guru, text, row)?.into_profile(id))
}
