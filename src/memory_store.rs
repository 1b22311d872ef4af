//! The reference backend: ordered maps behind a lock.
//!
//! It has no engine to hide behind, so the contract can be read off it. Nothing is kept on disk;
//! everything is gone with the last handle.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;

use crate::batch::{Applied, Record, Write, WriteBatch};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::maintenance::{Probe, Stats, Verification};
use crate::options::StoreOptions;
use crate::page::{ListOptions, Page, PageBuilder};
use crate::profile::{ExternalUserId, GuruSlug, Profile};
use crate::store::ProfileStore;

type Profiles = BTreeMap<ExternalUserId, Record>;

/// Profiles in memory.
///
/// What is deleted is on no disk, and its room is given back to the allocator (L3).
///
/// Reads share a lock and clone no JSON; a write holds the lock for the time it takes to change
/// the maps, and no lock is held across an await.
///
/// ```
/// use profile_store::{GuruSlug, Memory, MemoryStore, ProfileStoreExt, User};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// let guru = GuruSlug::new("my-guru")?;
/// store.upsert(&guru, User::serialize("ada", &serde_json::json!({"plan": "pro"}))).await?;
/// let ada = store.get(&guru, "ada").await?.expect("just stored");
/// assert_eq!(ada.memory.as_str(), r#"{"plan":"pro"}"#);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    options: StoreOptions,
    /// `None` once the store is closed. Invariant: no guru has an empty map.
    gurus: RwLock<Option<BTreeMap<GuruSlug, Profiles>>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_options(StoreOptions::default())
    }
}

impl MemoryStore {
    /// An empty store with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store.
    #[must_use]
    pub fn with_options(options: StoreOptions) -> Self {
        Self { options, gurus: RwLock::new(Some(BTreeMap::new())) }
    }

    // A poisoned lock is taken all the same: changes are planned in full before the first is made,
    // so a panic while planning leaves the maps as they were.
    fn read(&self) -> RwLockReadGuard<'_, Option<BTreeMap<GuruSlug, Profiles>>> {
        self.gurus.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<BTreeMap<GuruSlug, Profiles>>> {
        self.gurus.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProfileStore for MemoryStore {
    fn limits(&self) -> &Limits {
        self.options.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: WriteBatch) -> Result<Applied> {
        let mut gurus = self.write();
        let gurus = gurus.as_mut().ok_or_else(Error::closed)?;
        let mut plan = batch.plan(self.options.clock().now());
        let stored = gurus.get(guru);
        for entry in batch.entries() {
            plan.resolve(entry, stored.and_then(|profiles| profiles.get(entry.id())).map(Record::current));
        }
        if plan.changes().is_empty() {
            return Ok(plan.finish());
        }
        let profiles = gurus.entry(guru.clone()).or_default();
        for change in plan.changes() {
            match &change.write {
                Write::Insert(record) | Write::Update(record) => {
                    profiles.insert(change.id.clone(), record.clone());
                }
                Write::Delete => {
                    profiles.remove(change.id);
                }
            }
        }
        if profiles.is_empty() {
            gurus.remove(guru);
        }
        Ok(plan.finish())
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let gurus = self.read();
        let profiles = gurus.as_ref().ok_or_else(Error::closed)?.get(guru);
        let get = |id: &ExternalUserId| Some(profile(id, profiles?.get(id)?));
        Ok(ids.iter().map(get).collect())
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let gurus = self.read();
        let profiles = gurus.as_ref().ok_or_else(Error::closed)?.get(guru);
        let start = options.after().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = PageBuilder::new(options);
        for (id, record) in profiles.iter().flat_map(|profiles| profiles.range((start, Bound::Unbounded))) {
            if page.push(profile(id, record)).is_break() {
                break;
            }
        }
        Ok(page.finish())
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        let gurus = self.read();
        let profiles = gurus.as_ref().ok_or_else(Error::closed)?.get(guru);
        Ok(profiles.map_or(0, |profiles| profiles.len() as u64))
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let gurus = self.read();
        let gurus = gurus.as_ref().ok_or_else(Error::closed)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(gurus.range((start, Bound::Unbounded)).take(limit).map(|(slug, _)| slug.clone()).collect())
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        let mut gurus = self.write();
        let removed = gurus.as_mut().ok_or_else(Error::closed)?.remove(guru);
        Ok(removed.map_or(0, |profiles| profiles.len() as u64))
    }

    /// Reads every profile's size; the store is locked for writers meanwhile.
    async fn stats(&self) -> Result<Stats> {
        let gurus = self.read();
        let gurus = gurus.as_ref().ok_or_else(Error::closed)?;
        let bytes =
            |(id, record): (&ExternalUserId, &Record)| id.as_str().len() + record.memory.as_str().len();
        let mut stats = Stats { gurus: gurus.len() as u64, ..Stats::default() };
        for profiles in gurus.values() {
            stats.profiles += profiles.len() as u64;
            stats.live_bytes += profiles.iter().map(bytes).sum::<usize>() as u64;
        }
        Ok(stats)
    }

    /// Nothing is kept of what was deleted, so there is nothing to do.
    async fn compact(&self) -> Result<()> {
        self.health(Probe::Read).await
    }

    async fn health(&self, _probe: Probe) -> Result<()> {
        self.read().as_ref().map(drop).ok_or_else(Error::closed)
    }

    /// Memory has no checksums: every profile is sound.
    async fn verify(&self) -> Result<Verification> {
        let profiles = self.stats().await?.profiles;
        Ok(Verification { profiles, ..Verification::default() })
    }

    async fn close(&self) -> Result<()> {
        *self.write() = None;
        Ok(())
    }
}

fn profile(id: &ExternalUserId, record: &Record) -> Profile {
    Profile::new(id.clone(), record.memory.clone(), record.created_at, record.updated_at)
}
