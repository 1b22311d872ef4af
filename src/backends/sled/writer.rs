//! The commit thread's writes, and what makes them durable.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::failed;
use super::flusher::Flusher;
use super::open::{BLOBS, Opened};
use super::reader::Reader;
use super::shared::Shared;
use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::durable_files::{sync_directory, sync_file};
use crate::engine::key_value::directory::Directory;
use crate::engine::key_value::gate::Alone;
use crate::engine::key_value::staging::Staged;
use crate::engine::key_value::writing::KeyValueWrites;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::{Durability, StoreOptions};

const WRITING: &str = "to write";

/// Bytes of a batch that may need a blob file, in a store that has none.
const LARGE: usize = 1 << 18;

pub(super) struct Writer {
    // Dropped in order: the directory's lock goes last.
    flusher: Flusher,
    shared: Arc<Shared>,
    config: sled::Config,
    /// A descriptor of sled's file, to sync it by.
    log: File,
    directory: Directory,
    durability: Durability,
    /// From when a write may begin until it is applied.
    alone: Option<Alone>,
    /// Blob files that are durable already.
    synced_blobs: HashSet<OsString>,
}

impl KeyValueWrites for Writer {
    type Snapshot = sled::Db;

    /// Nobody else writes.
    fn snapshot(&self) -> Result<sled::Db> {
        Ok(self.shared.db().clone())
    }

    /// Waits for reads, of which `stats` and `verify` are long.
    fn ready(&mut self, until: Deadline) -> Result<()> {
        if self.alone.is_none() {
            self.alone = Some(self.shared.applying.alone(until)?);
        }
        Ok(())
    }

    fn write(&mut self, staged: Staged, for_power_loss: bool) -> Result<()> {
        let alone = self.alone.take().unwrap_or_else(|| self.shared.applying.alone_at_last());
        let mut batch = sled::Batch::default();
        let bytes: usize = staged.values().flatten().map(Vec::len).sum();
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.shared.db().apply_batch(batch).map_err(|error| {
            // With an error of its own for all, sled waits for nothing.
            let may_be_stuck = self.config.global_error().is_ok() && (bytes > LARGE || self.has_blobs());
            self.shared.stuck.store(may_be_stuck, Ordering::SeqCst);
            failed(WRITING)(error)
        })?;
        drop(alone);
        self.flush(for_power_loss)
    }

    fn compact(&mut self) -> Result<()> {
        let message = "sled can't compact its files: copy the store to a new one instead";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn directory(&mut self) -> &mut Directory {
        &mut self.directory
    }

    fn breaker(&self) -> &Breaker {
        &self.shared.breaker
    }

    fn close(self) -> Directory {
        drop(self.flusher);
        drop(self.shared);
        self.directory
    }

    fn abandon(mut self) {
        self.flusher.detach();
    }
}

impl Writer {
    pub fn new(opened: Opened, options: &StoreOptions, breaker: &Breaker) -> Result<Self> {
        let Opened { db, config, log, is_clean, directory } = opened;
        let shared = Arc::new(Shared::new(db, breaker.clone()));
        let flushed = Arc::clone(&shared);
        let mut writer = Self {
            flusher: Flusher::start(move || flushed.db().flush())?,
            shared,
            config,
            log,
            directory,
            durability: options.durability(),
            alone: None,
            synced_blobs: HashSet::new(),
        };
        if !is_clean {
            // Recovery may have written, and the process before may have been killed before its sync.
            writer.flush(false)?;
        }
        Ok(writer)
    }

    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Makes what is applied durable: sled's flush hands it to the kernel, the syncs to the device.
    fn flush(&mut self, for_power_loss: bool) -> Result<()> {
        self.flusher.flush()?;
        match self.durability {
            Durability::ProcessCrash if !for_power_loss => Ok(()),
            Durability::ProcessCrash | Durability::PowerLoss => self.sync(),
        }
    }

    /// Whether there are blob files, or may be.
    fn has_blobs(&self) -> bool {
        fs::read_dir(self.directory.data().join(BLOBS)).map_or(true, |mut blobs| blobs.next().is_some())
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_files().map_err(|source| Error::io("sled store failed to sync", source))
    }

    fn sync_files(&mut self) -> io::Result<()> {
        let blobs = self.directory.data().join(BLOBS);
        let mut present = HashSet::new();
        for entry in fs::read_dir(&blobs)? {
            let entry = entry?;
            if !self.synced_blobs.contains(&entry.file_name()) {
                match sync_file(&entry.path()) {
                    // sled has removed it: nothing refers to it any more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    synced => synced?,
                }
            }
            present.insert(entry.file_name());
        }
        if present.iter().any(|name| !self.synced_blobs.contains(name)) {
            sync_directory(&blobs)?;
        }
        self.synced_blobs = present;
        self.log.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::admission::batch::User;
    use crate::backends::sled::open;
    use crate::engine::key_value::reading::scan::{all_end_within, during_a_scan};
    use crate::engine::key_value::writing::Writing;
    use crate::engine::threaded::Threaded;
    use crate::model::name::GuruSlug;
    use crate::store::contract::ProfileStore as _;
    use crate::store::handle::HasGurus as _;
    use crate::store::upkeep::Probe;

    /// P2: a scan holds up writes, and no longer than each of them may wait; reads go on.
    #[test]
    fn writes_behind_a_scan_are_each_told_in_their_own_time() {
        const PATIENCE: Duration = Duration::from_millis(400);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (hand, handed) = mpsc::channel();
        let options = StoreOptions::default().with_busy_timeout(PATIENCE);
        let store = pollster::block_on(Threaded::open(options, 0, move |options, breaker, _| {
            let writer = Writer::new(open::open(&path, options)?, options, breaker)?;
            hand.send(writer.reader()).unwrap();
            let readers = (0..options.read_threads()).map(|_| writer.reader()).collect();
            Ok((Writing::new(writer), Vec::new(), readers))
        }))
        .unwrap();
        let upsert = |id: &str| {
            let user = User::serialize(id, &serde_json::json!({}));
            pollster::block_on(store.guru("g").unwrap().upsert(user)).map(drop)
        };
        upsert("ada").unwrap();
        let reader = handed.recv().unwrap();
        thread::scope(|scope| {
            let (calls, all_told, counted) = during_a_scan(reader, || {
                let mut calls = Vec::new();
                for n in 0..10 {
                    let upsert = &upsert;
                    calls.push(scope.spawn(move || upsert(&format!("u{n}"))));
                    thread::sleep(Duration::from_millis(20));
                }
                calls.push(scope.spawn(|| pollster::block_on(store.health(Probe::Write))));
                let all_told = all_end_within(&calls, 20 * PATIENCE);
                (calls, all_told, pollster::block_on(store.count(&GuruSlug::new("g").unwrap())))
            });
            assert!(all_told, "the writes wait for the scan");
            assert_eq!(counted.unwrap(), 1, "reads go on, and nothing was written");
            for call in calls {
                assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::Busy);
            }
        });
        upsert("bob").unwrap();
        assert_eq!(pollster::block_on(store.count(&GuruSlug::new("g").unwrap())).unwrap(), 2);
        pollster::block_on(store.close()).unwrap();
    }
}
