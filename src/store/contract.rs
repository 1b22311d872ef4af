//! The contract: the promises of every store, and the methods that a backend implements.

use std::fmt;

use async_trait::async_trait;

use crate::admission::batch::Batch;
use crate::admission::judge::Admitted;
use crate::admission::report::UpsertReport;
use crate::model::error::Result;
use crate::model::limits::Limits;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::plan::change::{Effect, Effects};
use crate::plan::writes::{Condition, Writes};
use crate::store::list::ListOptions;
use crate::store::observe::Gauges;
use crate::store::page::Page;
use crate::store::upkeep::{Probe, Stats, Verification};

/// A store of profiles, by guru and external user id.
///
/// Services take a guru's handle, [`store.guru("my-guru")?`](crate::HasGurus::guru), and call the
/// shorthands of [`Guru`](crate::Guru), which are made of the methods here. Rustdoc shows the futures
/// boxed; read them like this:
///
/// | method | returns |
/// |---|---|
/// | [`upsert_batch`](Self::upsert_batch)`(&self, guru: &GuruSlug, batch: Batch<'_>)` | `Result<UpsertReport>` |
/// | [`get_many`](Self::get_many)`(&self, guru: &GuruSlug, ids: &[ExternalUserId])` | `Result<Vec<Option<Profile>>>` |
/// | [`list`](Self::list)`(&self, guru: &GuruSlug, options: &ListOptions)` | `Result<Page>` |
/// | [`count`](Self::count)`(&self, guru: &GuruSlug)` | `Result<u64>` |
/// | [`delete_many`](Self::delete_many)`(&self, guru: &GuruSlug, ids: &[ExternalUserId])` | `Result<Vec<bool>>` |
/// | [`delete_guru`](Self::delete_guru)`(&self, guru: &GuruSlug)` | `Result<u64>` |
/// | [`gurus`](Self::gurus)`(&self, after: Option<&GuruSlug>, limit: usize)` | `Result<Vec<GuruSlug>>` |
/// | [`health`](Self::health)`(&self, probe: Probe)` | `Result<()>` |
/// | [`stats`](Self::stats)`(&self)` | `Result<Stats>` |
/// | [`verify`](Self::verify)`(&self)` | `Result<Verification>` |
/// | [`compact`](Self::compact)`(&self)` | `Result<()>` |
/// | [`close`](Self::close)`(&self)` | `Result<()>` |
/// | [`limits`](Self::limits)`(&self)`, not async | `&Limits` |
/// | [`gauges`](Self::gauges)`(&self)`, not async | `Gauges` |
/// | [`apply`](Self::apply)`(&self, guru: &GuruSlug, writes: Writes)`, for backends | `Result<Effects>` |
///
/// The trait is object-safe: hold a store as `Arc<dyn ProfileStore>`. `Arc`, `Box` and references of
/// stores are stores, too, and forward without an allocation.
///
/// Numbers such as [S1] name clauses of the [contract](crate::contract) that all backends hold. The conformance
/// suite (feature `conformance`) checks them.
///
/// # Atomicity and durability
/// All admitted items of a batch are one transaction: after a crash, an error or a dropped future
/// all of them are stored or none ([S1]). `Ok` means stored as durably as the store was opened for.
/// By default that survives power loss ([S2]). `Err` means that nothing of the batch is visible ([S3]).
///
/// The exception is an error that [may be stored](crate::Error::may_be_stored): the whole batch may still have
/// been stored. Open the store again if it is [`Closed`](crate::ErrorKind::Closed), then repeat the batch.
///
/// # Idempotence
/// Writing what is stored already changes nothing, not even a timestamp, and writes nothing to the
/// disk ([S5]). A plain upsert or a delete can be repeated after an error, a timeout or a crash. A repeated
/// write with a condition may fail because the first one succeeded.
///
/// # Isolation
/// A guru's profiles can't be reached through another guru's slug, ids or cursors ([S8]).
///
/// # Consistency
/// After `Ok`, every later read through any handle sees the write; one profile's history is
/// linearizable ([S9]).
///
/// # Cancel safety
/// Every future may be dropped at any time. A dropped read has no effect. A dropped write was made
/// whole or not at all, and the store goes on ([S10]).
///
/// # Runtimes
/// No call blocks the executor and none needs a particular one ([S11]): engines work on the store's
/// own threads.
///
/// **Warning.** Do not carry an open store across `fork`. The child has none of these threads, and shares
/// the parent's files and connections.
///
/// # Writing a backend
/// Implement the required methods: apply a resolved batch in one transaction, read, scan, count,
/// drop a guru. Admission, limits, duplicates and the report are in the provided methods, the same for
/// all backends; override these only to forward. Then run the conformance suite. The module
/// [`backend`](crate::backend) has the rest: the protocol of `apply`, options, futures, waiting, closing.
///
/// [S1]: crate::contract#s1
/// [S2]: crate::contract#s2
/// [S3]: crate::contract#s3
/// [S5]: crate::contract#s5
/// [S8]: crate::contract#s8
/// [S9]: crate::contract#s9
/// [S10]: crate::contract#s10
/// [S11]: crate::contract#s11
#[async_trait]
pub trait ProfileStore: fmt::Debug + Send + Sync {
    /// The limits that items are judged by ([A5](crate::contract#a5)).
    fn limits(&self) -> &Limits;

    /// Returns the state of the store at this moment besides its profiles, without I/O. See
    /// [`Gauges`] for what each backend fills in. The default reports zeros, for a store without queues.
    fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    /// Makes `writes` under `guru`, all or none, and returns each one's effect. For backends; services
    /// call [`upsert_batch`](Self::upsert_batch).
    ///
    /// The module [`backend`](crate::backend) has the protocol and an example. Only admission builds
    /// [`Writes`]. If their plan has no changes, the backend must not write to the disk ([S5](crate::contract#s5)).
    ///
    /// # Errors
    /// Any failure of the engine. Nothing of the batch is visible then, unless the error
    /// [may be stored](crate::Error::may_be_stored) ([S3](crate::contract#s3)).
    async fn apply(&self, guru: &GuruSlug, writes: Writes) -> Result<Effects>;

    /// The profiles of `ids`, in the order asked, `None` if there is none ([L1](crate::contract#l1)). All are read
    /// from one consistent state of the store.
    ///
    /// The result has one entry for each of `ids`, however many there are. An id that stands twice is answered twice.
    /// A backend reads and copies such a profile once ([P1](crate::contract#p1)); clones of a [`Profile`] share its text.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if a record fails its checksum ([S12](crate::contract#s12)). Any failure of the
    /// engine.
    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>>;

    /// A page of the guru's profiles, ascending by the bytes of their ids ([L1](crate::contract#l1)).
    ///
    /// Pages are read without a lock between them: a profile that exists from the first page to
    /// the last is seen exactly once, whatever is written meanwhile.
    ///
    /// # Errors
    /// Those of [`get_many`](Self::get_many). To list past a damaged record, pass its id as the cursor;
    /// the error names it.
    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page>;

    /// How many profiles the guru has; 0 for an unknown one ([L1](crate::contract#l1)).
    ///
    /// # Errors
    /// Any failure of the engine.
    async fn count(&self, guru: &GuruSlug) -> Result<u64>;

    /// The gurus that have profiles and come after `after`, ascending by bytes, at most `limit` ([L1](crate::contract#l1)).
    /// Fewer than `limit` means that there are no more. Any limit is fine: 0 gives none, and `usize::MAX` all.
    ///
    /// A guru vanishes with its last profile, however that is removed, and comes back with the next one. `after` need not exist.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the record of a guru fails its checksum ([S12](crate::contract#s12)); to go on after
    /// it, pass its slug as the cursor. A stored name that is no slug is such an error, of the page that would be the last: with a
    /// limit of 1, every sound guru comes before it. Any failure of the engine.
    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>>;

    /// Removes all profiles of the guru in one transaction, and returns how many there were ([L2](crate::contract#l2)).
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the record of the guru itself is damaged: its profiles can't be told from others'
    /// then. Any failure of the engine. All profiles are still there then, unless the error
    /// [may be stored](crate::Error::may_be_stored).
    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64>;

    /// How much the store holds ([L1](crate::contract#l1)). It takes a scan if the engine keeps no such numbers, as the backend
    /// documents. A guru whose own record is damaged counts without its profiles.
    ///
    /// # Errors
    /// Any failure of the engine.
    async fn stats(&self) -> Result<Stats>;

    /// Removes the bytes of deleted and replaced profiles from the disk, and gives back their room ([L3](crate::contract#l3)). It
    /// rewrites the store, which takes time, and room for a second copy. Writes wait until it is done. Reads go on, except on
    /// PostgreSQL; fjall's wait while the files change places. Each backend documents its own promise.
    ///
    /// Dropping the future does not stop a compaction that has begun.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if old bytes would stay readable in the engine's files: giving back room
    /// is not enough for `Ok`. [`Corrupt`](crate::ErrorKind::Corrupt) if damage keeps profiles of a deleted guru, or of nobody, in
    /// the files; the rest is compacted, as far as the engine can. Any failure of the engine; the profiles are as they were then.
    async fn compact(&self) -> Result<()>;

    /// Whether the store works: a real read or a real, durable write.
    ///
    /// # Errors
    /// Those of a read or a write.
    async fn health(&self, probe: Probe) -> Result<()>;

    /// Scrubs the store ([S12](crate::contract#s12)): verifies the checksum of every record, the stored numbers of profiles, and the
    /// engine's own structures.
    ///
    /// It reads one consistent state, by a scan, in constant memory. Each backend documents whether writes
    /// wait.
    ///
    /// A backend leaves out a check if there is nothing to check: no checksum in memory, no stored number, no structures that the
    /// engine can check. It repairs nothing, because a repair hides the damage from the operator. A check that repairs is left
    /// out too. [`Verification`] shows how the result is built.
    ///
    /// # Errors
    /// Any failure of the engine except damage, which the result reports.
    async fn verify(&self) -> Result<Verification>;

    /// Finishes the accepted calls, leaves a clean file and lets go of it. Every later call
    /// through any handle fails with [`Closed`](crate::ErrorKind::Closed), except those that need no
    /// store to be answered, such as an empty batch.
    ///
    /// Closing again is fine. A call made while another one is closing the store waits for it: after any call has
    /// returned, the store can be opened again. Both report the same.
    ///
    /// Dropping the last handle does the same, but it blocks while it waits for the store's
    /// threads, and it can't report a failure.
    ///
    /// A backend must not wait here for other calls' futures, which nobody may poll any more: see
    /// [futures](crate::backend#futures).
    ///
    /// # Errors
    /// Any failure of the engine to leave a clean file. Acknowledged writes are stored anyway.
    async fn close(&self) -> Result<()>;

    /// Creates or replaces profiles, and reports each item's outcome, in request order ([W2]).
    ///
    /// An item that can't be admitted fails by itself; the others are stored, all or none ([R2], [S1]). If an id
    /// stands twice, the last admitted item wins ([S4]). An empty batch is a success and does no I/O ([W3]).
    ///
    /// A [`Batch`] can also merge ([S6]), or be stored whole or not at all. A [`User`](crate::User) can be stored
    /// on a condition ([S7]), judged inside the same transaction.
    ///
    /// Admission runs on the caller's task, in slices of at most 128 KiB of JSON ([S11]). A batch with a user, or another part of the
    /// body, of more than that is judged on a thread of its own, which ends if the future is dropped.
    ///
    /// # Errors
    /// [`InvalidRequest`](crate::ErrorKind::InvalidRequest) if the request as a whole can't be read or is over
    /// the limit ([R3]). Any failure of the engine. Nothing is written then, unless the error
    /// [may be stored](crate::Error::may_be_stored) ([S3]).
    ///
    /// # Examples
    /// ```
    /// use profile_store::{Batch, GuruSlug, MemoryStore, Outcome, ProfileStore};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = GuruSlug::new("my-guru")?;
    /// let body = br#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}}]}"#;
    ///
    /// let first = store.upsert_batch(&guru, Batch::from_json(body)).await?;
    /// assert_eq!(first.results()[0].result, Ok(Outcome::Created));
    /// let retry = store.upsert_batch(&guru, Batch::from_json(body)).await?;
    /// assert_eq!(retry.results()[0].result, Ok(Outcome::Unchanged));
    /// assert_eq!(first.to_json(), retry.to_json());
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// [R2]: crate::contract#r2
    /// [R3]: crate::contract#r3
    /// [S1]: crate::contract#s1
    /// [S3]: crate::contract#s3
    /// [S4]: crate::contract#s4
    /// [S6]: crate::contract#s6
    /// [S7]: crate::contract#s7
    /// [S11]: crate::contract#s11
    /// [W2]: crate::contract#w2
    /// [W3]: crate::contract#w3
    async fn upsert_batch(&self, guru: &GuruSlug, batch: Batch<'_>) -> Result<UpsertReport> {
        let mut admitted = Admitted::judge(batch, self.limits()).await?;
        let writes = std::mem::take(&mut admitted.writes);
        let applied = if writes.is_empty() { Effects::default() } else { self.apply(guru, writes).await? };
        Ok(admitted.report(&applied))
    }

    /// Removes profiles in one transaction. Returns for each id, in the order asked, whether there was a
    /// profile before the call ([L2](crate::contract#l2)).
    ///
    /// # Errors
    /// Any failure of the engine. All profiles are still there then, unless the error
    /// [may be stored](crate::Error::may_be_stored).
    async fn delete_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
        let (batch, places) = Writes::deleting(ids, Condition::None);
        let applied = if batch.is_empty() { Effects::default() } else { self.apply(guru, batch).await? };
        Ok(places.into_iter().map(|place| applied.effects()[place] == Effect::Deleted).collect())
    }
}
