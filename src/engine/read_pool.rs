//! EngineReads on threads of the store's own, each with a connection of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::engine::workers::{Queue, Workers};
use crate::model::error::{Error, ErrorKind, Result};

type Read<C> = Box<dyn FnOnce(&mut C) + Send>;

/// EngineReads don't wait to be queued: what waits is held by its caller all the same, and a stream that
/// reads ahead would take room in the queue by a future that nobody polls.
const QUEUED_READS: usize = usize::MAX;

/// Threads that read, over connections of type `C`.
#[derive(Debug)]
pub(crate) struct ReadPool<C: 'static> {
    crew: Workers<Read<C>>,
}

impl<C: Send + 'static> ReadPool<C> {
    pub fn start(connections: Vec<C>) -> Result<Self> {
        let worker = |mut connection: C| {
            move |queue: &Queue<Read<C>>| {
                while let Some(job) = queue.pop() {
                    (job.task)(&mut connection);
                }
                Ok(())
            }
        };
        let crew = Workers::spawn("profile-store-read", QUEUED_READS, connections.into_iter().map(worker))?;
        Ok(Self { crew })
    }

    /// Runs `read` on one of the threads. A panic in it fails this read alone.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut C) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, done) = oneshot::channel();
        let job = move |connection: &mut C| {
            if !reply.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(|| read(connection)));
                let result = result.unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Storage, "the engine panicked while reading"))
                });
                // A caller that has gone meanwhile wants no answer.
                let _ = reply.send(result);
            }
        };
        self.crew.send(Box::new(job), 1).await?;
        done.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    pub async fn close(&self) -> Result<()> {
        self.crew.close().await
    }
}
