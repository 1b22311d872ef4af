//! Whether two URLs name one store.

use std::path::PathBuf;

use profile_store::StoreOptions;
#[cfg(feature = "postgres")]
use profile_store::{ErrorKind, ProfileStore as _};

use crate::failure::Failure;
use crate::place::Place;

/// Whether both are one store: by the file or directory that a path leads to, or by what the server says of its
/// database, if the role may ask. Nothing is created.
pub async fn is_same(one: &Place, other: &Place, options: &StoreOptions) -> Result<bool, Failure> {
    if one.is_server() != other.is_server() {
        return Ok(false);
    }
    let identity = Identity::of(one, options).await?;
    Ok(identity.is_some() && identity == Identity::of(other, options).await?)
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
    /// `None` if nothing is there, or it can't be told.
    async fn of(place: &Place, options: &StoreOptions) -> Result<Option<Self>, Failure> {
        if place.is_server() {
            return Self::of_database(place, options).await;
        }
        // Without a slash at its end. One more at its beginning changes nothing.
        let path = place.url().split_once(':').map(|(_, path)| PathBuf::from(path).components().collect());
        Ok(path.and_then(Self::of_path))
    }

    #[cfg(feature = "postgres")]
    async fn of_database(place: &Place, options: &StoreOptions) -> Result<Option<Self>, Failure> {
        // Opened as for the copy: of several hosts, the one that writes.
        let options = options.clone().with_create(false);
        let store = match profile_store::PostgresStore::open_with(place.url(), options).await {
            Ok(store) => store,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::opening(error, place)),
        };
        let id = store.database_id().await;
        let closed = store.close().await;
        match id.and_then(|id| closed.map(|()| id)) {
            Ok(id) => Ok(Some(Self::Database(id))),
            // Copying takes no right to ask.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(Failure::from(error).on(&[place])),
        }
    }

    /// Opening reports that the feature is missing.
    #[cfg(not(feature = "postgres"))]
    async fn of_database(_: &Place, _: &StoreOptions) -> Result<Option<Self>, Failure> {
        Ok(None)
    }

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
