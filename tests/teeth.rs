//! The suite has teeth: backends that are broken on purpose, each in one small way, and the checks
//! that must notice.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use profile_store::conformance::{Fixture, checks};
use profile_store::{
    Applied, Batch, Error, ErrorKind, ExternalUserId, GuruSlug, Limits, ListOptions, Memory, MemoryStore,
    Page, Profile, ProfileStore, Result, StoreOptions, Timestamp, UpsertReport, User, WriteBatch,
};

/// Every fault, and the checks that must notice it.
const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::LosesTheLastDuplicate, &["the_last_copy_of_an_id_wins", "the_store_does_what_the_model_does"]),
    (Fault::StoresHalfABatch, &["a_full_batch_is_one_batch", "the_store_does_what_the_model_does"]),
    (Fault::ShowsHalfABatch, &["nobody_sees_half_a_batch"]),
    (Fault::MixesUpGurus, &["no_guru_sees_anothers_profiles", "the_store_does_what_the_model_does"]),
    (Fault::FoldsSlugs, &["no_guru_sees_anothers_profiles", "gurus_are_those_with_profiles"]),
    (Fault::FoldsIds, &["ids_are_told_apart_by_their_bytes", "get_many_answers_in_the_order_asked"]),
    (Fault::TrimsIds, &["ids_are_told_apart_by_their_bytes"]),
    (Fault::MovesTimesOnRetry, &["a_retry_changes_nothing", "times_move_with_the_memory_alone"]),
    (Fault::ResetsCreatedAt, &["times_move_with_the_memory_alone", "the_store_does_what_the_model_does"]),
    (Fault::LosesMicroseconds, &["times_move_with_the_memory_alone"]),
    (Fault::SortsKeys, &["a_memory_comes_back_byte_for_byte", "an_upsert_replaces_the_memory"]),
    (Fault::RespellsNumbers, &["a_memory_comes_back_byte_for_byte"]),
    (
        Fault::SkipsAtPageBorders,
        &["listing_ascends_by_the_bytes_of_ids", "listing_is_stable_while_others_write"],
    ),
    (
        Fault::RepeatsTheCursor,
        &["listing_ascends_by_the_bytes_of_ids", "a_page_tells_whether_there_is_a_next_one"],
    ),
    (
        Fault::ListsBackwards,
        &["listing_ascends_by_the_bytes_of_ids", "a_page_tells_whether_there_is_a_next_one"],
    ),
    (Fault::NeverEndsAList, &["a_page_tells_whether_there_is_a_next_one"]),
    (Fault::CountsStale, &["count_follows_every_write"]),
    (Fault::AnswersInKeyOrder, &["get_many_answers_in_the_order_asked"]),
    (Fault::DeniesDeletes, &["deleting_tells_what_was_there"]),
    (Fault::LeavesSomeOfAGuru, &["deleting_a_guru_tells_how_many_there_were"]),
    (Fault::ListsEmptiedGurus, &["gurus_are_those_with_profiles"]),
    (Fault::ForgetsOnReopening, &["everything_is_there_after_reopening", "a_retry_changes_nothing"]),
    (Fault::ServesWhenClosed, &["a_closed_store_refuses_everything"]),
    (Fault::TellsMemories, &["words_never_show_a_memory"]),
    (
        Fault::IgnoresLimits,
        &["limits_are_those_the_store_was_opened_with", "too_many_items_are_refused_whole"],
    ),
    (Fault::IgnoresTheClock, &["times_move_with_the_memory_alone"]),
    (Fault::RefusesABatchForOneItem, &["a_bad_item_costs_no_good_one", "the_status_goes_by_what_is_stored"]),
    (Fault::SaysCreatedAlways, &["a_retry_changes_nothing", "outcomes_go_by_the_net_effect"]),
];

#[test]
fn every_fault_is_noticed() {
    let pairs = FAULTS.iter().flat_map(|(fault, expected)| expected.iter().map(move |name| (*fault, *name)));
    let unnoticed: Vec<_> = pairs.filter(|(fault, name)| passes(*fault, name)).collect();
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
}

#[test]
fn the_backend_passes_without_a_fault() {
    for check in checks() {
        assert!(passes(Fault::None, check.name), "{} fails", check.name);
    }
}

fn passes(fault: Fault, name: &str) -> bool {
    let check =
        checks().find(|check| check.name == name).unwrap_or_else(|| panic!("no check is named {name}"));
    catch_unwind(AssertUnwindSafe(|| check.run(|| BrokenFixture(fault)))).is_ok()
}

/// How a backend is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    LosesTheLastDuplicate,
    StoresHalfABatch,
    ShowsHalfABatch,
    MixesUpGurus,
    FoldsSlugs,
    FoldsIds,
    TrimsIds,
    MovesTimesOnRetry,
    ResetsCreatedAt,
    LosesMicroseconds,
    SortsKeys,
    RespellsNumbers,
    SkipsAtPageBorders,
    RepeatsTheCursor,
    ListsBackwards,
    NeverEndsAList,
    CountsStale,
    AnswersInKeyOrder,
    DeniesDeletes,
    LeavesSomeOfAGuru,
    ListsEmptiedGurus,
    ForgetsOnReopening,
    ServesWhenClosed,
    TellsMemories,
    IgnoresLimits,
    IgnoresTheClock,
    RefusesABatchForOneItem,
    SaysCreatedAlways,
}

struct BrokenFixture(Fault);

#[async_trait]
impl Fixture for BrokenFixture {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        let options = match self.0 {
            Fault::IgnoresLimits => options.with_limits(Limits::default()),
            Fault::IgnoresTheClock => options.with_clock(Default::default()),
            _ => options,
        };
        Ok(Arc::new(Broken {
            fault: self.0,
            store: MemoryStore::with_options(options.clone()),
            options,
            counts: Mutex::default(),
            gurus: Mutex::default(),
        }))
    }

    fn is_persistent(&self) -> bool {
        self.0 == Fault::ForgetsOnReopening
    }
}

/// A `MemoryStore` with a fault in front.
struct Broken {
    fault: Fault,
    store: MemoryStore,
    options: StoreOptions,
    /// Counts once told.
    counts: Mutex<HashMap<GuruSlug, u64>>,
    /// Gurus once written to.
    gurus: Mutex<Vec<GuruSlug>>,
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
            _ => {}
        }
        profile
    }
}

#[async_trait]
impl ProfileStore for Broken {
    fn limits(&self) -> &Limits {
        self.store.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: WriteBatch) -> Result<Applied> {
        self.store.apply(guru, batch).await
    }

    async fn upsert_batch(&self, guru: &GuruSlug, batch: Batch<'_>) -> Result<UpsertReport> {
        self.gurus.lock().unwrap().push(guru.clone());
        let mut report = self.store.upsert_batch(&self.guru(guru), batch).await?;
        if self.fault == Fault::SaysCreatedAlways && report.is_complete() {
            let user = |id: &Option<Arc<str>>| {
                User::from_json(format!(
                    r#"{{"external_user_id":{},"memory":{{}}}}"#,
                    serde_json::json!(id.as_deref())
                ))
            };
            let users = report.results().iter().map(|result| user(&result.external_user_id));
            report = MemoryStore::new().upsert_batch(guru, Batch::from_users(users)).await?;
        }
        let ids: Vec<_> = report
            .results()
            .iter()
            .filter(|result| result.is_success())
            .map(|result| ExternalUserId::new(Arc::clone(result.external_user_id.as_ref().unwrap())).unwrap())
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
            Fault::RefusesABatchForOneItem if !report.is_complete() => {
                return Err(Error::new(ErrorKind::InvalidRequest, "a user is not valid"));
            }
            _ => {}
        }
        Ok(report)
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let guru = self.guru(guru);
        let ids = self.ids(ids);
        let mut profiles = Vec::new();
        let pieces = if self.fault == Fault::ShowsHalfABatch { ids.len().div_ceil(4) } else { ids.len() };
        for piece in ids.chunks(pieces.max(1)) {
            match self.store.get_many(&guru, piece).await {
                Err(_) if self.fault == Fault::ServesWhenClosed => return Ok(vec![None; ids.len()]),
                found => profiles.extend(found?),
            }
            if self.fault == Fault::ShowsHalfABatch {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        if ids.is_empty() {
            self.store.get_many(&guru, &ids).await?;
        }
        Ok(profiles.into_iter().map(|profile| profile.map(|profile| self.told(profile))).collect())
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let guru = self.guru(guru);
        let mut page = self.store.list(&guru, options).await?;
        match self.fault {
            Fault::SkipsAtPageBorders if page.next.is_some() => drop(page.profiles.pop()),
            Fault::RepeatsTheCursor => {
                let again =
                    self.store.get_many(&guru, options.after().map_or(&[], std::slice::from_ref)).await?;
                page.profiles.splice(0..0, again.into_iter().flatten());
            }
            Fault::ListsBackwards => page.profiles.reverse(),
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
            Fault::CountsStale => Ok(*self.counts.lock().unwrap().entry(guru.clone()).or_insert(count)),
            _ => Ok(count),
        }
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        if self.fault != Fault::ListsEmptiedGurus {
            return self.store.gurus(after, limit).await;
        }
        let mut gurus = self.gurus.lock().unwrap().clone();
        gurus.sort();
        gurus.dedup();
        Ok(gurus.into_iter().filter(|guru| after.is_none_or(|after| guru > after)).take(limit).collect())
    }

    async fn delete_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
        let told = self.store.delete_many(&self.guru(guru), ids).await?;
        Ok(if self.fault == Fault::DeniesDeletes { vec![false; told.len()] } else { told })
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        let guru = self.guru(guru);
        if self.fault == Fault::LeavesSomeOfAGuru {
            let page = self.store.list(&guru, &ListOptions::default()).await?;
            let ids: Vec<_> = page.profiles.into_iter().map(|profile| profile.external_user_id).collect();
            return Ok(self.store.delete_many(&guru, &ids).await?.len() as u64);
        }
        self.store.delete_guru(&guru).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
