//! Why a command was refused or failed, and what an operator can do about it.

use std::error::Error as _;
use std::io;

use profile_store::{Error, ErrorKind};

use crate::place::Place;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("can't read {name}")]
    Input { name: String, source: io::Error },
    #[error("{name} has a user on each line (NDJSON), and no request")]
    Ndjson { name: String },
    #[error("can't write to standard output")]
    Output(#[source] io::Error),
    #[error("the export was cut off: nobody reads standard output any more")]
    CutOff,
    #[error("a store can't be copied to itself; nothing was written")]
    SameStore { from: Place, to: Place },
    #[error("only a SQLite store (sqlite:FILE) can be backed up to a file")]
    NotSqlite(Place),
    #[error("{error}")]
    Opening { error: Error, place: Place },
    #[error("{error}")]
    Store { error: Error, places: Vec<Place> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store { error, places: Vec::new() }
    }
}

impl Failure {
    pub fn opening(error: Error, place: &Place) -> Self {
        Self::Opening { error, place: place.clone() }
    }

    /// The same failure, of work on these stores, unless it says already which one it is about.
    pub fn on(mut self, stores: &[&Place]) -> Self {
        if let Self::Store { places, .. } = &mut self
            && places.is_empty()
        {
            places.extend(stores.iter().map(|&place| place.clone()));
        }
        self
    }

    /// The failure, its causes, the stores that it is about and the advice, a line each.
    pub fn explanation(&self) -> String {
        let mut text = format!("profiles: {self}");
        let mut cause = match self {
            Self::Opening { error, .. } | Self::Store { error, .. } => error.source(),
            _ => self.source(),
        };
        while let Some(error) = cause {
            text += &format!("\n  because: {error}");
            cause = error.source();
        }
        for place in self.places() {
            text += &format!("\n  store: {place}");
        }
        text + "\n  what to do: " + self.advice()
    }

    /// The stores that it is about: what is wrong with the request or the arguments has nothing to do with them.
    fn places(&self) -> Vec<&Place> {
        match self {
            Self::SameStore { from, to } => vec![from, to],
            Self::NotSqlite(place) | Self::Opening { place, .. } => vec![place],
            Self::Store { error, .. }
                if matches!(error.kind(), ErrorKind::InvalidRequest | ErrorKind::InvalidInput) =>
            {
                Vec::new()
            }
            Self::Store { places, .. } => places.iter().collect(),
            Self::Input { .. } | Self::Ndjson { .. } | Self::Output(_) | Self::CutOff => Vec::new(),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Input { .. } => "name a readable file, or - for standard input",
            Self::Ndjson { .. } => "add --ndjson; lines of `export` keep their times with `import`",
            Self::Output(_) => {
                "make room where the output goes, then repeat the command; what it stored or deleted is done"
            }
            Self::CutOff => "export again, and let all of it be read",
            Self::SameStore { .. } => "name another store to copy to",
            Self::NotSqlite(_) => "use `copy` or `export`, which every backend takes",
            Self::Opening { error, place } => opening(error.kind(), place),
            Self::Store { error, places } => working(error, places),
        }
    }
}

fn opening(kind: ErrorKind, place: &Place) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "correct the store's URL, --help explains it",
        ErrorKind::NotFound if place.is_server() => "correct the name of the database, or create it",
        ErrorKind::NotFound if place.is_default() => {
            "name the store by --store or PROFILE_STORE; upsert and import make one"
        }
        ErrorKind::NotFound => "correct the store's path; upsert and import make one",
        ErrorKind::Unsupported => "choose another store, or build the tool with the feature it needs",
        ErrorKind::Busy if place.is_server() => "see that the server answers and has room for connections",
        ErrorKind::Busy => "try again once the other process is done with the store",
        ErrorKind::Incompatible if place.is_server() => {
            "correct what is named above, choose another database, or a newer version of this tool"
        }
        ErrorKind::Incompatible => "choose another store, or a newer version of this tool",
        ErrorKind::Corrupt => "restore the store from a backup",
        kind => surroundings(kind, place.is_server()),
    }
}

fn working(error: &Error, places: &[Place]) -> &'static str {
    let is_server = places.iter().any(Place::is_server);
    match error.kind() {
        ErrorKind::InvalidRequest => "fix the request; nothing of it was stored",
        ErrorKind::InvalidInput if error.external_user_id().is_some() => "change the profile named above",
        ErrorKind::InvalidInput => "fix the arguments, --help explains them",
        ErrorKind::AlreadyExists => "choose another name",
        ErrorKind::Unsupported if is_server => "have it done as said above, or choose another command",
        ErrorKind::Unsupported => "choose another command, as this store's backend can't do it",
        ErrorKind::Incompatible => {
            "see what has changed the store's tables or files, such as a trigger, and undo it; \
             or restore the store from a backup"
        }
        ErrorKind::Busy => "repeat the command later",
        ErrorKind::Corrupt if error.external_user_id().is_some() => {
            "restore the store from a backup; or delete the profile named above and upsert it again \
             (list --after ID reads on after it; copy, export and sweep take --skip-damaged)"
        }
        ErrorKind::Corrupt if error.guru().is_some() => {
            "restore the store from a backup \
             (copy, export and a sweep of all gurus pass over this one with --skip-damaged)"
        }
        ErrorKind::Corrupt => "see by `verify` what is damaged; restore the store from a backup",
        kind => surroundings(kind, is_server),
    }
}

fn surroundings(kind: ErrorKind, is_server: bool) -> &'static str {
    match kind {
        ErrorKind::Storage if is_server => "check the server and the network; then repeat the command",
        ErrorKind::Storage => "check the disk; then repeat the command",
        ErrorKind::PermissionDenied if is_server => {
            "check the user, the password and the user's rights; \
             or, if it is about the certificate, name its root in the URL: sslrootcert=FILE"
        }
        ErrorKind::PermissionDenied => "check who owns the path, and its permissions",
        _ => "see the cause above, then repeat the command",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_what_a_server_reports() {
        let place = Place::target("postgres://app@db/profiles".to_owned());
        for (kind, opening, working) in [
            (ErrorKind::PermissionDenied, "sslrootcert=FILE", "the user's rights"),
            (ErrorKind::Incompatible, "choose another database", "such as a trigger"),
            (ErrorKind::Unsupported, "build the tool with the feature", "have it done as said above"),
        ] {
            let error = Error::new(kind, "it failed");
            let failures = [Failure::opening(error.clone(), &place), Failure::from(error).on(&[&place])];
            for (failure, advice) in failures.iter().zip([opening, working]) {
                assert!(failure.advice().contains(advice), "{failure:?}");
            }
        }
    }
}
