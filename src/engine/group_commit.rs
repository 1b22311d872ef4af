//! Group commit: concurrent writes share a transaction and its sync, and stay atomic each.
//!
//! One thread owns the engine, or several threads an engine each. A thread takes what has queued up while it was busy, hands it to the
//! engine as one group, and answers each caller when the group is durable. A write that fails by
//! itself (a damaged record, say) fails alone. If the group as a whole fails, nothing of it is
//! visible, and its writes are tried again one by one, so that nobody suffers from another's bad
//! luck; unless another process holds the file, which all of them are told at once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::engine::workers::{Job, Queue, Workers};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::GuruSlug;
use crate::plan::change::Effects;
use crate::plan::writes::Writes;

/// What the commit thread is asked for.
pub(crate) enum Task {
    Apply { guru: GuruSlug, batch: Writes },
    DeleteGuru { guru: GuruSlug },
    Upkeep(Upkeep),
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
    fn weight(&self) -> usize {
        match self {
            Self::Apply { batch, .. } => batch.bytes() + batch.len() * ENTRY_BYTES,
            Self::DeleteGuru { .. } | Self::Upkeep(_) => ENTRY_BYTES,
        }
    }
}

/// What became of a task.
pub(crate) enum Done {
    Applied(Effects),
    Deleted(u64),
    Kept,
}

/// What an engine brings. It lives on its commit thread alone.
pub(crate) trait Engine: Sized {
    /// A group takes no more once it weighs this much, which bounds how long a small write waits for
    /// the group before it.
    const GROUP_BYTES: usize = 1 << 20;

    /// Whether this task can share a transaction with others. Upkeep can't.
    fn shares(task: &Task) -> bool {
        !matches!(task, Task::Upkeep(_))
    }

    /// Makes all writes of the group in one durable transaction, in order, each seeing the ones
    /// before it. There is no upkeep among them.
    ///
    /// `Ok` has one result a write; what failed by itself has left no trace, the others are stored
    /// as durably as the store was opened for. `Err` means that nothing of the group is visible.
    fn commit(&mut self, group: &[&Task]) -> Result<Vec<Result<Done>>>;

    /// Does the upkeep, durably; after an `Err` the profiles are as they were.
    fn keep(&mut self, upkeep: Upkeep) -> Result<()>;

    /// Between two groups, the callers of the one before having been answered: for work that nobody
    /// should wait for.
    fn rest(&mut self) {}

    /// Leaves a clean file.
    fn close(self) -> Result<()>;

    /// Lets go of the files as a kill would, after a panic: what this engine holds in memory is not
    /// to be trusted, what it has made durable is.
    fn abandon(self);
}

struct Pending {
    task: Task,
    reply: oneshot::Sender<Result<Done>>,
}

/// What an entry costs in the queue besides its bytes.
const ENTRY_BYTES: usize = 64;

/// The handle to the commit threads.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    crew: Workers<Pending>,
}

impl GroupCommit {
    /// Starts the thread, opens the engine on it, and hands over what opening gave besides. For an
    /// engine that is many connections, `open` gives so many `further` engines, which commit beside
    /// the first one on threads of their own.
    pub async fn start<E, X, F>(queue_bytes: usize, further: usize, open: F) -> Result<(Self, X)>
    where
        E: Engine + Send + 'static,
        X: Send + 'static,
        F: FnOnce() -> Result<(E, Vec<E>, X)> + Send + 'static,
    {
        let (opened, opening) = oneshot::channel();
        let (hand_out, handed): (Vec<_>, Vec<_>) = (0..further).map(|_| std::sync::mpsc::channel()).unzip();
        let first = move |queue: &Queue<Pending>| match open() {
            Ok((engine, engines, extra)) => {
                for (further, engine) in hand_out.into_iter().zip(engines) {
                    // Each thread waits for its engine, and ends without one if there is none.
                    let _ = further.send(engine);
                }
                if opened.send(Ok(extra)).is_ok() { run(engine, queue) } else { close(engine) }
            }
            Err(error) => {
                // Where nobody waits for the store any more, nobody waits for the error.
                let _ = opened.send(Err(error));
                Ok(())
            }
        };
        let mut workers: Vec<Worker> = vec![Box::new(first)];
        for engine in handed {
            workers.push(Box::new(move |queue| engine.recv().map_or(Ok(()), |engine| run(engine, queue))));
        }
        let crew = Workers::spawn("profile-store-commit", queue_bytes, workers)?;
        let mut starting = Starting(Some(crew));
        let extra = opening.await.unwrap_or_else(|_| Err(panicked("opening the store")));
        let crew = starting.0.take().expect("taken once, here");
        Ok((Self { crew }, extra?))
    }

    pub async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        match self.run(Task::Apply { guru: guru.clone(), batch }).await? {
            Done::Applied(applied) => Ok(applied),
            _ => unreachable!("a batch is answered with its effects"),
        }
    }

    pub async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        match self.run(Task::DeleteGuru { guru: guru.clone() }).await? {
            Done::Deleted(count) => Ok(count),
            _ => unreachable!("the end of a guru is answered with a number"),
        }
    }

    pub async fn keep(&self, upkeep: Upkeep) -> Result<()> {
        self.run(Task::Upkeep(upkeep)).await.map(drop)
    }

    async fn run(&self, task: Task) -> Result<Done> {
        let weight = task.weight();
        let (reply, done) = oneshot::channel();
        self.crew.send(Pending { task, reply }, weight).await?;
        // The thread has ended in the midst of it.
        done.await.unwrap_or_else(|_| Err(Error::closed().with_may_be_stored(true)))
    }

    /// Finishes what is queued, and lets the engine leave a clean file.
    pub async fn close(&self) -> Result<()> {
        self.crew.close().await
    }
}

/// A crew whose engine is being opened. Whoever drops the future does not wait for that, which may
/// take as long as another process holds the file (S11): the thread closes by itself.
struct Starting(Option<Workers<Pending>>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(crew) = &mut self.0 {
            crew.detach();
        }
    }
}

type Worker = Box<dyn FnOnce(&Queue<Pending>) -> Result<()> + Send>;

/// The life of an engine on its thread.
fn run<E: Engine>(mut engine: E, queue: &Queue<Pending>) -> Result<()> {
    match work(&mut engine, queue) {
        Ok(()) => close(engine),
        Err(payload) => {
            // It may panic again; that has been said.
            let _ = catch_unwind(AssertUnwindSafe(|| engine.abandon()));
            Err(fail_all(queue, payload.as_ref()))
        }
    }
}

fn close<E: Engine>(engine: E) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| engine.close())).unwrap_or_else(|_| Err(panicked("closing the store")))
}

/// Commits group after group until the queue is closed and empty. `Err` is the payload of a panic:
/// the engine's state is unknown then, and it must not be used again.
fn work<E: Engine>(engine: &mut E, queue: &Queue<Pending>) -> Result<(), Box<dyn Any + Send>> {
    while let Some(first) = queue.pop() {
        let (mut weight, more) = (first.weight, E::shares(&first.task.task));
        let mut group = vec![first];
        group.extend(queue.pop_while(|job| {
            weight += job.weight;
            more && E::shares(&job.task.task) && weight <= E::GROUP_BYTES
        }));
        // Whoever has dropped the future gets nothing written, if it is not too late (S10).
        group.retain(|job| !job.task.reply.is_closed());
        commit(engine, group)?;
        catch_unwind(AssertUnwindSafe(|| engine.rest()))?;
    }
    Ok(())
}

/// Commits a group and answers its callers. `Err` is the payload of a panic.
fn commit<E: Engine>(engine: &mut E, group: Vec<Job<Pending>>) -> Result<(), Box<dyn Any + Send>> {
    let attempt = |engine: &mut E, group: &[Job<Pending>]| {
        let tasks: Vec<&Task> = group.iter().map(|job| &job.task.task).collect();
        catch_unwind(AssertUnwindSafe(|| match tasks.as_slice() {
            [Task::Upkeep(upkeep)] => engine.keep(*upkeep).map(|()| vec![Ok(Done::Kept)]),
            writes => engine.commit(writes),
        }))
    };
    if group.len() > 1 {
        match attempt(engine, &group)? {
            Ok(results) => {
                debug_assert_eq!(results.len(), group.len());
                answer(group, results);
                return Ok(());
            }
            // Busy: waited for once already, the next try would wait as long. May be stored: another
            // try could deny it.
            Err(error) if error.kind() == ErrorKind::Busy || error.may_be_stored() => {
                let results = group.iter().map(|_| Err(error.clone())).collect();
                answer(group, results);
                return Ok(());
            }
            Err(_) => {}
        }
    }
    for job in group {
        let alone = [job];
        let results = attempt(engine, &alone)?.unwrap_or_else(|error| vec![Err(error)]);
        answer(alone, results);
    }
    Ok(())
}

fn answer(group: impl IntoIterator<Item = Job<Pending>>, results: Vec<Result<Done>>) {
    for (job, result) in group.into_iter().zip(results) {
        // A caller that has gone meanwhile misses the answer, not the write (S10).
        let _ = job.task.reply.send(result);
    }
}

/// After a panic of the engine every write fails, and closing with them, until the store is opened
/// again. Gives the error of closing, once the queue is closed and empty.
fn fail_all(queue: &Queue<Pending>, payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("no reason given").to_owned();
    let error = panicked("writing").with_source(reason);
    while let Some(job) = queue.pop() {
        let _ = job.task.reply.send(Err(error.clone()));
    }
    error
}

fn panicked(doing: &str) -> Error {
    let message = format!("the engine panicked while {doing}: open the store again");
    Error::new(ErrorKind::Closed, message)
}
