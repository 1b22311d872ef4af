//! The questions of the read threads.

use super::error::{failed, unless_damaged};
use super::shared::{Shared, View};
use crate::engine::key_value::reading::KeyValueReads;
use crate::model::error::Result;

/// One read thread's handle.
#[derive(Debug)]
pub(super) struct Reader(pub Shared);

impl KeyValueReads for Reader {
    type Snapshot = View;

    /// fjall shows rows only after their sync, so that reads need no breaker.
    fn consistently<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        self.0.with(|database| unless_damaged("reading", || read(&database.view())))
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.0.with(|database| database.db.disk_space().map_err(failed("to tell its size")))
    }
}
