//! What the commit thread and the read threads share.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::error::{Error, ErrorKind, Result};

/// What commit thread and read threads share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Held while a batch is applied, so that no read sees half of it: sled's own reads see key by
    /// key.
    pub applying: RwLock<()>,
    /// The engine has failed: what it shows may not be durable.
    broken: AtomicBool,
}

impl Shared {
    /// From now on everything is refused.
    pub fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub fn check(&self) -> Result<()> {
        if self.broken.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sled store has failed: open it again"));
        }
        Ok(())
    }
}
