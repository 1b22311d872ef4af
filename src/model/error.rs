//! The errors of a call as a whole, by the caller's remedy.
//!
//! A bad item of a batch is an [`ItemError`]: it never fails the call.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::json::pointer::PointerError;
use crate::model::item_error::ItemError;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A failure of a whole operation.
///
/// [`kind()`](Self::kind) says what to do about it. [`Display`](fmt::Display) says what failed and
/// stops there; the engine's own words are in [`source()`](StdError::source), and
/// [`chain()`](Self::chain) is both, for a log. The profile or guru that it is about stands in
/// fields: [`guru()`](Self::guru), [`external_user_id()`](Self::external_user_id). None of them ever
/// shows a memory's content ([S14](crate::contract#s14)).
///
/// ```
/// use profile_store::{ErrorKind, HasGurus, ItemError, Memory, MemoryStore, User};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// let error = store.guru("no spaces please").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert_eq!(error.to_string(), "guru slug has ' ' at byte 2, allowed are A-Z a-z 0-9 - _");
///
/// let guru = store.guru("my-guru")?;
/// let ada = User::new("ada", Memory::from_json(r#"{"plan":"pro"}"#)?).if_absent();
/// guru.upsert(ada.clone()).await?;
/// let error = guru.upsert(ada).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
/// assert_eq!((error.guru(), error.external_user_id()), (Some("my-guru"), Some("ada")));
/// assert_eq!(error.item_errors(), [ItemError::Exists]);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    /// Shared: all writes of a failed transaction get the same cause.
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
    guru: Option<Box<str>>,
    external_user_id: Option<Box<str>>,
    item_errors: Vec<ItemError>,
    may_be_stored: bool,
}

/// The caller's remedy for an [`Error`].
///
/// [Over HTTP](crate::guide::http) has a status for each.
///
/// | kind | what to do |
/// |---|---|
/// | [`InvalidRequest`](Self::InvalidRequest), [`InvalidInput`](Self::InvalidInput) | fix the request or the call |
/// | [`NotFound`](Self::NotFound) | create it, or correct its name |
/// | [`AlreadyExists`](Self::AlreadyExists) | read the profile that is there, or choose another name |
/// | [`Conflict`](Self::Conflict) | read again, decide again, write again |
/// | [`Busy`](Self::Busy), [`Storage`](Self::Storage) | repeat later |
/// | [`PermissionDenied`](Self::PermissionDenied), [`ReadOnly`](Self::ReadOnly), [`Unsupported`](Self::Unsupported), [`Incompatible`](Self::Incompatible), [`Corrupt`](Self::Corrupt), [`Closed`](Self::Closed) | call an operator |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request body as a whole can't be read ([R3](crate::contract#r3)). Fix the request; nothing was written.
    InvalidRequest,
    /// An argument is outside its rules: a slug, an id, a memory, a URL, a path, an option. Fix the call.
    InvalidInput,
    /// There is no store at that path, no such database, and none was to be created.
    NotFound,
    /// There is a profile already ([`if_absent`](crate::User::if_absent)), or a file where a backup
    /// was to go. Nothing was written.
    AlreadyExists,
    /// The profile does not have the expected ETag, or there is none
    /// ([`if_match`](crate::User::if_match)). Nothing was written: read it again, and decide again.
    Conflict,
    /// The backend can't do it, the scheme is unknown, or a feature is not compiled in. Enable the
    /// feature, or choose another backend.
    Unsupported,
    /// Others hold the store, or the engine is at its limit. Repeat the call later.
    Busy,
    /// The file is of another format or belongs to something else, or something in it or around it breaks the contract, such as
    /// a trigger that changes what is written. It was left as it was: open another file, or another version of this crate, or
    /// undo what was changed.
    Incompatible,
    /// Stored bytes fail their checksum ([S12](crate::contract#s12)). Restore the record, or the file, from a backup.
    Corrupt,
    /// The device, the file system or the server failed: no space, an I/O error. Repair the
    /// surroundings, and repeat the call.
    Storage,
    /// The operating system or the server refuses this process: no permission, a right that is
    /// missing, a wrong password, a certificate that can't be verified. It will not pass by itself.
    PermissionDenied,
    /// The store was opened for reading only.
    ReadOnly,
    /// The store was closed, or its engine gave up after a failure, and what is stored is not known.
    ///
    /// It stays so for this store and all its handles. Drop all of them, as they hold the files and
    /// their locks, and open the store again: recovery decides what is stored. A service either does
    /// this in one place, which hands out the store, or ends itself and is started again.
    /// [`health`](crate::ProfileStore::health) reports the same, so that a supervisor can see it.
    Closed,
}

impl Error {
    /// An error of `kind`; `message` says what failed, without its cause.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
            guru: None,
            external_user_id: None,
            item_errors: Vec::new(),
            may_be_stored: false,
        }))
    }

    /// An error of the operating system: [`PermissionDenied`](ErrorKind::PermissionDenied) if it
    /// refuses this process, else [`Storage`](ErrorKind::Storage).
    pub fn io(message: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Storage,
        };
        Self::new(kind, message).with_source(source)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// The same error, about this guru.
    #[must_use]
    pub fn with_guru(mut self, guru: impl Into<Box<str>>) -> Self {
        self.0.guru = Some(guru.into());
        self
    }

    /// The same error, about this end user's profile.
    #[must_use]
    pub fn with_external_user_id(mut self, id: impl Into<Box<str>>) -> Self {
        self.0.external_user_id = Some(id.into());
        self
    }

    /// The same error, of a write that may be stored nevertheless; see
    /// [`may_be_stored`](Self::may_be_stored).
    #[must_use]
    pub fn with_may_be_stored(mut self, may_be_stored: bool) -> Self {
        self.0.may_be_stored = may_be_stored;
        self
    }

    /// The record of `id` under `guru` does not match its checksum, or can't be decoded ([S12](crate::contract#s12)).
    #[must_use]
    pub fn corrupt_record(guru: &str, id: &str, what: &str) -> Self {
        let message = format!("stored profile {id:?} of guru {guru:?} is damaged: {what}");
        Self::new(ErrorKind::Corrupt, message).with_guru(guru).with_external_user_id(id)
    }

    /// The record of a guru does not match its checksum, or can't be right ([S12](crate::contract#s12)).
    #[must_use]
    pub fn corrupt_guru(guru: &str, what: &str) -> Self {
        let message = format!("stored record of guru {guru:?} is damaged: {what}");
        Self::new(ErrorKind::Corrupt, message).with_guru(guru)
    }

    /// A guru's record has another number of profiles than are there (S12).
    #[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled"))]
    pub(crate) fn miscounted(guru: &str, told: u64, there: u64) -> Self {
        Self::corrupt_guru(guru, &format!("it should have {told} profiles and has {there}"))
    }

    /// A user of a batch of one was not stored, for these reasons, of which there is at least one.
    pub(crate) fn refused(guru: &str, id: Option<&str>, reasons: Vec<ItemError>) -> Self {
        let words: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        let user = id.map_or_else(|| "a user".to_owned(), |id| format!("user {}", quoted(id)));
        let message = format!("{user} of guru {} was not stored: {}", quoted(guru), words.join(", "));
        let mut error = Self::new(reasons.first().map_or(ErrorKind::InvalidInput, kind_of), message);
        error.0.guru = Some(guru.into());
        error.0.external_user_id = id.map(Into::into);
        error.0.item_errors = reasons;
        error
    }

    /// There is no store, and none is to be created.
    #[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled"))]
    pub(crate) fn no_store(path: &std::path::Path) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no store at {}", path.display()))
    }

    /// There is no directory that the store could be created in ([S13](crate::contract#s13)).
    #[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled"))]
    pub(crate) fn no_directory(path: &std::path::Path, source: io::Error) -> Self {
        let message = format!(
            "there is no directory for {}: create the directory, or correct the path",
            path.display()
        );
        Self::new(ErrorKind::InvalidInput, message).with_source(source)
    }

    /// The operating system refuses a path. [`InvalidInput`](ErrorKind::InvalidInput) means that no file can ever have it.
    #[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled"))]
    pub(crate) fn at_path(doing: &str, path: &std::path::Path, source: io::Error) -> Self {
        let message = format!("{doing} {}", path.display());
        match source.kind() {
            io::ErrorKind::NotADirectory => Self::no_directory(path, source),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
                Self::new(ErrorKind::InvalidInput, message).with_source(source)
            }
            _ => Self::io(message, source),
        }
    }

    /// The store was closed, or its threads are gone.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the store is closed")
    }

    /// The caller's remedy.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The guru that it is about, if it is about one; not necessarily a valid slug, if the stored
    /// one is damaged.
    #[must_use]
    pub fn guru(&self) -> Option<&str> {
        self.0.guru.as_deref()
    }

    /// The profile that it is about, if it is about one; not necessarily a valid id.
    #[must_use]
    pub fn external_user_id(&self) -> Option<&str> {
        self.0.external_user_id.as_deref()
    }

    /// Everything that is wrong with the user of a call about one user; empty for all other errors.
    /// The items of a batch have theirs in its [`UpsertReport`](crate::UpsertReport).
    #[must_use]
    pub fn item_errors(&self) -> &[ItemError] {
        &self.0.item_errors
    }

    /// Whether the same call may succeed later without any change to it: the store was busy, or the
    /// storage below failed in a way that can pass.
    ///
    /// A plain upsert, a delete and a read can always be repeated ([S5](crate::contract#s5)). A write with a condition can
    /// be repeated unless it [may be stored](Self::may_be_stored): then the repetition may fail because the first call
    /// succeeded.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::Busy | ErrorKind::Storage => true,
            ErrorKind::InvalidRequest
            | ErrorKind::InvalidInput
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Conflict
            | ErrorKind::Unsupported
            | ErrorKind::Incompatible
            | ErrorKind::Corrupt
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnly
            | ErrorKind::Closed => false,
        }
    }

    /// Whether the whole write may be stored in spite of the error ([S3](crate::contract#s3)). It is `true` after a failed
    /// sync, a failed write of fjall or sled, a commit of SQLite that could not enlarge the log's index, a panic of the engine,
    /// or a lost answer of a server. The store's next opening, or the server, decides. `false` means that nothing of the write was stored.
    #[must_use]
    pub fn may_be_stored(&self) -> bool {
        self.0.may_be_stored
    }

    /// The error and its causes in one line, for logs.
    ///
    /// ```
    /// use profile_store::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Storage, "can't write").with_source("no space left");
    /// assert_eq!(error.to_string(), "can't write");
    /// assert_eq!(error.chain().to_string(), "can't write: no space left");
    /// ```
    pub fn chain(&self) -> impl fmt::Display {
        Chain(self)
    }
}

/// The most characters of a name that [`quoted`] shows.
const SHOWN: usize = 64;

/// A slug or an id as a message shows it: in quotes, escaped, and shortened if it is long. The whole one is in a field
/// of the error. Only damage is reported by the whole name, as it is repaired by that.
pub(crate) fn quoted(name: &str) -> impl fmt::Display {
    Quoted(name)
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        match name.char_indices().nth(SHOWN) {
            None => write!(f, "{name:?}"),
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &name[..end], name.len()),
        }
    }
}

struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The remedy for a user that was not stored.
fn kind_of(reason: &ItemError) -> ErrorKind {
    match reason {
        ItemError::Exists => ErrorKind::AlreadyExists,
        ItemError::Changed => ErrorKind::Conflict,
        _ => ErrorKind::InvalidInput,
    }
}

/// So that `?` also takes what is wrong with a memory.
impl From<PointerError> for Error {
    fn from(error: PointerError) -> Self {
        Self::new(ErrorKind::InvalidInput, error.to_string())
    }
}

impl From<ItemError> for Error {
    fn from(reason: ItemError) -> Self {
        let mut error = Self::new(kind_of(&reason), reason.to_string());
        error.0.item_errors = vec![reason];
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// The fields that are set.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, source, guru, external_user_id, item_errors, may_be_stored } = &*self.0;
        let mut out = f.debug_struct("Error");
        out.field("kind", kind).field("message", message);
        if let Some(guru) = guru {
            out.field("guru", guru);
        }
        if let Some(id) = external_user_id {
            out.field("external_user_id", id);
        }
        if !item_errors.is_empty() {
            out.field("item_errors", item_errors);
        }
        if *may_be_stored {
            out.field("may_be_stored", may_be_stored);
        }
        if let Some(source) = source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_may_pass_by_themselves_are_retryable() {
        let passing = [io::ErrorKind::StorageFull, io::ErrorKind::Other].map(io::Error::from);
        assert!(passing.into_iter().all(|error| Error::io("it failed", error).is_retryable()));
        for refusal in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let error = Error::io("it failed", refusal.into());
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::PermissionDenied, false));
        }
        let conditions = [ItemError::Exists, ItemError::Changed, ItemError::MissingMemory].map(Error::from);
        let kinds = [ErrorKind::AlreadyExists, ErrorKind::Conflict, ErrorKind::InvalidInput];
        assert_eq!(conditions.each_ref().map(Error::kind), kinds);
        assert!(!conditions.iter().any(Error::is_retryable));
        assert!(Error::new(ErrorKind::Busy, "others hold it").is_retryable());
    }

    #[test]
    fn a_long_name_is_shortened_between_characters() {
        assert_eq!(quoted("a\"b\n").to_string(), r#""a\"b\n""#);
        let name = "é".repeat(SHOWN);
        assert_eq!(quoted(&name).to_string(), format!("\"{name}\""));
        assert_eq!(quoted(&format!("{name}x")).to_string(), format!("\"{name}\"… (129 bytes)"));

        let id = "u".repeat(100_000);
        let error = Error::refused("g", Some(&id), vec![ItemError::Changed]);
        assert!(error.to_string().len() < 200, "{error}");
        assert_eq!(error.external_user_id(), Some(&*id));
    }

    #[test]
    fn an_error_has_its_facts_in_fields() {
        let error = Error::corrupt_record("g", "ada", "its checksum does not match");
        assert_eq!((error.guru(), error.external_user_id()), (Some("g"), Some("ada")));
        assert_eq!((error.may_be_stored(), error.item_errors()), (false, &[][..]));
        let error = Error::closed().with_may_be_stored(true);
        assert!(error.may_be_stored() && error.guru().is_none());
        assert_eq!(Error::from(ItemError::IdNul).item_errors(), [ItemError::IdNul]);
        assert!(size_of::<Error>() <= size_of::<usize>(), "a result stays small");
    }
}
