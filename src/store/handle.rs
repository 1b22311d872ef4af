//! The tenant's handle: a store, a guru, and every call about the two.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::admission::batch::{Batch, User};
use crate::admission::pacing::yield_now;
use crate::admission::report::{Outcome, UpsertReport};
use crate::json::pointer::Pointer;
use crate::model::error::{Error, ErrorKind, Result, quoted};
use crate::model::etag::ETag;
use crate::model::item_error::ItemError;
use crate::model::memory::Memory;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::plan::change::Effect;
use crate::plan::writes::{Condition, Writes};
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::page::Page;
use crate::store::restore::{Restored, restore};
use crate::store::stream::Profiles;

/// The profiles of one guru in a store.
///
/// [`store.guru("my-guru")?`](HasGurus::guru) borrows the store. [`Guru::new`] takes it: give it an
/// `Arc` for a handle that is moved into a task, or returned. Making and cloning a handle does no
/// I/O; it shares the slug's text.
///
/// ```
/// use std::sync::Arc;
/// use profile_store::{Guru, HasGurus, Memory, MemoryStore, Outcome, ProfileStore, User};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// let guru = store.guru("my-guru")?;
/// let ada = User::new("ada", Memory::from_json(r#"{"plan":"pro"}"#)?);
/// assert_eq!(guru.upsert(ada).await?, Outcome::Created);
/// assert_eq!(guru.get("ada").await?.unwrap().memory.as_str(), r#"{"plan":"pro"}"#);
///
/// // Owned, for a task or a thread.
/// let store: Arc<dyn ProfileStore> = Arc::new(store);
/// let guru = Guru::new(Arc::clone(&store), "my-guru".parse()?);
/// let counted = std::thread::spawn(move || pollster::block_on(guru.count()));
/// assert_eq!(counted.join().unwrap()?, 1);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
///
/// # Traps
/// - `arc.guru("my-guru")` is a `Guru<&Arc<…>>`: it borrows the `Arc`, and a spawned task can't hold
///   it. Use [`Guru::new`] with a clone of the `Arc`.
/// - A `Guru` without parameters is one over `Arc<dyn ProfileStore>`. Bind the store to a variable of
///   that type first; `Guru::new(Arc::new(MemoryStore::new()), slug)` is another type (E0308).
/// - A future borrows its handle: `let f = store.guru("g")?.get("ada"); f.await` is refused (E0716).
///   Bind the handle first, or await in the same statement.
/// - An owned handle over a store that is not `Clone` has no [`profiles`](Self::profiles): put the
///   store into an `Arc`.
/// - axum's and hyper's `Bytes` does not implement `Into<Cow<[u8]>>`: pass `&body[..]` to
///   [`upsert_json`](Self::upsert_json).
#[derive(Clone, Debug)]
pub struct Guru<S = Arc<dyn ProfileStore>> {
    store: S,
    slug: GuruSlug,
}

/// Gives every store, also a `dyn ProfileStore`, the method [`guru`](Self::guru).
pub trait HasGurus: ProfileStore {
    /// The handle of a guru, which borrows the store.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `slug` is not a slug ([R4](crate::contract#r4)). A guru without profiles is no
    /// error: its first profile creates it.
    fn guru(&self, slug: &str) -> Result<Guru<&Self>> {
        Ok(Guru { store: self, slug: GuruSlug::new(slug)? })
    }
}

impl<S: ProfileStore + ?Sized> HasGurus for S {}

/// How often [`Guru::update_with`] tries. One of the competing calls wins each time.
const UPDATE_ATTEMPTS: usize = 1000;

impl<S: ProfileStore> Guru<S> {
    /// The handle of a guru in a store that it holds: a store, an `Arc` of one, or a reference.
    pub fn new(store: S, slug: GuruSlug) -> Self {
        Self { store, slug }
    }

    /// The guru's name.
    pub fn slug(&self) -> &GuruSlug {
        &self.slug
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Creates or replaces the profile of one end user.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) or [`Conflict`](ErrorKind::Conflict) if a condition does
    /// not hold, [`InvalidInput`](ErrorKind::InvalidInput) if the user can't be admitted.
    /// [`item_errors`](Error::item_errors) has all that is wrong with the user. Any failure of the engine.
    pub async fn upsert(&self, user: User) -> Result<Outcome> {
        let user = self.upsert_batch(Batch::from(user)).await?.into_only();
        let id = user.external_user_id();
        let refused = |reasons: &Vec<_>| Error::refused(self.slug.as_str(), id, reasons.clone());
        user.result.as_ref().copied().map_err(refused)
    }

    /// Creates or replaces profiles: [`upsert_batch`](ProfileStore::upsert_batch). The report has each
    /// user's outcome.
    ///
    /// # Errors
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) if the request as a whole can't be read or is
    /// over the limit ([R3](crate::contract#r3)). Any failure of the engine.
    pub async fn upsert_batch(&self, batch: Batch<'_>) -> Result<UpsertReport> {
        self.store.upsert_batch(&self.slug, batch).await
    }

    /// [`upsert_batch`](Self::upsert_batch) of the documented request body,
    /// [borrowed or given away](Batch::from_json).
    ///
    /// # Errors
    /// Those of [`upsert_batch`](Self::upsert_batch).
    pub async fn upsert_json<'b>(&self, body: impl Into<Cow<'b, [u8]>>) -> Result<UpsertReport> {
        self.upsert_batch(Batch::from_json(body)).await
    }

    /// Reads a profile's memory, lets `change` make a new one of it, and stores the new one if nobody has
    /// changed the profile in between. Otherwise it starts again, up to 1,000 times, so no concurrent
    /// update is lost. `change` may be called several times. If it returns `None`, nothing is
    /// written, and the outcome is [`Unchanged`](Outcome::Unchanged).
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) if others kept changing the profile. Those of [`upsert`](Self::upsert).
    ///
    /// **Warning.** Don't repeat this call blindly after an error that
    /// [may be stored](Error::may_be_stored): the change would be made twice ([S5](crate::contract#s5)).
    ///
    /// # Examples
    /// ```
    /// use profile_store::{HasGurus, Memory, MemoryStore};
    /// use serde_json::{Value, json};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// for _ in 0..3 {
    ///     guru.update_with("ada", |memory| {
    ///         let visits = memory.map_or(0, |memory| memory.parse::<Value>().unwrap()["visits"].as_u64().unwrap());
    ///         Some(Memory::from_serialize(&json!({ "visits": visits + 1 })).unwrap())
    ///     }).await?;
    /// }
    /// assert_eq!(guru.get("ada").await?.unwrap().memory.as_str(), r#"{"visits":3}"#);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn update_with(
        &self,
        external_user_id: &str,
        mut change: impl FnMut(Option<&Memory>) -> Option<Memory>,
    ) -> Result<Outcome> {
        for _ in 0..UPDATE_ATTEMPTS {
            let current = self.get(external_user_id).await?;
            let Some(memory) = change(current.as_ref().map(|profile| &profile.memory)) else {
                return Ok(Outcome::Unchanged);
            };
            let user = User::new(external_user_id, memory);
            let user = match &current {
                Some(profile) => user.if_match(profile.etag()),
                None => user.if_absent(),
            };
            match self.upsert(user).await {
                Err(error) if matches!(error.item_errors(), [ItemError::Changed | ItemError::Exists]) => {}
                result => return result,
            }
        }
        let message = format!("others have changed the profile {UPDATE_ATTEMPTS} times while it was updated");
        Err(Error::new(ErrorKind::Busy, message)
            .with_guru(self.slug.as_str())
            .with_external_user_id(external_user_id))
    }

    /// The profile of one end user. An id that no store admits (empty, with NUL, over-long) is
    /// unknown: `None`.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if the record fails its checksum ([S12](crate::contract#s12)). Any failure of the
    /// engine.
    pub async fn get(&self, external_user_id: &str) -> Result<Option<Profile>> {
        let Ok(id) = ExternalUserId::new(external_user_id) else { return Ok(None) };
        Ok(self.get_many(&[id]).await?.pop().flatten())
    }

    /// The memory of one end user as any deserialisable type, `serde_json::Map` included.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the memory does not have the shape of `T`. The
    /// error names the place, not the value ([S14](crate::contract#s14)). Those of [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// use profile_store::{HasGurus, MemoryStore, User};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, Deserialize, PartialEq, Serialize)]
    /// struct Preferences { language: String }
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// let french = Preferences { language: "fr".to_owned() };
    /// guru.upsert(User::serialize("ada", &french)).await?;
    /// assert_eq!(guru.get_as::<Preferences>("ada").await?, Some(french));
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn get_as<T: DeserializeOwned>(&self, external_user_id: &str) -> Result<Option<T>> {
        let Some(profile) = self.get(external_user_id).await? else { return Ok(None) };
        profile.memory.parse().map(Some).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = format!(
                "the memory of {} is no {}: wrong at line {line}, column {column}",
                quoted(external_user_id),
                std::any::type_name::<T>(),
            );
            Error::new(ErrorKind::InvalidInput, message)
                .with_guru(self.slug.as_str())
                .with_external_user_id(external_user_id)
        })
    }

    /// The value at a JSON Pointer (RFC 6901) of one end user's memory, as any deserialisable type; `None` if there is no
    /// profile, or nothing at the pointer. See [`Memory::at`].
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `pointer` is not a JSON Pointer, or if the value does not have the shape of `T`.
    /// Those of [`get`](Self::get).
    ///
    /// ```
    /// use profile_store::{HasGurus, MemoryStore, User};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// guru.upsert(User::serialize("ada", &serde_json::json!({"settings": {"theme": "dark"}}))).await?;
    /// assert_eq!(guru.get_at::<String>("ada", "/settings/theme").await?.as_deref(), Some("dark"));
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn get_at<T: DeserializeOwned>(
        &self,
        external_user_id: &str,
        pointer: &str,
    ) -> Result<Option<T>> {
        Pointer::parse(pointer)?;
        let Some(profile) = self.get(external_user_id).await? else { return Ok(None) };
        profile
            .memory
            .parse_at(pointer)
            .map_err(|error| error.with_guru(self.slug.as_str()).with_external_user_id(external_user_id))
    }

    /// The profiles of several end users, in the order asked, of one consistent state:
    /// [`get_many`](ProfileStore::get_many).
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub async fn get_many(&self, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.store.get_many(&self.slug, ids).await
    }

    /// A page of profiles, ascending by the bytes of their ids: [`list`](ProfileStore::list).
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub async fn list(&self, options: &ListOptions) -> Result<Page> {
        self.store.list(&self.slug, options).await
    }

    /// All profiles after the options' cursor, as a `Stream` that reads the next page ahead. It borrows the
    /// store, not the handle.
    ///
    /// # Examples
    /// ```
    /// use profile_store::{HasGurus, ListOptions, MemoryStore};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let mut profiles = store.guru("my-guru")?.profiles(ListOptions::default());
    /// while let Some(profile) = profiles.next().await {
    ///     println!("{}", profile?.to_json());
    /// }
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn profiles<'a>(&self, options: ListOptions) -> Profiles<'a>
    where
        S: Clone + 'a,
    {
        Profiles::new(self.store.clone(), &self.slug, options)
    }

    /// How many profiles there are: [`count`](ProfileStore::count).
    ///
    /// # Errors
    /// Any failure of the engine.
    pub async fn count(&self) -> Result<u64> {
        self.store.count(&self.slug).await
    }

    /// Counts the profiles that the options select by prefix, filter and times, after their cursor, whatever their limit. It reads page after
    /// page, so a profile that exists from start to end is counted exactly once, whatever is written in between.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    pub async fn count_where(&self, options: &ListOptions) -> Result<u64> {
        let (mut options, mut count) = (options.clone().with_limit(usize::MAX), 0);
        loop {
            let page = self.list(&options).await?.moved_on(&self.slug, &options)?;
            count += page.profiles.len() as u64;
            match page.next {
                Some(next) => options = options.with_after(next),
                None => return Ok(count),
            }
            yield_now().await;
        }
    }

    /// Removes the profiles that the options select. Returns how many there were. It works in transactions of at most 1,000
    /// profiles, so others can write in between. A profile that changes before its transaction is kept.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the options have no prefix, no filter and no time: use
    /// [`delete_all`](Self::delete_all) to remove all profiles. It also fails if they have a limit, because all selected
    /// profiles are deleted. Any failure of the engine: earlier transactions stay committed, so repeat the call. A damaged
    /// record stops it ([`Corrupt`](ErrorKind::Corrupt)): delete that profile first.
    ///
    /// ```
    /// use profile_store::{Filter, HasGurus, ListOptions, MemoryStore, User};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// guru.upsert(User::serialize("ada", &serde_json::json!({"closed": true}))).await?;
    /// guru.upsert(User::serialize("bob", &serde_json::json!({"closed": false}))).await?;
    /// let closed = ListOptions::default().with_filter(Filter::at("/closed")?.eq(true))?;
    /// assert_eq!(guru.delete_where(&closed).await?, 1);
    /// assert_eq!(guru.count().await?, 1);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn delete_where(&self, options: &ListOptions) -> Result<u64> {
        if !options.selects() {
            let message = "profiles are deleted by a prefix, a filter or a time, and these options have none";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if options.has_limit() {
            let message = "all selected profiles are deleted, and these options have a limit: leave it out";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let (mut options, mut deleted) = (options.clone().with_limit(1000), 0);
        loop {
            let page = self.list(&options).await?.moved_on(&self.slug, &options)?;
            if !page.profiles.is_empty() {
                let applied = self.store.apply(&self.slug, Writes::deleting_seen(&page.profiles)).await?;
                deleted +=
                    applied.effects().iter().filter(|effect| **effect == Effect::Deleted).count() as u64;
            }
            match page.next {
                Some(next) => options = options.with_after(next),
                None => return Ok(deleted),
            }
            yield_now().await;
        }
    }

    /// Removes the profile of one end user. Returns whether there was one.
    ///
    /// # Errors
    /// Any failure of the engine.
    pub async fn delete(&self, external_user_id: &str) -> Result<bool> {
        let Ok(id) = ExternalUserId::new(external_user_id) else { return Ok(false) };
        Ok(self.delete_many(&[id]).await?.pop().unwrap_or(false))
    }

    /// Removes the profile of one end user if it has this ETag inside the transaction
    /// ([S7](crate::contract#s7)).
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the profile has another ETag, or there is none. Any failure of the engine.
    /// Nothing is removed then, unless the error [may be stored](Error::may_be_stored).
    pub async fn delete_if_match(&self, external_user_id: &str, etag: ETag) -> Result<()> {
        if let Ok(id) = ExternalUserId::new(external_user_id) {
            let (writes, _) = Writes::deleting(&[id], Condition::Match(etag));
            if self.store.apply(&self.slug, writes).await?.effects() == [Effect::Deleted] {
                return Ok(());
            }
        }
        let (user, guru) = (quoted(external_user_id), quoted(self.slug.as_str()));
        let message = format!("user {user} of guru {guru} was not removed: {}", ItemError::Changed);
        let error = Error::new(ErrorKind::Conflict, message).with_guru(self.slug.as_str());
        Err(error.with_external_user_id(external_user_id))
    }

    /// Removes profiles in one transaction. Returns for each whether it was there:
    /// [`delete_many`](ProfileStore::delete_many).
    ///
    /// # Errors
    /// Any failure of the engine. All of them are still there then, unless the error
    /// [may be stored](Error::may_be_stored).
    pub async fn delete_many(&self, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
        self.store.delete_many(&self.slug, ids).await
    }

    /// Removes the guru with all its profiles in one transaction. Returns how many there were:
    /// [`delete_guru`](ProfileStore::delete_guru).
    ///
    /// # Errors
    /// Any failure of the engine. All of them are still there then, unless the error
    /// [may be stored](Error::may_be_stored).
    pub async fn delete_all(&self) -> Result<u64> {
        self.store.delete_guru(&self.slug).await
    }

    /// Removes the profiles whose memory last changed before this moment (retention). Returns how
    /// many there were. It works in transactions of at most 1,000 profiles, so others can write in
    /// between. A profile that changes meanwhile is kept.
    ///
    /// # Errors
    /// Any failure of the engine. Earlier transactions stay committed: repeat the call. A damaged record stops it
    /// ([`Corrupt`](ErrorKind::Corrupt)): delete that profile first, or [skip it](Self::sweep_skipping).
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use profile_store::{HasGurus, MemoryStore};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let a_year_ago = SystemTime::now() - Duration::from_secs(365 * 86_400);
    /// assert_eq!(store.guru("my-guru")?.sweep(a_year_ago).await?, 0);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn sweep(&self, updated_before: impl Into<Timestamp>) -> Result<u64> {
        self.sweep_pages(updated_before.into(), None).await
    }

    /// [`sweep`](Self::sweep), but damaged records are kept and do not stop it. Calls `damaged` for each with its
    /// [`Corrupt`](ErrorKind::Corrupt), which has the id as a field. All damaged records are reported, as their times
    /// can't be trusted.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if the record of the guru itself is damaged. Those of [`sweep`](Self::sweep).
    pub async fn sweep_skipping(
        &self,
        updated_before: impl Into<Timestamp>,
        mut damaged: impl FnMut(&Error) + Send,
    ) -> Result<u64> {
        self.sweep_pages(updated_before.into(), Some(&mut damaged)).await
    }

    async fn sweep_pages(
        &self,
        updated_before: Timestamp,
        mut damaged: Option<&mut (dyn FnMut(&Error) + Send)>,
    ) -> Result<u64> {
        let options = ListOptions::default().with_updated_before(updated_before);
        let mut options = options.skipping_damaged(damaged.is_some());
        let mut swept = 0;
        loop {
            let page = self.list(&options).await?.moved_on(&self.slug, &options)?;
            if let Some(told) = &mut damaged {
                page.damaged.iter().for_each(told);
            }
            let ids: Vec<_> = page.profiles.into_iter().map(|profile| profile.external_user_id).collect();
            if !ids.is_empty() {
                let (writes, _) = Writes::deleting(&ids, Condition::UpdatedBefore(updated_before));
                let applied = self.store.apply(&self.slug, writes).await?;
                swept += applied.effects().iter().filter(|effect| **effect == Effect::Deleted).count() as u64;
            }
            match page.next {
                Some(next) => options = options.with_after(next),
                None => return Ok(swept),
            }
            yield_now().await;
        }
    }

    /// Stores profiles as they are, with their times, in one transaction: to move them here from
    /// another store. A stored profile that is newer than the given one is kept. Storing the same
    /// ones again changes nothing ([S5](crate::contract#s5)).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if a profile, or their number, is over this store's
    /// limits; nothing is written then. Any failure of the engine.
    pub async fn restore(&self, profiles: Vec<Profile>) -> Result<Restored> {
        restore(&self.store, &self.slug, profiles).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;

    #[test]
    fn a_conflict_names_the_user_in_plain_words() {
        let store = MemoryStore::new();
        let guru = store.guru("my-guru").unwrap();
        let error = pollster::block_on(guru.delete_if_match("ada", ETag::of("{}"))).unwrap_err();
        let words =
            r#"user "ada" of guru "my-guru" was not removed: profile does not have the expected ETag"#;
        assert_eq!(error.to_string(), words);
        let long = "u".repeat(1024);
        let error = pollster::block_on(guru.delete_if_match(&long, ETag::of("{}"))).unwrap_err();
        assert!(error.to_string().contains("u\"… (1024 bytes) of guru"), "{error}");
        assert_eq!(error.external_user_id(), Some(&*long));
    }
}
