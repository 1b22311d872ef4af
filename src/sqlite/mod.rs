//! Profiles in one SQLite file.
//!
//! | file | room |
//! |---|---|
//! | `file.rs` | opening: whose file it is, its schema, its settings |
//! | `writer.rs` | the commit thread's transaction |
//! | `reader.rs` | what the read threads ask |
//! | `row.rs` | rows and their checksums |
//! | `error.rs` | SQLite's errors as ours |

mod error;
mod file;
mod reader;
mod row;
mod writer;

use std::path::Path;

use async_trait::async_trait;

use crate::batch::{Applied, WriteBatch};
use crate::commit::Committer;
use crate::error::Result;
use crate::limits::Limits;
use crate::options::StoreOptions;
use crate::page::{ListOptions, Page};
use crate::profile::{ExternalUserId, GuruSlug, Profile};
use crate::readers::Readers;
use crate::store::ProfileStore;

use reader::Reader;
use writer::Writer;

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
/// - **Readable**: `sqlite3 profiles.db 'SELECT external_user_id, memory FROM profile'`.
///
/// The file and its two companions, `-wal` and `-shm`, are created readable by their owner alone
/// (S13). Keep them on a local file system. While the store is open, never open, copy or hash the
/// files by other means within the same process: closing such a descriptor drops SQLite's locks
/// (see "How To Corrupt An SQLite Database File", 2.2). Do not carry an open store across `fork`.
///
/// ```no_run
/// use profile_store::{SqliteStore, StoreOptions};
///
/// # async fn open() -> profile_store::Result<()> {
/// let store = SqliteStore::open("profiles.db", StoreOptions::default()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    options: StoreOptions,
    // The readers go first: the writer's connection, the last one, then clears the log away.
    readers: Readers<Reader>,
    committer: Committer,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, and creates the file if there is none. Its directory
    /// must exist.
    ///
    /// # Errors
    /// [`Incompatible`](crate::ErrorKind::Incompatible) for a file of a newer format or of
    /// something else, which is left as it was; [`Busy`](crate::ErrorKind::Busy) where another
    /// process holds it for longer than the busy timeout;
    /// [`Storage`](crate::ErrorKind::Storage) where it can't be read or written (S13).
    pub async fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self> {
        let (path, on_thread) = (path.as_ref().to_owned(), options.clone());
        let (committer, readers) = Committer::start(options.queue_bytes(), move || {
            let (writer, readers) = file::open(&path, &on_thread)?;
            let clock = on_thread.clock().clone();
            Ok((Writer::new(writer, clock), readers.into_iter().map(Reader::new).collect()))
        })
        .await?;
        Ok(Self { options, readers: Readers::start(readers)?, committer })
    }
}

#[async_trait]
impl ProfileStore for SqliteStore {
    fn limits(&self) -> &Limits {
        self.options.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: WriteBatch) -> Result<Applied> {
        self.committer.apply(guru, batch).await
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let (guru, ids) = (guru.clone(), ids.to_vec());
        self.readers.run(move |reader| reader.get_many(&guru, &ids)).await
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let (guru, options) = (guru.clone(), options.clone());
        self.readers.run(move |reader| reader.list(&guru, &options)).await
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        let guru = guru.clone();
        self.readers.run(move |reader| reader.count(&guru)).await
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let after = after.cloned();
        self.readers.run(move |reader| reader.gurus(after.as_ref(), limit)).await
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        self.committer.delete_guru(guru).await
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await?;
        self.committer.close().await
    }
}
