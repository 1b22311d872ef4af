//! One room for each engine, with the same inner order in all. No backend knows another.
//! Code that two of them need belongs to [`engine`](crate::engine).

#[cfg(feature = "fjall")]
pub(crate) mod fjall;
pub(crate) mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sled")]
pub(crate) mod sled;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
