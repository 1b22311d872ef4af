//! Reads on threads of the store's own, each with a connection of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crate::engine::deadline::Deadline;
use crate::engine::room::Permit;
use crate::engine::workers::{Queue, Reply, Waiting, Workers};
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::{Event, Observing, since};

type Read<C> = Box<dyn FnOnce(&mut C, Permit) + Send>;

/// The most reads that wait for a thread; further ones wait for room. One in the queue is some hundred bytes.
const QUEUED_READS: usize = 1024;

/// How long a read thread sleeps between two tries to begin.
const PAUSE: Duration = Duration::from_millis(5);

/// Threads that read, over connections of type `C`.
#[derive(Debug)]
pub(crate) struct ReadPool<C: 'static> {
    workers: Workers<Read<C>>,
    observing: Observing,
}

impl<C: Send + 'static> ReadPool<C> {
    pub fn start(connections: Vec<C>, waiting: Waiting) -> Result<Self> {
        let worker = |mut connection: C| {
            move |queue: &Queue<Read<C>>| {
                while let Some(job) = queue.pop() {
                    let (read, permit) = job.into_parts();
                    read(&mut connection, permit);
                }
                Ok(())
            }
        };
        let workers = connections.into_iter().map(worker);
        let observing = waiting.observing.clone();
        let workers = Workers::spawn("profile-store-read", QUEUED_READS, waiting, workers)?;
        Ok(Self { workers, observing })
    }

    /// Runs `read` on one of the threads, until when it may wait to begin beside it. A panic in it fails only
    /// this read. [`Busy`](ErrorKind::Busy) from it means that it could not begin: it is run again while there
    /// is time.
    pub async fn run<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&mut C, Deadline) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (observing, begun) = (self.observing.clone(), self.observing.now());
        let job = move |until: Deadline, reply: Reply<T>| -> Read<C> {
            Box::new(move |connection, permit| {
                // A caller that has gone meanwhile wants no answer.
                while !reply.is_closed() {
                    let result = catch_unwind(AssertUnwindSafe(|| read(connection, until)));
                    let result = result.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::Storage, "the engine panicked while reading"))
                    });
                    let busy = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy);
                    let over = until.is_over();
                    if busy && over {
                        observing.tell(|| Event::TimedOut { waited: since(begun) });
                    }
                    if !busy || over {
                        // An answered caller finds the room free.
                        drop(permit);
                        let _ = reply.send(result);
                        return;
                    }
                    thread::sleep(PAUSE);
                }
            })
        };
        self.workers.call(1, job).await
    }

    /// How many reads are queued or being made.
    pub fn held(&self) -> usize {
        self.workers.held().0
    }

    pub async fn close(&self) -> Result<()> {
        self.workers.close().await
    }
}
