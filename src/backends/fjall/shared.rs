//! The database that commit thread and read threads share, and that compaction replaces.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use super::error::failed;
use crate::engine::deadline::Deadline;
use crate::engine::key_value::gate::{Alone, Gate};
use crate::engine::key_value::keys::KeyRange;
use crate::engine::key_value::snapshot::Snapshot;
use crate::engine::key_value::staging::Staged;
use crate::model::error::{Error, Result};

/// An open database and its only keyspace.
pub(super) struct Database {
    pub keyspace: fjall::Keyspace,
    pub db: fjall::Database,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

impl Database {
    pub fn view(&self) -> View {
        View { snapshot: self.db.snapshot(), keyspace: self.keyspace.clone() }
    }

    /// Makes the writes, all or none. They can be seen once they are as durable as `mode` says.
    pub fn write(&self, staged: Staged, mode: fjall::PersistMode) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(mode));
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit().map_err(failed("to write"))
    }

    /// Waits while fjall has so much to flush and to merge that a write could wait for it; whether it does not
    /// any more.
    ///
    /// fjall's own wait, at the end of a write, never looks whether its threads have died. Every other write
    /// learns of that. So a write begins only if it can't come to that wait: with the memtable that it may add and the
    /// one that may be asked for already, fewer than fjall's four are waiting.
    pub fn settles(&self, until: Deadline) -> Result<bool> {
        const MEMTABLES: usize = 2;
        const TABLES: usize = 18;
        loop {
            if self.keyspace.sealed_memtable_count() < MEMTABLES && self.keyspace.l0_table_count() < TABLES {
                return Ok(true);
            }
            // Tells of threads that have died.
            self.db.persist(fjall::PersistMode::Buffer).map_err(failed("to flush"))?;
            if until.is_over() {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The database of an open store. `None` once it is closed, or could not be opened again.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// Before the lock, which nobody waits for then: who waits can give up.
    gate: Arc<Gate>,
    database: Arc<RwLock<Option<Database>>>,
}

/// The database, while nobody else has it. Fields are dropped in order.
pub(super) struct Replaced<'s> {
    pub database: RwLockWriteGuard<'s, Option<Database>>,
    _alone: Alone,
}

impl Shared {
    pub fn new(database: Database) -> Self {
        Self { database: Arc::new(RwLock::new(Some(database))), ..Self::default() }
    }

    /// Waits until nobody reads.
    pub fn replace(&self) -> Replaced<'_> {
        let alone = self.gate.alone_at_last();
        Replaced { database: self.database.write().unwrap_or_else(PoisonError::into_inner), _alone: alone }
    }

    /// Works with the database, which stays open until the work ends. Fails with
    /// [`Busy`](crate::model::error::ErrorKind::Busy) if it is being replaced.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let _among = self.gate.among()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(database.as_ref().ok_or_else(Error::closed)?)
    }
}

/// One state of the database.
pub(super) struct View {
    snapshot: fjall::Snapshot,
    keyspace: fjall::Keyspace,
}

const READING: &str = "to read";

impl Snapshot for View {
    type Bytes = fjall::Slice;

    fn get(&self, key: &[u8]) -> Result<Option<fjall::Slice>> {
        fjall::Readable::get(&self.snapshot, &self.keyspace, key).map_err(failed(READING))
    }

    fn scan(
        &self,
        range: KeyRange,
    ) -> impl DoubleEndedIterator<Item = Result<(fjall::Slice, fjall::Slice)>> + '_ {
        let entries = fjall::Readable::range(&self.snapshot, &self.keyspace, range);
        entries.map(|entry| entry.into_inner().map_err(failed(READING)))
    }
}
