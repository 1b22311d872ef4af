//! sled's errors, by the caller's remedy.

use crate::model::error::{Error, ErrorKind};

/// The error for what failed while `doing`; for `map_err`.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(sled::Error) -> Error {
    move |source| {
        let message = format!("sled store failed {doing}");
        let kind = match source {
            sled::Error::Io(source) => return Error::io(message, source),
            sled::Error::Corruption { .. } => ErrorKind::Corrupt,
            sled::Error::Unsupported(_) => ErrorKind::Incompatible,
            sled::Error::CollectionNotFound(_) | sled::Error::ReportableBug(_) => ErrorKind::Storage,
        };
        Error::new(kind, message).with_source(source)
    }
}
