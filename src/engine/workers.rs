//! The store's own threads, and the queue that futures reach them by (S11).
//!
//! Futures wait in `tokio::sync` primitives, which work on any executor; threads wait on a condition
//! variable. The queue is bounded by weight: who finds no room waits in order, without blocking.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::model::error::{Error, ErrorKind, Result};

/// A job in the queue.
pub(crate) struct Job<T> {
    pub task: T,
    pub weight: usize,
    room: Room,
}

/// What a job takes of the budget, until it is dropped.
pub(crate) type Room = OwnedSemaphorePermit;

impl<T> Job<T> {
    /// The task, and the room to keep until it is done.
    pub fn into_parts(self) -> (T, Room) {
        (self.task, self.room)
    }
}

/// What futures push to and threads take from, first in, first out.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Signalled for every job, and for all threads when the queue closes.
    ready: Condvar,
    room: Arc<Semaphore>,
    /// The permits that `room` had at first.
    budget: usize,
}

struct State<T> {
    jobs: VecDeque<Job<T>>,
    open: bool,
    /// Threads that wait for a job. Where none does, pushing one wakes nobody, which saves a system
    /// call.
    idle: usize,
}

impl<T> Queue<T> {
    fn new(budget: usize) -> Self {
        let budget = budget.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            state: Mutex::new(State { jobs: VecDeque::new(), open: true, idle: 0 }),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(budget)),
            budget,
        }
    }

    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a task, once there is room for its weight. A task heavier than the whole budget
    /// passes when it is alone.
    ///
    /// Cancel-safe: a future dropped before it returns has queued nothing.
    async fn push(&self, task: T, weight: usize) -> Result<()> {
        let weight = weight.clamp(1, self.budget);
        let permits = u32::try_from(weight).expect("the budget fits in u32");
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| Error::closed())?;
        let mut state = self.lock();
        if !state.open {
            return Err(Error::closed());
        }
        state.jobs.push_back(Job { task, weight, room });
        let waiting = state.idle > 0;
        drop(state);
        if waiting {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Takes the next job; blocks while there is none. `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<Job<T>> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if !state.open {
                return None;
            }
            state.idle += 1;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Whether it is open and nothing waits in it.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.open && state.jobs.is_empty()
    }

    /// Takes further jobs, as long as there are any and `more` agrees to the next one.
    pub fn pop_while(&self, mut more: impl FnMut(&Job<T>) -> bool) -> Vec<Job<T>> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        while state.jobs.front().is_some_and(&mut more) {
            taken.extend(state.jobs.pop_front());
        }
        taken
    }

    fn close(&self) {
        self.lock().open = false;
        self.room.close();
        self.ready.notify_all();
    }
}

/// Threads that work off one queue.
///
/// Dropping it closes the queue, lets the threads finish what is queued and joins them.
pub(crate) struct Workers<T> {
    queue: Arc<Queue<T>>,
    threads: Vec<JoinHandle<()>>,
    /// Every thread holds a sender and sends what went wrong at its end; when all senders are
    /// gone, all threads have ended.
    ended: AsyncMutex<mpsc::UnboundedReceiver<Error>>,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts one thread for each of `workers`, which run until [`Queue::pop`] gives `None`.
    pub fn spawn<W>(name: &str, budget: usize, workers: impl IntoIterator<Item = W>) -> Result<Self>
    where
        W: FnOnce(&Queue<T>) -> Result<()> + Send + 'static,
    {
        let (ending, ended) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue::new(budget));
        let mut crew = Self { queue, threads: Vec::new(), ended: AsyncMutex::new(ended) };
        for worker in workers {
            let (queue, ending) = (Arc::clone(&crew.queue), ending.clone());
            let run = move || {
                if let Err(error) = worker(&queue) {
                    // Nobody listens once the store is being dropped.
                    let _ = ending.send(error);
                }
            };
            let thread = thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| {
                Error::new(ErrorKind::Storage, "can't start a thread of the store").with_source(source)
            })?;
            crew.threads.push(thread);
        }
        Ok(crew)
    }

    /// Queues a task; see [`Queue::push`].
    pub async fn send(&self, task: T, weight: usize) -> Result<()> {
        self.queue.push(task, weight).await
    }

    /// Dropping it will no longer wait for the threads.
    pub fn detach(&mut self) {
        self.threads.clear();
    }

    /// Closes the queue and waits for the threads to end. Tells the first thing that went wrong.
    pub async fn close(&self) -> Result<()> {
        self.queue.close();
        let mut ended = self.ended.lock().await;
        let mut first = Ok(());
        while let Some(error) = ended.recv().await {
            first = first.and(Err(error));
        }
        first
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A waker run by one of these threads may drop the last handle: it can't join itself.
            if thread.thread().id() != thread::current().id() {
                // A panic of the thread has been reported to whoever waited for its work.
                let _ = thread.join();
            }
        }
    }
}

impl<T> std::fmt::Debug for Workers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({} threads)", self.threads.len())
    }
}
