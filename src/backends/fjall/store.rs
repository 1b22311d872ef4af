//! The store: [`FjallStore`].

use std::path::Path;

use crate::engine::key_value::writing::Writing;
use crate::engine::threaded::Threaded;
use crate::model::error::Result;
use crate::store::forward::forward;
use crate::store::options::StoreOptions;

use super::open;
use super::reader::Reader;
use super::writer::Writer;

/// Profiles in a fjall 3 database, for one process (feature `fjall`, Rust 1.90).
///
/// Choose it for very large stores with many writes, or if there is no C compiler. fjall is a log-structured merge
/// tree in pure Rust. It inserts 1.8 times as fast as SQLite at 100,000 profiles, and 3.6 times at a million, with less than a
/// quarter of the bytes written.
/// Changes and retries cost more than in SQLite.
///
/// # Durability
/// A batch is synced to fjall's journal before anybody can read it. After an I/O error the store refuses all
/// writes until it is opened again ([`Closed`](crate::ErrorKind::Closed)). Reads go on.
///
/// # Memory and disk
/// The cache takes [`StoreOptions::with_cache_bytes`]. Rows that wait to be written to tables take up to
/// 128 MiB. The journals take 64 MiB from the start, and about 192 MiB at most; they are part of
/// [`stats`](crate::ProfileStore::stats)' `disk_bytes`, and are replayed when the store is opened.
///
/// # Erasure ([L3])
/// [`compact`](crate::ProfileStore::compact) copies the live profiles into new files, and removes the old ones.
/// It needs room for a second copy. Writes wait until it is done; reads wait while the files change places.
/// Before it, deleted bytes stay in journals and tables.
///
/// # Hazards
/// - **One process**: a second one gets [`Busy`](crate::ErrorKind::Busy) ([S13]).
/// - **Damage**: every record has a checksum ([S12]), and so has every block. Damage inside the journal makes
///   the store unopenable ([`Corrupt`](crate::ErrorKind::Corrupt)).
/// - **Silent loss**: fjall cuts a journal at an unreadable end. If the store was closed properly, opening detects this and
///   returns `Corrupt`. After a kill it can't, and the last batches are lost.
/// - **A torn journal**: a power cut during a write may leave the end of a batch on the disk without its middle. Opening
///   drops the last batch if it is torn so; it was not acknowledged. A store that was opened for
///   [`ProcessCrash`](crate::Durability::ProcessCrash) may have earlier batches torn: fjall then refuses the journal, and
///   opening is `Corrupt`.
/// - **Debug builds**: after a power cut, a debug build of fjall 3.1.13 may call the journal
///   [`Corrupt`](crate::ErrorKind::Corrupt). A release build opens the same files.
/// - **Replaced files**: if the directory is removed, renamed or replaced while the store is open, the next write and
///   `health(Write)` report [`Closed`](crate::ErrorKind::Closed).
/// - **Network file systems**: fjall does not work there.
/// - **Backup**: fjall has none. [`copy`](crate::copy()) the store, or copy its directory while it is closed.
/// - **Scans**: [`stats`](crate::ProfileStore::stats) and [`verify`](crate::ProfileStore::verify) read
///   everything. Writes go on.
///
/// The files that the store creates are readable by their owner only ([S13]).
///
/// ```no_run
/// use profile_store::FjallStore;
///
/// # async fn open() -> profile_store::Result<()> {
/// let store = FjallStore::open("profiles.fjall").await?;
/// # Ok(()) }
/// ```
///
/// [L3]: crate::contract#l3
/// [S12]: crate::contract#s12
/// [S13]: crate::contract#s13
#[derive(Debug)]
pub struct FjallStore(Threaded<Reader>);

impl FjallStore {
    /// [`open_with`](Self::open_with) default options.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, StoreOptions::default()).await
    }

    /// Opens the store in the directory at `path`, and creates it if there is none, or an empty one. The
    /// directory above must exist.
    ///
    /// # Errors
    /// [`Incompatible`](crate::ErrorKind::Incompatible) for a directory of a newer format or of something else,
    /// which is left as it was; [`Unsupported`](crate::ErrorKind::Unsupported) for reading only;
    /// [`Busy`](crate::ErrorKind::Busy) if somebody else has the store open for longer
    /// than the busy timeout; [`InvalidInput`](crate::ErrorKind::InvalidInput) if the directory above does not exist;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if one of the store's directories can't be written;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) or [`Storage`](crate::ErrorKind::Storage)
    /// if fjall can't recover it or read it.
    pub async fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self> {
        options.refuse_erasing("fjall")?;
        let path = path.as_ref().to_owned();
        let opened = Threaded::open(options, 0, move |options, breaker, _| {
            options.refuse_read_only("a fjall store")?;
            let writer = Writer::new(open::open(&path, options)?, options, breaker);
            let readers = (0..options.read_threads()).map(|_| writer.reader()).collect();
            Ok((Writing::new(writer), Vec::new(), readers))
        });
        Ok(Self(opened.await?))
    }
}

forward!(FjallStore, |store| store.0);
