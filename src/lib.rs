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
//! The [`guide`] has one page per question, beginning with [five minutes to a served request](guide::quickstart).
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
//! Tested on 64-bit Linux. Nothing depends on it by design, but no other platform has been tried.
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
/// named after a clause of the [`contract`]. [Writing a backend](guide::writing_a_backend) has the `Cargo.toml` and a
/// complete test file.
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
/// use profile_store::{ExternalUserId, GuruSlug, Result, Timestamp};
///
/// type Gurus = BTreeMap<GuruSlug, BTreeMap<ExternalUserId, Record>>;
///
/// fn apply(gurus: &mut Gurus, guru: &GuruSlug, writes: &Writes, now: Timestamp) -> Result<Effects> {
///     let mut plan = writes.plan(now);
///     for entry in writes.entries() {
///         let row = gurus.get(guru).and_then(|profiles| profiles.get(entry.id()));
///         plan.resolve(entry, row.map(|record| || Ok(record.into())))?;
///     }
///     if plan.changes().is_empty() {
///         return Ok(plan.finish());
///     }
///     let profiles = gurus.entry(guru.clone()).or_default();
///     for change in plan.changes() {
///         match change {
///             Change::Insert(id, record) | Change::Update(id, record) => {
///                 profiles.insert((*id).clone(), record.clone());
///             }
///             Change::Delete(id) => {
///                 profiles.remove(*id);
///             }
///         }
///     }
///     if profiles.is_empty() {
///         gurus.remove(guru); // A guru goes with its last profile.
///     }
///     Ok(plan.finish())
/// }
/// ```
///
/// A clock may panic ([P3](crate::contract#p3)). Ask it before you take a lock, inside `std::panic::catch_unwind`, and
/// return [`InvalidInput`](ErrorKind::InvalidInput) if it does, as the stores of this crate do.
///
/// # Reading
/// A row becomes a [`Profile`] by [`stored_memory`](backend::stored_memory), once its checksum is verified
/// ([S12](crate::contract#s12)). [`PageBuilder`](backend::PageBuilder) ends a page, and leaves profiles out of it, by the rules that all
/// backends share. [`Stats`], [`Verification`] and [`Gauges`] may get more fields: begin with `default()` and set those you know.
///
/// # Opening
/// Call [`StoreOptions::check`] first. An option that promises is kept or refused with
/// [`Unsupported`](ErrorKind::Unsupported). One that tunes is accepted, also if it has no effect.
///
/// | option | a backend |
/// |---|---|
/// | [`with_limits`](StoreOptions::with_limits), [`with_clock`](StoreOptions::with_clock) | keeps them: [`limits`](ProfileStore::limits) returns the limits, and `apply` stamps by the clock |
/// | [`with_durability`](StoreOptions::with_durability) | keeps it, or a stronger one. An engine with files that can't sync refuses [`PowerLoss`](Durability::PowerLoss), which is the default |
/// | [`with_erasing`](StoreOptions::with_erasing) | refuses it if deleted bytes are not overwritten. A store without files accepts it |
/// | [`with_read_only`](StoreOptions::with_read_only) | refuses it, or fails every write, `compact` and [`Probe::Write`] with [`ReadOnly`](ErrorKind::ReadOnly) |
/// | [`with_create`](StoreOptions::with_create)`(false)` | fails with [`NotFound`](ErrorKind::NotFound) if there is no store. A store without files ignores it |
/// | [`with_busy_timeout`](StoreOptions::with_busy_timeout) | keeps it if a call can wait: see [waiting](backend#waiting) |
/// | read threads, write connections, queue, cache and log | uses or ignores them |
/// | [`with_observer`](StoreOptions::with_observer) | ignores it: see [observing](backend#observing) |
///
/// # Futures
/// A method must not block the executor, nor need a particular one ([S11](crate::contract#s11)). A call of well under
/// a millisecond, such as on a map behind a lock, may be made in place. For others use threads of your own and a
/// channel, or a pool that works under every executor, such as `blocking::unblock`. `tokio::task::spawn_blocking`
/// panics under any executor but tokio. Work on a thread goes on if the future is dropped, so one piece of work must be
/// a whole transaction ([S10](crate::contract#s10)).
///
/// **Warning.** A caller may poll a future once, and then neither poll nor drop it, for as long as it likes. The suite does so. Such
/// a future must not keep other calls from going on:
///
/// - Hold no lock across an `.await`.
/// - Never wait for a fair lock or semaphore in a future. It is handed to the future that is next in line, and
///   stays there if nobody polls that one. Take locks on the thread that does the work.
/// - In `close`, wait for work on threads, never for the futures of other calls. A call that has not handed its work to
///   a thread by then gets [`Closed`](ErrorKind::Closed) when it is polled again.
///
/// # Waiting
/// [`Busy`](ErrorKind::Busy) means that a call could not begin its transaction in time. It has written nothing, and can be
/// repeated as it is ([P2](crate::contract#p2)). A backend keeps [`StoreOptions::busy_timeout`] itself, for reads, for
/// writes, and while it opens. The time counts from the first poll, when the body of an `async fn` begins.
///
/// - **A map behind a lock** has nothing to do, as no call waits for longer than the others work.
/// - **An engine with one writer** lets each write wait for its turn on the thread that does the work:
///
/// ```
/// use std::sync::{Condvar, Mutex};
/// use std::time::{Duration, Instant};
/// use profile_store::{Error, ErrorKind, Result};
///
/// #[derive(Default)]
/// struct Turn { taken: Mutex<bool>, free: Condvar }
///
/// impl Turn {
///     /// `begun` is the moment of the call's first poll.
///     fn take(&self, begun: Instant, busy_timeout: Duration) -> Result<()> {
///         let left = busy_timeout.saturating_sub(begun.elapsed());
///         let taken = self.taken.lock().unwrap();
///         let (mut taken, waited) = self.free.wait_timeout_while(taken, left, |taken| *taken).unwrap();
///         if waited.timed_out() {
///             return Err(Error::new(ErrorKind::Busy, "other writes have taken all the time"));
///         }
///         *taken = true;
///         Ok(())
///     }
///
///     /// Also after a panic: call it in a `Drop`.
///     fn give_back(&self) {
///         *self.taken.lock().unwrap() = false;
///         self.free.notify_one();
///     }
/// }
/// # let (turn, now) = (Turn::default(), Instant::now());
/// # turn.take(now, Duration::MAX).unwrap();
/// # assert_eq!(turn.take(now, Duration::ZERO).unwrap_err().kind(), ErrorKind::Busy);
/// # turn.give_back();
/// # turn.take(now, Duration::ZERO).unwrap();
/// ```
///
/// - **A lock of another process** is tried again until the time is over.
/// - **A call that has begun** is never cut short. [`compact`](ProfileStore::compact),
///   [`verify`](ProfileStore::verify), [`stats`](ProfileStore::stats) and [`close`](ProfileStore::close) are work, however
///   long they take. Calls that wait for them get `Busy`.
/// - **A call whose future was dropped** is not begun any more.
///
/// # Failing
/// Return [`Corrupt`](ErrorKind::Corrupt) for damage ([`Error::corrupt_record`]), [`Busy`](ErrorKind::Busy) for locks of
/// others, and [`Closed`](ErrorKind::Closed) once closed or no longer to be trusted. Mark an error after which the
/// batch may be stored with [`Error::with_may_be_stored`].
///
/// # Closing and dropping
/// A store that is dropped without [`close`](ProfileStore::close) loses no acknowledged write. Once its `Drop` has returned, the
/// store can be opened again. So wait in `Drop` for the work that dropped futures have left on threads: it still holds the engine.
/// `Drop` may block. It must not panic, and it can't report a failure.
///
/// # Observing
/// All [`Event`]s come from the stores of this crate. A backend outside can't make one, nor call the observer that the options
/// hold: say so in its documentation. `Traced` (feature `tracing`) makes a span for each call of any store.
/// [`gauges`](ProfileStore::gauges) can report a backend's own load.
pub mod backend {
    pub use crate::model::memory::stored_memory;
    pub use crate::plan::change::{Change, Effect, Effects};
    pub use crate::plan::record::{Record, RecordRef};
    pub use crate::plan::resolve::Plan;
    pub use crate::plan::writes::{Entry, Writes};
    pub use crate::store::page::PageBuilder;
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
pub use store::list::ListOptions;
pub use store::observe::{Event, Gauges, Observer};
pub use store::options::{Durability, StoreOptions};
pub use store::page::Page;
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
