//! A clock that holds the engine: it is asked for every batch, in the middle of its transaction.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use profile_store::{Clock, Timestamp};

/// Nobody is held, or waited for, for longer: a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    shut: bool,
    /// How many have come to the gate.
    came: u64,
    /// How many may pass it while it is shut.
    may_pass: u64,
}

#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    pub fn clock(&self) -> Clock {
        let gate = self.clone();
        Clock::from_fn(move || {
            let (state, changed) = &*gate.0;
            let mut state = state.lock().unwrap();
            state.came += 1;
            let number = state.came;
            changed.notify_all();
            let held = |state: &mut State| state.shut && number > state.may_pass;
            drop(changed.wait_timeout_while(state, PATIENCE, held).unwrap());
            Timestamp::from_micros(number as i64)
        })
    }

    /// Holds the next batch.
    pub fn shut(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.may_pass = state.came;
        state.shut = true;
    }

    /// Waits until a batch is held.
    pub fn holds_one(&self) {
        let (gate, changed) = &*self.0;
        let none = |state: &mut State| state.came <= state.may_pass;
        let (state, waited) = changed.wait_timeout_while(gate.lock().unwrap(), PATIENCE, none).unwrap();
        assert!(!waited.timed_out(), "nobody comes to the gate");
        drop(state);
    }

    /// Whether a batch is held.
    pub fn is_holding(&self) -> bool {
        let state = self.0.0.lock().unwrap();
        state.came > state.may_pass
    }

    /// Lets the one that is held go, and waits until the next one is held.
    pub fn holds_the_next(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().may_pass += 1;
        changed.notify_all();
        self.holds_one();
    }

    pub fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().shut = false;
        changed.notify_all();
    }
}
