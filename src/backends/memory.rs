//! The reference backend: ordered maps under a lock.
//!
//! It has no engine, so the contract can be read off it. Nothing is kept on disk; everything is gone with the
//! last handle.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::model::error::{Error, Result};
use crate::model::limits::Limits;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::plan::change::{Change, Effects};
use crate::plan::record::Record;
use crate::plan::resolve::Plan;
use crate::plan::writes::Writes;
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::observe::{Event, Gauges, since};
use crate::store::options::StoreOptions;
use crate::store::page::{Page, PageBuilder};
use crate::store::upkeep::{Probe, Stats, Verification};

type Profiles = BTreeMap<ExternalUserId, Record>;

/// Profiles in memory.
///
/// Deleted profiles are on no disk, and their room is given back to the allocator ([L3](crate::contract#l3)).
///
/// Reads share a lock and clone no JSON. A write is resolved under the shared lock too, so a write that changes
/// nothing keeps nobody waiting. A write takes the lock exclusively only to change the maps, and to be resolved again
/// if another write came in between. No lock is held across an await.
///
/// ```
/// use profile_store::{HasGurus, MemoryStore, User};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// let guru = store.guru("my-guru")?;
/// guru.upsert(User::serialize("ada", &serde_json::json!({"plan": "pro"}))).await?;
/// let ada = guru.get("ada").await?.expect("just stored");
/// assert_eq!(ada.memory.as_str(), r#"{"plan":"pro"}"#);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    options: StoreOptions,
    /// `None` once the store is closed.
    state: RwLock<Option<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Invariant: no guru has an empty map.
    gurus: BTreeMap<GuruSlug, Profiles>,
    /// Rises with every change: a plan made at this number is still right.
    version: u64,
}

impl State {
    /// The plan of a batch against the stored profiles.
    fn plan<'b>(&self, guru: &GuruSlug, batch: &'b Writes, now: Timestamp) -> Result<Plan<'b>> {
        let stored = self.gurus.get(guru);
        let mut plan = batch.plan(now);
        for entry in batch.entries() {
            let row = stored.and_then(|profiles| profiles.get(entry.id()));
            plan.resolve(entry, row.map(|record| || Ok(record.into())))?;
        }
        Ok(plan)
    }

    /// Makes the changes, and gives what was there before.
    fn make(&mut self, guru: &GuruSlug, changes: &[Change<'_>]) -> Vec<Record> {
        if changes.is_empty() {
            return Vec::new();
        }
        self.version += 1;
        let profiles = self.gurus.entry(guru.clone()).or_default();
        let mut replaced = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Insert(id, record) => {
                    profiles.insert((*id).clone(), record.clone());
                }
                Change::Update(id, record) => {
                    let stored = profiles.get_mut(*id).expect("it was there a moment ago");
                    replaced.push(std::mem::replace(stored, record.clone()));
                }
                Change::Delete(id) => replaced.extend(profiles.remove(*id)),
            }
        }
        if profiles.is_empty() {
            self.gurus.remove(guru);
        }
        replaced
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::of(StoreOptions::default())
    }
}

impl MemoryStore {
    /// An empty store with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store. It uses the limits, the clock and the observer. It accepts
    /// [`with_erasing`](StoreOptions::with_erasing), as it has no disk, and ignores the other options.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an option out of its range
    /// ([`check`](StoreOptions::check)); [`Unsupported`](crate::ErrorKind::Unsupported) for reading only.
    pub fn open_with(options: StoreOptions) -> Result<Self> {
        let begun = options.observing().now();
        options.check()?;
        options.refuse_read_only("a store in memory")?;
        let store = Self::of(options);
        store.options.observing().tell(|| Event::Opened { took: since(begun) });
        Ok(store)
    }

    fn of(options: StoreOptions) -> Self {
        Self { options, state: RwLock::new(Some(State::default())) }
    }

    // A poisoned lock is taken anyway: changes are planned in full before the first is made,
    // so a panic while planning leaves the maps as they were.
    fn read(&self) -> RwLockReadGuard<'_, Option<State>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<State>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, guru: &GuruSlug, batch: &Writes) -> Result<Effects> {
        let now = self.options.clock().ask()?;
        // Resolved under the shared lock, which is all that a retry takes.
        let (mut plan, planned_at) = {
            let state = self.read();
            let state = state.as_ref().ok_or_else(Error::closed)?;
            (state.plan(guru, batch, now)?, state.version)
        };
        if plan.changes().is_empty() {
            return Ok(plan.finish());
        }
        let mut state = self.write();
        let state_now = state.as_mut().ok_or_else(Error::closed)?;
        // Another writer may have come between the two locks.
        if state_now.version != planned_at {
            plan = state_now.plan(guru, batch, now)?;
        }
        let replaced = state_now.make(guru, plan.changes());
        // Replaced profiles are dropped while others go on.
        drop(state);
        drop(replaced);
        Ok(plan.finish())
    }

    fn tell_committed(&self, users: usize, bytes: usize, begun: Option<Instant>) {
        self.options.observing().tell(|| {
            let took = since(begun);
            Event::Committed { writes: 1, failed: 0, users, bytes, waited: Duration::ZERO, took }
        });
    }

    /// Lets go of everything, once.
    fn end(&self) {
        let ended = self.write().take();
        if ended.is_some() {
            self.options.observing().tell(|| Event::Closed { error: None });
        }
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.end();
    }
}

#[async_trait]
impl ProfileStore for MemoryStore {
    fn limits(&self) -> &Limits {
        self.options.limits()
    }

    /// No call waits, and there is no log.
    fn gauges(&self) -> Gauges {
        Gauges { refusing: self.read().is_none(), ..Gauges::default() }
    }

    async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        let begun = self.options.observing().now();
        let effects = self.write_all(guru, &batch)?;
        self.tell_committed(batch.len(), batch.bytes(), begun);
        Ok(effects)
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let state = self.read();
        let profiles = state.as_ref().ok_or_else(Error::closed)?.gurus.get(guru);
        let get = |id: &ExternalUserId| Some(profile(id, profiles?.get(id)?));
        Ok(ids.iter().map(get).collect())
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let state = self.read();
        let profiles = state.as_ref().ok_or_else(Error::closed)?.gurus.get(guru);
        let start = options.start();
        let from = (Bound::Included(&*start), Bound::Unbounded);
        let mut page = PageBuilder::in_place(options);
        for (id, record) in profiles.iter().flat_map(|profiles| profiles.range::<str, _>(from)) {
            if page.push(profile(id, record)).is_break() {
                break;
            }
        }
        page.finish()
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        let state = self.read();
        let profiles = state.as_ref().ok_or_else(Error::closed)?.gurus.get(guru);
        Ok(profiles.map_or(0, |profiles| profiles.len() as u64))
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let state = self.read();
        let gurus = &state.as_ref().ok_or_else(Error::closed)?.gurus;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(gurus.range((start, Bound::Unbounded)).take(limit).map(|(slug, _)| slug.clone()).collect())
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        let begun = self.options.observing().now();
        let removed = {
            let mut state = self.write();
            let state = state.as_mut().ok_or_else(Error::closed)?;
            state.version += 1;
            state.gurus.remove(guru)
        };
        self.tell_committed(0, 0, begun);
        Ok(removed.map_or(0, |profiles| profiles.len() as u64))
    }

    /// Reads every profile's size; the store is locked for writers meanwhile.
    async fn stats(&self) -> Result<Stats> {
        let state = self.read();
        let gurus = &state.as_ref().ok_or_else(Error::closed)?.gurus;
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
        self.end();
        Ok(())
    }
}

fn profile(id: &ExternalUserId, record: &Record) -> Profile {
    Profile::new(id.clone(), record.memory.clone(), record.created_at, record.updated_at)
}
