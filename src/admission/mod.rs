//! The way in and out of a batch: bytes or Rust users become admitted writes, effects become a report.
//! The [`plan`](crate::plan) decides the meaning of a write; nothing here does I/O.

pub(crate) mod aside;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod judge;
pub(crate) mod pacing;
pub(crate) mod report;
pub(crate) mod shield;
