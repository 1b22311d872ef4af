//! The commit thread's writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::reader::Reader;
use super::shared::{Database, Shared, View};
use super::upkeep;
use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::key_value::directory::Directory;
use crate::engine::key_value::staging::Staged;
use crate::engine::key_value::writing::KeyValueWrites;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::{Durability, StoreOptions};

/// How long a write waits for fjall's flushes before it lets the commit thread answer whose time is up.
const PATIENCE: Duration = Duration::from_millis(30);

pub(super) struct Writer {
    shared: Shared,
    directory: Directory,
    durability: Durability,
    cache_bytes: u64,
    breaker: Breaker,
}

impl KeyValueWrites for Writer {
    type Snapshot = View;

    fn snapshot(&self) -> Result<View> {
        self.shared.with(|database| Ok(database.view()))
    }

    fn ready(&mut self, until: Deadline) -> Result<()> {
        let settled = self.shared.with(|database| database.settles(until.min(Deadline::after(PATIENCE))));
        // A write would be refused as well.
        if settled.inspect_err(|error| self.breaker.trip(error))? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Busy, "fjall is behind with its flushes"))
    }

    /// The journal is synced before rows can be seen.
    fn write(&mut self, staged: Staged, for_power_loss: bool) -> Result<()> {
        let mode = match self.durability {
            Durability::ProcessCrash if !for_power_loss => fjall::PersistMode::Buffer,
            Durability::ProcessCrash | Durability::PowerLoss => fjall::PersistMode::SyncAll,
        };
        self.shared.with(|database| database.write(staged, mode))
    }

    fn compact(&mut self) -> Result<()> {
        upkeep::compact(&self.shared, &self.directory, self.cache_bytes, &self.breaker)
    }

    fn directory(&mut self) -> &mut Directory {
        &mut self.directory
    }

    fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    fn close(self) -> Directory {
        drop(self.shared.replace().database.take());
        self.directory
    }

    fn abandon(self) {
        // It may panic again; that has been said.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }
}

impl Writer {
    pub fn new(
        (directory, database): (Directory, Database),
        options: &StoreOptions,
        breaker: &Breaker,
    ) -> Self {
        Self {
            shared: Shared::new(database),
            directory,
            durability: options.durability(),
            cache_bytes: options.cache_bytes(),
            breaker: breaker.clone(),
        }
    }

    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }
}
