//! A store in the ordered keys of an engine: how it is laid out, and what is read and written by that.
//! An engine brings a [`snapshot`]; its files, threads and syncs belong to its backend.

pub(crate) mod directory;
pub(crate) mod emptying;
pub(crate) mod gate;
pub(crate) mod keys;
pub(crate) mod reading;
pub(crate) mod record;
pub(crate) mod snapshot;
pub(crate) mod staging;
pub(crate) mod writing;
