//! Why a command was refused or failed, and what an operator can do about it.

use std::error::Error;
use std::io;

use profile_store::ErrorKind;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("can't read {name}")]
    Input { name: String, source: io::Error },
    #[error("can't write to standard output")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] profile_store::Error),
}

impl Failure {
    /// The failure, its causes and the advice, a line each.
    pub fn explanation(&self) -> String {
        let mut text = format!("profiles: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            text += &format!("\n  because: {cause}");
            source = cause.source();
        }
        text + "\n  what to do: " + self.advice()
    }

    fn advice(&self) -> &'static str {
        let kind = match self {
            Self::Input { .. } => return "name a readable file, or - for standard input",
            Self::Output(_) => {
                return "see where the output goes; an upsert or delete may be done: to repeat it is safe";
            }
            Self::Store(error) => error.kind(),
        };
        match kind {
            ErrorKind::InvalidRequest => "fix the request; nothing of it was stored",
            ErrorKind::InvalidInput => "fix the arguments, --help explains them",
            ErrorKind::NotFound => "correct the name of the store",
            ErrorKind::AlreadyExists => "choose another name",
            ErrorKind::Conflict => "read it again, then repeat the command",
            ErrorKind::Unsupported => "choose another --store, or build with the feature it needs",
            ErrorKind::Busy => "try again once the other process is done with the store",
            ErrorKind::Incompatible => "choose another --store, or a newer version of this tool",
            ErrorKind::Corrupt => {
                "restore the store from a backup; or delete the profile named above and upsert it anew \
                 (list --after ID reads on behind it)"
            }
            ErrorKind::Storage => "check the path and the disk; then repeat the command, which is safe",
            ErrorKind::PermissionDenied => "check permissions, rights and passwords",
            ErrorKind::ReadOnly => "open the store for writing",
            ErrorKind::Closed => "repeat the command, which is safe",
            _ => "see the cause above; to repeat the command is safe",
        }
    }
}
