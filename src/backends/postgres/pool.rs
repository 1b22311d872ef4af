//! The connections of a store, which its threads share, and how often a call is tried.
//!
//! A connection is opened if a thread needs one and none is free. So no more are open than calls are at work,
//! and if the server allows fewer, the threads take turns.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::connection::Session;
use super::error::{Failure, Remedy};
use super::target::{Pace, STATEMENT, Target};
use crate::engine::deadline::Deadline;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::{Event, Observing, since};

/// How long no further connection is tried after the server had no room for one, as long as others are open.
const FULL: Duration = Duration::from_secs(5);

/// How often a thread in the line looks whether it is time to connect.
const LOOK: Duration = Duration::from_millis(50);

/// How long a server may say nothing. It ends a statement by itself before that, and says so; a scan has no such limit.
const SILENCE: Duration = STATEMENT.saturating_mul(2);
const SILENCE_OF_SCANS: Duration = Duration::from_secs(60 * 60);

pub(super) struct Pool {
    pub target: Target,
    observing: Observing,
    /// The most connections that may be open.
    most: usize,
    state: Mutex<State>,
    /// Signalled whenever the line may move.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// How many connections are open or being opened.
    open: usize,
    /// The tickets of those who wait for a connection, in their order.
    line: VecDeque<u64>,
    tickets: u64,
    /// How many connections were lost and have not been replaced.
    lost: usize,
    full_until: Option<Instant>,
}

impl State {
    fn is_full(&self) -> bool {
        self.open > 0 && self.full_until.is_some_and(|until| Instant::now() < until)
    }
}

/// A session and the runtime that it lives in.
struct Connection {
    runtime: Option<Runtime>,
    session: Option<Session>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The thread may be one of another runtime, which must not block.
            runtime.shutdown_background();
        }
    }
}

/// A connection of the pool in use. If it is dropped, it is closed, as after a panic.
struct Lease<'p> {
    pool: &'p Pool,
    connection: Option<Connection>,
}

impl Lease<'_> {
    fn give_back(mut self) {
        let connection = self.connection.take().expect("given back once");
        self.pool.lock().idle.push(connection);
        self.pool.moved.notify_all();
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let was_open = connection.runtime.is_some();
            drop(connection);
            let mut state = self.pool.lock();
            state.open -= 1;
            state.lost += usize::from(was_open);
            drop(state);
            self.pool.moved.notify_all();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("open", &self.lock().open).finish_non_exhaustive()
    }
}

impl Pool {
    pub fn new(target: Target, most: usize, observing: Observing) -> Self {
        Self { target, observing, most, state: Mutex::default(), moved: Condvar::new() }
    }

    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` over a connection, again if that may help and it is not `until` yet. `doing` names it in errors.
    pub fn run<T>(
        &self,
        doing: &'static str,
        pace: Pace,
        until: Deadline,
        work: impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T> {
        self.run_in_steps(doing, pace, until, until, &Cell::new(0), work)
    }

    /// Reads by `work`, of any number of statements, each of its own state.
    pub fn read<T>(
        &self,
        pace: Pace,
        until: Deadline,
        mut work: impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T> {
        self.run("to read", pace, until, async |session| {
            session.read(&self.target, pace, work(session)).await
        })
    }

    /// [`run`](Self::run) for one who calls it again after [`Busy`](ErrorKind::Busy): it is not tried again once it is
    /// `again`. No connection is waited for longer than `until`. If the answer to a commit was lost, `work` is called
    /// until it knows, for the store's patience. `failed` counts the tries in a row that have come to nothing.
    pub fn run_in_steps<T>(
        &self,
        doing: &'static str,
        pace: Pace,
        until: Deadline,
        again: Deadline,
        failed: &Cell<u32>,
        mut work: impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut tries = Tries::new();
        // Until when a lost answer is asked for.
        let mut unsettled: Option<Deadline> = None;
        let mut reason = None;
        loop {
            let failure = match self.take(unsettled.unwrap_or(until), failed) {
                Err(failure) => failure,
                Ok(lease) => match self.attempt(lease, pace, unsettled.is_some(), &mut work) {
                    Ok(done) => {
                        failed.set(0);
                        return Ok(done);
                    }
                    Err(failure) => {
                        let since = || Deadline::after(self.target.patience);
                        unsettled = failure.is_unsettled().then(|| unsettled.unwrap_or_else(since));
                        failure
                    }
                },
            };
            let attempt = failed.get() + 1;
            let (remedy, end) = (failure.remedy(), unsettled.unwrap_or(again));
            let is_last = remedy == Remedy::GiveUp || (remedy != Remedy::Repeat && end.is_over());
            // After a step, the caller tries again.
            let is_step = unsettled.is_none() && failure.kind() == ErrorKind::Busy && !until.is_over();
            if remedy == Remedy::GiveUp {
                failed.set(0);
            } else {
                failed.set(attempt);
                if !is_last || is_step {
                    self.tell_of(&failure, attempt);
                }
            }
            // That the time was up says less than what went wrong before.
            let vague = matches!(failure, Failure::Silent | Failure::Crowded);
            reason = if vague { reason.or(Some(failure)) } else { Some(failure) };
            if is_last {
                let reason = reason.expect("of this try at least");
                return Err(reason.into_error(doing, tries.waited(), unsettled.is_some()));
            }
            tries.pause(remedy, end.remaining());
        }
    }

    fn tell_of(&self, failure: &Failure, attempt: u32) {
        self.observing.tell(|| Event::Retrying { attempt, error: failure.kind(), code: failure.sql_state() });
    }

    /// `asks` says that an earlier answer was lost: `work` begins by asking what became of that transaction.
    fn attempt<T>(
        &self,
        mut lease: Lease<'_>,
        pace: Pace,
        asks: bool,
        work: &mut impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let connection = lease.connection.as_mut().expect("not given back yet");
        let runtime = connection.runtime.as_ref().expect("until it is dropped");
        let session = connection.session.as_ref().expect("until it is closed");
        let done = runtime.block_on(async {
            // On the heap: it is large, and would be moved from frame to frame of this thread's stack.
            let work = Box::pin(work(session));
            let done = match pace {
                Pace::Quick => session.while_heard(SILENCE, work).await,
                Pace::Scan => session.while_heard(SILENCE_OF_SCANS, session.unlimited(work)).await,
                Pace::Whole => Some(session.unlimited(work).await),
            };
            done.unwrap_or_else(|| {
                let open = asks || session.is_committing();
                Err(if open { Failure::Late.unsettled() } else { Failure::Late })
            })
        });
        let leaves = done.as_ref().map_or_else(Failure::leaves_connection, |_| true);
        if leaves && runtime.block_on(session.tidy()) {
            lease.give_back();
        } else {
            let session = connection.session.take().expect("until it is closed");
            runtime.block_on(session.abandon(&self.target));
            drop(lease);
            // The cause that ended one has probably ended all that waited.
            self.let_go();
        }
        done
    }

    /// A connection, once it is the turn of this thread. `failed` counts the tries to open one that a full server refuses.
    fn take(&self, until: Deadline, failed: &Cell<u32>) -> Result<Lease<'_>, Failure> {
        loop {
            match self.wait(until)? {
                Some(connection) => {
                    let alive =
                        connection.session.as_ref().is_some_and(|session| !session.client.is_closed());
                    let lease = Lease { pool: self, connection: Some(connection) };
                    if alive {
                        return Ok(lease);
                    }
                }
                None => {
                    let place =
                        Lease { pool: self, connection: Some(Connection { runtime: None, session: None }) };
                    match self.open(place, until) {
                        Err(failure) if failure.is_full() => {
                            let mut state = self.lock();
                            state.full_until = Some(Instant::now() + FULL);
                            if state.open == 0 {
                                return Err(failure);
                            }
                            drop(state);
                            failed.set(failed.get() + 1);
                            self.tell_of(&failure, failed.get());
                        }
                        opened => return opened,
                    }
                }
            }
        }
    }

    /// Waits in the line for a connection that is free. `None` is the right to open one.
    fn wait(&self, until: Deadline) -> Result<Option<Connection>, Failure> {
        let mut state = self.lock();
        let ticket = state.tickets;
        state.tickets += 1;
        state.line.push_back(ticket);
        let taken = loop {
            if state.line.front() == Some(&ticket) {
                if let Some(connection) = state.idle.pop() {
                    break Ok(Some(connection));
                }
                if state.open < self.most && !state.is_full() {
                    state.open += 1;
                    break Ok(None);
                }
            }
            if until.is_over() {
                break Err(Failure::Crowded);
            }
            let wait = until.remaining().min(LOOK);
            state = self.moved.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.line.retain(|other| *other != ticket);
        drop(state);
        self.moved.notify_all();
        taken
    }

    fn open<'p>(&self, mut place: Lease<'p>, until: Deadline) -> Result<Lease<'p>, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|source| {
            Error::new(ErrorKind::Storage, "can't start the runtime of a connection").with_source(source)
        })?;
        let begun = self.observing.now();
        let connecting = async { timeout(until.remaining(), Session::connect(&self.target, until)).await };
        let session = match runtime.block_on(connecting).unwrap_or(Err(Failure::Silent)) {
            Ok(session) => session,
            Err(failure) => {
                // A name that is still being looked up is not waited for (P2).
                runtime.shutdown_background();
                return Err(failure);
            }
        };
        place.connection = Some(Connection { runtime: Some(runtime), session: Some(session) });
        let replaced = {
            let mut state = self.lock();
            let lost = state.lost > 0;
            state.lost -= usize::from(lost);
            lost
        };
        if replaced {
            self.observing.tell(|| Event::Reconnected { took: since(begun) });
        }
        Ok(place)
    }

    fn let_go(&self) {
        let mut state = self.lock();
        let idle = std::mem::take(&mut state.idle);
        state.open -= idle.len();
        state.lost += idle.len();
        drop(state);
        drop(idle);
        self.moved.notify_all();
    }

    /// Ends the connections that are not in use.
    pub fn close(&self) {
        let mut state = self.lock();
        let idle = std::mem::take(&mut state.idle);
        state.open -= idle.len();
        drop(state);
        for mut connection in idle {
            if let (Some(runtime), Some(session)) = (&connection.runtime, connection.session.take()) {
                runtime.block_on(session.end());
            }
        }
    }
}

/// The tries of one call.
struct Tries {
    begun: Instant,
    pause: Duration,
    more_than_one: bool,
}

impl Tries {
    const FIRST_PAUSE: Duration = Duration::from_millis(4);
    const LONGEST_PAUSE: Duration = Duration::from_millis(250);

    fn new() -> Self {
        Self { begun: Instant::now(), pause: Self::FIRST_PAUSE, more_than_one: false }
    }

    /// Waits before the next try, no longer than `most`.
    fn pause(&mut self, remedy: Remedy, most: Duration) {
        self.more_than_one = true;
        if remedy != Remedy::Repeat {
            // Between a half and the whole of the pause, so that those who met don't meet again.
            let jitter = RandomState::new().hash_one(0_u8) % 512;
            thread::sleep(self.pause.mul_f64(0.5 + jitter as f64 / 1024.0).min(most));
            self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
        }
    }

    fn waited(&self) -> Option<Duration> {
        self.more_than_one.then(|| self.begun.elapsed())
    }
}
