//! What can go wrong with a store as a whole, told by what the caller can do about it.
//!
//! What is wrong with a single item of a batch is an [`ItemError`](crate::ItemError): it never
//! fails the call.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A failure of a whole operation.
///
/// [`Display`](fmt::Display) says what failed and stops there; the engine's own words are in
/// [`source()`](StdError::source). What to do about it is told by [`kind()`](Error::kind). Neither
/// ever shows a memory's content (S14).
///
/// ```
/// use profile_store::{ErrorKind, GuruSlug};
///
/// let error = GuruSlug::new("no spaces please").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert_eq!(error.to_string(), "guru slug has ' ' at byte 2, allowed are A-Z a-z 0-9 - _");
/// ```
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    /// Shared, so that all writes of one failed transaction can be told the same.
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request body as a whole can't be read (R3). Fix the request; nothing was written.
    InvalidRequest,
    /// An argument is outside its rules: a slug, an id, a URL, a page size. Fix the call.
    InvalidInput,
    /// What was asked for is not compiled in or not known. Enable the feature or change the URL.
    Unsupported,
    /// Another process holds the store, or the engine is at its limit. Retry later.
    Busy,
    /// The file is of a newer format or belongs to something else. It was left as it was: open
    /// another file, or upgrade this crate.
    Incompatible,
    /// Stored bytes fail their checksum (S12). Restore the record, or the file, from a backup.
    Corrupt,
    /// The device or the file system failed: no space, an I/O error, no permission. Nothing of the
    /// operation is visible; repair the surroundings and repeat it.
    Storage,
    /// The store is closed, or its engine gave up after a failure. Open it again.
    Closed,
}

impl Error {
    /// An error of `kind`; `message` says what failed, without its cause.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// The record of `id` under `guru` does not match its checksum, or can't be decoded (S12).
    #[must_use]
    pub fn corrupt_record(guru: &str, id: &str, what: &str) -> Self {
        let message = format!("stored profile {id:?} of guru {guru:?} is damaged: {what}");
        Self::new(ErrorKind::Corrupt, message)
    }

    /// The record of a guru does not match its checksum, or can't be right (S12).
    #[must_use]
    pub fn corrupt_guru(guru: &str, what: &str) -> Self {
        Self::new(ErrorKind::Corrupt, format!("stored record of guru {guru:?} is damaged: {what}"))
    }

    /// A guru's record tells another number of profiles than are there (S12).
    #[cfg(any(feature = "sqlite", feature = "sled"))]
    pub(crate) fn miscounted(guru: &str, told: u64, there: u64) -> Self {
        Self::corrupt_guru(guru, &format!("it should have {told} profiles and has {there}"))
    }

    /// There is no store, and none is to be created.
    #[cfg(any(feature = "sqlite", feature = "sled"))]
    pub(crate) fn no_store(path: &std::path::Path) -> Self {
        Self::new(ErrorKind::InvalidInput, format!("there is no store at {}", path.display()))
    }

    /// The store was closed, or its threads are gone.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the store is closed")
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later without any change to it: the store was busy, or
    /// the storage below failed. Every write of this crate is idempotent, so repeating is safe.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Busy | ErrorKind::Storage => true,
            ErrorKind::InvalidRequest
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
            | ErrorKind::Incompatible
            | ErrorKind::Corrupt
            | ErrorKind::Closed => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.kind).field("message", &self.message);
        if let Some(source) = &self.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
