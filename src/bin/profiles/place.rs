//! Which store is meant: its URL, and who named it.

use std::fmt;
use std::sync::Arc;

use clap::ArgMatches;
use clap::parser::ValueSource;
use profile_store::{ProfileStore, Result, StoreOptions};

/// A store's URL, and where it stood.
#[derive(Clone, Debug)]
pub struct Place {
    url: String,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    Default,
    /// The argument of `copy`.
    Target,
}

impl Place {
    /// The store of `--store`, or of what stands for it.
    pub fn from_matches(url: String, matches: &ArgMatches) -> Self {
        let origin = match matches.value_source("store") {
            Some(ValueSource::EnvVariable) => Origin::Variable,
            Some(ValueSource::DefaultValue) => Origin::Default,
            _ => Origin::Option,
        };
        Self { url, origin }
    }

    /// The store that `copy` writes to.
    pub fn target(url: String) -> Self {
        Self { url, origin: Origin::Target }
    }

    /// The path of a SQLite store.
    pub fn sqlite_path(&self) -> Option<&str> {
        self.url.strip_prefix("sqlite:")
    }

    pub fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }

    /// Whether a server holds the store, and no path.
    pub fn is_server(&self) -> bool {
        matches!(self.url.split(':').next(), Some("postgres" | "postgresql"))
    }

    pub async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        profile_store::open_with(&self.url, options).await
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

/// For people. Only a path is shown: whatever else was given may hold a password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may_be_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        match self.url.split_once(':') {
            Some(("memory" | "sqlite" | "fjall" | "sled", path)) if !path.contains(['@', '?']) => {
                f.write_str(&self.url)?;
            }
            Some((scheme, rest)) if scheme.bytes().all(may_be_scheme) => {
                write!(f, "{scheme}:{}…", if rest.starts_with("//") { "//" } else { "" })?;
            }
            _ => f.write_str("…")?,
        }
        f.write_str(match self.origin {
            Origin::Option => " (named by --store)",
            Origin::Variable => " (named by the variable PROFILE_STORE)",
            Origin::Default => " (the default: neither --store nor PROFILE_STORE names one)",
            Origin::Target => " (named by the argument, to be copied to)",
        })
    }
}
