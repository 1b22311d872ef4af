//! Embedded storage for end-user profiles.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

mod admission;
mod batch;
mod clock;
mod error;
mod item_error;
mod json;
mod limits;
mod memory;
mod memory_store;
mod options;
mod page;
mod profile;
mod report;
mod request;
mod store;

pub use batch::{Applied, Change, Current, Effect, Entry, Plan, Record, Write, WriteBatch};
pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use item_error::ItemError;
pub use limits::Limits;
pub use memory::Memory;
pub use memory_store::MemoryStore;
pub use options::{Durability, StoreOptions};
pub use page::{ListOptions, Page, PageBuilder};
pub use profile::{ETag, ExternalUserId, GuruSlug, Profile, Timestamp};
pub use report::{Counts, ErrorBody, Outcome, PartialFailure, UpsertReport, UserResult};
pub use request::{Batch, User};
pub use store::{ProfileStore, ProfileStoreExt};
