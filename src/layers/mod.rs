//! Stores around stores, and observers that are ready to use. They are made of calls of the trait and of events:
//! no backend needs them.

pub(crate) mod trace_event;
pub(crate) mod traced;
