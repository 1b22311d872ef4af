//! The parts of a store over a blocking engine: threads, group commit, verified records, durable files.
//! Code that only one engine needs belongs to its backend.

#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod breaker;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod checksum;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod deadline;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled"))]
pub(crate) mod durable_files;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod group_commit;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod guru_list;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled"))]
pub(crate) mod identity;
#[cfg(any(feature = "fjall", feature = "sled"))]
pub(crate) mod key_value;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod read_pool;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod record;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod room;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod threaded;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) mod workers;
