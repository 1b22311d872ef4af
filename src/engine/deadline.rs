//! Until when a call may wait for its transaction to begin (P2), and the clock that ends its waiting.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::model::error::{Error, ErrorKind, Result};

/// A moment, or never: any [`Duration`] is fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// Counted from now.
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now().checked_add(patience))
    }

    pub fn is_over(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// [`Duration::MAX`] if it is never.
    pub fn remaining(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// The earlier of the two.
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(other)) => Self(Some(one.min(other))),
            (one, other) => Self(one.or(other)),
        }
    }
}

/// A thread that wakes futures at their deadlines, as no runtime may be needed (S11). Clones share it.
#[derive(Clone)]
pub(crate) struct Timer(Arc<Running>);

struct Running {
    alarms: Arc<Alarms>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Alarms {
    state: Mutex<State>,
    /// Signalled for an alarm before `wakes_at`, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The number distinguishes alarms of one moment.
    set: BTreeMap<(Instant, u64), Waker>,
    numbers: u64,
    /// When the thread looks again by itself. Most alarms are later than one set before, and cost no
    /// system call.
    wakes_at: Option<Instant>,
    closed: bool,
}

impl Timer {
    pub fn start() -> Result<Self> {
        let alarms = Arc::new(Alarms::default());
        let own = Arc::clone(&alarms);
        let thread = thread::Builder::new().name("profile-store-timer".to_owned()).spawn(move || own.run());
        let thread = thread.map_err(|source| {
            Error::new(ErrorKind::Storage, "can't start a thread of the store").with_source(source)
        })?;
        Ok(Self(Arc::new(Running { alarms, thread: Some(thread) })))
    }

    /// The result of `work`, or `None` if it has none by then.
    pub async fn limit<F: Future>(&self, until: Deadline, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut alarm = Alarm { alarms: &self.0.alarms, until, key: None };
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => alarm.poll(context).map(|()| None),
        })
        .await
    }
}

impl Alarms {
    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let mut due = Vec::new();
            while let Some(first) = state.set.first_entry().filter(|first| first.key().0 <= now) {
                due.push(first.remove());
            }
            if !due.is_empty() {
                drop(state);
                due.into_iter().for_each(Waker::wake);
                state = self.lock();
                continue;
            }
            state.wakes_at = state.set.first_key_value().map(|((at, _), _)| *at);
            state = match state.wakes_at {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self.changed.wait_timeout(state, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.alarms.lock().closed = true;
        self.alarms.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A waker run by this thread may drop the last handle: it can't join itself.
            if thread.thread().id() != thread::current().id() {
                // Nothing in it panics.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

/// Set from the first poll that finds its work undone.
struct Alarm<'a> {
    alarms: &'a Alarms,
    until: Deadline,
    key: Option<(Instant, u64)>,
}

impl Alarm<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.until.0 else { return Poll::Pending };
        if self.until.is_over() {
            return Poll::Ready(());
        }
        let mut state = self.alarms.lock();
        let key = *self.key.get_or_insert_with(|| {
            state.numbers += 1;
            (at, state.numbers)
        });
        let replaced = state.set.insert(key, context.waker().clone());
        let sooner = state.wakes_at.is_none_or(|wakes_at| at < wakes_at);
        drop(state);
        drop(replaced);
        if sooner {
            self.alarms.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let own = self.alarms.lock().set.remove(&key);
            drop(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[test]
    fn any_duration_is_fine() {
        let never = Deadline::after(Duration::MAX);
        assert!(!never.is_over());
        assert_eq!(never.remaining(), Duration::MAX);
        let now = Deadline::after(Duration::ZERO);
        assert!(now.is_over());
        assert_eq!((now.remaining(), now.min(never), never.min(now)), (Duration::ZERO, now, now));
    }

    #[test]
    fn work_is_limited_whatever_the_order_of_the_alarms() {
        let timer = Timer::start().unwrap();
        let last = Deadline::after(Duration::from_secs(60));
        let mut left = Box::pin(timer.limit(last, pending::<()>()));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // The thread sleeps until then.
        thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        thread::scope(|scope| {
            for millis in [200, 100] {
                let limit = Duration::from_millis(millis);
                let call = timer.limit(Deadline::after(limit), pending::<()>());
                scope.spawn(move || {
                    assert!(pollster::block_on(call).is_none());
                    let waited = begun.elapsed();
                    assert!(
                        waited >= limit && !last.is_over(),
                        "it has waited for another alarm: {waited:?}"
                    );
                });
            }
        });
        drop(left);
        let until = Deadline::after(Duration::from_secs(600));
        assert_eq!(pollster::block_on(timer.limit(until, ready(7))), Some(7));
        assert!(timer.0.alarms.lock().set.is_empty(), "what is over sets no alarm");
    }
}
