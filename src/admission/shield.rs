//! Callers' code on the store's threads, which it must not end (P3): wakers, clocks, observers.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// Runs what a caller has brought; `None` if it panics.
pub(crate) fn guarded<T>(callers: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(callers)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // Dropping it is the caller's code again.
            std::mem::forget(payload);
            None
        }
    }
}

/// Polls `work` with wakers whose panics end here, when they are woken and when they are dropped. Every future
/// that waits for one of the store's threads goes through this.
pub(crate) async fn shielded<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let mut kept: Option<(Arc<Shield>, Waker)> = None;
    poll_fn(|context| {
        let callers = context.waker();
        let (_, waker) = match kept.take() {
            Some(kept_one) if kept_one.0.is_for(callers) => kept.insert(kept_one),
            _ => {
                let shield = Arc::new(Shield(Some(callers.clone())));
                kept.insert((Arc::clone(&shield), Waker::from(shield)))
            }
        };
        work.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await
}

/// A caller's waker; `None` only while it is dropped.
struct Shield(Option<Waker>);

impl Shield {
    fn is_for(&self, waker: &Waker) -> bool {
        self.0.as_ref().is_some_and(|own| own.will_wake(waker))
    }
}

impl Wake for Shield {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A task that can't be woken is its executor's loss, not its neighbours'.
        let _ = guarded(|| self.0.as_ref().map(Waker::wake_by_ref));
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        let _ = guarded(|| drop(self.0.take()));
    }
}

/// Panics when it is woken, and again when it is dropped, which ends the process if the first panic is under way.
#[cfg(test)]
pub(crate) struct Nasty;

#[cfg(test)]
impl Wake for Nasty {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }

    fn wake_by_ref(self: &Arc<Self>) {
        panic!("a waker");
    }
}

#[cfg(test)]
impl Drop for Nasty {
    fn drop(&mut self) {
        panic!("a waker, dropped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[test]
    fn a_panicking_waker_is_woken_and_dropped_without_a_panic() {
        let mut seen = None;
        let mut work = Box::pin(shielded(poll_fn(|context| {
            seen = Some(context.waker().clone());
            Poll::<()>::Pending
        })));
        let nasty = Waker::from(Arc::new(Nasty));
        assert!(work.as_mut().poll(&mut Context::from_waker(&nasty)).is_pending());
        // The shield has the last one, whose drop panics.
        drop(nasty);
        drop(work);
        let shield = seen.expect("polled");
        shield.wake_by_ref();
        // On a thread that unwinds already, a panic that escaped would abort.
        let unwound = std::thread::spawn(move || {
            let _dropped_while_unwinding = shield;
            panic!("on purpose");
        });
        assert!(unwound.join().is_err());
    }

    #[test]
    fn a_panic_whose_payload_panics_is_told() {
        struct Payload;
        impl Drop for Payload {
            fn drop(&mut self) {
                panic!("a payload, dropped");
            }
        }
        assert_eq!(guarded(|| -> u8 { std::panic::panic_any(Payload) }), None);
        assert_eq!(guarded(|| 7), Some(7));
    }
}
