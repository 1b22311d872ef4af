//! Until when a call may wait for its transaction to begin (P2).

use std::time::{Duration, Instant};

/// A moment, or never: any [`Duration`] is fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// Counted from now.
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now().checked_add(patience))
    }

    pub fn is_over(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// [`Duration::MAX`] if it is never.
    pub fn remaining(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// The earlier of the two.
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(other)) => Self(Some(one.min(other))),
            (one, other) => Self(one.or(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_duration_is_fine() {
        let never = Deadline::after(Duration::MAX);
        assert!(!never.is_over());
        assert_eq!(never.remaining(), Duration::MAX);
        let now = Deadline::after(Duration::ZERO);
        assert!(now.is_over());
        assert_eq!((now.remaining(), now.min(never), never.min(now)), (Duration::ZERO, now, now));
    }
}
