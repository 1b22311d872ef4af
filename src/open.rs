//! Choosing a backend by a configuration string.

use std::sync::Arc;

use crate::backends::memory::MemoryStore;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::contract::ProfileStore;
use crate::store::options::StoreOptions;

/// Opens the store that `url` names, with default options.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | [`MemoryStore`], empty | |
/// | `sqlite:profiles.db`, `sqlite:/var/lib/app/profiles.db` | `SqliteStore` in that file, created if need be | `sqlite` |
/// | `fjall:profiles.fjall` | `FjallStore` in that directory, created if need be | `fjall` |
/// | `sled:profiles.sled` | `SledStore` in that directory, created if need be | `sled` |
/// | `postgres://app@db.example/profiles` | `PostgresStore` in that database, its tables created if need be | `postgres` |
///
/// The text after `sqlite:`, `fjall:` and `sled:` is a path, and nothing else: nothing is decoded, and relative paths start at
/// the working directory. `sqlite:///var/lib/app/profiles.db` names the same absolute path. Habits of other
/// libraries are refused, and the error says what to write instead: `sqlite::memory:`, `?mode=ro`, `%20`, `file:`,
/// `~/`. A file with such a name is opened by its backend: `SqliteStore::open(path)`. A
/// `postgres://` or `postgresql://` URL is one of libpq's, as `PostgresStore::open_with` says.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for an unknown scheme or one whose feature is not
/// compiled in, [`InvalidInput`](ErrorKind::InvalidInput) for a URL without a path, and whatever
/// opening the store reports.
///
/// # Examples
/// ```
/// use profile_store::ProfileStore;
///
/// # pollster::block_on(async {
/// let store = profile_store::open("memory:").await?;
/// assert!(store.gurus(None, 10).await?.is_empty());
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
pub async fn open(url: &str) -> Result<Arc<dyn ProfileStore>> {
    open_with(url, StoreOptions::default()).await
}

/// [`open()`] with options.
///
/// # Errors
/// Those of [`open()`], and those of the options.
pub async fn open_with(url: &str, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
    // A text that is no URL of ours is not shown: it may hold a password.
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| may_be_scheme(scheme)) else {
        let keywords = if url.contains('=') { KEYWORDS } else { "" };
        let message = format!("store URL has no scheme, expected {EXPECTED}{keywords}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    };
    match scheme {
        "memory" if rest.is_empty() => Ok(Arc::new(MemoryStore::open_with(options)?)),
        "memory" => {
            Err(Error::new(ErrorKind::InvalidInput, "store URL `memory:` takes no path: write `memory:`"))
        }
        "sqlite" => open_sqlite(path(scheme, rest)?, options).await,
        "fjall" => open_fjall(path(scheme, rest)?, options).await,
        "sled" => open_sled(path(scheme, rest)?, options).await,
        "postgres" | "postgresql" => open_postgres(url, options).await,
        _ => {
            let message = format!("store URL has the unknown scheme {scheme:?}, expected {EXPECTED}");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

const EXPECTED: &str = "`memory:`, `sqlite:FILE`, `fjall:DIRECTORY`, `sled:DIRECTORY` or `postgres://…`";

const KEYWORDS: &str = "; libpq's `host=… user=…` is written `postgres://USER:PASSWORD@HOST/DATABASE`";

fn may_be_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The path that a URL names.
fn path<'a>(scheme: &str, rest: &'a str) -> Result<&'a str> {
    let refuse = |advice: &str| {
        let message = format!("store URL of {scheme} is more than a path: {advice}");
        Err(Error::new(ErrorKind::InvalidInput, message))
    };
    let name = rest.split('?').next().unwrap_or_default();
    if name == "memory:" || name.ends_with(":memory:") || rest.contains("mode=memory") {
        return refuse("write `memory:` for a store in memory");
    }
    if rest.contains('?') {
        return refuse("it takes no parameters, use `StoreOptions` and `open_with`");
    }
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let encoded = |(at, _)| hex(rest.as_bytes().get(at + 1)) && hex(rest.as_bytes().get(at + 2));
    if rest.match_indices('%').any(encoded) {
        return refuse("nothing is decoded, write the path as it is");
    }
    if rest.starts_with("file:") {
        return refuse("write the path without `file:`");
    }
    if rest.starts_with("~/") {
        return refuse("no shell expands `~` here, write the path in full");
    }
    let path = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return refuse("it names a host, write the path right after the colon"),
        None => rest,
    };
    if path.is_empty() || path.contains('\0') {
        return Err(Error::new(ErrorKind::InvalidInput, format!("store URL of {scheme} has no usable path")));
    }
    Ok(path)
}

/// A function that opens a store, or reports that its feature is missing.
macro_rules! opening {
    ($open:ident, $feature:literal, $backend:ident::$store:ident) => {
        #[cfg(feature = $feature)]
        async fn $open(at: &str, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
            Ok(Arc::new(crate::backends::$backend::store::$store::open_with(at, options).await?))
        }

        #[cfg(not(feature = $feature))]
        async fn $open(_: &str, _: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
            Err(not_compiled_in($feature))
        }
    };
}

opening!(open_sqlite, "sqlite", sqlite::SqliteStore);
opening!(open_fjall, "fjall", fjall::FjallStore);
opening!(open_sled, "sled", sled::SledStore);
opening!(open_postgres, "postgres", postgres::PostgresStore);

#[cfg(not(all(feature = "sqlite", feature = "fjall", feature = "sled", feature = "postgres")))]
fn not_compiled_in(feature: &str) -> Error {
    let message = format!("this build of profile-store has no {feature}: enable its feature `{feature}`");
    Error::new(ErrorKind::Unsupported, message)
}
