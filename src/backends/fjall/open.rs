//! Opening and creating fjall's files.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::{failed, unless_damaged};
use super::heal::{recover_torn, sync_journals};
use super::shared::Database;
use crate::engine::deadline::Deadline;
use crate::engine::key_value::directory::Directory;
use crate::engine::key_value::keys;
use crate::engine::key_value::snapshot::Snapshot as _;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::Event;
use crate::store::options::StoreOptions;

const ENGINE: &str = "fjall";
const OPENING: &str = "to open";

/// The only keyspace: an idle second one would keep old journals.
const KEYSPACE: &str = "profiles";

/// fjall creates a new database if this file is missing.
const VERSION: &str = "version";

/// Bytes of rows in memory that make fjall write a table.
const MEMTABLE_BYTES: u64 = 32 << 20;

/// Bytes of journals beyond which fjall writes tables earlier.
const JOURNAL_BYTES: u64 = 128 << 20;

/// Opens the directory at `path`, and creates it if there is none or an empty one.
pub(super) fn open(path: &Path, options: &StoreOptions) -> Result<(Directory, Database)> {
    let until = Deadline::after(options.busy_timeout());
    let cache_bytes = options.cache_bytes();
    let mut directory =
        Directory::open(ENGINE, path, options, until, |new| create(new, cache_bytes).map(drop))?;
    let data = directory.data();
    if directory.is_unsynced() {
        let storage = |source| Error::io(format!("can't open the fjall store at {}", path.display()), source);
        let bytes = sync_journals(&data).map_err(storage)?;
        options.observing().tell(|| Event::Healed { bytes });
    }
    let recover = || recover(&data, cache_bytes, until);
    let database = if directory.is_unsynced() { recover_torn(&data, recover)? } else { recover()? };
    let end = unless_damaged(OPENING, || database.view().get(&keys::CLOSED))?;
    directory.check_end(end.as_deref())?;
    Ok((directory, database))
}

/// Creates a database in an empty directory. It is durable once the files are synced.
pub(super) fn create(directory: &Path, cache_bytes: u64) -> Result<Database> {
    let db = builder(directory, cache_bytes).open().map_err(failed("to create its files"))?;
    let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let keyspace = db.keyspace(KEYSPACE, options).map_err(failed("to create its files"))?;
    db.persist(fjall::PersistMode::SyncAll).map_err(failed("to create its files"))?;
    Ok(Database { keyspace, db })
}

/// Opens a database that is there.
pub(super) fn recover(data: &Path, cache_bytes: u64, until: Deadline) -> Result<Database> {
    if !data.join(VERSION).is_file() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{} has lost its file {VERSION:?}", data.display()),
        ));
    }
    loop {
        match unless_damaged(OPENING, || builder(data, cache_bytes).open().map_err(failed(OPENING))) {
            // fjall's threads may hold its lock a moment after its last handle is dropped. Nobody else can
            // take it under ours.
            Err(error) if error.kind() == ErrorKind::Busy && !until.is_over() => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
            Ok(db) if !db.keyspace_exists(KEYSPACE) => {
                let message = format!("the fjall store at {} has lost its keyspace", data.display());
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            Ok(db) => {
                let keyspace = db.keyspace(KEYSPACE, Default::default).map_err(failed(OPENING))?;
                return Ok(Database { keyspace, db });
            }
        }
    }
}

fn builder(path: &Path, cache_bytes: u64) -> fjall::DatabaseBuilder<fjall::Database> {
    fjall::Database::builder(path)
        .cache_size(cache_bytes)
        .max_journaling_size(JOURNAL_BYTES)
        // One flushes while the other merges.
        .worker_threads(2)
}
