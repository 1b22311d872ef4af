//! Rows as they stand in the table, verified as they are read (S12).

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::connection::Session;
use super::error::{Failure, Server};
use crate::engine::checksum;
use crate::engine::record::StoredRecord;
use crate::model::error::{Error, Result};
use crate::model::name::ExternalUserId;
use crate::model::profile::Profile;
use crate::plan::record::{Record, RecordRef};

/// The columns of every row that is read or comes back, in this order. The last is true of a row that a
/// transaction has made to hold a lock, or in the place of one that had vanished.
pub(super) const COLUMNS: &str =
    "guru_slug, external_user_id, memory, created_at, updated_at, checksum, expected IS NOT NULL";

/// The same without the memory, of a row that is not looked into.
pub(super) const KEY_COLUMNS: &str = "guru_slug, external_user_id, ''::text AS memory, created_at, updated_at, \
    checksum, expected IS NOT NULL";

/// Whether the table, or a partition of it, has triggers.
pub(super) const IS_WATCHED: &str = "(SELECT bool_or(relhastriggers) FROM pg_catalog.pg_class WHERE oid = ANY( \
    ARRAY['profile_store.profile'::regclass::oid] || \
    ARRAY(SELECT relid::oid FROM pg_catalog.pg_partition_tree('profile_store.profile'))))";

/// The columns that a statement which writes gives back: those, and whether the table has triggers. Once such a statement has
/// locked the table, others can't make one. Citus takes no such question, and makes no triggers on its tables.
pub(super) fn returning(columns: &str, citus: bool) -> String {
    format!("{columns}, {}", if citus { "false" } else { IS_WATCHED })
}

/// Whether the table has triggers, as [`returning`] says.
pub(super) fn is_watched(row: &Row) -> Result<bool> {
    let (guru, id) = key(row)?;
    column(guru, id, row, 7)
}

/// The checksum of a record.
pub(super) fn checksum(guru: &str, id: &str, record: &Record) -> i64 {
    let Record { memory, created_at, updated_at } = record;
    checksum::of_profile(guru, id, memory.as_str(), *created_at, *updated_at).cast_signed()
}

/// The guru and the id in a row.
pub(super) fn key(row: &Row) -> Result<(&str, &str)> {
    let guru = column("", "", row, 0)?;
    Ok((guru, column(guru, "", row, 1)?))
}

/// The checksum in a row, as it stands there.
pub(super) fn stored_checksum(row: &Row) -> Result<i64> {
    let (guru, id) = key(row)?;
    column(guru, id, row, 5)
}

pub(super) fn is_placeholder(row: &Row) -> Result<bool> {
    let (guru, id) = key(row)?;
    column(guru, id, row, 6)
}

/// Whether a row of its key holds just this record.
pub(super) fn holds(row: &Row, record: &Record, sum: i64) -> Result<bool> {
    let (guru, id) = key(row)?;
    let times: (i64, i64) = (column(guru, id, row, 3)?, column(guru, id, row, 4)?);
    Ok(column::<&str>(guru, id, row, 2)? == record.memory.as_str()
        && times == (record.created_at.as_micros(), record.updated_at.as_micros())
        && column::<i64>(guru, id, row, 5)? == sum)
}

/// A column of a row; one of another type, or NULL, is damage.
fn column<'r, T: FromSql<'r>>(guru: &str, id: &str, row: &'r Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(|_| Error::corrupt_record(guru, id, "a column is wrong"))
}

/// A stored row that looks like one that a transaction has made for itself. No transaction leaves one.
pub(super) fn left_over(row: &Row) -> Error {
    let (guru, id) = key(row).unwrap_or_default();
    Error::corrupt_record(guru, id, "its column `expected` is not NULL")
}

/// The record in a row of this key.
pub(super) fn verify<'r>(guru: &str, id: &str, row: &'r Row) -> Result<RecordRef<'r>> {
    if is_placeholder(row)? {
        return Err(left_over(row));
    }
    let memory = column::<&str>(guru, id, row, 2)?.as_bytes();
    let (created_at, updated_at) = (column(guru, id, row, 3)?, column(guru, id, row, 4)?);
    let sum: i64 = column(guru, id, row, 5)?;
    StoredRecord { guru, id, memory, created_at, updated_at }.verify(sum.cast_unsigned())
}

/// One profile's row. If the server can't read it, the error says whose it is (S12).
pub(super) async fn one(session: &Session, guru: &str, id: &str) -> Result<Option<Row>, Failure> {
    let sql =
        format!("SELECT {COLUMNS} FROM profile_store.profile WHERE guru_slug = $1 AND external_user_id = $2");
    match session.rows(&sql, &[(&guru, Type::TEXT), (&id, Type::TEXT)]).await {
        Ok(rows) => Ok(rows.into_iter().next()),
        Err(Failure::Server(source)) if Failure::is_damage(&source) => {
            let unread = Error::corrupt_record(guru, id, "the server can't read it");
            Err(unread.with_source(Server::from(source)).into())
        }
        Err(failure) => Err(failure),
    }
}

/// The rows of several ids of a guru, in any order.
pub(super) async fn several(
    session: &Session,
    columns: &str,
    guru: &str,
    ids: &[&str],
) -> Result<Vec<Row>, Failure> {
    let sql = format!(
        "SELECT {columns} FROM profile_store.profile WHERE guru_slug = $1 AND external_user_id = ANY($2)"
    );
    session.rows(&sql, &[(&guru, Type::TEXT), (&ids, Type::TEXT_ARRAY)]).await
}

/// The id in a row, if it can be one.
pub(super) fn external_user_id(row: &Row) -> Result<ExternalUserId> {
    let (guru, text) = key(row)?;
    ExternalUserId::new(text).map_err(|_| Error::corrupt_record(guru, text, "its id can't be one"))
}

/// The profile in a row.
pub(super) fn profile(row: &Row) -> Result<Profile> {
    let id = external_user_id(row)?;
    Ok(verify(key(row)?.0, id.as_str(), row)?.into_profile(id))
}
