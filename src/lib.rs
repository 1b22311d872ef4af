//! Embedded storage for end-user profiles: an idempotent batch upsert behind one async trait.
//!
//! ```
//! use profile_store::{HasGurus, MemoryStore};
//!
//! # pollster::block_on(async {
//! let store = MemoryStore::new();
//! let guru = store.guru("my-guru")?;
//! let body = br#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}}]}"#;
//!
//! let report = guru.upsert_json(body).await?;
//! assert_eq!(
//!     report.to_json(),
//!     r#"{"status":"success","total_users":1,"processed_users":1,"users_results":[{"user_index":0,"external_user_id":"ada","success":true,"errors":[]}]}"#,
//! );
//! let ada = guru.get("ada").await?.expect("just stored");
//! assert_eq!(ada.memory.as_str(), r#"{"plan":"pro"}"#);
//! # Ok::<(), profile_store::Error>(())
//! # }).unwrap();
//! ```
//!
//! | you want to | see |
//! |---|---|
//! | read and write a guru's profiles | [`Guru`], which [`store.guru("my-guru")?`](HasGurus::guru) makes |
//! | know what every store promises | [`ProfileStore`] |
//! | choose a backend by a string | [`open()`] |
//! | open one yourself | [`MemoryStore`], `SqliteStore` (feature `sqlite`), `FjallStore` (feature `fjall`), `SledStore` (feature `sled`), `PostgresStore` (feature `postgres`) |
//! | hand in a request, or users built in Rust | [`Batch`], [`User`], [`Memory`] |
//! | answer it | [`UpsertReport`] |
//! | know what to do about an error | [`ErrorKind`], [`ItemError`] |
//! | read many profiles | [`Profiles`], [`ListOptions`] |
//! | move them elsewhere, or back up | [`copy()`], [`Export`], [`Import`], `SqliteStore::backup` |
//! | look after a store | [`stats`](ProfileStore::stats), [`verify`](ProfileStore::verify), [`compact`](ProfileStore::compact), [`health`](ProfileStore::health), [`sweep`](Guru::sweep) |
//! | write a backend | [`Writes`], and the module `conformance` (feature `conformance`) |
//!
//! Names such as S5 are clauses of the contract; the README tells the decisions behind them, DESIGN.md
//! the bytes on disk.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]

mod admission;
mod backends;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod json;
mod model;
mod open;
mod plan;
mod store;
mod transfer;

pub use admission::batch::{Batch, User};
pub use admission::report::{Counts, ErrorBody, Outcome, PartialFailure, UpsertReport, UserResult};
#[cfg(feature = "fjall")]
pub use backends::fjall::store::FjallStore;
pub use backends::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use backends::postgres::store::PostgresStore;
#[cfg(feature = "sled")]
pub use backends::sled::store::SledStore;
#[cfg(feature = "sqlite")]
pub use backends::sqlite::store::SqliteStore;
pub use model::clock::Clock;
pub use model::error::{Error, ErrorKind, Result};
pub use model::etag::ETag;
pub use model::filter::{Field, Filter};
pub use model::item_error::ItemError;
pub use model::limits::Limits;
pub use model::memory::Memory;
pub use model::name::{ExternalUserId, GuruSlug};
pub use model::profile::Profile;
pub use model::scalar::Scalar;
pub use model::timestamp::Timestamp;
pub use open::{open, open_with};
pub use plan::change::{Change, Effect, Effects};
pub use plan::record::{Record, RecordRef};
pub use plan::resolve::Plan;
pub use plan::writes::{Entry, Writes};
pub use store::contract::ProfileStore;
pub use store::handle::{Guru, HasGurus};
pub use store::list::{ListOptions, Page, PageBuilder};
pub use store::options::{Durability, StoreOptions};
pub use store::restore::Restored;
pub use store::stream::Profiles;
pub use store::upkeep::{Probe, Stats, Verification};
pub use transfer::copy::{Copied, CopyOptions, CopyPhase, CopyProgress, copy};
pub use transfer::export::Export;
pub use transfer::import::{Import, Imported, LineFailure};
pub use transfer::walk::Position;

/// The program in the README runs.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
