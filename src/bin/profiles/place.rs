//! Which store is meant: its URL, and who named it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use clap::parser::ValueSource;
#[cfg(feature = "postgres")]
use profile_store::ErrorKind;
use profile_store::{ProfileStore, StoreOptions};

use crate::failure::Failure;

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
        matches!(self.scheme(), "postgres" | "postgresql")
    }

    pub async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>, Failure> {
        profile_store::open_with(&self.url, options).await.map_err(|error| Failure::opening(error, self))
    }

    /// Whether both are one store: by the file or directory that a path leads to, or by what the server says of its
    /// database, if the role may ask. Nothing is created.
    pub async fn is_same(&self, other: &Self, options: &StoreOptions) -> Result<bool, Failure> {
        if self.is_server() != other.is_server() {
            return Ok(false);
        }
        let one = self.identity(options).await?;
        Ok(one.is_some() && one == other.identity(options).await?)
    }

    fn scheme(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }

    /// `None` if nothing is there, or it can't be told.
    async fn identity(&self, options: &StoreOptions) -> Result<Option<Identity>, Failure> {
        if self.is_server() {
            return self.database_id(options).await;
        }
        Ok(self.path().and_then(Identity::of_path))
    }

    #[cfg(feature = "postgres")]
    async fn database_id(&self, options: &StoreOptions) -> Result<Option<Identity>, Failure> {
        // Opened as for the copy: of several hosts, the one that writes.
        let options = options.clone().with_create(false);
        let store = match profile_store::PostgresStore::open_with(&self.url, options).await {
            Ok(store) => store,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::opening(error, self)),
        };
        let id = store.database_id().await;
        let closed = store.close().await;
        match id.and_then(|id| closed.map(|()| id)) {
            Ok(id) => Ok(Some(Identity::Database(id))),
            // Copying takes no right to ask.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(Failure::from(error).on(&[self])),
        }
    }

    /// Opening reports that the feature is missing.
    #[cfg(not(feature = "postgres"))]
    async fn database_id(&self, _: &StoreOptions) -> Result<Option<Identity>, Failure> {
        Ok(None)
    }

    /// The path without a slash at its end. One more at its beginning changes nothing.
    fn path(&self) -> Option<PathBuf> {
        let (_, path) = self.url.split_once(':')?;
        Some(PathBuf::from(path).components().collect())
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

/// The identity that two spellings of one store share.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// The device and the number of the file or directory: the same by every path and every link.
    #[cfg(unix)]
    File(u64, u64),
    /// The path without links.
    #[cfg(not(unix))]
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Database(String),
}

impl Identity {
    /// `None` if nothing is there.
    #[cfg(unix)]
    fn of_path(path: PathBuf) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        path.metadata().ok().map(|metadata| Self::File(metadata.dev(), metadata.ino()))
    }

    #[cfg(not(unix))]
    fn of_path(path: PathBuf) -> Option<Self> {
        path.canonicalize().ok().map(Self::File)
    }
}
