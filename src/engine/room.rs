//! Room in a queue: a budget that calls take their weight of, in order.
//!
//! A call that waits for room is woken when there is some, and takes it when it is polled. Nothing is set
//! aside for a call that is not polled, so a future that is kept but not polled holds up nobody (P2).
//! No waker runs under the lock.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::model::error::{Error, Result};

pub(crate) struct Room {
    budget: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    permits: usize,
    closed: bool,
    tickets: u64,
    /// Calls that wait and have not been woken since they were last polled, by their tickets. If there are
    /// any, some room is used, and giving it back wakes them.
    waiting: BTreeMap<u64, (usize, Waker)>,
}

impl State {
    /// Everybody who waits, if it is time to wake them: if the first of them fits and half of the room is
    /// free, so that each of many is not woken for each of many others.
    fn called(&mut self, budget: usize) -> Vec<Waker> {
        match self.waiting.first_key_value() {
            Some((_, (weight, _))) if self.used == 0 || self.used + weight.max(&(budget / 2)) <= budget => {
                std::mem::take(&mut self.waiting).into_values().map(|(_, waker)| waker).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Room {
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self { budget: budget.max(1), state: Mutex::default() })
    }

    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room, waiting for it after the calls that wait already. A weight beyond the whole budget passes
    /// once all room is free.
    ///
    /// Cancel-safe: a future dropped before it returns has taken nothing.
    pub async fn take(self: &Arc<Self>, weight: usize) -> Result<Permit> {
        let mut turn = Turn { room: self, weight: weight.clamp(1, self.budget), ticket: None };
        poll_fn(|context| turn.poll(context)).await
    }

    /// How many permits there are, and the weight of all of them.
    pub fn held(&self) -> (usize, usize) {
        let state = self.lock();
        (state.permits, state.used)
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Every call that waits, or comes later, gets `Closed`.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(|(_, waker)| waker.wake());
    }
}

/// Room that was taken, until it is dropped.
pub(crate) struct Permit {
    room: Arc<Room>,
    weight: usize,
    /// Whether there was none at first.
    pub waited: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.used -= self.weight;
        state.permits -= 1;
        let called = state.called(self.room.budget);
        drop(state);
        called.into_iter().for_each(Waker::wake);
    }
}

/// A call on its way to some room.
struct Turn<'a> {
    room: &'a Arc<Room>,
    weight: usize,
    /// Kept from the first time that there was none.
    ticket: Option<u64>,
}

impl Turn<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Permit>> {
        let mut state = self.room.lock();
        if state.closed {
            return Poll::Ready(Err(Error::closed()));
        }
        let first = match state.waiting.first_key_value() {
            Some((first, _)) => self.ticket.is_some_and(|own| own <= *first),
            None => true,
        };
        if first && state.used + self.weight <= self.room.budget {
            state.used += self.weight;
            state.permits += 1;
            drop(state);
            let room = Arc::clone(self.room);
            return Poll::Ready(Ok(Permit { room, weight: self.weight, waited: self.ticket.is_some() }));
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            state.tickets += 1;
            state.tickets
        });
        let replaced = state.waiting.insert(ticket, (self.weight, context.waker().clone()));
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    /// The calls that have waited after it may fit now.
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.room.lock();
        let own = state.waiting.remove(&ticket);
        let called = state.called(self.room.budget);
        drop(state);
        drop(own);
        called.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>, woken: &Arc<Woken>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
    }

    fn taken<F: Future<Output = Result<Permit>>>(future: Pin<&mut F>, woken: &Arc<Woken>) -> Permit {
        match poll(future, woken) {
            Poll::Ready(permit) => permit.unwrap(),
            Poll::Pending => panic!("there is room"),
        }
    }

    #[test]
    fn a_call_that_is_left_alone_holds_up_nobody() {
        let (room, woken) = (Room::new(4), Arc::new(Woken::default()));
        let all = taken(pin!(room.take(4)), &woken);
        let mut left_alone: Vec<_> = (0..1000).map(|_| Box::pin(room.take(1))).collect();
        assert!(left_alone.iter_mut().all(|call| poll(call.as_mut(), &woken).is_pending()));
        let mut last = Box::pin(room.take(3));
        assert!(poll(last.as_mut(), &woken).is_pending());
        drop(all);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1001);
        // Newcomers need not wait for the thousand either.
        let newcomer = taken(pin!(room.take(1)), &woken);
        drop(taken(last.as_mut(), &woken));
        drop(newcomer);
    }

    #[test]
    fn a_heavy_call_is_not_passed_for_ever() {
        let (room, woken) = (Room::new(8), Arc::new(Woken::default()));
        let mut light: Vec<_> = (0..8).map(|_| taken(pin!(room.take(1)), &woken)).collect();
        let mut heavy = Box::pin(room.take(7));
        assert!(poll(heavy.as_mut(), &woken).is_pending());
        light.truncate(4);
        // There is room for it, but not its turn.
        let mut later = Box::pin(room.take(1));
        assert!(poll(later.as_mut(), &woken).is_pending());
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        light.truncate(1);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        let heavy = taken(heavy.as_mut(), &woken);
        assert!(poll(later.as_mut(), &woken).is_pending());
        drop(heavy);
        drop(taken(later.as_mut(), &woken));
    }

    #[test]
    fn whoever_gives_up_waiting_lets_the_next_one_pass() {
        let (room, woken) = (Room::new(8), Arc::new(Woken::default()));
        let _some = taken(pin!(room.take(4)), &woken);
        let mut heavy = Box::pin(room.take(8));
        let mut later = Box::pin(room.take(2));
        assert!(poll(heavy.as_mut(), &woken).is_pending() && poll(later.as_mut(), &woken).is_pending());
        drop(heavy);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        drop(taken(later.as_mut(), &woken));
        room.close();
        assert!(matches!(poll(pin!(room.take(1)), &woken), Poll::Ready(Err(_))));
    }
}
