//! The server's errors, by the caller's remedy, and the store's next step after each.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::model::error::{Error, ErrorKind};

/// Why an attempt at a call came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused, or could not be reached.
    Server(tokio_postgres::Error),
    /// The server does not let the store in, or is not what the URL asks for: no password, no TLS, another certificate.
    Refused(tokio_postgres::Error),
    /// A commit was sent, and its answer was lost or has not been asked for again yet.
    Unsettled(Box<Failure>),
    /// Somebody else has changed a row after it was read.
    Raced,
    /// The server took longer than a statement may.
    Late,
    /// The server let the connection come in, and then said nothing.
    Silent,
    /// All connections that the server allows were in use.
    Crowded,
    /// A failure that no further attempt can change.
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

/// The next step after a failure.
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
    /// A failure to connect. Without a code of the server and without an I/O error, it is the driver's own refusal, which
    /// comes again at each try.
    pub fn connecting(error: tokio_postgres::Error) -> Self {
        let refused = error.code().is_none() && remedy(&error) == Remedy::GiveUp;
        if refused { Self::Refused(error) } else { Self::Server(error) }
    }

    /// Whether the server has found its own data damaged.
    pub fn is_damage(error: &tokio_postgres::Error) -> bool {
        kind(error) == ErrorKind::Corrupt
    }

    /// The same, of a transaction that may be committed.
    pub fn unsettled(self) -> Self {
        if self.is_unsettled() { self } else { Self::Unsettled(Box::new(self)) }
    }

    pub fn is_unsettled(&self) -> bool {
        matches!(self, Self::Unsettled(_))
    }

    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Server(error) => remedy(error),
            Self::Unsettled(failure) => failure.remedy(),
            Self::Raced => Remedy::Repeat,
            Self::Silent | Self::Crowded => Remedy::Reconnect,
            Self::Refused(_) | Self::Late | Self::Final(_) => Remedy::GiveUp,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        let Self::Server(error) = self else { return None };
        error.code()
    }

    /// The kind of the caller's error, if this is the last try.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => kind(error),
            Self::Refused(_) => ErrorKind::PermissionDenied,
            Self::Unsettled(failure) => failure.kind(),
            Self::Final(error) => error.kind(),
            Self::Raced | Self::Late | Self::Silent | Self::Crowded => ErrorKind::Busy,
        }
    }

    /// The server's code, if it has given one.
    pub fn sql_state(&self) -> Option<String> {
        match self {
            Self::Unsettled(failure) => failure.sql_state(),
            other => other.code().map(|code| code.code().to_owned()),
        }
    }

    /// Whether the connection may be of use after it: the server has answered.
    pub fn leaves_connection(&self) -> bool {
        match self {
            Self::Raced | Self::Final(_) => true,
            Self::Server(_) => !self.is_unanswered(),
            Self::Refused(_) | Self::Unsettled(_) | Self::Late | Self::Silent | Self::Crowded => false,
        }
    }

    /// Whether the answer is missing: the statement may have been executed. A server that ends with the session, say after a
    /// failed sync of its log, does not say either ([S3](crate::contract#s3)).
    pub fn is_unanswered(&self) -> bool {
        let ends = matches!(self, Self::Server(error) if ends_session(error));
        ends || self.code().is_none() || self.remedy() == Remedy::Reconnect
    }

    /// Whether the server, or the role, has as many connections as it may have.
    pub fn is_full(&self) -> bool {
        self.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
    }

    /// Whether the statement failed only because one before it had.
    pub fn is_aftermath(&self) -> bool {
        self.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
    }

    /// Whether connecting may have failed for the settings brought along: poolers refuse what they do not
    /// know as a violation of the protocol.
    pub fn refuses_settings(&self) -> bool {
        self.code().is_some_and(|code| ["08", "0A", "22", "42"].contains(&&code.code()[..2]))
    }

    /// The error for the caller, of what failed while `doing`, after `waited` if it was tried more than once;
    /// `unsettled` if it may be committed.
    pub fn into_error(self, doing: &str, waited: Option<Duration>, unsettled: bool) -> Error {
        let (kind, reason, source) = match self {
            Self::Unsettled(failure) => return failure.into_error(doing, waited, true),
            Self::Final(error) => return error.with_may_be_stored(unsettled),
            Self::Late => (ErrorKind::Busy, ": the server took too long", None),
            Self::Silent => (ErrorKind::Busy, ": the server does not answer", None),
            Self::Crowded => (ErrorKind::Busy, ": all connections are in use", None),
            Self::Raced => (ErrorKind::Busy, ": others kept changing the same profiles", None),
            Self::Refused(error) => (ErrorKind::PermissionDenied, "", Some(Server::from(error))),
            Self::Server(error) => {
                let kind = kind(&error);
                let reason = if kind == ErrorKind::ReadOnly { ": the server only reads" } else { "" };
                (kind, reason, Some(Server::from(error)))
            }
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

/// Whether the server ends the session by this error, or itself.
fn ends_session(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

fn remedy(error: &tokio_postgres::Error) -> Remedy {
    // The server starts again, or has ended the session for a trouble of its own.
    let is_in_trouble = |code: &SqlState| ["53", "58", "XX"].contains(&&code.code()[..2]);
    if ends_session(error) && error.code().is_some_and(is_in_trouble) {
        return Remedy::Reconnect;
    }
    let Some(state) = error.code() else {
        let lost = error.is_closed() || io(error).is_some_and(|error| !is_refusal(error));
        return if lost { Remedy::Reconnect } else { Remedy::GiveUp };
    };
    match state.code() {
        // Locks are waited for in steps.
        "40001" | "40P01" | "55P03" => Remedy::Wait,
        // An unknown commit; idle in a transaction; too many connections; a server that only
        // reads, in whose place another one may write by now.
        "40003" | "25P03" | "53300" | "25006" => Remedy::Reconnect,
        code if code.starts_with("08") || code.starts_with("57P0") => Remedy::Reconnect,
        _ => Remedy::GiveUp,
    }
}

/// A failed handshake of TLS, or a socket that the process may not use.
fn is_refusal(error: &io::Error) -> bool {
    let denied = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_some();
    denied || error.kind() == io::ErrorKind::InvalidData
}

fn io(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    // The second is how the driver says that no host takes writes.
    let denied = io(error).filter(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
        || denied.is_some_and(|error| error.raw_os_error().is_none())
    {
        return ErrorKind::ReadOnly;
    }
    if remedy(error) != Remedy::GiveUp {
        return ErrorKind::Busy;
    }
    let Some(state) = error.code() else { return ErrorKind::Storage };
    match *state {
        SqlState::QUERY_CANCELED => ErrorKind::Busy,
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
        // It does not know, or does not take, what the store says: another schema, a setting in the URL, a trigger, somebody's
        // constraint.
        _ if ["0A", "22", "23", "42", "P0"].contains(&&state.code()[..2]) => ErrorKind::Incompatible,
        _ => ErrorKind::Storage,
    }
}

/// Whether the server has found damage, and does not say in which row.
pub(super) fn is_unnamed_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.external_user_id().is_none()
}

/// The server has stored other rows than it was sent, or has not removed a row: by a trigger or a rule.
pub(super) fn altered(what: &str) -> Error {
    let message = format!(
        "PostgreSQL did not write {what} as it was told: a trigger or a rule of the table changes rows or leaves them out"
    );
    Error::new(ErrorKind::Incompatible, message)
}

/// The words of the server, or of the way to it, without the server's details, which can quote a memory
/// (S14).
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
