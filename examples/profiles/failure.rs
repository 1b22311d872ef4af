//! Why the tool stops, and what its user can do about it.

use std::error::Error as _;
use std::fmt;
use std::io;

use profile_store::{Error, ErrorKind};

pub type Result<T> = std::result::Result<T, Failure>;

pub enum Failure {
    /// Whoever reads the output has seen enough.
    ClosedPipe,
    /// The same, before all of the input was read: what is behind it is not stored.
    CutShort,
    Input {
        name: String,
        cause: io::Error,
    },
    Output(io::Error),
    Store(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    pub fn input(name: &str) -> impl FnOnce(io::Error) -> Self {
        |cause| Self::Input { name: name.to_owned(), cause }
    }

    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ClosedPipe } else { Self::Output(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedPipe => f.write_str("standard output is closed"),
            Self::CutShort => f.write_str(
                "standard output was closed before all of the input was stored\n  \
                 what to do: repeat the command, and read its output to the end",
            ),
            Self::Input { name, cause } => write!(f, "can't read {name}: {cause}"),
            Self::Output(cause) => write!(f, "can't write to standard output: {cause}"),
            Self::Store(error) => {
                write!(f, "{error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, "\n  because: {error}")?;
                    cause = error.source();
                }
                write!(f, "\n  what to do: {}", advice(error.kind()))
            }
        }
    }
}

fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "mend the request; nothing of it was stored",
        ErrorKind::InvalidInput => "mend the arguments",
        ErrorKind::Unsupported => "name another store, or build with the feature it needs",
        ErrorKind::Busy => "try again once whoever holds the store lets go of it",
        ErrorKind::Incompatible => "name another file, or use a newer build of this tool",
        ErrorKind::Corrupt => "restore the store from a backup, or delete the profile that is named",
        ErrorKind::Storage => "check space, permissions and health of the disk, then repeat the command",
        _ => "repeat the command: everything it does may be repeated",
    }
}
