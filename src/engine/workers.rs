//! The store's own threads, and the queue that futures reach them by (S11).
//!
//! Futures wait for room and for their answer, threads on a condition variable. The queue is bounded by weight
//! ([`Room`]). A call whose time is up, or whose future is dropped, before a thread has taken it leaves
//! the queue (P2).

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::admission::shield::shielded;
use crate::engine::deadline::{Deadline, Timer};
use crate::engine::room::{Permit, Room};
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::{Event, Observing, since};

/// A job in the queue.
pub(crate) struct Job<T> {
    pub task: T,
    pub weight: usize,
    permit: Permit,
}

impl<T> Job<T> {
    /// The task, and the room that it takes until it is done.
    pub fn into_parts(self) -> (T, Permit) {
        (self.task, self.permit)
    }
}

/// The way to answer a call.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// Futures push to it and threads take from it, first in, first out.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Signalled for every job, and for all threads when the queue closes.
    ready: Condvar,
}

struct State<T> {
    /// By their numbers, which ascend: any of many may leave.
    jobs: BTreeMap<u64, Job<T>>,
    numbers: u64,
    open: bool,
    /// Threads that wait for a job. If none does, pushing one wakes nobody, which saves a system
    /// call.
    idle: usize,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self {
            state: Mutex::new(State { jobs: BTreeMap::new(), numbers: 0, open: true, idle: 0 }),
            ready: Condvar::new(),
        }
    }

    /// A panic can't leave the state half-changed: nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a task that has room, and gives its number.
    fn push(&self, task: T, weight: usize, permit: Permit) -> Result<u64> {
        let mut state = self.lock();
        if !state.open {
            return Err(Error::closed());
        }
        state.numbers += 1;
        let number = state.numbers;
        state.jobs.insert(number, Job { task, weight, permit });
        let waiting = state.idle > 0;
        drop(state);
        if waiting {
            self.ready.notify_one();
        }
        Ok(number)
    }

    /// Takes a job back out; `false` if a thread has taken it.
    fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let job = state.jobs.remove(&number);
        drop(state);
        job.is_some()
    }

    /// Takes the next job; blocks while there is none. `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<Job<T>> {
        let mut state = self.lock();
        loop {
            if let Some((_, job)) = state.jobs.pop_first() {
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
        while let Some(first) = state.jobs.first_entry() {
            if !more(first.get()) {
                break;
            }
            taken.push(first.remove());
        }
        taken
    }

    fn close(&self) {
        self.lock().open = false;
        self.ready.notify_all();
    }
}

/// How calls wait.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub timer: Timer,
    /// How long, until a thread takes them.
    pub patience: Duration,
    pub observing: Observing,
}

/// Threads that work off one queue.
///
/// Dropping it closes the queue, lets the threads finish what is queued and joins them.
pub(crate) struct Workers<T> {
    queue: Arc<Queue<T>>,
    room: Arc<Room>,
    timer: Timer,
    patience: Duration,
    observing: Observing,
    threads: Vec<JoinHandle<()>>,
    end: Arc<Mutex<End>>,
}

/// How far the threads have come to their end.
struct End {
    /// Threads that have not ended.
    running: usize,
    /// The first thing that went wrong at an end.
    result: Result<()>,
    /// The wakers of the calls that close.
    waiting: Vec<Waker>,
}

fn end_of(end: &Mutex<End>) -> MutexGuard<'_, End> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send + 'static> Workers<T> {
    /// Starts one thread for each of `workers`, which run until [`Queue::pop`] gives `None`. The queue has
    /// room for the weight of `budget`.
    pub fn spawn<W>(
        name: &str,
        budget: usize,
        Waiting { timer, patience, observing }: Waiting,
        workers: impl IntoIterator<Item = W>,
    ) -> Result<Self>
    where
        W: FnOnce(&Queue<T>) -> Result<()> + Send + 'static,
    {
        let end = Arc::new(Mutex::new(End { running: 0, result: Ok(()), waiting: Vec::new() }));
        let (queue, room) = (Arc::new(Queue::new()), Room::new(budget));
        let mut started = Self { queue, room, timer, patience, observing, threads: Vec::new(), end };
        for worker in workers {
            let (queue, end) = (Arc::clone(&started.queue), Arc::clone(&started.end));
            end_of(&end).running += 1;
            let run = move || {
                let ended = catch_unwind(AssertUnwindSafe(|| worker(&queue)));
                let panicked = |_| Err(Error::new(ErrorKind::Closed, "a thread of the store has panicked"));
                let ended = ended.unwrap_or_else(panicked);
                let mut end = end_of(&end);
                end.running -= 1;
                if end.result.is_ok() {
                    end.result = ended;
                }
                let waiting = if end.running == 0 { std::mem::take(&mut end.waiting) } else { Vec::new() };
                drop(end);
                waiting.into_iter().for_each(Waker::wake);
            };
            let thread = thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| {
                Error::new(ErrorKind::Storage, "can't start a thread of the store").with_source(source)
            })?;
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// Queues what `task` makes of the call's deadline and the way to answer it, and waits for the answer.
    ///
    /// The deadline counts from the first poll. [`Busy`](ErrorKind::Busy) means that no thread had taken
    /// the task by then, and none will. Cancel-safe in the same way: if the future is dropped, a task
    /// that no thread has taken is gone.
    pub async fn call<A>(&self, weight: usize, task: impl FnOnce(Deadline, Reply<A>) -> T) -> Result<A> {
        // In this order: who is told that its time is up has waited all of it.
        let (begun, until) = (self.observing.now(), Deadline::after(self.patience));
        let busy = || {
            self.observing.tell(|| Event::TimedOut { waited: since(begun) });
            busy()
        };
        let call = async {
            let permit = self.timer.limit(until, self.room.take(weight)).await.ok_or_else(busy)??;
            if permit.waited {
                self.observing.tell(|| Event::WaitedForRoom { waited: since(begun) });
            }
            let (reply, mut answer) = oneshot::channel();
            let number = self.queue.push(task(until, reply), weight, permit)?;
            let mut queued = Queued { queue: &self.queue, number: Some(number) };
            let answered = match self.timer.limit(until, &mut answer).await {
                Some(answered) => answered,
                None if queued.withdraw() => return Err(busy()),
                None => answer.await,
            };
            queued.number = None;
            // The thread has ended in the midst of it.
            answered.unwrap_or_else(|_| Err(Error::closed().with_may_be_stored(true)))
        };
        shielded(call).await
    }

    /// How many calls are queued or being worked on, and their weight.
    pub fn held(&self) -> (usize, usize) {
        self.room.held()
    }

    /// Whether it takes no calls any more.
    pub fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    /// Takes no further calls. The threads finish what is queued, and wait for [`close`](Self::close).
    pub fn refuse(&self) {
        self.room.close();
    }

    /// Dropping it will no longer wait for the threads.
    pub fn detach(&mut self) {
        self.threads.clear();
    }

    /// Closes the queue and waits for the threads to end. Reports the first thing that went wrong, to
    /// everybody who closes: nobody waits for another one who closes.
    pub async fn close(&self) -> Result<()> {
        self.shut();
        shielded(poll_fn(|context| {
            let mut end = end_of(&self.end);
            if end.running == 0 {
                return Poll::Ready(end.result.clone());
            }
            if !end.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                end.waiting.push(context.waker().clone());
            }
            Poll::Pending
        }))
        .await
    }
}

impl<T> Workers<T> {
    fn shut(&self) {
        self.room.close();
        self.queue.close();
    }
}

/// For a call whose time was up before its turn.
pub(crate) fn busy() -> Error {
    Error::new(ErrorKind::Busy, "the store was busy with other calls for as long as this one may wait")
}

/// A call in the queue, which leaves it if nobody waits for it any more.
struct Queued<'a, T> {
    queue: &'a Queue<T>,
    /// `None` once it is answered.
    number: Option<u64>,
}

impl<T> Queued<'_, T> {
    fn withdraw(&mut self) -> bool {
        self.number.take().is_some_and(|number| self.queue.withdraw(number))
    }
}

impl<T> Drop for Queued<'_, T> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        self.shut();
        for thread in self.threads.drain(..) {
            // A waker run by one of these threads may drop the last handle: it can't join itself.
            if thread.thread().id() != thread::current().id() {
                // A panic of the thread has been reported to the callers that waited for its work.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that waits for a job is woken by the first one, and by the next after that.
    #[test]
    fn an_idle_thread_is_woken() {
        let patience = Duration::from_secs(10);
        let waiting = Waiting { timer: Timer::start().unwrap(), patience, observing: Observing::default() };
        let echo = |queue: &Queue<(u32, Reply<u32>)>| {
            while let Some(job) = queue.pop() {
                let ((number, reply), _permit) = job.into_parts();
                let _ = reply.send(Ok(number));
            }
            Ok(())
        };
        let workers = Workers::spawn("echo", 1, waiting, [echo]).unwrap();
        for number in 0..3 {
            while workers.queue.lock().idle == 0 {
                thread::yield_now();
            }
            let answer = workers.call(1, |_, reply| (number, reply));
            assert_eq!(pollster::block_on(answer).unwrap(), number);
        }
    }
}
