//! The state that the commit thread and the read threads share.

use std::mem::ManuallyDrop;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::engine::breaker::Breaker;
use crate::engine::key_value::gate::Gate;

/// How long letting go of a sled that has failed may take before nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

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
}

impl Shared {
    pub fn new(db: sled::Db, breaker: Breaker) -> Self {
        Self { db: Some(db), applying: Arc::default(), breaker }
    }

    pub fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Shared {
    /// The last handle flushes, without a sync, which the next opening makes up for. After some I/O errors that panics, and
    /// after a blob file that could not be written it waits for ever (0.34.7, `Log::reserve_inner` keeps its place in the log):
    /// so that happens on a thread that nobody joins.
    fn drop(&mut self) {
        if !self.breaker.is_tripped() {
            return;
        }
        // Leaked if there is no thread for it.
        let db = ManuallyDrop::new(self.db.take());
        let (end, ended) = mpsc::channel::<()>();
        let let_go = move || {
            let _end = end;
            drop(ManuallyDrop::into_inner(db));
        };
        let _ = thread::Builder::new().name("profile-store-end".to_owned()).spawn(let_go);
        let _ = ended.recv_timeout(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::error::{Error, ErrorKind};

    /// P4, S10: sled can't flush any more, and says so to nobody.
    #[test]
    fn a_sled_that_could_not_write_a_blob_file_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(directory.path()).flush_every_ms(None).open().unwrap();
        fs::remove_dir(directory.path().join("blobs")).unwrap();
        fs::write(directory.path().join("blobs"), "no directory").unwrap();
        db.insert("large", vec![7; 1 << 20]).unwrap_err();
        let breaker = Breaker::default();
        breaker.trip(&Error::new(ErrorKind::Storage, "a failed write"));
        let shared = Shared::new(db, breaker);
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            drop(shared);
            end.send(()).unwrap();
        });
        assert!(ended.recv_timeout(20 * PATIENCE).is_ok(), "it waits for ever");
    }
}
