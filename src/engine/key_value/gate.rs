//! A lock of many readers or one writer, who give up waiting (P2).
//!
//! While the writer waits, readers that come later wait too. When it gives up, they are let in. So a long read holds up the
//! writer, and no other read.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::engine::deadline::Deadline;
use crate::model::error::{Error, ErrorKind, Result};

/// How long anybody waits at once, so that the thread can answer calls whose time is up.
const PATIENCE: Duration = Duration::from_millis(30);

/// How long the writer lets readers in between two tries.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Signalled to all if somebody leaves or gives up.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    readers: usize,
    /// The writer waits, or is inside.
    writer: bool,
}

/// A reader inside.
#[derive(Debug)]
pub(crate) struct Among<'g>(&'g Gate);

/// The writer inside.
#[derive(Debug)]
pub(crate) struct Alone(Arc<Gate>);

impl Gate {
    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until the state is so, or the time is up. Returns whether it is.
    fn wait<'g>(
        &'g self,
        state: MutexGuard<'g, State>,
        until: Deadline,
        is_so: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'g, State>, bool) {
        let time = until.remaining().min(PATIENCE);
        let waited = self.changed.wait_timeout_while(state, time, |state| !is_so(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_now = is_so(&state);
        (state, is_now)
    }

    /// Lets a reader in.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) after some tens of milliseconds.
    pub fn among(&self) -> Result<Among<'_>> {
        let (mut state, is_open) = self.wait(self.lock(), Deadline::after(PATIENCE), |state| !state.writer);
        if !is_open {
            return Err(busy("reads"));
        }
        state.readers += 1;
        Ok(Among(self))
    }

    /// Lets the writer in, of which there is one: the commit thread.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) after some tens of milliseconds, or at `until` if that is earlier.
    pub fn alone(self: &Arc<Self>, until: Deadline) -> Result<Alone> {
        let mut state = self.lock();
        state.writer = true;
        let (state, is_empty) = self.wait(state, until, |state| state.readers == 0);
        drop(state);
        let alone = Alone(Arc::clone(self));
        if is_empty { Ok(alone) } else { Err(busy("writes")) }
    }

    /// Lets the writer in, however long that takes.
    pub fn alone_at_last(self: &Arc<Self>) -> Alone {
        loop {
            match self.alone(Deadline::after(PATIENCE)) {
                Ok(alone) => return alone,
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }
}

fn busy(who: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("the store is at work that {who} have to wait for"))
}

impl Drop for Among<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.readers -= 1);
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.change(|state| state.writer = false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_long_read_holds_up_the_writer_alone() {
        let gate = Arc::new(Gate::default());
        let long = gate.among().unwrap();
        for _ in 0..3 {
            assert_eq!(gate.alone(Deadline::after(PATIENCE)).unwrap_err().kind(), ErrorKind::Busy);
            drop(gate.among().expect("reads go on"));
        }
        drop(long);
        let alone = gate.alone(Deadline::after(Duration::ZERO)).expect("nobody reads");
        assert_eq!(gate.among().unwrap_err().kind(), ErrorKind::Busy);
        drop(alone);
        drop(gate.among().unwrap());
    }

    /// Short reads without an end let the writer in.
    #[test]
    fn the_writer_is_not_passed_for_ever() {
        let gate = Arc::new(Gate::default());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        if let Ok(among) = gate.among() {
                            thread::sleep(Duration::from_millis(1));
                            drop(among);
                        }
                    }
                });
            }
            for _ in 0..20 {
                drop(gate.alone_at_last());
            }
            done.store(true, Ordering::SeqCst);
        });
    }
}
