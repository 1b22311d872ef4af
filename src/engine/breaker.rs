//! Refusing until opened again: the one state of a store besides working (P4).

use std::sync::{Arc, OnceLock};

use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::{Event, Observing};

/// Tripped by the first failure after which an engine can't be trusted, and never reset. Clones are one
/// breaker.
///
/// The commit thread refuses every write by it, the probe of `health(Write)` included. Reads ask it too
/// if what they would show may not be durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breaker {
    reason: Arc<OnceLock<Error>>,
    observing: Observing,
}

impl Breaker {
    pub fn new(observing: Observing) -> Self {
        Self { reason: Arc::default(), observing }
    }

    /// From now on [`check`](Self::check) fails, with the first reason given.
    pub fn trip(&self, reason: &Error) {
        // A later failure follows from the first.
        if self.reason.set(reason.clone()).is_ok() {
            self.observing.tell(|| Event::Refusing { error: reason.kind() });
        }
    }

    pub fn is_tripped(&self) -> bool {
        self.reason.get().is_some()
    }

    /// # Errors
    /// [`Closed`](ErrorKind::Closed) once it is tripped; the source is the reason.
    pub fn check(&self) -> Result<()> {
        match self.reason.get() {
            None => Ok(()),
            Some(reason) => {
                let refusal = Error::new(ErrorKind::Closed, "the store has failed: open the store again");
                Err(refusal.with_source(reason.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_first_reason_is_told_by_every_clone_for_ever() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&seen);
        let observer = move |event: &Event| own.lock().unwrap().push(event.clone());
        let breaker = Breaker::new(Observing::new(observer));
        let clone = breaker.clone();
        assert!(clone.check().is_ok());
        breaker.trip(&Error::new(ErrorKind::Storage, "first"));
        breaker.trip(&Error::new(ErrorKind::Storage, "second"));
        for breaker in [breaker, clone] {
            let refusal = breaker.check().unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::Closed);
            assert_eq!(std::error::Error::source(&refusal).unwrap().to_string(), "first");
        }
        assert_eq!(*seen.lock().unwrap(), [Event::Refusing { error: ErrorKind::Storage }], "O1: once");
    }
}
