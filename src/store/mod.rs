//! The contract of a store, and everything that is made of its calls and nothing else.
//! No thread, file or engine belongs here.

pub(crate) mod contract;
pub(crate) mod forward;
pub(crate) mod handle;
pub(crate) mod list;
pub(crate) mod observe;
pub(crate) mod options;
pub(crate) mod page;
pub(crate) mod restore;
pub(crate) mod stream;
pub(crate) mod upkeep;
