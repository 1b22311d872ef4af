//! The commit thread's batch, and what makes it durable.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use super::error::failed;
use super::flusher::Flusher;
use super::open::{BLOBS, Directory};
use super::reader::Reader;
use super::shared::Shared;
use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::durable_files::sync_directory;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::engine::key_value::emptying::Emptying;
use crate::engine::key_value::keys;
use crate::engine::key_value::staging::{Staged, Staging};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::timestamp::Timestamp;
use crate::store::options::{Durability, StoreOptions};

const WRITING: &str = "to write";

/// The engine behind [`GroupCommit`](crate::engine::group_commit::GroupCommit).
pub(super) struct SledEngine {
    // Dropped in order: the directory's lock goes last.
    flusher: Flusher,
    directory: Directory,
    durability: Durability,
    shared: Arc<Shared>,
    emptying: Emptying,
    /// Blob files that are durable already.
    synced_blobs: HashSet<OsString>,
}

impl Engine for SledEngine {
    fn commit(&mut self, group: &[(&Task, Timestamp)], _: Deadline) -> Result<Vec<Result<Done>>> {
        let mut staging = Staging::new(&self.directory.db);
        let results = group.iter().map(|&(task, now)| staging.run(task, now)).collect();
        let staged = staging.finish();
        if !staged.is_empty() {
            self.store(staged)?;
        }
        if group.iter().any(|(task, _)| matches!(task, Task::DeleteGuru { .. })) {
            self.emptying.begin();
        }
        Ok(results)
    }

    fn rest(&mut self) -> bool {
        // What can't be read or written now is removed after the next opening.
        self.empty().unwrap_or(false)
    }

    fn upkeep(&mut self, upkeep: Upkeep, _: Deadline) -> Result<()> {
        match upkeep {
            Upkeep::Compact => {
                let message = "sled can't compact its files: copy the store to a new one instead";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
            Upkeep::Probe => self.store(Staged::from([(keys::PROBE.to_vec(), Some(Vec::new()))])),
        }
    }

    fn close(mut self) -> Result<()> {
        match self.end() {
            Ok(last_word) => {
                drop(self.flusher);
                self.directory.close(&last_word)
            }
            Err(error) => {
                // Another handle may read on: what is applied may not be durable.
                self.shared.breaker.trip(&error);
                self.abandon();
                Err(error)
            }
        }
    }

    fn abandon(mut self) {
        self.flusher.detach();
        // Dropping sled flushes without a sync, which the next opening makes up for. It panics after
        // some I/O errors, which have been reported.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }
}

impl SledEngine {
    pub fn new(directory: Directory, options: &StoreOptions, breaker: &Breaker) -> Result<Self> {
        let mut engine = Self {
            flusher: Flusher::start(&directory.db)?,
            directory,
            durability: options.durability(),
            shared: Arc::new(Shared { breaker: breaker.clone(), ..Shared::default() }),
            emptying: Emptying::default(),
            synced_blobs: HashSet::new(),
        };
        // Recovery may have written, and the process before may have been killed before its sync.
        engine.flush()?;
        Ok(engine)
    }

    /// Puts the last word and makes all durable: whatever was promised, it is to be told from damage.
    fn end(&mut self) -> Result<Vec<u8>> {
        let last_word = self.directory.last_word()?;
        self.flusher.flush()?;
        self.sync()?;
        Ok(last_word)
    }

    pub fn reader(&self) -> Reader {
        Reader::new(self.directory.db.clone(), Arc::clone(&self.shared))
    }

    /// Removes a little of what deleted gurus have left; whether there was anything.
    fn empty(&mut self) -> Result<bool> {
        let staged = self.emptying.step(&self.directory.db)?;
        let is_any = !staged.is_empty();
        if is_any {
            self.store(staged)?;
        }
        Ok(is_any)
    }

    /// Applies what is staged and makes it durable. An error leaves open what is applied and what is
    /// durable: the engine is given up.
    fn store(&mut self, staged: Staged) -> Result<()> {
        self.apply_and_flush(staged).map_err(|error| {
            self.shared.breaker.trip(&error);
            error.with_may_be_stored(true)
        })
    }

    fn apply_and_flush(&mut self, staged: Staged) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let applying = self.shared.applying.write().unwrap_or_else(PoisonError::into_inner);
        self.directory.db.apply_batch(batch).map_err(failed(WRITING))?;
        drop(applying);
        self.flush()
    }

    /// Makes what is applied durable: sled's flush hands it to the kernel, the syncs to the device.
    fn flush(&mut self) -> Result<()> {
        self.flusher.flush()?;
        match self.durability {
            Durability::PowerLoss => self.sync(),
            Durability::ProcessCrash => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_files().map_err(|source| Error::io("sled store failed to sync", source))
    }

    fn sync_files(&mut self) -> io::Result<()> {
        let blobs = self.directory.path.join(BLOBS);
        let mut present = HashSet::new();
        for entry in fs::read_dir(&blobs)? {
            let entry = entry?;
            if !self.synced_blobs.contains(&entry.file_name()) {
                match File::open(entry.path()) {
                    Ok(blob) => blob.sync_data()?,
                    // sled has removed it: nothing refers to it any more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(entry.file_name());
        }
        if present.iter().any(|name| !self.synced_blobs.contains(name)) {
            sync_directory(&blobs)?;
        }
        self.synced_blobs = present;
        self.directory.log.sync_data()
    }
}
