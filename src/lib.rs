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
//! The [`guide`] answers questions, a page each, beginning with [five minutes to a served request](guide::quickstart).
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
//! | see what happens inside | [`Observer`], [`gauges`](ProfileStore::gauges), `Traced` and `trace_event` (feature `tracing`) |
//! | write a backend | the modules [`backend`] and `conformance` (feature `conformance`) |
//! | look up a number such as [S5](contract#s5) | [`contract`] |
//!
//! No call needs a runtime: outside async code, wrap it in any executor's `block_on`
//! ([without async](guide::without_async)).
//!
//! # Platforms
//! Tested on 64-bit Linux. Nothing here is meant to need it, but no other platform has ever been built.
//! A file system must be able to sync files and directories.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations)]

mod admission;
mod backends;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
#[cfg(any(doc, doctest))]
pub mod guide;
mod json;
#[cfg(feature = "tracing")]
mod layers;
mod model;
mod open;
mod plan;
mod store;
mod transfer;

#[doc = include_str!("guide/contract.md")]
pub mod contract {}

/// For authors of backends: what a store over another engine is made of. Services need none of it.
///
/// A backend implements the required methods of [`ProfileStore`]. Admission, duplicates, limits and the report are in
/// the provided methods, the same for all. Run the conformance suite (feature `conformance`) against it: every check is
/// named after a clause of the [`contract`].
///
/// This module is under semantic versioning, as the rest of the crate is. The module `conformance` is not:
/// a new release may add checks.
///
/// # Writing: the protocol of `apply`
/// This crate decides the meaning of a write ([S4](crate::contract#s4), [S5](crate::contract#s5),
/// [S7](crate::contract#s7)). Inside one transaction a backend
///
/// 1. makes a [`Plan`](backend::Plan) of the [`Writes`](backend::Writes), with the time of its clock,
/// 2. looks for the row of each [`Entry`](backend::Entry), and hands [`Plan::resolve`](backend::Plan::resolve) a way to read it, which is called only if the
///    entry depends on what is stored,
/// 3. makes the changes of [`Plan::changes`](backend::Plan::changes), all or none, and writes nothing at all if there are none,
/// 4. returns [`Plan::finish`](backend::Plan::finish) once they are as durable as the store was opened for.
///
/// ```
/// use std::collections::BTreeMap;
/// use profile_store::backend::{Change, Effects, Record, Writes};
/// use profile_store::{Result, Timestamp};
///
/// fn apply(rows: &mut BTreeMap<String, Record>, writes: &Writes, now: Timestamp) -> Result<Effects> {
///     let mut plan = writes.plan(now);
///     for entry in writes.entries() {
///         let row = rows.get(entry.id().as_str());
///         plan.resolve(entry, row.map(|record| || Ok(record.into())))?;
///     }
///     for change in plan.changes() {
///         match change {
///             Change::Insert(id, record) | Change::Update(id, record) => {
///                 rows.insert(id.to_string(), record.clone());
///             }
///             Change::Delete(id) => {
///                 rows.remove(id.as_str());
///             }
///         }
///     }
///     Ok(plan.finish())
/// }
/// ```
///
/// # Reading
/// A row becomes a [`Profile`] by [`stored_memory`](backend::stored_memory), once its checksum is verified
/// ([S12](crate::contract#s12)). [`PageBuilder`](backend::PageBuilder) ends a page, and leaves profiles out of it, by the rules that all
/// backends share.
///
/// # Opening
/// Call [`StoreOptions::check`] first. Refuse with [`Unsupported`](ErrorKind::Unsupported) the options that promise
/// what the engine can't hold: [`with_erasing`](StoreOptions::with_erasing).
///
/// # Blocking engines
/// A method must not block the executor, nor need a particular one ([S11](crate::contract#s11)). A call of well under
/// a millisecond, such as on a map behind a lock, may be made in place. For others use threads of your own and a
/// channel, or a pool that works under every executor, such as `blocking::unblock`. `tokio::task::spawn_blocking`
/// panics under any executor but tokio. Work on a thread goes on if the future is dropped, so one piece of work must be
/// a whole transaction ([S10](crate::contract#s10)).
///
/// # Failing
/// Return [`Corrupt`](ErrorKind::Corrupt) for damage ([`Error::corrupt_record`]), [`Busy`](ErrorKind::Busy) for locks of
/// others, and [`Closed`](ErrorKind::Closed) once closed or no longer to be trusted. Mark an error after which the
/// batch may be stored with [`Error::with_may_be_stored`].
pub mod backend {
    pub use crate::model::memory::stored_memory;
    pub use crate::plan::change::{Change, Effect, Effects};
    pub use crate::plan::record::{Record, RecordRef};
    pub use crate::plan::resolve::Plan;
    pub use crate::plan::writes::{Entry, Writes};
    pub use crate::store::list::PageBuilder;
}

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
#[cfg(feature = "tracing")]
pub use layers::trace_event::trace_event;
#[cfg(feature = "tracing")]
pub use layers::traced::Traced;
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
pub use store::contract::ProfileStore;
pub use store::handle::{Guru, HasGurus};
pub use store::list::{ListOptions, Page};
pub use store::observe::{Event, Gauges, Observer};
pub use store::options::{Durability, StoreOptions};
pub use store::restore::Restored;
pub use store::stream::Profiles;
pub use store::upkeep::{Probe, Stats, Verification};
pub use transfer::copy::{Copied, CopyOptions, CopyPhase, CopyProgress, copy};
pub use transfer::export::Export;
pub use transfer::import::{Import, Imported, LineFailure, LineFailures};
pub use transfer::walk::Position;

/// The program in the README runs.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
