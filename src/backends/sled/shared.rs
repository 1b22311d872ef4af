//! The state that the commit thread and the read threads share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::breaker::Breaker;
use crate::engine::key_value::gate::Gate;

/// The state that the commit thread and the read threads share.
#[derive(Debug)]
pub(super) struct Shared {
    /// `None` only while it is dropped. Nobody keeps a handle of sled's own.
    db: Option<sled::Db>,
    /// The writer keeps everyone out while a batch is applied, so that no read sees half of it: sled's own reads see key by
    /// key.
    pub applying: Arc<Gate>,
    /// Once it is tripped, what sled shows may not be durable: reads are refused too.
    pub breaker: Breaker,
    /// A blob file may be missing whose place in the log is kept (0.34.7, `Log::reserve_inner`): a flush would wait for ever, and
    /// hold up every sled of the process. So the last handle, which flushes, is leaked.
    pub stuck: AtomicBool,
}

impl Shared {
    pub fn new(db: sled::Db, breaker: Breaker) -> Self {
        Self { db: Some(db), applying: Arc::default(), breaker, stuck: AtomicBool::new(false) }
    }

    pub fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let db = self.db.take();
        if self.stuck.load(Ordering::SeqCst) {
            std::mem::forget(db);
        } else {
            // The last handle flushes, without a sync, which the next opening makes up for. That panics after some I/O
            // errors, which have been reported.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }
}
