//! Work that is too long for a poll, on a thread of its own (S11).

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::admission::shield::shielded;

/// A future that is ready with every poll but for its turns to others.
type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The state that the task and the thread share. If the thread's share is the only one, nobody waits any more.
struct Aside<T> {
    /// `None` once the thread has it.
    work: Mutex<Option<Work<T>>>,
    answer: Mutex<Answer<T>>,
}

struct Answer<T> {
    /// An `Err` is a panic.
    result: Option<thread::Result<T>>,
    waker: Option<Waker>,
}

/// Threads at work, and the most there may be.
static THREADS: AtomicUsize = AtomicUsize::new(0);
const MOST_THREADS: usize = 64;

/// The place of a thread.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let more = |threads| (threads < MOST_THREADS).then_some(threads + 1);
        THREADS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does the work on a thread, which ends early if the future is dropped. If there are many such threads, or none can be started,
/// the work is done here.
pub(crate) async fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let Some(place) = Place::take() else { return work.await };
    let shared = Arc::new(Aside {
        work: Mutex::new(Some(Box::pin(work))),
        answer: Mutex::new(Answer { result: None, waker: None }),
    });
    let theirs = Arc::clone(&shared);
    let thread = thread::Builder::new().name("profile-store-admission".to_owned());
    let run = move || {
        let _place = place;
        theirs.run();
    };
    if thread.spawn(run).is_err() {
        let work = lock(&shared.work).take();
        if let Some(work) = work {
            return work.await;
        }
    }
    shielded(poll_fn(|context| {
        let mut answer = lock(&shared.answer);
        match answer.result.take() {
            Some(Ok(result)) => Poll::Ready(result),
            Some(Err(panic)) => resume_unwind(panic),
            None => {
                answer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }))
    .await
}

impl<T> Aside<T> {
    fn run(self: Arc<Self>) {
        let Some(mut work) = lock(&self.work).take() else { return };
        let mut context = Context::from_waker(Waker::noop());
        let result = loop {
            match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context))) {
                Ok(Poll::Ready(result)) => break Ok(result),
                Ok(Poll::Pending) if Arc::strong_count(&self) == 1 => return,
                Ok(Poll::Pending) => {}
                Err(panic) => break Err(panic),
            }
        };
        let waker = {
            let mut answer = lock(&self.answer);
            answer.result = Some(result);
            answer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

// A waker may panic as it is cloned; what the lock guards is whole then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::admission::pacing::yield_now;
    use crate::admission::shield::Nasty;

    #[test]
    fn a_result_and_a_panic_come_back() {
        assert_eq!(pollster::block_on(aside(async { 7 })), 7);
        let panicked = catch_unwind(|| pollster::block_on(aside(async { panic!("expected") })));
        assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "expected");
    }

    /// Work that ends once `go` is set.
    async fn waiting(go: Arc<AtomicBool>) {
        while !go.load(Ordering::SeqCst) {
            yield_now().await;
        }
    }

    /// One takes all threads, and the other needs one.
    static TURN: Mutex<()> = Mutex::new(());

    /// P3.
    #[test]
    fn a_waker_that_panics_ends_nothing() {
        let _turn = lock(&TURN);
        let go = Arc::new(AtomicBool::new(false));
        let mut call = Box::pin(aside(waiting(Arc::clone(&go))));
        let nasty = Waker::from(Arc::new(Nasty));
        assert!(Future::poll(call.as_mut(), &mut Context::from_waker(&nasty)).is_pending());
        // The last one is the call's.
        assert!(catch_unwind(AssertUnwindSafe(|| drop(nasty))).is_ok());
        go.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(50));
        pollster::block_on(call);
    }

    /// P2: many calls have few threads, and each has its answer.
    #[test]
    fn threads_are_few() {
        let _turn = lock(&TURN);
        let go = Arc::new(AtomicBool::new(false));
        let mut calls: Vec<_> =
            (0..3 * MOST_THREADS).map(|_| Box::pin(aside(waiting(Arc::clone(&go))))).collect();
        let mut context = Context::from_waker(Waker::noop());
        for call in &mut calls {
            assert!(Future::poll(call.as_mut(), &mut context).is_pending());
        }
        assert!(THREADS.load(Ordering::Relaxed) <= MOST_THREADS);
        go.store(true, Ordering::SeqCst);
        calls.into_iter().for_each(pollster::block_on);
    }

    /// P2: what nobody waits for takes no room.
    #[test]
    fn a_dropped_future_ends_its_thread() {
        struct Dropped(mpsc::Sender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (sender, ended) = mpsc::channel();
        let guard = Dropped(sender);
        let mut endless = Box::pin(aside(async move {
            let _guard = guard;
            loop {
                yield_now().await;
            }
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Future::poll(endless.as_mut(), &mut context).is_pending());
        drop(endless);
        ended.recv_timeout(std::time::Duration::from_secs(60)).expect("the thread ends");
    }
}
