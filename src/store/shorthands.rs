//! What every store can do besides, made of the contract's calls alone.

use std::borrow::Cow;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::admission::batch::{Batch, User};
use crate::admission::pacing::yield_now;
use crate::admission::report::{Outcome, UpsertReport};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::etag::ETag;
use crate::model::item_error::ItemError;
use crate::model::memory::Memory;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::plan::change::Effect;
use crate::plan::writes::Condition;
use crate::plan::writes::Writes;
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::restore::{Restored, restore};
use crate::store::stream::Profiles;

/// Shorthands over [`ProfileStore`], for every store.
#[async_trait]
pub trait ProfileStoreExt: ProfileStore {
    /// [`upsert_batch`](ProfileStore::upsert_batch) of the documented request body,
    /// [borrowed or given away](Batch::from_json).
    ///
    /// # Errors
    /// As there.
    async fn upsert_json<'b>(
        &self,
        guru: &GuruSlug,
        body: impl Into<Cow<'b, [u8]>> + Send + 'b,
    ) -> Result<UpsertReport> {
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

    /// The memory of one end user as any deserialisable type, `serde_json::Map` included.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) where the memory does not have the shape of `T`; it
    /// says where, not what stands there (S14). As [`get_many`](ProfileStore::get_many) otherwise.
    ///
    /// # Examples
    /// ```
    /// use profile_store::{GuruSlug, MemoryStore, ProfileStoreExt, User};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, Deserialize, PartialEq, Serialize)]
    /// struct Preferences { language: String }
    ///
    /// # pollster::block_on(async {
    /// let (store, guru) = (MemoryStore::new(), GuruSlug::new("my-guru")?);
    /// let french = Preferences { language: "fr".to_owned() };
    /// store.upsert(&guru, User::serialize("ada", &french)).await?;
    /// assert_eq!(store.get_as::<Preferences>(&guru, "ada").await?, Some(french));
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    async fn get_as<T: DeserializeOwned>(
        &self,
        guru: &GuruSlug,
        external_user_id: &str,
    ) -> Result<Option<T>> {
        let Some(profile) = self.get(guru, external_user_id).await? else { return Ok(None) };
        profile.memory.parse().map(Some).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = format!(
                "the memory of {external_user_id:?} is no {}: wrong at line {line}, column {column}",
                std::any::type_name::<T>(),
            );
            Error::new(ErrorKind::InvalidInput, message)
        })
    }

    /// All profiles of a guru behind the options' cursor, the next page read ahead: a `Stream`.
    ///
    /// # Examples
    /// ```
    /// use profile_store::{GuruSlug, ListOptions, MemoryStore, ProfileStoreExt};
    ///
    /// # pollster::block_on(async {
    /// let (store, guru) = (MemoryStore::new(), GuruSlug::new("my-guru")?);
    /// store.upsert_json(&guru, br#"{"users":[{"external_user_id":"ada","memory":{}}]}"#).await?;
    /// let mut profiles = store.profiles(&guru, ListOptions::default());
    /// while let Some(profile) = profiles.next().await {
    ///     println!("{}", profile?.to_json());
    /// }
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    fn profiles(&self, guru: &GuruSlug, options: ListOptions) -> Profiles<'_> {
        Profiles::new(self, guru, options)
    }

    /// Stores profiles as they are, with their times, in one transaction: to move them here from
    /// another store. A profile that has changed later here than the one given stays. Storing the
    /// same ones again changes nothing (S5).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) where a profile is, or their number is, over the
    /// limits of this store; nothing is written then. Any failure of the engine.
    async fn restore(&self, guru: &GuruSlug, profiles: Vec<Profile>) -> Result<Restored> {
        restore(self, guru, profiles).await
    }

    /// Removes the profiles of a guru whose memory last changed before this moment (retention), and
    /// tells how many there were. In transactions of at most 1,000 profiles, so that others can write
    /// in between; a profile that changes meanwhile stays.
    ///
    /// # Errors
    /// Any failure of the engine; what earlier transactions removed is gone then. Repeat it. A damaged
    /// record stops it ([`Corrupt`](ErrorKind::Corrupt)): delete that profile first.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use profile_store::{GuruSlug, MemoryStore, ProfileStoreExt};
    ///
    /// # pollster::block_on(async {
    /// let (store, guru) = (MemoryStore::new(), GuruSlug::new("my-guru")?);
    /// let a_year_ago = SystemTime::now() - Duration::from_secs(365 * 86_400);
    /// assert_eq!(store.sweep(&guru, a_year_ago.into()).await?, 0);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    async fn sweep(&self, guru: &GuruSlug, updated_before: Timestamp) -> Result<u64> {
        let mut options = ListOptions::default().with_updated_before(updated_before);
        let mut swept = 0;
        loop {
            let page = self.list(guru, &options).await?;
            let ids: Vec<_> = page.profiles.into_iter().map(|profile| profile.external_user_id).collect();
            if !ids.is_empty() {
                let (batch, _) = Writes::deleting(&ids, Condition::UpdatedBefore(updated_before));
                let applied = self.apply(guru, batch).await?;
                swept += applied.effects().iter().filter(|effect| **effect == Effect::Deleted).count() as u64;
            }
            match page.next {
                Some(next) => options = options.with_after(next),
                None => return Ok(swept),
            }
            yield_now().await;
        }
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
        let (batch, _) = Writes::deleting(&[id], Condition::Match(etag));
        Ok(self.apply(guru, batch).await?.effects() == [Effect::Deleted])
    }

    /// EngineReads a profile's memory, has `change` make a new one of it, and stores that, if nobody has
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
