//! Embedded storage for end-user profiles.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

mod admission;
mod batch;
#[cfg(any(feature = "sqlite", feature = "sled"))]
mod checksum;
mod clock;
#[cfg(feature = "sled")]
mod codec;
#[cfg(any(feature = "sqlite", feature = "sled"))]
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "sled"))]
mod crew;
mod error;
mod item_error;
mod json;
mod limits;
mod memory;
mod memory_store;
mod open;
mod options;
mod page;
mod profile;
#[cfg(any(feature = "sqlite", feature = "sled"))]
mod readers;
mod report;
mod request;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

pub use batch::{Applied, Change, Current, Effect, Entry, Plan, Record, Write, WriteBatch};
pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use item_error::ItemError;
pub use limits::Limits;
pub use memory::Memory;
pub use memory_store::MemoryStore;
pub use open::{open, open_with};
pub use options::{Durability, StoreOptions};
pub use page::{ListOptions, Page, PageBuilder};
pub use profile::{ETag, ExternalUserId, GuruSlug, Profile, Timestamp};
pub use report::{Counts, ErrorBody, Outcome, PartialFailure, UpsertReport, UserResult};
pub use request::{Batch, User};
#[cfg(feature = "sled")]
pub use sled::SledStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{ProfileStore, ProfileStoreExt};
