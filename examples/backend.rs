//! A backend of one's own: what only a backend can do, and nothing else. Admission, limits,
//! duplicates and the report come with the trait.
//!
//! ```text
//! cargo run --example backend
//! ```
//!
//! Before it is trusted it has to pass the conformance suite (feature `conformance`): see the
//! module `profile_store::conformance`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use profile_store::{
    Applied, Error, ExternalUserId, GuruSlug, Limits, ListOptions, Page, PageBuilder, Profile, ProfileStore,
    ProfileStoreExt, Record, Result, StoreOptions, Write, WriteBatch,
};

/// One ordered map of all profiles, the shape of most key-value engines.
#[derive(Debug)]
pub struct OneMapStore {
    options: StoreOptions,
    /// `None` once the store is closed.
    rows: Mutex<Option<Rows>>,
}

type Rows = BTreeMap<(GuruSlug, ExternalUserId), Record>;

impl OneMapStore {
    /// An empty store.
    pub fn new(options: StoreOptions) -> Self {
        Self { options, rows: Mutex::new(Some(Rows::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Rows>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_rows<T>(&self, work: impl FnOnce(&mut Rows) -> T) -> Result<T> {
        self.lock().as_mut().map(work).ok_or_else(Error::closed)
    }
}

// An engine that does I/O must not do it here, on the caller's task: it has threads of its own, and
// these methods send it work and await the answer (S11).
#[async_trait]
impl ProfileStore for OneMapStore {
    fn limits(&self) -> &Limits {
        self.options.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: WriteBatch) -> Result<Applied> {
        self.with_rows(|rows| {
            let key = |id: &ExternalUserId| (guru.clone(), id.clone());
            let mut plan = batch.plan(self.options.clock().now());
            for entry in batch.entries() {
                plan.resolve(entry, rows.get(&key(entry.id())).map(Record::current));
            }
            // In an engine that can fail, what follows is one transaction (S1).
            for change in plan.changes() {
                match &change.write {
                    Write::Insert(record) | Write::Update(record) => {
                        rows.insert(key(change.id), record.clone());
                    }
                    Write::Delete => {
                        rows.remove(&key(change.id));
                    }
                }
            }
            plan.finish()
        })
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.with_rows(|rows| {
            let get = |id: &ExternalUserId| Some(profile(id, rows.get(&(guru.clone(), id.clone()))?));
            ids.iter().map(get).collect()
        })
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        self.with_rows(|rows| {
            let mut page = PageBuilder::new(options);
            for (id, record) in profiles_behind(rows, guru, options.after()) {
                if page.push(profile(id, record)).is_break() {
                    break;
                }
            }
            page.finish()
        })
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        self.with_rows(|rows| profiles_behind(rows, guru, None).count() as u64)
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        self.with_rows(|rows| {
            let mut gurus: Vec<_> = rows.keys().map(|(guru, _)| guru.clone()).collect();
            gurus.dedup();
            gurus.into_iter().filter(|guru| after.is_none_or(|after| guru > after)).take(limit).collect()
        })
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        self.with_rows(|rows| {
            let before = rows.len();
            rows.retain(|(owner, _), _| owner != guru);
            (before - rows.len()) as u64
        })
    }

    async fn close(&self) -> Result<()> {
        *self.lock() = None;
        Ok(())
    }
}

fn profiles_behind<'a>(
    rows: &'a Rows,
    guru: &'a GuruSlug,
    after: Option<&ExternalUserId>,
) -> impl Iterator<Item = (&'a ExternalUserId, &'a Record)> {
    let start = match after {
        Some(id) => Bound::Excluded((guru.clone(), id.clone())),
        None => Bound::Included((guru.clone(), least_id())),
    };
    rows.range((start, Bound::Unbounded))
        .take_while(move |((owner, _), _)| owner == guru)
        .map(|((_, id), record)| (id, record))
}

/// No id is empty or has a NUL, so none comes before this one.
fn least_id() -> ExternalUserId {
    ExternalUserId::new("\u{1}").expect("it is an id")
}

fn profile(id: &ExternalUserId, record: &Record) -> Profile {
    Profile::new(id.clone(), record.memory.clone(), record.created_at, record.updated_at)
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let store = OneMapStore::new(StoreOptions::default());
        let guru = GuruSlug::new("my-guru")?;
        let body =
            br#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}},{"external_user_id":"bob"}]}"#;
        let report = store.upsert_json(&guru, body).await?;
        println!("{}", report.to_json());
        let ada = store.get(&guru, "ada").await?.expect("just stored");
        println!("{}", ada.to_json());
        store.close().await
    })
}
