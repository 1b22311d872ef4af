//! Which server, and how to reach it: a URL and what this crate adds to it.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::hosts::Hosts;
use super::tls::{self, Roots, Tls};
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::{Durability, StoreOptions};

/// How long a statement may take that does not scan the store.
pub(super) const STATEMENT: Duration = Duration::from_secs(60);

/// How long a transaction waits for a lock before it starts over (P2).
pub(super) const STEP: Duration = Duration::from_millis(100);

/// The settings that every connection of a store is made from.
pub(super) struct Target {
    pub config: Config,
    pub hosts: Hosts,
    pub tls: Tls,
    /// How long to ask for a lost answer.
    pub patience: Duration,
    /// Whether to make the tables if there are none.
    pub create: bool,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// Whether commits are to survive power loss.
    pub survives_power_loss: bool,
    /// The settings of a connection, each `NAME=VALUE`.
    settings: Vec<String>,
    /// The statements that open a writing transaction if the connection does not have the settings.
    pub begin: String,
    /// The same for a reading one.
    pub begin_reading: String,
    /// Whether the server is Citus; not known before the first connection.
    pub citus: OnceLock<bool>,
}

impl Target {
    /// From a `postgres://` or `postgresql://` URL. The error never shows the URL, which may hold a password.
    pub fn new(url: &str, options: &StoreOptions) -> Result<Self> {
        let read_only = options.read_only();
        let (url, roots) = understood(url, read_only)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            invalid("can't be read").with_source(reason)
        })?;
        if config.get_application_name().is_none() {
            config.application_name("profile-store");
        }
        if !read_only {
            // Readers must see what was written through any handle (S9), and a standby lags.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let hosts = Hosts::of(&config).map_err(|what| invalid(&what))?;
        // A server that is gone without a word is noticed in a minute instead of hours.
        if !url.contains("keepalives") {
            config.keepalives_idle(Duration::from_secs(30));
            config.keepalives_interval(Duration::from_secs(10));
            config.keepalives_retries(3);
            // For what was sent and is not acknowledged, which keepalives don't see.
            config.tcp_user_timeout(Duration::from_secs(60));
        }
        let tls = tls::connector(config.get_ssl_mode() == SslMode::Require, roots)?;
        let create = options.create() && !read_only;
        let mut settings = settings(options.durability());
        if read_only {
            settings.push("default_transaction_read_only=on".to_owned());
        }
        let local = settings.join("; SET LOCAL ");
        let begin = format!("{BEGIN}; SET LOCAL {local}");
        let begin_reading = format!("BEGIN READ ONLY; SET LOCAL {local}");
        Ok(Self {
            config,
            hosts,
            tls,
            patience: options.busy_timeout(),
            create,
            read_only,
            survives_power_loss: options.durability() == Durability::PowerLoss,
            settings,
            begin,
            begin_reading,
            citus: OnceLock::new(),
        })
    }

    /// Whether the server is Citus, once that is known.
    pub fn is_citus(&self) -> bool {
        self.citus.get().copied().unwrap_or(false)
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

/// How long a statement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As a call for some profiles should.
    Quick,
    /// As long as a scan of a guru's profiles takes.
    Scan,
    /// As long as a scan of the store takes, however long (P2).
    Whole,
}

/// A setting that only a connection with settings of its own has.
pub(super) const MARK: &str = "profile_store.connection";

/// The statements that open a transaction that writes.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

fn settings(durability: Durability) -> Vec<String> {
    let (locks, statement) = (STEP.as_millis(), STATEMENT.as_millis());
    let commit = match durability {
        Durability::PowerLoss => "on",
        Durability::ProcessCrash => "off",
    };
    vec![
        format!("lock_timeout={locks}"),
        format!("statement_timeout={statement}"),
        format!("idle_in_transaction_session_timeout={statement}"),
        format!("synchronous_commit={commit}"),
        "enable_seqscan=off".to_owned(),
    ]
}

/// The parameters that a URL may have here; the driver reads them.
const UNDERSTOOD: [&str; 16] = [
    "user",
    "password",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "application_name",
    "options",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "sslmode",
    "sslnegotiation",
    "channel_binding",
    "load_balance_hosts",
];

/// The URL as the driver reads it, without the parameters that it does not know. A parameter that can't be honoured is
/// refused, with the reason.
fn understood(url: &str, read_only: bool) -> Result<(String, Roots)> {
    let credentials = url.find('@').unwrap_or(0);
    let Some(query) = url[credentials..].find('?').map(|at| credentials + at) else {
        return Ok((url.to_owned(), Roots::System));
    };
    let (mut rest, mut roots) = (Vec::new(), Roots::System);
    for pair in url[query + 1..].split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key)?, decoded(value)?);
        let refuse = |reason: &str| Err(invalid(&format!("has {key}={value}: {reason}")));
        match (key.as_str(), value.as_str()) {
            ("sslrootcert", "system") => roots = Roots::System,
            ("sslrootcert", path) => roots = Roots::File(path.into()),
            // The certificate is always verified, in full.
            ("sslmode", "verify-full") => rest.push("sslmode=require".to_owned()),
            ("sslmode", "verify-ca") => {
                return refuse("the server's name is always verified, use verify-full");
            }
            ("sslmode", "allow") => return refuse("use prefer, which tries TLS first"),
            ("target_session_attrs", "any" | "read-only" | "read-write") if read_only => {
                rest.push(pair.to_owned());
            }
            ("target_session_attrs", "read-write") => {}
            ("target_session_attrs", "any" | "read-only") => {
                let reason = "a standby is behind, and readers would not see what was written (S9), unless the \
                              store is opened for reading only";
                return refuse(reason);
            }
            ("target_session_attrs", _) => return refuse("use read-write"),
            ("keepalives_count", count) => rest.push(format!("keepalives_retries={count}")),
            ("client_encoding", _) => return refuse("it is always UTF8"),
            (known, _) if UNDERSTOOD.contains(&known) => rest.push(pair.to_owned()),
            // The value may be a secret.
            _ => return Err(invalid(&format!("has the parameter {key:?}, which is not supported"))),
        }
    }
    let base = &url[..query];
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, roots))
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
