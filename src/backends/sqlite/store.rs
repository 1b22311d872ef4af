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
/// - **Durable**: write-ahead log, synced before every `Ok` unless opened with
///   [`Durability::ProcessCrash`](crate::Durability::ProcessCrash) (S2). Concurrent upserts share a
///   transaction and a sync (group commit), each atomic by itself (S1).
/// - **Concurrent**: writes go through one thread, reads through several with connections of their
///   own; they do not wait for each other. Other processes may open the same file; their locks are
///   waited for up to the busy timeout.
/// - **Verified**: a checksum over guru, id, times and memory in every row (S12). What it can't see:
///   damage to the log of writes not yet moved into the file loses the later ones of them silently,
///   and damage to the index can hide a row. [`close`](ProfileStore::close) moves everything. SQLite
///   reports an I/O error on a read as damage too, so a [`Corrupt`](crate::ErrorKind::Corrupt) that names
///   no profile may pass once the device reads again.
/// - **After a failed sync** every write is refused until the store is opened again. The batch that
///   was told to have failed may then be there, whole: repeat it.
/// - **Gurus**: `delete_guru` takes one small commit, whatever the guru's size, and no read finds its profiles
///   afterwards. Their rows are removed while nobody waits and between writes, some milliseconds at a time, also after the store is
///   opened again, and before it is compacted. A backup made meanwhile has them too.
/// - **Erased** (L3): [`compact`](ProfileStore::compact) rebuilds the file and cuts the log: no file
///   holds a byte of what was deleted or replaced before. It takes the room of a second copy, in the
///   log, and of a third in SQLite's temporary directory. It is [`Busy`](crate::ErrorKind::Busy) where
///   somebody reads for longer than the busy timeout: compact again. With
///   [`with_erasing`](StoreOptions::with_erasing), deleting overwrites with zeros in between; that is
///   most of it, not a promise.
/// - **Its log**, `-wal`, takes up to [`with_log_bytes`](StoreOptions::with_log_bytes) on the disk beside the
///   file, 320 MiB by default, however small the file is.
/// - **Looked after**: [`verify`](ProfileStore::verify) and [`backup`](Self::backup) keep one read
///   thread busy, and the log can't be cut, so it grows, until they are done; writes go on.
///   [`stats`](ProfileStore::stats) takes no scan.
/// - **Readable**: `sqlite3 profiles.db 'SELECT slug, external_user_id, memory FROM guru JOIN profile ON
///   profile.guru = guru.id'`.
///
/// The file and its two companions, `-wal` and `-shm`, are created readable by their owner alone
/// (S13). Keep them on a local file system. While the store is open, never open, copy or hash the
/// files by other means within the same process: closing such a descriptor drops SQLite's locks
/// (see "How To Corrupt An SQLite Database File", 2.2).
///
/// Symbolic links are followed: the companions lie beside the file that the path leads to. If the file or a companion is
/// removed, renamed or replaced while the store is open, the next write and `health` report
/// [`Closed`](crate::ErrorKind::Closed).
///
/// **Warning.** Never open one file by two names that are hard links, also not from two processes: each name has a log of
/// its own, and the file is damaged. `sqlite3 p.db .dump` loses the application id and the format, so that a file made
/// from the dump is refused: use [`backup`](Self::backup), `.backup` or `VACUUM INTO`.
///
/// # Read-only
/// With [`with_read_only`](StoreOptions::with_read_only) a backup can be opened, or a file that others write. No schema is made,
/// no log rewritten, and no writer's lock taken; SQLite may create `-wal` and `-shm` beside a file in log mode, to read it. If
/// it can't, as the volume is read-only, and no log with changes lies beside the file, it is read as one that nobody
/// changes: nobody may write it meanwhile. With such a log, opening fails and says what to do.
///
/// ```no_run
/// use profile_store::SqliteStore;
///
/// # async fn open() -> profile_store::Result<()> {
/// let store = SqliteStore::open("profiles.db").await?;
/// # Ok(()) }
/// ```
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
    /// It takes the writer's lock for a moment, to be sure that the file can be written: while
    /// another process writes, opening waits as a write would.
    ///
    /// # Errors
    /// [`Incompatible`](crate::ErrorKind::Incompatible) for a file of another format, not in UTF-8, or of
    /// something else, which is left as it was; [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if the file or its
    /// directory can't be written; [`Busy`](crate::ErrorKind::Busy) where another
    /// process holds it for longer than the busy timeout;
    /// [`Storage`](crate::ErrorKind::Storage) where it can't be read or written (S13).
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

    /// Writes a copy of the store, of one consistent state, to a new file at `path`, while others read
    /// and write: a store like this one, compacted, durable once this returns, readable by its owner
    /// alone. It is written beside its place, as `PATH.….partial`, and given its name at the end: what
    /// has the name is whole. The file system must know hard links. Partial copies that killed processes have left
    /// beside `path` are removed.
    ///
    /// One of the read threads is busy with it, and the log grows until it is done. Dropping the
    /// future does not stop a backup that has begun.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) where there is a file at `path` already;
    /// [`Storage`](crate::ErrorKind::Storage) where it can't be written.
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
