//! SQLite's errors, by the caller's remedy.

use rusqlite::ErrorCode;

use crate::model::error::{Error, ErrorKind};

/// The error for what failed while `doing`; for `map_err`.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| Error::new(kind(&source), format!("SQLite store failed {doing}")).with_source(source)
}

fn kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::Error as E;
    if let Some(failure) = of_engine(error) {
        return match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ErrorKind::Busy,
            ErrorCode::DatabaseCorrupt => ErrorKind::Corrupt,
            // This crate breaks no constraint: a trigger of somebody else does, or refuses.
            ErrorCode::NotADatabase | ErrorCode::SchemaChanged | ErrorCode::ConstraintViolation => {
                ErrorKind::Incompatible
            }
            ErrorCode::TooBig => ErrorKind::InvalidInput,
            ErrorCode::PermissionDenied | ErrorCode::ReadOnly => ErrorKind::PermissionDenied,
            // The SQL does not suit: the table is not as this crate makes it.
            ErrorCode::Unknown if failure.extended_code == rusqlite::ffi::SQLITE_ERROR => {
                ErrorKind::Incompatible
            }
            _ => ErrorKind::Storage,
        };
    }
    match error {
        // The table is not as this crate makes it.
        E::InvalidColumnName(_) | E::InvalidColumnIndex(_) => ErrorKind::Incompatible,
        // The value in a column is not of the kind that this crate writes.
        E::FromSqlConversionFailure(..)
        | E::InvalidColumnType(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..) => ErrorKind::Corrupt,
        _ => ErrorKind::Storage,
    }
}

/// The error of SQLite itself, whichever variant of rusqlite's has it: the one for SQL that does not suit is
/// not always compiled in before rusqlite 0.41.
fn of_engine(error: &rusqlite::Error) -> Option<&rusqlite::ffi::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// The same of an error of this crate.
pub(super) fn engine_error(error: &Error) -> Option<&rusqlite::ffi::Error> {
    of_engine(std::error::Error::source(error)?.downcast_ref()?)
}

fn extended_code(error: &Error) -> Option<std::ffi::c_int> {
    engine_error(error).map(|failure| failure.extended_code)
}

/// Whether a sync failed. The kernel may have dropped the pages it could not write, and call the
/// next sync a success. So this connection must not acknowledge anything more.
pub(super) fn is_failed_sync(error: &Error) -> bool {
    let code = extended_code(error);
    matches!(code, Some(rusqlite::ffi::SQLITE_IOERR_FSYNC | rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Whether the log's index could not grow. A commit makes its frames durable before it enters them there: if nothing
/// overwrites them, the next recovery finds them.
pub(super) fn is_failed_index(error: &Error) -> bool {
    matches!(
        extended_code(error),
        Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE | rusqlite::ffi::SQLITE_IOERR_SHMMAP)
    )
}
