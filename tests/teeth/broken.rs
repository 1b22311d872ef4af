//! A `MemoryStore` with a fault in front.

use std::collections::{HashMap, HashSet};
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use profile_store::backend::{Effects, Writes};
use profile_store::conformance::Fixture;
use profile_store::{
    Batch, Error, ErrorKind, ExternalUserId, Guru, GuruSlug, HasGurus as _, Limits, ListOptions, Memory,
    MemoryStore, Outcome, Page, Probe, Profile, ProfileStore, Result, Stats, StoreOptions, Timestamp,
    UpsertReport, User, Verification,
};

use super::fault::Fault;
use super::hasty::Hasty;

pub(super) struct BrokenFixture(pub Fault);

#[async_trait]
impl Fixture for BrokenFixture {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        let options = match self.0 {
            Fault::IgnoresLimits => options.with_limits(Limits::default()),
            Fault::IgnoresTheClock => options.with_clock(Default::default()),
            _ => options,
        };
        if self.0 == Fault::DecidesBeforeItLocks {
            return Ok(Arc::new(Hasty(MemoryStore::open_with(options)?)));
        }
        Ok(Arc::new(Broken {
            fault: self.0,
            store: MemoryStore::open_with(options.clone())?,
            options,
            counts: Mutex::default(),
            gurus: Mutex::default(),
            seen: Mutex::default(),
            busy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            writes: AtomicUsize::new(0),
        }))
    }

    fn is_persistent(&self) -> bool {
        self.0 == Fault::ForgetsOnReopening
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(if self.0.outlasts_the_limit() { 1 } else { 120 })
    }
}

/// Writes and reads so far, of the checks that are given up on.
pub(super) static CALLS: AtomicUsize = AtomicUsize::new(0);

/// A `MemoryStore` with a fault in front.
struct Broken {
    fault: Fault,
    store: MemoryStore,
    options: StoreOptions,
    /// Counts once told.
    counts: Mutex<HashMap<GuruSlug, u64>>,
    /// Gurus once written to.
    gurus: Mutex<Vec<GuruSlug>>,
    /// Profiles once seen.
    seen: Mutex<HashMap<(GuruSlug, ExternalUserId), Profile>>,
    /// A write is under way.
    busy: AtomicBool,
    /// Somebody has called `close`.
    closed: AtomicBool,
    /// Batches so far.
    writes: AtomicUsize,
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.fault == Fault::TellsMemories {
            for guru in self.gurus.lock().unwrap().iter() {
                let page = pollster::block_on(self.store.list(guru, &ListOptions::default())).unwrap();
                page.profiles.iter().try_for_each(|profile| f.write_str(profile.memory.as_str()))?;
            }
        }
        f.write_str("Broken")
    }
}

impl Broken {
    fn called(&self) {
        if self.fault.outlasts_the_limit() {
            CALLS.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn guru(&self, guru: &GuruSlug) -> GuruSlug {
        match self.fault {
            Fault::MixesUpGurus => GuruSlug::new(&guru.as_str()[..1]).unwrap(),
            Fault::FoldsSlugs => GuruSlug::new(&guru.as_str().to_lowercase()).unwrap(),
            _ => guru.clone(),
        }
    }

    /// The ids that are looked up for those asked for.
    fn ids(&self, ids: &[ExternalUserId]) -> Vec<ExternalUserId> {
        let id = |id: &ExternalUserId| {
            let text = match self.fault {
                Fault::FoldsIds => id.as_str().to_lowercase(),
                Fault::TrimsIds => id.as_str().trim().to_owned(),
                Fault::CutsIds => id.as_str().chars().take(64).collect(),
                Fault::LosesOuterPlanes => id.as_str().replace(|c| c > '\u{ffff}', "?"),
                _ => id.to_string(),
            };
            ExternalUserId::new(text).unwrap_or_else(|_| id.clone())
        };
        let mut ids: Vec<_> = ids.iter().map(id).collect();
        if self.fault == Fault::AnswersInKeyOrder {
            ids.sort();
        }
        ids
    }

    /// A profile as it is told.
    fn told(&self, mut profile: Profile) -> Profile {
        let text = profile.memory.as_str();
        match self.fault {
            // serde_json's map sorts its keys, and keeps one of each.
            Fault::SortsKeys => {
                let map: serde_json::Map<String, serde_json::Value> = profile.memory.parse().unwrap();
                profile.memory = Memory::try_from(map).unwrap();
            }
            Fault::RespellsNumbers => {
                profile.memory = Memory::from_json(&text.replace("1E2", "100.0")).unwrap()
            }
            Fault::MovesTimesOnRetry => profile.updated_at = self.options.clock().now(),
            Fault::ResetsCreatedAt => profile.created_at = profile.updated_at,
            Fault::LosesMicroseconds => {
                profile.created_at = Timestamp::from_micros(profile.created_at.as_micros() / 1000 * 1000);
            }
            Fault::LosesLargeMemories if text.len() > 1 << 16 => {
                profile.memory = Memory::from_json("{}").unwrap();
            }
            Fault::DropsRepeatedKeys => {
                profile.memory = Memory::from_json(&text.replace(r#""k":2,"k":3"#, r#""k":3"#)).unwrap();
            }
            Fault::StepsBackWithTheClock => {
                profile.updated_at = profile.updated_at.min(self.options.clock().now());
            }
            Fault::OverflowsIn2038 => {
                let last = Timestamp::from_micros(i64::from(i32::MAX) * 1_000_000);
                profile.updated_at = profile.updated_at.min(last);
            }
            _ => {}
        }
        profile
    }

    /// The version seen first of each of these, whatever is there now.
    fn first_seen(&self, guru: &GuruSlug, profiles: &[Option<Profile>]) -> Vec<Option<Profile>> {
        let mut seen = self.seen.lock().unwrap();
        let mut first = |profile: &Profile| {
            let key = (guru.clone(), profile.external_user_id.clone());
            seen.entry(key).or_insert_with(|| profile.clone()).clone()
        };
        profiles.iter().map(|profile| profile.as_ref().map(&mut first)).collect()
    }

    /// Takes half of a batch back and writes it again, with a pause between.
    async fn write_in_two_steps(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<()> {
        let later = &ids[ids.len() / 2..];
        let held = self.store.get_many(guru, later).await?;
        self.store.delete_many(guru, later).await?;
        pause().await;
        let users = held.into_iter().flatten();
        let users = users.map(|held| User::new(held.external_user_id.as_str(), held.memory));
        assert!(self.store.upsert_batch(guru, Batch::from_users(users)).await?.is_complete());
        Ok(())
    }
}

const PROBE: &str = r#"{"external_user_id":"probe","memory":{}}"#;

/// Is pending once.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[async_trait]
impl ProfileStore for Broken {
    fn limits(&self) -> &Limits {
        self.store.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        if self.fault != Fault::KeepsTheFirstBirthday {
            return self.store.apply(guru, batch).await;
        }
        let ids: Vec<_> = batch.entries().map(|entry| entry.id().clone()).collect();
        let before = self.store.get_many(guru, &ids).await?;
        let applied = self.store.apply(guru, batch).await?;
        let mut after = self.store.get_many(guru, &ids).await?;
        for (before, after) in before.iter().zip(&mut after) {
            if let (Some(before), Some(after)) = (before, after) {
                after.created_at = before.created_at;
            }
        }
        Guru::new(&self.store, guru.clone()).restore(after.into_iter().flatten().collect()).await?;
        Ok(applied)
    }

    async fn upsert_batch(&self, guru: &GuruSlug, batch: Batch<'_>) -> Result<UpsertReport> {
        self.called();
        self.gurus.lock().unwrap().push(guru.clone());
        if self.fault == Fault::StaysBusyWhenDropped {
            if self.busy.swap(true, Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Busy, "a write is under way"));
            }
            pause().await;
            self.busy.store(false, Ordering::SeqCst);
        }
        if self.fault == Fault::ClosesAsIfItFailed && self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Storage, "no store"));
        }
        if self.fault == Fault::TiresOfWriting && self.writes.fetch_add(1, Ordering::SeqCst) == 10 {
            return Err(Error::new(ErrorKind::Storage, "the disk is full"));
        }
        if self.fault == Fault::NeverStores && self.writes.fetch_add(1, Ordering::SeqCst) == 10 {
            pending::<()>().await;
        }
        if self.fault == Fault::BlocksTheExecutor {
            thread::sleep(Duration::from_millis(1100));
        }
        let mut report = self.store.upsert_batch(&self.guru(guru), batch).await?;
        if self.fault == Fault::SaysCreatedAlways && report.is_complete() {
            let user = |id: Option<&str>| {
                User::from_json(format!(r#"{{"external_user_id":{},"memory":{{}}}}"#, serde_json::json!(id)))
            };
            let users = report.results().iter().map(|result| user(result.external_user_id()));
            report = MemoryStore::new().upsert_batch(guru, Batch::from_users(users)).await?;
        }
        let ids: Vec<_> = report
            .results()
            .iter()
            .filter(|result| result.is_success())
            .map(|result| ExternalUserId::new(result.external_user_id().unwrap()).unwrap())
            .collect();
        match self.fault {
            Fault::LosesTheLastDuplicate => {
                let mut seen = HashSet::new();
                let repeated: Vec<_> = ids.into_iter().filter(|id| !seen.insert(id.clone())).collect();
                self.store.delete_many(guru, &repeated).await?;
            }
            Fault::StoresHalfABatch => {
                self.store.delete_many(guru, &ids[ids.len().div_ceil(2)..]).await?;
            }
            Fault::LeavesHalfWhenDropped => self.write_in_two_steps(guru, &ids).await?,
            Fault::RemembersTheDead => {
                self.first_seen(guru, &self.store.get_many(guru, &ids).await?);
            }
            Fault::RefusesABatchForOneItem if !report.is_complete() => {
                return Err(Error::new(ErrorKind::InvalidRequest, "a user is not valid"));
            }
            _ => {}
        }
        Ok(report)
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.called();
        let guru = self.guru(guru);
        let ids = self.ids(ids);
        if self.fault == Fault::ReadsAThousandAtMost && ids.len() > 1000 {
            let mut profiles = self.store.get_many(&guru, &ids[..1000]).await?;
            profiles.resize(ids.len(), None);
            return Ok(profiles);
        }
        let mut profiles = Vec::new();
        let pieces = if self.fault == Fault::ShowsHalfABatch { ids.len().div_ceil(4) } else { ids.len() };
        for piece in ids.chunks(pieces.max(1)) {
            match self.store.get_many(&guru, piece).await {
                Err(_) if self.fault == Fault::ServesWhenClosed => return Ok(vec![None; ids.len()]),
                found => profiles.extend(found?),
            }
            if self.fault == Fault::ShowsHalfABatch {
                thread::sleep(Duration::from_micros(200));
            }
        }
        if ids.is_empty() {
            self.store.get_many(&guru, &ids).await?;
        }
        let mut profiles: Vec<_> =
            profiles.into_iter().map(|profile| profile.map(|profile| self.told(profile))).collect();
        match self.fault {
            Fault::ReadsFromACache => profiles = self.first_seen(&guru, &profiles),
            Fault::RemembersTheDead => {
                let first = self.first_seen(&guru, &profiles);
                for (profile, first) in profiles.iter_mut().flatten().zip(first.into_iter().flatten()) {
                    profile.created_at = first.created_at;
                }
            }
            _ => {}
        }
        Ok(profiles)
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let guru = self.guru(guru);
        let mut page = match self.fault {
            Fault::ForgetsTheFilter => {
                let options =
                    ListOptions::default().with_after(options.after().cloned()).with_limit(options.limit());
                self.store.list(&guru, &options).await?
            }
            Fault::IgnoresTheCursor => self.store.list(&guru, &options.clone().with_after(None)).await?,
            _ => self.store.list(&guru, options).await?,
        };
        match self.fault {
            Fault::EndsAtAnEmptyPage if options.updated_before().or(options.updated_since()).is_some() => {
                page.next = None;
            }
            Fault::SkipsAtPageBorders if page.next.is_some() => drop(page.profiles.pop()),
            Fault::RepeatsTheCursor => {
                let again =
                    self.store.get_many(&guru, options.after().map_or(&[], std::slice::from_ref)).await?;
                page.profiles.splice(0..0, again.into_iter().flatten());
            }
            Fault::ListsBackwards => page.profiles.reverse(),
            Fault::SortsLikeUtf16 => {
                page.profiles.sort_by_key(|p| p.external_user_id.as_str().encode_utf16().collect::<Vec<_>>());
            }
            Fault::NeedsTheCursorToExist => {
                let cursor = options.after().map_or(&[][..], std::slice::from_ref);
                if self.store.get_many(&guru, cursor).await?.contains(&None) {
                    page = Page::default();
                }
            }
            Fault::ListsWithoutEnd => {
                while let Some(next) = page.next.take_if(|_| page.profiles.len() < options.limit()) {
                    let more = self.store.list(&guru, &options.clone().with_after(next)).await?;
                    page.profiles.extend(more.profiles);
                    page.next = more.next;
                }
            }
            Fault::ListsTheNextGuru if page.next.is_none() => {
                for next in self.store.gurus(Some(&guru), 1).await? {
                    page.profiles.extend(self.store.list(&next, &ListOptions::default()).await?.profiles);
                }
            }
            Fault::NeverEndsAList => {
                page.next = page.profiles.last().map(|last| last.external_user_id.clone())
            }
            _ => {}
        }
        page.profiles = page.profiles.into_iter().map(|profile| self.told(profile)).collect();
        Ok(page)
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        let count = self.store.count(&self.guru(guru)).await?;
        match self.fault {
            Fault::NeverAnswers => pending().await,
            Fault::BlocksForEver => loop {
                thread::park();
            },
            Fault::CountsStale => Ok(*self.counts.lock().unwrap().entry(guru.clone()).or_insert(count)),
            _ => Ok(count),
        }
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        if self.fault == Fault::RepeatsTheGuruCursor {
            let behind = self.store.gurus(after, limit).await?;
            return Ok(after.cloned().into_iter().chain(behind).take(limit).collect());
        }
        if self.fault == Fault::IgnoresTheGuruCursor {
            return self.store.gurus(None, limit).await;
        }
        if self.fault != Fault::ListsEmptiedGurus {
            return self.store.gurus(after, limit).await;
        }
        let mut gurus = self.gurus.lock().unwrap().clone();
        gurus.sort();
        gurus.dedup();
        Ok(gurus.into_iter().filter(|guru| after.is_none_or(|after| guru > after)).take(limit).collect())
    }

    async fn delete_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
        let guru = self.guru(guru);
        if self.fault == Fault::LooksBeforeItDeletes {
            let there = self.store.get_many(&guru, ids).await?;
            thread::sleep(Duration::from_millis(1));
            self.store.delete_many(&guru, ids).await?;
            return Ok(there.iter().map(Option::is_some).collect());
        }
        let told = self.store.delete_many(&guru, ids).await?;
        let mut seen = HashSet::new();
        let in_turn = ids.iter().zip(&told).map(|(id, told)| seen.insert(id) && *told);
        Ok(match self.fault {
            Fault::DeniesDeletes => vec![false; told.len()],
            Fault::TellsDeletesInTurn => in_turn.collect(),
            _ => told,
        })
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        let guru = self.guru(guru);
        if self.fault == Fault::LeavesSomeOfAGuru {
            let page = self.store.list(&guru, &ListOptions::default()).await?;
            let ids: Vec<_> = page.profiles.into_iter().map(|profile| profile.external_user_id).collect();
            return Ok(self.store.delete_many(&guru, &ids).await?.len() as u64);
        }
        if self.fault == Fault::DeletesByPrefix {
            for other in self.store.gurus(Some(&guru), 1000).await? {
                if other.as_str().starts_with(guru.as_str()) {
                    self.store.delete_guru(&other).await?;
                }
            }
        }
        self.store.delete_guru(&guru).await
    }

    async fn stats(&self) -> Result<Stats> {
        let mut stats = self.store.stats().await?;
        if self.fault == Fault::CountsOneGuru {
            stats.gurus = stats.gurus.min(1);
        }
        Ok(stats)
    }

    async fn compact(&self) -> Result<()> {
        if self.fault == Fault::CompactsTooMuch {
            for guru in self.store.gurus(None, 1).await? {
                Guru::new(&self.store, guru.clone()).delete("user-150").await?;
            }
        }
        self.store.compact().await
    }

    async fn health(&self, probe: Probe) -> Result<()> {
        match self.fault {
            Fault::IsHealthyAlways => return Ok(()),
            Fault::ProbesWithAProfile => {
                let outcome = self.store.guru("probe")?.upsert(User::from_json(PROBE)).await?;
                if outcome == Outcome::Unchanged {
                    return Err(Error::new(ErrorKind::Storage, "the probe has changed nothing"));
                }
            }
            _ => {}
        }
        self.store.health(probe).await
    }

    async fn verify(&self) -> Result<Verification> {
        let mut found = self.store.verify().await?;
        match self.fault {
            Fault::VerifiesNothing => found.profiles = 0,
            Fault::SuspectsEverything => found.report(Error::new(ErrorKind::Corrupt, "who knows"))?,
            _ => {}
        }
        Ok(found)
    }

    async fn close(&self) -> Result<()> {
        let again = self.closed.swap(true, Ordering::SeqCst);
        match self.fault {
            Fault::ClosesNothing => return Ok(()),
            Fault::ClosesOnce if again => return Err(Error::closed()),
            Fault::LeavesTheFirstClosing if again => return Ok(()),
            Fault::LeavesTheFirstClosing => thread::sleep(Duration::from_millis(50)),
            Fault::NeverCloses => pending::<()>().await,
            Fault::ClosesSlowly => thread::sleep(Duration::from_millis(400)),
            _ => {}
        }
        self.store.close().await
    }
}
