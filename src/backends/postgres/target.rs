//! Which server, and how to reach it: a URL and what this crate adds to it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::tls::{self, Tls};
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::{Durability, StoreOptions};

/// How long a statement may take that does not scan the store.
pub(super) const STATEMENT: Duration = Duration::from_secs(60);

/// How long one try to connect may take.
const CONNECTING: Duration = Duration::from_secs(10);

/// What every connection of a store is made from.
pub(super) struct Target {
    pub config: Config,
    pub tls: Tls,
    /// How long to wait for locks, and to try again.
    pub patience: Duration,
    /// Whether to make the tables where there are none.
    pub create: bool,
    /// The settings of what writes, each `NAME=VALUE`.
    settings: [String; 5],
    /// What opens a transaction that writes where the connection does not have them.
    pub begin: String,
    /// Not known before the first connection.
    pub dialect: OnceLock<Dialect>,
}

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    PostgreSql {
        /// Whether the profiles are in more than one table.
        partitioned: bool,
    },
    Citus,
}

impl Dialect {
    /// By whether the server has the extension Citus.
    pub fn new(citus: bool, partitioned: bool) -> Self {
        if citus { Self::Citus } else { Self::PostgreSql { partitioned } }
    }
}

impl Target {
    /// From a `postgres://` or `postgresql://` URL. What is wrong with it is told without showing it, as
    /// it may hold a password.
    pub fn new(url: &str, options: &StoreOptions) -> Result<Self> {
        let (url, root) = without_root(url)?;
        // The certificate is always verified, in full.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            invalid("can't be read").with_source(reason)
        })?;
        if config.get_application_name().is_none() {
            config.application_name("profile-store");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECTING);
        }
        // A server that is gone without a word is noticed in a minute instead of hours.
        if !url.contains("keepalives") {
            config.keepalives_idle(Duration::from_secs(30));
            config.keepalives_interval(Duration::from_secs(10));
            config.keepalives_retries(3);
        }
        let tls = tls::connector(config.get_ssl_mode() == SslMode::Require, root)?;
        let patience = options.busy_timeout();
        let create = options.create();
        let settings = settings(patience, options.durability());
        let begin = format!("{BEGIN}; SET LOCAL {}", settings.join("; SET LOCAL "));
        Ok(Self { config, tls, patience, create, settings, begin, dialect: OnceLock::new() })
    }

    /// What kind of server it is, once that is known.
    pub fn dialect(&self) -> Dialect {
        self.dialect.get().copied().unwrap_or(Dialect::PostgreSql { partitioned: true })
    }

    /// Whether rows may come in as arrays.
    pub fn takes_arrays(&self) -> bool {
        self.dialect() != Dialect::Citus
    }

    /// For a connection that has the settings from the start, and `mark` with them as [`MARK`].
    pub fn with_settings(&self, mark: &str) -> Config {
        let mut options = self.config.get_options().unwrap_or_default().to_owned();
        for setting in &self.settings {
            options += &format!(" -c {setting}");
        }
        let mut config = self.config.clone();
        config.options(format!("{options} -c {MARK}={mark}"));
        config
    }
}

/// A setting that only a connection with settings of its own has.
pub(super) const MARK: &str = "profile_store.connection";

/// What opens a transaction that writes.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

fn settings(patience: Duration, durability: Durability) -> [String; 5] {
    // 0 would switch a timeout off.
    let locks = patience.as_millis().clamp(1, i32::MAX as u128);
    let statement = STATEMENT.as_millis();
    let commit = match durability {
        Durability::PowerLoss => "on",
        Durability::ProcessCrash => "off",
    };
    [
        format!("lock_timeout={locks}"),
        format!("statement_timeout={statement}"),
        format!("idle_in_transaction_session_timeout={statement}"),
        format!("synchronous_commit={commit}"),
        "enable_seqscan=off".to_owned(),
    ]
}

/// Takes `sslrootcert=FILE` out of the URL, which the parser does not know.
fn without_root(url: &str) -> Result<(String, Option<PathBuf>)> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), None)) };
    let (mut rest, mut root) = (Vec::new(), None);
    for pair in query.split('&') {
        match pair.strip_prefix("sslrootcert=") {
            Some(path) => root = Some(PathBuf::from(decoded(path)?)),
            None => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, root))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = rest.split_at_checked(2).and_then(|(hex, tail)| {
            rest = tail;
            u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
        });
        bytes.push(hex.ok_or_else(|| invalid("has a % without two digits"))?);
    }
    String::from_utf8(bytes).map_err(|_| invalid("is not UTF-8"))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("store URL of PostgreSQL {what}"))
}
