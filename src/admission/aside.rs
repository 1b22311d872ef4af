//! Work that is too long for a poll, on a thread of its own (S11).

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

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

/// Does the work on a thread, which ends early if the future is dropped. If no thread can be started, the work is done here.
pub(crate) async fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let shared = Arc::new(Aside {
        work: Mutex::new(Some(Box::pin(work))),
        answer: Mutex::new(Answer { result: None, waker: None }),
    });
    let theirs = Arc::clone(&shared);
    let thread = thread::Builder::new().name("profile-store-admission".to_owned());
    if thread.spawn(move || theirs.run()).is_err() {
        let work = lock(&shared.work).take();
        if let Some(work) = work {
            return work.await;
        }
    }
    poll_fn(|context| {
        let mut answer = lock(&shared.answer);
        match answer.result.take() {
            Some(Ok(result)) => Poll::Ready(result),
            Some(Err(panic)) => resume_unwind(panic),
            None => {
                answer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
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
    use std::sync::mpsc;

    use super::*;
    use crate::admission::pacing::yield_now;

    #[test]
    fn a_result_and_a_panic_come_back() {
        assert_eq!(pollster::block_on(aside(async { 7 })), 7);
        let panicked = catch_unwind(|| pollster::block_on(aside(async { panic!("expected") })));
        assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "expected");
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
