//! The questions of the read threads.

use std::sync::Arc;

use super::error::failed;
use super::shared::Shared;
use crate::engine::key_value::keys::KeyRange;
use crate::engine::key_value::reading::KeyValueReads;
use crate::engine::key_value::snapshot::Snapshot;
use crate::model::error::Result;

const READING: &str = "to read";

/// One read thread's handle.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl KeyValueReads for Reader {
    type Snapshot = sled::Db;

    /// Reads while no batch is being applied.
    fn consistently<T>(&self, read: impl FnOnce(&sled::Db) -> Result<T>) -> Result<T> {
        self.shared.breaker.check()?;
        let _among = self.shared.applying.among()?;
        read(self.shared.db())
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.shared.db().size_on_disk().map_err(failed(READING))
    }
}

/// One state for as long as no batch is applied.
impl Snapshot for sled::Db {
    type Bytes = sled::IVec;

    fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>> {
        sled::Tree::get(self, key).map_err(failed(READING))
    }

    fn scan(
        &self,
        range: KeyRange,
    ) -> impl DoubleEndedIterator<Item = Result<(sled::IVec, sled::IVec)>> + '_ {
        self.range(range).map(|entry| entry.map_err(failed(READING)))
    }
}
