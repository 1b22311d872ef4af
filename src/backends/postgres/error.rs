//! The server's errors, told by what a caller can do about them, and what to do about them here.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::model::error::{Error, ErrorKind};

/// Why an attempt at a call came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused, or could not be reached.
    Server(tokio_postgres::Error),
    /// The connection was lost, or the time was up, while the server was asked to commit.
    Unknown(tokio_postgres::Error),
    /// Somebody else has changed a row after it was read.
    Raced,
    /// The server took longer than a statement may, perhaps for a commit.
    Late { committing: bool },
    /// The server let the connection come in, and then said nothing.
    Silent,
    /// What no further attempt can change.
    Final(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The same again at once: it is another way to do it that comes next.
    Repeat,
    /// The same again in a while: transactions were in each other's way.
    Wait,
    /// The same again in a while, over another connection.
    Reconnect,
    /// Nothing.
    GiveUp,
}

impl Failure {
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Server(error) | Self::Unknown(error) => remedy(error),
            Self::Raced => Remedy::Repeat,
            Self::Silent => Remedy::Reconnect,
            Self::Late { .. } | Self::Final(_) => Remedy::GiveUp,
        }
    }

    /// Whether what was to be stored may be stored all the same.
    pub fn is_unsettled(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Late { committing: true })
    }

    /// Whether the server does not write.
    pub fn is_read_only(&self) -> bool {
        let Self::Server(error) = self else { return false };
        error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// The error for the caller, of what failed while `doing`, after `waited` where it was tried more
    /// than once; `unsettled` where this try or an earlier one may be committed.
    pub fn into_error(self, doing: &str, waited: Option<Duration>, unsettled: bool) -> Error {
        let (kind, reason, source) = match self {
            Self::Final(error) if unsettled => return error.with_may_be_stored(true),
            Self::Final(error) => return error,
            Self::Late { .. } => (ErrorKind::Busy, ": the server took too long", None),
            Self::Silent => (ErrorKind::Busy, ": the server does not answer", None),
            Self::Raced => (ErrorKind::Busy, ": others kept changing the same profiles", None),
            Self::Server(error) | Self::Unknown(error) => (kind(&error), "", Some(Server::from(error))),
        };
        let mut message = format!("PostgreSQL store failed {doing}{reason}");
        if let Some(waited) = waited {
            message += &format!(", tried for {:.1} s", waited.as_secs_f32());
        }
        if unsettled {
            message += "; an answer was lost on the way, so it may be stored: repeat it";
        }
        let error = Error::new(kind, message).with_may_be_stored(unsettled);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

fn remedy(error: &tokio_postgres::Error) -> Remedy {
    let Some(state) = error.code() else {
        let lost = error.is_closed() || io(error).is_some_and(|error| error.kind() != HANDSHAKE);
        return if lost { Remedy::Reconnect } else { Remedy::GiveUp };
    };
    match state.code() {
        "40001" | "40P01" => Remedy::Wait,
        // What a commit came to is unknown; idle in a transaction; too many connections.
        "40003" | "25P03" | "53300" => Remedy::Reconnect,
        code if code.starts_with("08") || code.starts_with("57P0") => Remedy::Reconnect,
        _ => Remedy::GiveUp,
    }
}

/// How a failed handshake of TLS shows, which fails again.
const HANDSHAKE: io::ErrorKind = io::ErrorKind::InvalidData;

fn io(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    if remedy(error) != Remedy::GiveUp {
        return ErrorKind::Busy;
    }
    let Some(state) = error.code() else {
        let handshake = io(error).is_some_and(|error| error.kind() == HANDSHAKE);
        return if handshake { ErrorKind::PermissionDenied } else { ErrorKind::Storage };
    };
    match *state {
        SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED => ErrorKind::Busy,
        SqlState::UNDEFINED_TABLE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::INVALID_SCHEMA_NAME
        | SqlState::INVALID_COLUMN_REFERENCE
        | SqlState::DATATYPE_MISMATCH => ErrorKind::Incompatible,
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => ErrorKind::Corrupt,
        SqlState::INVALID_PASSWORD
        | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        | SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::PermissionDenied,
        SqlState::INVALID_CATALOG_NAME => ErrorKind::NotFound,
        _ => ErrorKind::Storage,
    }
}

/// What the server, or the way to it, has said. Without the server's details, which can quote what is
/// stored (S14).
#[derive(Debug)]
pub(super) struct Server {
    code: Option<String>,
    message: String,
}

impl From<tokio_postgres::Error> for Server {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => {
                Self { code: Some(said.code().code().to_owned()), message: said.message().to_owned() }
            }
            None => {
                let source = error.source().map(|source| format!(": {source}"));
                Self { code: None, message: format!("{error}{}", source.unwrap_or_default()) }
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (SQLSTATE {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl StdError for Server {}
