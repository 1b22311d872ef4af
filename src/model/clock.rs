//! The source of a store's time.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::timestamp::Timestamp;

/// The source of `created_at` and `updated_at`; the system's clock by default.
///
/// A clock that steps back never moves an `updated_at` back: a change is stamped at least one
/// microsecond after the one before it.
///
/// ```
/// use profile_store::{Clock, Timestamp};
///
/// let frozen = Clock::from_fn(|| Timestamp::from_micros(42));
/// assert_eq!(frozen.now().as_micros(), 42);
/// ```
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock of your own, for tests. Each write calls it once or more, on a thread of the store, or in `MemoryStore` on the caller's. If it panics, that write
    /// fails with [`InvalidInput`](ErrorKind::InvalidInput), and no other ([P3](crate::contract#p3)).
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present moment.
    ///
    /// # Panics
    /// If the function of [`from_fn`](Self::from_fn) does. A backend catches it, and returns
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// The present moment, for a call that fails if the clock panics (P3).
    pub(crate) fn ask(&self) -> Result<Timestamp> {
        catch_unwind(AssertUnwindSafe(|| self.now())).map_err(|payload| {
            // Dropping it is the caller's code again.
            std::mem::forget(payload);
            Error::new(ErrorKind::InvalidInput, "the clock that the store was opened with panicked")
        })
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::from_fn(|| SystemTime::now().into())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
