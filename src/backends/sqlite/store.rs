//! The store: [`SqliteStore`].

use std::path::Path;

use crate::engine::threaded::Threaded;
use crate::model::error::Result;
#[cfg(doc)]
use crate::store::contract::ProfileStore;
use crate::store::forward::forward;
use crate::store::options::StoreOptions;

use super::open::Connections;
use super::read_only::Refusing;
use super::reader::Reader;
use super::writer::Writer;
use super::{backup, open, read_only};

/// Profiles in one SQLite file, for one machine and any number of readers (feature `sqlite`).
///
/// # Durability
/// The write-ahead log is synced before every `Ok`, unless the store is opened with
/// [`Durability::ProcessCrash`](crate::Durability::ProcessCrash) ([S2]). Concurrent upserts share a transaction and a
/// sync (group commit), each atomic by itself ([S1]).
///
/// After a failed sync every write is refused until the store is opened again
/// ([`Closed`](crate::ErrorKind::Closed)). The whole failed batch may then be stored: repeat it.
///
/// # Concurrency
/// Writes go through one thread. Reads go through several, each with its own connection, and do not wait for writes.
/// Other processes may open the same file. The store waits for their locks, up to the busy timeout.
///
/// # Disk
/// The log, `-wal`, takes up to [`with_log_bytes`](StoreOptions::with_log_bytes) beside the file, 320 MiB by default,
/// however small the file is. It grows beyond that while somebody reads for long.
///
/// The file and its two companions, `-wal` and `-shm`, are readable by their owner only ([S13]). Symbolic links are
/// followed: the companions lie beside the file that the path leads to.
///
/// Anybody can look inside: `sqlite3 profiles.db 'SELECT slug, external_user_id, memory FROM guru JOIN profile ON
/// profile.guru = guru.id'`.
///
/// # Upkeep
/// - [`verify`](ProfileStore::verify) and [`backup`](Self::backup) keep one read thread busy. Writes go on, and the log
///   grows until they are done. [`stats`](ProfileStore::stats) takes no scan.
/// - [`delete_guru`](ProfileStore::delete_guru) takes one small commit, whatever the guru's size, and no later read
///   finds its profiles. Their rows are removed afterwards, some milliseconds at a time between writes. **Warning.** A
///   backup made before that still contains the deleted rows.
///
/// # Erasure ([L3])
/// [`compact`](ProfileStore::compact) rebuilds the file and cuts the log: no file then holds a byte of what was deleted
/// or replaced. It needs room for a second copy in the log, and for a third in SQLite's temporary directory. If somebody
/// reads for longer than the busy timeout, it is [`Busy`](crate::ErrorKind::Busy): compact again.
///
/// [`with_erasing`](StoreOptions::with_erasing) overwrites most deleted content with zeros earlier. It is no promise.
///
/// # Hazards
/// - **Damage**: a checksum over guru, id, times and memory is in every row ([S12]). It can't show a damaged log, which
///   silently loses its later writes, nor a damaged index, which can hide a row. [`close`](ProfileStore::close) moves
///   the whole log into the file.
/// - **A passing read error**: SQLite reports an I/O error on a read as damage. A
///   [`Corrupt`](crate::ErrorKind::Corrupt) that names no profile may pass once the device reads again.
/// - **Other descriptors**: while the store is open, never open, copy or hash its files by other means within the same
///   process. Closing such a descriptor drops SQLite's locks ("How To Corrupt An SQLite Database File", 2.2).
/// - **Hard links**: never open one file by two names that are hard links, not even from two processes. Each name has a
///   log of its own, and the file is damaged.
/// - **Replaced files**: if the file or a companion is removed, renamed or replaced while the store is open, the next
///   write and `health(Write)` report [`Closed`](crate::ErrorKind::Closed). Reads go on, from the file that was opened.
/// - **Network file systems**: keep the files on a local one.
/// - **Triggers**: if the file has triggers, the store reads what it has written again before the commit. If a trigger has
///   changed a row of the batch or left it out, nothing is stored, and the error is
///   [`Incompatible`](crate::ErrorKind::Incompatible). Triggers that write elsewhere are fine.
/// - **Opening beside others**: opening syncs what is in the log, up to [`with_log_bytes`](StoreOptions::with_log_bytes), while
///   other handles wait to write.
/// - **Dumps**: `sqlite3 p.db .dump` loses the application id and the format, so a file made from it is refused. Use
///   [`backup`](Self::backup), `.backup` or `VACUUM INTO`.
///
/// # Read-only
/// [`with_read_only`](StoreOptions::with_read_only) opens a backup, or a file that others write. No schema is made, no log
/// rewritten, and no writer's lock taken. SQLite may create `-wal` and `-shm` beside the file, to read it.
///
/// On a read-only volume SQLite can't create them. If a log with changes lies beside the file, opening fails and says
/// what to do. Otherwise the store assumes that the file never changes.
///
/// **Warning.** Nobody may write such a file while the store is open.
///
/// ```no_run
/// use profile_store::SqliteStore;
///
/// # async fn open() -> profile_store::Result<()> {
/// let store = SqliteStore::open("profiles.db").await?;
/// # Ok(()) }
/// ```
///
/// [L3]: crate::contract#l3
/// [S1]: crate::contract#s1
/// [S2]: crate::contract#s2
/// [S12]: crate::contract#s12
/// [S13]: crate::contract#s13
#[derive(Debug)]
pub struct SqliteStore(Threaded<Reader>);

impl SqliteStore {
    /// [`open_with`](Self::open_with) default options.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, StoreOptions::default()).await
    }

    /// Opens the store in the file at `path`, and creates the file if there is none. Its directory
    /// must exist.
    ///
    /// It takes the writer's lock for a moment, to be sure that the file can be written. While
    /// another process writes, opening waits as a write would.
    ///
    /// # Errors
    /// [`Incompatible`](crate::ErrorKind::Incompatible) for a file of another format, not in UTF-8, with
    /// other tables in the place of the store's, or of something else, which is left as it was; [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if the file or its
    /// directory can't be written; [`Busy`](crate::ErrorKind::Busy) if another
    /// process holds it for longer than the busy timeout; [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is
    /// no directory to create it in;
    /// [`Storage`](crate::ErrorKind::Storage) if reading or writing it fails ([S13](crate::contract#s13)).
    pub async fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self> {
        let path = path.as_ref().to_owned();
        if options.read_only() {
            let opened = Threaded::open(options, 0, move |options, _, _| {
                let (path, readers) = read_only::open(&path, options)?;
                let reader = |connection| Reader { connection, path: path.clone() };
                Ok((Refusing, Vec::new(), readers.into_iter().map(reader).collect()))
            });
            return Ok(Self(opened.await?));
        }
        let opened = Threaded::open(options, 0, move |options, breaker, log_bytes| {
            let Connections { path, opened, writer, checkpointer, readers } = open::open(&path, options)?;
            let writer = Writer::new(writer, checkpointer, opened, options, breaker, log_bytes)?;
            let reader = |connection| Reader { connection, path: path.clone() };
            Ok((writer, Vec::new(), readers.into_iter().map(reader).collect()))
        });
        Ok(Self(opened.await?))
    }

    /// Writes a copy of the store to a new file at `path`, while others read and write. The copy is of one consistent
    /// state, compacted, durable once this returns, and readable by its owner only.
    ///
    /// It is written beside its place, as `PATH.….partial`, and gets its name at the end: a file with the name is
    /// whole. The file system must support hard links. Partial copies that killed processes have left beside `path` are
    /// removed.
    ///
    /// The copy keeps one read thread busy, and the log grows until it is done. Dropping the future does not stop a
    /// backup that has begun.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if there is a file at `path` already;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no directory for it;
    /// [`Storage`](crate::ErrorKind::Storage) if writing fails.
    ///
    /// # Examples
    /// ```
    /// use profile_store::{ProfileStore, SqliteStore};
    ///
    /// # pollster::block_on(async {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # std::env::set_current_dir(&directory).unwrap();
    /// let store = SqliteStore::open("profiles.db").await?;
    /// store.backup("backup.db").await?;
    ///
    /// let backup = SqliteStore::open("backup.db").await?;
    /// assert!(backup.verify().await?.is_sound());
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref().to_owned();
        self.0.read(move |reader| backup::backup(&reader.connection, &path)).await
    }
}

forward!(SqliteStore, |store| store.0);
