//! Embedded storage for end-user profiles: an idempotent batch upsert behind one async trait.
//!
//! ```
//! use profile_store::{GuruSlug, MemoryStore, ProfileStoreExt};
//!
//! # pollster::block_on(async {
//! let store = MemoryStore::new();
//! let guru = GuruSlug::new("my-guru")?;
//! let body = br#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}}]}"#;
//!
//! let report = store.upsert_json(&guru, body).await?;
//! assert_eq!(
//!     report.to_json(),
//!     r#"{"status":"success","total_users":1,"processed_users":1,"users_results":[{"user_index":0,"external_user_id":"ada","success":true,"errors":[]}]}"#,
//! );
//! let ada = store.get(&guru, "ada").await?.expect("just stored");
//! assert_eq!(ada.memory.as_str(), r#"{"plan":"pro"}"#);
//! # Ok::<(), profile_store::Error>(())
//! # }).unwrap();
//! ```
//!
//! | you want to | see |
//! |---|---|
//! | know what every store promises | [`ProfileStore`] |
//! | choose a backend by a string | [`open()`] |
//! | open one yourself | [`MemoryStore`], `SqliteStore` (feature `sqlite`), `SledStore` (feature `sled`), `PostgresStore` (feature `postgres`) |
//! | hand in a request, or users built in Rust | [`Batch`], [`User`], [`Memory`] |
//! | answer it | [`UpsertReport`] |
//! | know what to do about an error | [`ErrorKind`], [`ItemError`] |
//! | read many profiles | [`Profiles`], [`ListOptions`] |
//! | move them elsewhere, or back up | [`copy()`], [`Export`], [`Import`], `SqliteStore::backup` |
//! | look after a store | [`stats`](ProfileStore::stats), [`verify`](ProfileStore::verify), [`compact`](ProfileStore::compact), [`health`](ProfileStore::health), [`sweep`](ProfileStoreExt::sweep) |
//! | write a backend | [`WriteBatch`], and the module `conformance` (feature `conformance`) |
//!
//! Names such as S5 are clauses of the contract; the README tells the decisions behind them, DESIGN.md
//! the bytes on disk.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

mod admission;
mod batch;
mod body;
#[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
mod checksum;
mod clock;
#[cfg(feature = "sled")]
mod codec;
#[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
mod crew;
mod error;
mod item_error;
mod json;
mod limits;
mod maintenance;
mod memory;
mod memory_store;
mod merge;
mod moving;
mod open;
mod options;
mod page;
mod places;
#[cfg(feature = "postgres")]
mod postgres;
mod profile;
#[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
mod readers;
mod report;
mod request;
#[cfg(any(feature = "sqlite", feature = "sled"))]
mod rewrite;
#[cfg(feature = "sled")]
mod sled;
mod slice;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod store_ext;
mod stream;
mod text;
#[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
mod threaded;

pub use batch::{Applied, Change, Current, Effect, Entry, Plan, Record, Write, WriteBatch};
pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use item_error::ItemError;
pub use limits::Limits;
pub use maintenance::{Probe, Stats, Verification};
pub use memory::Memory;
pub use memory_store::MemoryStore;
pub use moving::{
    Copied, CopyOptions, CopyPhase, CopyProgress, Export, Import, Imported, LineFailure, Position, copy,
};
pub use open::{open, open_with};
pub use options::{Durability, StoreOptions};
pub use page::{ListOptions, Page, PageBuilder};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use profile::{ETag, ExternalUserId, GuruSlug, Profile, Timestamp};
pub use report::{Counts, ErrorBody, Outcome, PartialFailure, UpsertReport, UserResult};
pub use request::{Batch, User};
#[cfg(feature = "sled")]
pub use sled::SledStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::ProfileStore;
pub use store_ext::{ProfileStoreExt, Restored, UPDATE_ATTEMPTS};
pub use stream::Profiles;

/// The program in the README runs.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
