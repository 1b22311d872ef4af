//! The nouns: names, memories, times, profiles, limits, errors. Each is built valid, by one door.
//! Nothing here knows of a batch, a store or an engine.

pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod etag;
pub(crate) mod filter;
pub(crate) mod item_error;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod profile;
pub(crate) mod scalar;
pub(crate) mod text;
pub(crate) mod timestamp;
