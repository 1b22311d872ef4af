// Deadlines for schedules, which know no time: none is ever over.

use std::time::Duration;

#[derive(Clone, Copy)]
pub struct Deadline;

impl Deadline {
    pub fn after(_: Duration) -> Self {
        Self
    }

    pub fn is_over(self) -> bool {
        false
    }

    pub fn min(self, _: Self) -> Self {
        self
    }
}
