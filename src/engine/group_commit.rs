//! Group commit: concurrent writes share a transaction and its sync, and stay atomic each.
//!
//! One thread owns the engine, or several threads an engine each. A thread takes what has queued up while it
//! was busy, hands it to the engine as one group, and answers each caller when the group is durable. A write
//! that fails by itself (a damaged record, say) fails only itself. If the group as a whole fails, nothing of it is
//! visible, and its writes are made one by one, so that one bad write does not fail the others.
//!
//! If the transaction can't begin, the thread answers each call whose time is up, and tries again with
//! the others (P2).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::admission::shield::shielded;
use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::room::Permit;
use crate::engine::workers::{self, Queue, Reply, Waiting, Workers};
use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::GuruSlug;
use crate::model::timestamp::Timestamp;
use crate::plan::change::Effects;
use crate::plan::writes::Writes;
use crate::store::observe::{Event, Observing, since};
use crate::store::options::StoreOptions;

/// A write that the commit thread is asked for.
pub(crate) enum Task {
    Apply { guru: GuruSlug, batch: Writes },
    DeleteGuru { guru: GuruSlug },
}

/// Work on the engine as a whole, which shares its transaction with nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upkeep {
    /// Give back the room of what is gone.
    Compact,
    /// Write something durably that is no profile.
    Probe,
}

impl Task {
    /// The profiles that it names, and the bytes of their ids and memories.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Apply { batch, .. } => (batch.len(), batch.bytes()),
            Self::DeleteGuru { .. } => (0, 0),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Apply { batch, .. } => batch.bytes() + batch.len() * ENTRY_BYTES,
            Self::DeleteGuru { .. } => ENTRY_BYTES,
        }
    }
}

/// The result of a task.
pub(crate) enum Done {
    Applied(Effects),
    Deleted(u64),
}

/// The part of writing that an engine brings. It lives only on its commit thread.
///
/// After a failure that it can't be trusted to go on from, an engine trips the [`Breaker`] it was opened
/// with; then it is only abandoned.
pub(crate) trait Engine: Sized {
    /// A group takes no more once it weighs this much, which bounds how long a small write waits for
    /// the group before it.
    const GROUP_BYTES: usize = 1 << 20;

    /// Whether this task can share a transaction with others.
    fn shares(_: &Task) -> bool {
        true
    }

    /// Makes all writes of the group in one durable transaction, in order, each seeing the ones
    /// before it, each at the time beside it.
    ///
    /// `Ok` has one result a write; what failed by itself has left no trace, the others are stored
    /// as durably as the store was opened for. `Err` means that nothing of the group is visible.
    ///
    /// [`Busy`](ErrorKind::Busy) as a whole means that the transaction could not begin, for a foreign lock
    /// or a server out of reach: nothing was written, nor may be later, and the call can be made again.
    /// An engine waits some tens of milliseconds before it says so, and never beyond `until`: the
    /// commit thread then answers whose time is up, and tries again with the others.
    fn commit(&mut self, group: &[(&Task, Timestamp)], until: Deadline) -> Result<Vec<Result<Done>>>;

    /// Does the upkeep, durably; after an `Err` the profiles are as they were. It may wait for others to
    /// let it begin, until then at most. It is not tried again.
    fn upkeep(&mut self, upkeep: Upkeep, until: Deadline) -> Result<()>;

    /// After opening and between two groups, the callers of the one before having been answered: for work
    /// that nobody should wait for, of some milliseconds. It is called again, as long as it returns `true` and nobody
    /// waits. After an error it is called after the next group.
    fn rest(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Leaves a clean file.
    fn close(self) -> Result<()>;

    /// Lets go of the files as a kill would, after a panic or a tripped breaker: what this engine holds in
    /// memory is not to be trusted, what it has made durable is.
    fn abandon(self);

    /// After a panic of this engine, a fresh one that takes its place, if the state lives elsewhere, as on a
    /// server. `None` gives the store up: it refuses until it is opened again.
    fn successor(&self) -> Option<Self> {
        None
    }
}

/// The cost of an entry in the queue besides its bytes.
const ENTRY_BYTES: usize = 64;

/// How long a commit thread sleeps between two tries to begin.
const PAUSE: Duration = Duration::from_millis(5);

/// The content of the queue.
enum Message {
    Write(Call),
    Upkeep { upkeep: Upkeep, until: Deadline, made: Option<Instant>, reply: Reply<()> },
}

/// A write that waits for its answer.
struct Call {
    task: Task,
    until: Deadline,
    /// The time of the call, if there is an observer.
    made: Option<Instant>,
    reply: Reply<Done>,
}

/// The handle to the commit threads.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    workers: Workers<Message>,
    observing: Observing,
}

impl GroupCommit {
    /// Starts the thread, opens the engine on it, and hands over what opening gave besides. For an
    /// engine that is many connections, `open` gives so many `further` engines, which commit beside
    /// the first one on threads of their own. The engine trips `breaker`, and the threads ask it.
    pub async fn start<E, X, F>(
        options: &StoreOptions,
        waiting: &Waiting,
        breaker: &Breaker,
        further: usize,
        open: F,
    ) -> Result<(Self, X)>
    where
        E: Engine + Send + 'static,
        X: Send + 'static,
        F: FnOnce() -> Result<(E, Vec<E>, X)> + Send + 'static,
    {
        let (opened, opening) = oneshot::channel();
        let (hand_out, handed): (Vec<_>, Vec<_>) = (0..further).map(|_| std::sync::mpsc::channel()).unzip();
        let last = Arc::new(());
        let life = || {
            let (breaker, clock) = (breaker.clone(), options.clock().clone());
            let (observing, last) = (waiting.observing.clone(), Arc::clone(&last));
            move |engine: E| Committer { engine: Some(engine), breaker, clock, observing, last }
        };
        let own = life();
        let first = move |queue: &Queue<Message>| match open() {
            Ok((engine, engines, extra)) => {
                for (further, engine) in hand_out.into_iter().zip(engines) {
                    // Each thread waits for its engine, and ends without one if there is none.
                    let _ = further.send(engine);
                }
                let committer = own(engine);
                if opened.send(Ok(extra)).is_ok() { committer.run(queue) } else { committer.close() }
            }
            Err(error) => {
                // If nobody waits for the store any more, nobody waits for the error.
                let _ = opened.send(Err(error));
                Ok(())
            }
        };
        let mut workers: Vec<Worker> = vec![Box::new(first)];
        for engine in handed {
            let own = life();
            let further =
                move |queue: &Queue<_>| engine.recv().map_or(Ok(()), |engine| own(engine).run(queue));
            workers.push(Box::new(further));
        }
        let workers =
            Workers::spawn("profile-store-commit", options.queue_bytes(), waiting.clone(), workers)?;
        let mut starting = Starting(Some(workers));
        let extra = shielded(opening).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Closed, "the engine panicked while opening the store"))
        });
        let workers = starting.0.take().expect("taken once, here");
        Ok((Self { workers, observing: waiting.observing.clone() }, extra?))
    }

    pub async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        match self.write(Task::Apply { guru: guru.clone(), batch }).await? {
            Done::Applied(applied) => Ok(applied),
            Done::Deleted(_) => unreachable!("a batch is answered with its effects"),
        }
    }

    pub async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        match self.write(Task::DeleteGuru { guru: guru.clone() }).await? {
            Done::Deleted(count) => Ok(count),
            Done::Applied(_) => unreachable!("the end of a guru is answered with a number"),
        }
    }

    async fn write(&self, task: Task) -> Result<Done> {
        let weight = task.weight();
        let made = self.observing.now();
        self.workers.call(weight, |until, reply| Message::Write(Call { task, until, made, reply })).await
    }

    pub async fn upkeep(&self, upkeep: Upkeep) -> Result<()> {
        let made = self.observing.now();
        self.workers.call(ENTRY_BYTES, |until, reply| Message::Upkeep { upkeep, until, made, reply }).await
    }

    /// How many writes are queued or being made, and about their bytes.
    pub fn held(&self) -> (usize, usize) {
        self.workers.held()
    }

    /// Whether it takes no writes any more.
    pub fn is_closed(&self) -> bool {
        self.workers.is_closed()
    }

    /// Takes no further writes.
    pub fn refuse(&self) {
        self.workers.refuse();
    }

    /// Finishes what is queued, and lets the engine leave a clean file.
    pub async fn close(&self) -> Result<()> {
        self.workers.close().await
    }
}

/// Workers whose engine is being opened. Dropping the future does not wait for the opening, which may take as long
/// as another process holds the file (S11): the thread closes by itself.
struct Starting(Option<Workers<Message>>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(workers) = &mut self.0 {
            workers.detach();
        }
    }
}

type Worker = Box<dyn FnOnce(&Queue<Message>) -> Result<()> + Send>;

/// An engine on its thread.
struct Committer<E> {
    /// `None` once it has panicked without a successor; the breaker is tripped then.
    engine: Option<E>,
    breaker: Breaker,
    clock: Clock,
    observing: Observing,
    /// Shared by the threads of a store: the last to close reports that it is closed.
    last: Arc<()>,
}

/// Why a try stored nothing of its group, or may have.
enum Failed {
    /// It could not begin.
    Busy(Error),
    /// As a whole: nothing of it is visible.
    Whole(Error),
    /// The result is not known, or the engine goes no further.
    Last(Error),
}

impl<E: Engine> Committer<E> {
    /// Commits group after group until the queue is closed and empty.
    fn run(mut self, queue: &Queue<Message>) -> Result<()> {
        let mut is_more = true;
        loop {
            while is_more && queue.is_idle() {
                is_more = self.rest();
            }
            let Some(first) = queue.pop() else { break };
            let shares = |message: &Message| matches!(message, Message::Write(call) if E::shares(&call.task));
            let (mut weight, more) = (first.weight, shares(&first.task));
            let mut taken = vec![first];
            if more {
                taken.extend(queue.pop_while(|job| {
                    weight += job.weight;
                    shares(&job.task) && weight <= E::GROUP_BYTES
                }));
            }
            let mut group = Vec::with_capacity(taken.len());
            for job in taken {
                let (message, permit) = job.into_parts();
                match message {
                    Message::Write(call) => group.push((call, permit)),
                    Message::Upkeep { upkeep, until, made, reply } => {
                        self.commit(std::mem::take(&mut group), None);
                        if !reply.is_closed() {
                            let done = self.upkeep(upkeep, until);
                            if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy) {
                                self.observing.tell(|| Event::TimedOut { waited: since(made) });
                            }
                            drop(permit);
                            let _ = reply.send(done);
                        }
                    }
                }
            }
            self.commit(group, None);
            is_more = self.rest();
        }
        self.close()
    }

    /// Commits a group and answers its callers. With `busy`, a caller whose time is up by now is told that.
    fn commit(&mut self, mut group: Vec<(Call, Permit)>, mut busy: Option<Error>) {
        loop {
            let mut times = Vec::with_capacity(group.len());
            // Nothing is written for a caller that has gone, if it is not too late (S10), or that gets
            // an error.
            group = group
                .into_iter()
                .filter_map(|(call, permit)| {
                    if call.reply.is_closed() {
                        return None;
                    }
                    let late = busy.clone().filter(|_| call.until.is_over());
                    let refusal = match late.map_or_else(|| self.clock.ask(), Err) {
                        Ok(now) => {
                            times.push(now);
                            return Some((call, permit));
                        }
                        Err(error) => error,
                    };
                    if refusal.kind() == ErrorKind::Busy {
                        self.observing.tell(|| Event::TimedOut { waited: since(call.made) });
                    }
                    drop(permit);
                    let _ = call.reply.send(Err(refusal));
                    None
                })
                .collect();
            if group.is_empty() {
                return;
            }
            let begun = self.observing.now();
            let attempt = self.attempt(&group, &times);
            let redone = matches!(attempt, Err(Failed::Whole(_))) && group.len() > 1;
            self.tell(&group, &attempt, redone, begun);
            match attempt {
                Ok(results) => {
                    debug_assert_eq!(results.len(), group.len());
                    return answer(group, results);
                }
                Err(Failed::Busy(error)) => {
                    busy = Some(error);
                    thread::sleep(PAUSE);
                }
                Err(Failed::Whole(_)) if redone => {
                    // One of them may take long, and the others behind it have begun to wait again (P2).
                    return group
                        .into_iter()
                        .for_each(|alone| self.commit(vec![alone], Some(workers::busy())));
                }
                Err(Failed::Whole(error) | Failed::Last(error)) => {
                    let results = group.iter().map(|_| Err(error.clone())).collect();
                    return answer(group, results);
                }
            }
        }
    }

    fn tell(
        &self,
        group: &[(Call, Permit)],
        attempt: &Result<Vec<Result<Done>>, Failed>,
        redone: bool,
        begun: Option<Instant>,
    ) {
        let (writes, took) = (group.len(), since(begun));
        match attempt {
            Ok(results) => self.observing.tell(|| {
                let sizes = group.iter().map(|(call, _)| call.task.size());
                let (users, bytes) = sizes.fold((0, 0), |all, size| (all.0 + size.0, all.1 + size.1));
                let waited = group.iter().map(|(call, _)| since(call.made)).max().unwrap_or_default();
                let failed = results.iter().filter(|result| result.is_err()).count();
                Event::Committed { writes, failed, users, bytes, waited: waited.saturating_sub(took), took }
            }),
            // Calls whose time is up are answered one by one.
            Err(Failed::Busy(_)) => {}
            Err(Failed::Whole(error) | Failed::Last(error)) => {
                self.observing.tell(|| Event::Failed { writes, redone, error: error.kind(), took });
            }
        }
    }

    fn attempt(
        &mut self,
        group: &[(Call, Permit)],
        times: &[Timestamp],
    ) -> Result<Vec<Result<Done>>, Failed> {
        let tasks: Vec<_> = group.iter().map(|(call, _)| &call.task).zip(times.iter().copied()).collect();
        let until = group.iter().map(|(call, _)| call.until).reduce(Deadline::min);
        let until = until.expect("a group is not empty");
        match self.with_engine(|engine| engine.commit(&tasks, until)) {
            Err(error) => Err(Failed::Last(error)),
            Ok(Ok(results)) => Ok(results),
            Ok(Err(error)) if error.may_be_stored() || self.breaker.check().is_err() => {
                Err(Failed::Last(error))
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Busy => Err(Failed::Busy(error)),
            Ok(Err(error)) => Err(Failed::Whole(error)),
        }
    }

    fn upkeep(&mut self, upkeep: Upkeep, until: Deadline) -> Result<()> {
        self.with_engine(|engine| engine.upkeep(upkeep, until)).flatten()
    }

    fn rest(&mut self) -> bool {
        match self.with_engine(E::rest) {
            Ok(Ok(is_more)) => is_more,
            // Somebody is in the way: it goes on after the next group.
            Ok(Err(error)) if error.kind() == ErrorKind::Busy => false,
            Ok(Err(error)) => {
                self.observing.tell(|| Event::RemovalFailed { error: error.kind() });
                false
            }
            // Refused or panicked: the next write reports it.
            Err(_) => false,
        }
    }

    /// Runs `work` unless the store refuses. `Err` is that refusal, or reports a panic. After a panic nobody knows whether
    /// the work is stored.
    fn with_engine<T>(&mut self, work: impl FnOnce(&mut E) -> T) -> Result<T> {
        self.breaker.check()?;
        let engine = self.engine.as_mut().ok_or_else(Error::closed)?;
        let payload = match catch_unwind(AssertUnwindSafe(|| work(engine))) {
            Ok(done) => return Ok(done),
            Err(payload) => payload,
        };
        let successor = catch_unwind(AssertUnwindSafe(|| engine.successor())).ok().flatten();
        let error = panicked(payload.as_ref(), successor.is_some());
        if successor.is_none() {
            self.breaker.trip(&error);
        }
        let engine = std::mem::replace(&mut self.engine, successor);
        // It may panic again; that has been said.
        let _ = catch_unwind(AssertUnwindSafe(|| engine.map(E::abandon)));
        Err(error)
    }

    fn close(self) -> Result<()> {
        let Self { engine, breaker, observing, last, .. } = self;
        let refusing = breaker.check();
        let end = |engine: E| {
            if refusing.is_ok() {
                engine.close()
            } else {
                engine.abandon();
                Ok(())
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| engine.map_or(Ok(()), end)));
        let panicked = |_| Err(Error::new(ErrorKind::Closed, "the engine panicked while closing the store"));
        let closed = refusing.and(ended.unwrap_or_else(panicked));
        if Arc::into_inner(last).is_some() {
            observing.tell(|| Event::Closed { error: closed.as_ref().err().map(Error::kind) });
        }
        closed
    }
}

fn answer(group: Vec<(Call, Permit)>, results: Vec<Result<Done>>) {
    for ((call, permit), result) in group.into_iter().zip(results) {
        // An answered caller finds the room free.
        drop(permit);
        // A caller that has gone misses the answer, not the write (S10).
        let _ = call.reply.send(result);
    }
}

fn panicked(payload: &(dyn Any + Send), goes_on: bool) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("no reason given").to_owned();
    let error = if goes_on {
        Error::new(ErrorKind::Storage, "the engine panicked while writing")
    } else {
        Error::new(ErrorKind::Closed, "the engine panicked while writing: open the store again")
    };
    error.with_may_be_stored(true).with_source(reason)
}
