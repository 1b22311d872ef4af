//! Which store is meant: its URL, and who named it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use clap::parser::ValueSource;
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

    /// Whether both are one store, as far as that shows before they are opened: by the file or directory that a path
    /// leads to, or by the host, port and name of a database.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.identity(), other.identity()) {
            (Some(one), Some(other)) => one.is_same(&other),
            _ => false,
        }
    }

    fn scheme(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }

    fn identity(&self) -> Option<Identity> {
        match self.scheme() {
            "sqlite" | "fjall" | "sled" => self.path().and_then(Identity::of_path),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Identity::of_database(&self.url),
            _ => None,
        }
    }

    /// The path without a slash at its end. One more at its beginning changes nothing.
    fn path(&self) -> Option<PathBuf> {
        let (_, path) = self.url.split_once(':')?;
        Some(PathBuf::from(path).components().collect())
    }
}

/// For people: a server's URL may hold a password, and is not shown.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_server() {
            write!(f, "{}://…", self.scheme())?;
        } else {
            f.write_str(&self.url)?;
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
    /// The servers that may answer, each a host and a port, and the database.
    #[cfg(feature = "postgres")]
    Database(Vec<(String, u16)>, String),
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

    /// `None` if the URL can't be read, which opening reports.
    #[cfg(feature = "postgres")]
    fn of_database(url: &str) -> Option<Self> {
        use tokio_postgres::config::Host;
        const DEFAULT_PORT: u16 = 5432;
        let config: tokio_postgres::Config = without_other_parameters(url).parse().ok()?;
        let named = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) if matches!(name.as_str(), "127.0.0.1" | "::1") => "localhost".to_owned(),
            Host::Tcp(name) => name.to_ascii_lowercase(),
            #[cfg(unix)]
            Host::Unix(path) => path.to_string_lossy().trim_end_matches('/').to_owned(),
        });
        let addresses = config
            .get_hostaddrs()
            .iter()
            .map(|address| if address.is_loopback() { "localhost".to_owned() } else { address.to_string() });
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        let named = named.enumerate().map(|(at, host)| (host, port(at)));
        let servers = named.chain(addresses.enumerate().map(|(at, host)| (host, port(at)))).collect();
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
        Some(Self::Database(servers, database.to_owned()))
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "postgres")]
            (Self::Database(ours, database), Self::Database(theirs, other)) => {
                database == other && ours.iter().any(|server| theirs.contains(server))
            }
            _ => self == other,
        }
    }
}

/// The URL with no parameters but those that say where the database is: the driver knows only some of the others.
#[cfg(feature = "postgres")]
fn without_other_parameters(url: &str) -> String {
    let credentials = url.find('@').unwrap_or(0);
    let Some(query) = url[credentials..].find('?').map(|at| credentials + at) else { return url.to_owned() };
    let says_where = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        ["host", "hostaddr", "port", "dbname", "user"].contains(&key)
    };
    let kept: Vec<_> = url[query + 1..].split('&').filter(says_where).collect();
    format!("{}?{}", &url[..query], kept.join("&"))
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::Place;

    #[test]
    fn one_database_is_recognised_by_its_spellings() {
        let same = |one: &str, other: &str| Place::target(one.into()).is_same(&Place::target(other.into()));
        let url = "postgres://app:secret@DB.example/profiles";
        for other in [
            "postgresql://db.example:5432/profiles?sslmode=verify-full&sslrootcert=system",
            "postgres://other@db.example,standby.example/profiles",
            "postgres://?host=db.example&dbname=profiles",
        ] {
            assert!(same(url, other), "{other}");
        }
        for other in [
            "postgres://app@db.example:5433/profiles",
            "postgres://app@db.example/other",
            "postgres://app@other.example/profiles",
            "sqlite:profiles",
        ] {
            assert!(!same(url, other), "{other}");
        }
        assert!(same("postgres://a@localhost/p", "postgres://b@127.0.0.1:5432/p"));
        assert!(same("postgres://app@db.example", "postgres://db.example/app"));
        assert!(!Place::target(url.into()).to_string().contains("secret"));
    }
}
