//! Flushing sled without waiting for ever.
//!
//! If one of sled's own threads fails to write, it may store the error and wake nobody (0.34.7,
//! `Log::exit_reservation`): a flush that waits already goes on waiting. The next flush finds the error and wakes
//! the others. So a thread watches each flush, and flushes too if it takes long. On a slow device this changes
//! nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::error::failed;
use crate::model::error::{Error, ErrorKind, Result};

/// How long a flush takes before it is looked after.
const PATIENCE: Duration = Duration::from_millis(500);

type Flush = Arc<dyn Fn() -> sled::Result<usize> + Send + Sync>;

pub(super) struct Flusher {
    flush: Flush,
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Watch {
    state: Mutex<State>,
    /// Signalled when a flush begins that the thread does not know of, and at the end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many flushes have begun.
    begun: u64,
    flushing: bool,
    /// The thread waits without a timeout.
    idle: bool,
    closed: bool,
}

impl Watch {
    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, flush: &Flush) {
        let mut state = self.lock();
        while !state.closed {
            if !state.flushing {
                state.idle = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle = false;
                continue;
            }
            let begun = state.begun;
            let waited = self.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.flushing && state.begun == begun && !state.closed {
                drop(state);
                // Everyone who waits gets the same error.
                let _ = flush();
                state = self.lock();
            }
        }
    }
}

impl Flusher {
    pub fn start(flush: impl Fn() -> sled::Result<usize> + Send + Sync + 'static) -> Result<Self> {
        let (flush, watch): (Flush, _) = (Arc::new(flush), Arc::new(Watch::default()));
        let run = {
            let (watch, flush) = (Arc::clone(&watch), Arc::clone(&flush));
            move || watch.run(&flush)
        };
        let thread = thread::Builder::new().name("profile-store-flush".to_owned()).spawn(run);
        let thread = thread.map_err(|source| {
            Error::new(ErrorKind::Storage, "can't start a thread of the store").with_source(source)
        })?;
        Ok(Self { flush, watch, thread: Some(thread) })
    }

    /// Hands to the kernel what is applied.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.watch.lock();
        state.begun += 1;
        state.flushing = true;
        if state.idle {
            self.watch.changed.notify_one();
        }
        drop(state);
        let flushed = (self.flush)();
        self.watch.lock().flushing = false;
        flushed.map(drop).map_err(failed("to flush"))
    }

    /// Dropping it will no longer wait for its thread, which may never end once sled has panicked.
    pub fn detach(&mut self) {
        self.thread = None;
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.watch.lock().closed = true;
        self.watch.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of sled's flush there has shown here as well.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    /// As sled does: the first flush waits until another one has found the error.
    #[test]
    fn a_flush_that_nobody_wakes_is_woken_by_the_next() {
        let (calls, (wake, woken)) = (AtomicUsize::new(0), channel());
        let woken = Mutex::new(woken);
        let flusher = Flusher::start(move || {
            if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                let woken = woken.lock().unwrap().recv_timeout(20 * PATIENCE);
                assert!(woken.is_ok(), "it waits for ever");
            } else {
                wake.send(()).unwrap();
            }
            Err(sled::Error::Io(std::io::Error::other("a failed write")))
        })
        .unwrap();
        assert_eq!(flusher.flush().unwrap_err().kind(), ErrorKind::Storage);
    }
}
