//! fjall's errors, by the caller's remedy.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::error::{Error, ErrorKind, Result};

/// The error for what failed while `doing`; for `map_err`.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(fjall::Error) -> Error {
    move |source| {
        let message = format!("fjall store failed {doing}");
        let kind = match source {
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
                return Error::io(message, source);
            }
            fjall::Error::Locked => ErrorKind::Busy,
            fjall::Error::InvalidVersion(_) => ErrorKind::Incompatible,
            fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted => ErrorKind::Storage,
            // The bytes that it has read can't be right.
            _ => ErrorKind::Corrupt,
        };
        // Its `Display` is its `Debug`, which shows no value.
        Error::new(kind, message).with_source(source)
    }
}

/// Does what fjall may panic over if its files are damaged.
pub(super) fn unless_damaged<T>(doing: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Corrupt, format!("fjall panicked {doing}, as its files are damaged")))
    })
}
