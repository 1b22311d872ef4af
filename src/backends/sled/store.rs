//! The store: [`SledStore`].

use std::path::Path;

use crate::engine::key_value::writing::Writing;
use crate::engine::threaded::Threaded;
use crate::model::error::Result;
use crate::store::forward::forward;
use crate::store::options::StoreOptions;

use super::open;
use super::reader::Reader;
use super::writer::Writer;

/// Profiles in a sled 0.34 database, for one process (feature `sled`).
///
/// Choose it if sled is in use already; otherwise `SqliteStore` or `FjallStore` is the better choice.
///
/// # Durability
/// sled's own flush does not sync. This store therefore syncs sled's file itself after every flush, and sled's blob files,
/// which hold memories of more than about 200 KiB.
///
/// A batch can be read from the moment it is applied, an instant before its sync ends and its caller gets `Ok`. If the
/// sync fails, reads are refused as well.
///
/// # After an I/O error
/// The store refuses everything until it is opened again ([`Closed`](crate::ErrorKind::Closed)). sled may panic on such an
/// error, which is caught. sled may also miss it and wait for ever; this store wakes it after half a second.
///
/// If sled may have failed to write a blob file, it can't be closed: [`close`](crate::ProfileStore::close) and dropping the
/// store leave it in memory with its lock. If opening again then reports [`Busy`](crate::ErrorKind::Busy), restart the process.
///
/// # Memory and disk
/// sled keeps more in memory than its cache setting says: 145 MB were measured at a million profiles, and 183 MB at two. A
/// batch takes several times its size. sled slows down as it grows. It needs ten threads: if the process may not start them, opening fails.
///
/// [`stats`](crate::ProfileStore::stats) and [`verify`](crate::ProfileStore::verify) read everything. Writes wait until
/// they are done, or get [`Busy`](crate::ErrorKind::Busy) after the busy timeout ([P2]). Other reads go on.
///
/// Opening writes up to 16 MiB, also if nothing changes: sled fills the rest of its last segment with zeros and syncs it.
/// A small store that is opened and closed unchanged writes 16.6 MB by one call, and makes 2 syncs.
///
/// # Erasure ([L3])
/// It is not promised: sled keeps old values in its segments until it rewrites them, and has no compaction
/// ([`Unsupported`](crate::ErrorKind::Unsupported)). To get rid of them, [`copy`](crate::copy()) the store and remove the
/// old directory.
///
/// # Hazards
/// - **Large memories and power loss**: if the power fails during a batch with memories of hundreds of kilobytes, a part of
///   that batch may be found afterwards ([S1]). sled skips a record whose blob file did not reach the disk, and keeps the
///   records after it. Nothing that was acknowledged is lost.
/// - **Damage**: every record has a checksum ([S12]), but most damage to sled's own files makes it drop the records after
///   it, without a sign. If the store was closed properly, opening detects this and returns
///   [`Corrupt`](crate::ErrorKind::Corrupt). After a kill it can't, and those records are lost.
/// - **One process**: a second one gets [`Busy`](crate::ErrorKind::Busy) ([S13]).
/// - **Replaced files**: if the directory is removed, renamed or replaced while the store is open, the next write and
///   `health(Write)` report [`Closed`](crate::ErrorKind::Closed).
///
/// The files that the store creates are readable by their owner only ([S13]).
///
/// ```no_run
/// use profile_store::SledStore;
///
/// # async fn open() -> profile_store::Result<()> {
/// let store = SledStore::open("profiles.sled").await?;
/// # Ok(()) }
/// ```
///
/// [L3]: crate::contract#l3
/// [P2]: crate::contract#p2
/// [S1]: crate::contract#s1
/// [S12]: crate::contract#s12
/// [S13]: crate::contract#s13
#[derive(Debug)]
pub struct SledStore(Threaded<Reader>);

impl SledStore {
    /// [`open_with`](Self::open_with) default options.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, StoreOptions::default()).await
    }

    /// Opens the store in the directory at `path`, and creates it if there is none, or an empty
    /// one. The directory above must exist.
    ///
    /// # Errors
    /// [`Incompatible`](crate::ErrorKind::Incompatible) for a directory of a newer format or of
    /// something else, which is left as it was; [`Busy`](crate::ErrorKind::Busy) if somebody
    /// else has the store open for longer than the busy timeout, or
    /// [sled keeps it after an I/O error](Self#after-an-io-error);
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the directory above does not exist;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if one of the store's directories can't be written;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) or [`Storage`](crate::ErrorKind::Storage) if sled
    /// can't recover it or read it.
    pub async fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self> {
        options.refuse_erasing("sled")?;
        let path = path.as_ref().to_owned();
        let opened = Threaded::open(options, 0, move |options, breaker, _| {
            options.refuse_read_only("a sled store")?;
            let writer = Writer::new(open::open(&path, options)?, options, breaker)?;
            let readers = (0..options.read_threads()).map(|_| writer.reader()).collect();
            Ok((Writing::new(writer), Vec::new(), readers))
        });
        Ok(Self(opened.await?))
    }
}

forward!(SledStore, |store| store.0);
