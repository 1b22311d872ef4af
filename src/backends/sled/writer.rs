//! The commit thread's writes, and what makes them durable.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use super::error::failed;
use super::flusher::Flusher;
use super::open::{BLOBS, Opened};
use super::reader::Reader;
use super::shared::Shared;
use crate::engine::breaker::Breaker;
use crate::engine::durable_files::sync_directory;
use crate::engine::key_value::directory::Directory;
use crate::engine::key_value::staging::Staged;
use crate::engine::key_value::writing::KeyValueWrites;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::{Durability, StoreOptions};

const WRITING: &str = "to write";

pub(super) struct Writer {
    // Dropped in order: the directory's lock goes last.
    flusher: Flusher,
    opened: Opened,
    durability: Durability,
    shared: Arc<Shared>,
    /// Blob files that are durable already.
    synced_blobs: HashSet<OsString>,
}

impl KeyValueWrites for Writer {
    type Snapshot = sled::Db;

    /// Nobody else writes.
    fn snapshot(&self) -> Result<sled::Db> {
        Ok(self.opened.db.clone())
    }

    fn write(&mut self, staged: Staged, for_power_loss: bool) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let applying = self.shared.applying.write().unwrap_or_else(PoisonError::into_inner);
        self.opened.db.apply_batch(batch).map_err(failed(WRITING))?;
        drop(applying);
        self.flush(for_power_loss)
    }

    fn compact(&mut self) -> Result<()> {
        let message = "sled can't compact its files: copy the store to a new one instead";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn directory(&mut self) -> &mut Directory {
        &mut self.opened.directory
    }

    fn breaker(&self) -> &Breaker {
        &self.shared.breaker
    }

    fn close(self) -> Directory {
        drop(self.flusher);
        drop(self.opened.db);
        self.opened.directory
    }

    fn abandon(mut self) {
        self.flusher.detach();
        // Dropping sled flushes without a sync, which the next opening makes up for. It panics after
        // some I/O errors, which have been reported.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }
}

impl Writer {
    pub fn new(opened: Opened, options: &StoreOptions, breaker: &Breaker) -> Result<Self> {
        let is_clean = opened.is_clean;
        let mut writer = Self {
            flusher: Flusher::start(&opened.db)?,
            opened,
            durability: options.durability(),
            shared: Arc::new(Shared { breaker: breaker.clone(), ..Shared::default() }),
            synced_blobs: HashSet::new(),
        };
        if !is_clean {
            // Recovery may have written, and the process before may have been killed before its sync.
            writer.flush(false)?;
        }
        Ok(writer)
    }

    pub fn reader(&self) -> Reader {
        Reader::new(self.opened.db.clone(), Arc::clone(&self.shared))
    }

    /// Makes what is applied durable: sled's flush hands it to the kernel, the syncs to the device.
    fn flush(&mut self, for_power_loss: bool) -> Result<()> {
        self.flusher.flush()?;
        match self.durability {
            Durability::ProcessCrash if !for_power_loss => Ok(()),
            Durability::ProcessCrash | Durability::PowerLoss => self.sync(),
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_files().map_err(|source| Error::io("sled store failed to sync", source))
    }

    fn sync_files(&mut self) -> io::Result<()> {
        let blobs = self.opened.directory.data().join(BLOBS);
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
        self.opened.log.sync_data()
    }
}
