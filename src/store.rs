//! The contract: what every store does, and what a backend has to bring for it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::admission::Admitted;
use crate::batch::{Applied, Effect, WriteBatch};
use crate::error::{Error, ErrorKind, Result};
use crate::item_error::ItemError;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::page::{ListOptions, Page};
use crate::profile::{ETag, ExternalUserId, GuruSlug, Profile};
use crate::report::{Outcome, UpsertReport};
use crate::request::{Batch, Condition, User};

/// A store of profiles, by guru and external user id.
///
/// Services call [`upsert_batch`](Self::upsert_batch), [`get_many`](Self::get_many),
/// [`list`](Self::list), [`delete_many`](Self::delete_many) and the shorthands of
/// [`ProfileStoreExt`]. The trait is object-safe: hold a store as `Arc<dyn ProfileStore>`; `Arc`,
/// `Box` and references are stores themselves.
///
/// Numbers such as S1 name the clauses of the contract that all backends hold; the conformance
/// suite (feature `conformance`) has a check for each.
///
/// # Atomicity and durability
/// All admitted items of a batch are one transaction: after a crash, an error or a dropped future
/// all of them are stored or none (S1). `Ok` means stored as durably as the store was opened for,
/// by default so that it survives power loss (S2); an `Err` means that nothing of the batch is
/// visible (S3). Where the error says that the store must be opened again
/// ([`Closed`](crate::ErrorKind::Closed), or a failed sync), the batch may prove stored afterwards,
/// whole: repeat it.
///
/// # Idempotence
/// Writing what is stored already changes nothing, not even a timestamp, and writes nothing to the
/// disk (S5). Repeating any call after an error, a timeout or a crash is therefore safe.
///
/// # Isolation
/// A guru's profiles can't be reached through another guru's slug, ids or cursors (S8).
///
/// # Consistency
/// After `Ok`, every later read through any handle sees the write; one profile's history is
/// linearizable (S9).
///
/// # Cancel safety
/// Every future may be dropped at any time. A read then has no effect; a write has been made
/// whole or not at all, and the store goes on (S10).
///
/// # Runtimes
/// No call blocks the executor and none needs a particular one (S11): engines work on the store's
/// own threads.
///
/// # Writing a backend
/// Implement the required methods: apply a resolved batch in one transaction, read, scan, count,
/// drop a guru. Admission, limits, duplicates and the report are above, in the provided methods,
/// the same for all; do not override them except to forward. Then run the conformance suite.
#[async_trait]
pub trait ProfileStore: fmt::Debug + Send + Sync {
    /// The limits that items are judged by (A5).
    fn limits(&self) -> &Limits;

    /// Makes the writes of `batch` under `guru`, all or none, and tells each one's effect.
    ///
    /// Only what admission has built comes here; see [`WriteBatch`] for the protocol. A batch
    /// whose plan has no changes must not write to the disk (S5).
    ///
    /// # Errors
    /// Any failure of the engine; then nothing of the batch is visible (S3).
    async fn apply(&self, guru: &GuruSlug, batch: WriteBatch) -> Result<Applied>;

    /// The profiles of `ids`, in the order asked, `None` where there is none (L1). All are read
    /// from one consistent state of the store.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where a record fails its checksum (S12), and any
    /// failure of the engine.
    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>>;

    /// A page of the guru's profiles, ascending by the bytes of their ids (L1).
    ///
    /// Pages are read without a lock between them: a profile that exists from the first page to
    /// the last is seen exactly once, whatever is written meanwhile.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many). To list on behind a damaged record, pass its id, which the
    /// error names, as the cursor.
    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page>;

    /// How many profiles the guru has; 0 for an unknown one (L1).
    ///
    /// # Errors
    /// Any failure of the engine.
    async fn count(&self, guru: &GuruSlug) -> Result<u64>;

    /// The gurus that have profiles, ascending by bytes, behind `after`, at most `limit` (L1).
    /// Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// Any failure of the engine.
    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>>;

    /// Removes all profiles of the guru in one transaction, and tells how many there were (L2).
    ///
    /// # Errors
    /// Any failure of the engine; then all of them are still there.
    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64>;

    /// Finishes what has been accepted, leaves a clean file and lets go of it. Every later call
    /// through any handle fails with [`Closed`](crate::ErrorKind::Closed), except those that need no
    /// store to be answered, such as an empty batch; closing again is fine.
    ///
    /// Dropping the last handle does the same, but it blocks while it waits for the store's
    /// threads, and it can't report a failure.
    ///
    /// # Errors
    /// Where the engine could not leave a clean file. What was acknowledged is stored all the same.
    async fn close(&self) -> Result<()>;

    /// Creates or replaces profiles, and tells what became of each item, in request order (W2).
    ///
    /// Items that can't be admitted fail by themselves; the others are stored, all or none (R2,
    /// S1). Of an id that stands twice, the last admitted item wins (S4). An empty batch is a
    /// success and does no I/O (W3).
    ///
    /// A [`Batch`] can also merge (S6) or be stored whole or not at all, and a [`User`] can be
    /// stored on conditions (S7), judged inside the same transaction.
    ///
    /// Admission runs on the caller's task, in slices of well under a millisecond.
    ///
    /// # Errors
    /// [`InvalidRequest`](crate::ErrorKind::InvalidRequest) where the request as a whole can't be
    /// read or is over the limit (R3), and any failure of the engine; nothing is written then (S3).
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
    async fn upsert_batch(&self, guru: &GuruSlug, batch: Batch<'_>) -> Result<UpsertReport> {
        let mut admitted = Admitted::judge(batch, self.limits()).await?;
        let writes = std::mem::take(&mut admitted.writes);
        let applied = if writes.is_empty() { Applied::default() } else { self.apply(guru, writes).await? };
        Ok(admitted.report(&applied))
    }

    /// Removes profiles in one transaction, and tells for each id, in the order asked, whether
    /// there was one before the call (L2).
    ///
    /// # Errors
    /// Any failure of the engine; then all of them are still there.
    async fn delete_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
        let (batch, places) = WriteBatch::deleting(ids, Condition::None);
        let applied = if batch.is_empty() { Applied::default() } else { self.apply(guru, batch).await? };
        Ok(places.into_iter().map(|place| applied.effects()[place] == Effect::Deleted).collect())
    }
}

/// Shorthands over [`ProfileStore`], for every store.
#[async_trait]
pub trait ProfileStoreExt: ProfileStore {
    /// [`upsert_batch`](ProfileStore::upsert_batch) of the documented request body.
    ///
    /// # Errors
    /// As there.
    async fn upsert_json(&self, guru: &GuruSlug, body: &[u8]) -> Result<UpsertReport> {
        self.upsert_batch(guru, Batch::from_json(body)).await
    }

    /// [`upsert_batch`](ProfileStore::upsert_batch) of one user.
    ///
    /// # Errors
    /// As there. What is wrong with the user itself is in the report.
    async fn upsert(&self, guru: &GuruSlug, user: User) -> Result<UpsertReport> {
        self.upsert_batch(guru, Batch::from(user)).await
    }

    /// The profile of one end user. An id that no store admits (empty, with NUL, over-long) is
    /// unknown: `None`.
    ///
    /// # Errors
    /// As [`get_many`](ProfileStore::get_many).
    async fn get(&self, guru: &GuruSlug, external_user_id: &str) -> Result<Option<Profile>> {
        let Ok(id) = ExternalUserId::new(external_user_id) else { return Ok(None) };
        Ok(self.get_many(guru, &[id]).await?.pop().flatten())
    }

    /// Removes the profile of one end user, and tells whether there was one.
    ///
    /// # Errors
    /// As [`delete_many`](ProfileStore::delete_many).
    async fn delete(&self, guru: &GuruSlug, external_user_id: &str) -> Result<bool> {
        let Ok(id) = ExternalUserId::new(external_user_id) else { return Ok(false) };
        Ok(self.delete_many(guru, &[id]).await?.pop().unwrap_or(false))
    }

    /// Removes the profile of one end user if its ETag is this one when the transaction comes to it
    /// (S7). `false` means that it has another one, or that there is no profile.
    ///
    /// # Errors
    /// Any failure of the engine.
    async fn delete_if_match(&self, guru: &GuruSlug, external_user_id: &str, etag: ETag) -> Result<bool> {
        let Ok(id) = ExternalUserId::new(external_user_id) else { return Ok(false) };
        let (batch, _) = WriteBatch::deleting(&[id], Condition::Match(etag));
        Ok(self.apply(guru, batch).await?.effects() == [Effect::Deleted])
    }

    /// Reads a profile's memory, has `change` make a new one of it, and stores that, if nobody has
    /// changed the profile meanwhile; else starts again, up to [`UPDATE_ATTEMPTS`] times. So no
    /// concurrent update is lost, whoever makes it. `change` may be called several times; where it
    /// gives `None`, nothing is written.
    ///
    /// Returns what the store did, or what is wrong with the new memory.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) where others kept changing the profile, and whatever reading and
    /// writing report.
    ///
    /// # Examples
    /// ```
    /// use profile_store::{GuruSlug, Memory, MemoryStore, ProfileStoreExt};
    ///
    /// # pollster::block_on(async {
    /// let (store, guru) = (MemoryStore::new(), GuruSlug::new("my-guru")?);
    /// for _ in 0..3 {
    ///     let counted = store.update_with(&guru, "ada", |memory| {
    ///         let visits = memory.map_or(0, |memory| memory.parse::<serde_json::Value>().unwrap()["visits"].as_u64().unwrap());
    ///         Some(Memory::from_serialize(&serde_json::json!({ "visits": visits + 1 })).unwrap())
    ///     });
    ///     counted.await?.expect("within the limits");
    /// }
    /// assert_eq!(store.get(&guru, "ada").await?.unwrap().memory.as_str(), r#"{"visits":3}"#);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    async fn update_with<F>(
        &self,
        guru: &GuruSlug,
        external_user_id: &str,
        mut change: F,
    ) -> Result<Result<Outcome, Vec<ItemError>>>
    where
        F: FnMut(Option<&Memory>) -> Option<Memory> + Send,
    {
        for _ in 0..UPDATE_ATTEMPTS {
            let current = self.get(guru, external_user_id).await?;
            let Some(memory) = change(current.as_ref().map(|profile| &profile.memory)) else {
                return Ok(Ok(Outcome::Unchanged));
            };
            let user = User::new(external_user_id, memory);
            let user = match &current {
                Some(profile) => user.if_match(profile.etag()),
                None => user.if_absent(),
            };
            let report = self.upsert(guru, user).await?;
            match report.into_single() {
                Err(errors) if matches!(*errors, [ItemError::Changed | ItemError::Exists]) => {}
                result => return Ok(result),
            }
        }
        let message = format!("others have changed the profile {UPDATE_ATTEMPTS} times while it was updated");
        Err(Error::new(ErrorKind::Busy, message))
    }
}

/// How often [`ProfileStoreExt::update_with`] tries. Of those that compete, one wins each time.
pub const UPDATE_ATTEMPTS: usize = 1000;

impl<S: ProfileStore + ?Sized> ProfileStoreExt for S {}

macro_rules! forward {
    ($pointer:ty) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<S: ProfileStore + ?Sized> ProfileStore for $pointer {
            fn limits(&self) -> &Limits {
                (**self).limits()
            }

            async fn apply(&self, guru: &GuruSlug, batch: WriteBatch) -> Result<Applied> {
                (**self).apply(guru, batch).await
            }

            async fn get_many(
                &self,
                guru: &GuruSlug,
                ids: &[ExternalUserId],
            ) -> Result<Vec<Option<Profile>>> {
                (**self).get_many(guru, ids).await
            }

            async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
                (**self).list(guru, options).await
            }

            async fn count(&self, guru: &GuruSlug) -> Result<u64> {
                (**self).count(guru).await
            }

            async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
                (**self).gurus(after, limit).await
            }

            async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
                (**self).delete_guru(guru).await
            }

            async fn close(&self) -> Result<()> {
                (**self).close().await
            }

            async fn upsert_batch(&self, guru: &GuruSlug, batch: Batch<'_>) -> Result<UpsertReport> {
                (**self).upsert_batch(guru, batch).await
            }

            async fn delete_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
                (**self).delete_many(guru, ids).await
            }
        }
    };
}

forward!(Arc<S>);
forward!(Box<S>);
forward!(&S);
