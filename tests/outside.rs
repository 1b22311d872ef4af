//! A backend written from outside, with the public API only, and the suite against it. A sorted
//! `Vec` under a lock: the shortest thing that can pass.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use profile_store::backend::{Change, Effects, PageBuilder, Record, Writes};
use profile_store::conformance::Fixture;
use profile_store::{
    Clock, Error, ErrorKind, ExternalUserId, GuruSlug, HasGurus, Limits, ListOptions, Page, Probe, Profile,
    ProfileStore, Result, Stats, StoreOptions, Timestamp, User, Verification,
};

type Row = (GuruSlug, ExternalUserId, Record);

/// The rows, which outlive a handle.
pub type Shelf = Arc<Mutex<Vec<Row>>>;

#[derive(Debug)]
pub struct VecStore {
    options: StoreOptions,
    /// `None` once closed. Sorted by guru and id.
    rows: Mutex<Option<Shelf>>,
}

impl VecStore {
    pub fn open_with(options: StoreOptions, shelf: Shelf) -> Result<Self> {
        options.check()?;
        if options.read_only() {
            return Err(Error::new(ErrorKind::Unsupported, "a shelf can't be opened for reading only"));
        }
        Ok(Self { options, rows: Mutex::new(Some(shelf)) })
    }

    fn with_rows<T>(&self, work: impl FnOnce(&mut Vec<Row>) -> T) -> Result<T> {
        let shelf = self.rows.lock().unwrap().clone().ok_or_else(Error::closed)?;
        let mut rows = shelf.lock().unwrap();
        Ok(work(&mut rows))
    }
}

fn find(rows: &[Row], guru: &GuruSlug, id: &ExternalUserId) -> Result<usize, usize> {
    rows.binary_search_by(|(of, own, _)| (of, own).cmp(&(guru, id)))
}

fn profile((_, id, record): &Row) -> Profile {
    Profile::new(id.clone(), record.memory.clone(), record.created_at, record.updated_at)
}

#[async_trait]
impl ProfileStore for VecStore {
    fn limits(&self) -> &Limits {
        self.options.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        // Before the lock, which a clock that panics would poison.
        let now = catch_unwind(AssertUnwindSafe(|| self.options.clock().now()));
        let now = now.map_err(|_| Error::new(ErrorKind::InvalidInput, "the clock panicked"))?;
        self.with_rows(|rows| {
            let mut plan = batch.plan(now);
            for entry in batch.entries() {
                let row = find(rows, guru, entry.id()).ok().map(|at| &rows[at]);
                plan.resolve(entry, row.map(|(_, _, record)| || Ok(record.into())))?;
            }
            for change in plan.changes() {
                match (change, find(rows, guru, change.id())) {
                    (Change::Insert(id, record), Err(at)) => {
                        rows.insert(at, (guru.clone(), (*id).clone(), record.clone()));
                    }
                    (Change::Update(_, record), Ok(at)) => rows[at].2 = record.clone(),
                    (Change::Delete(_), Ok(at)) => drop(rows.remove(at)),
                    (change, found) => panic!("{change:?} at {found:?}"),
                }
            }
            Ok(plan.finish())
        })?
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.with_rows(|rows| {
            ids.iter().map(|id| find(rows, guru, id).ok().map(|at| profile(&rows[at]))).collect()
        })
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        self.with_rows(|rows| {
            let mut page = PageBuilder::new(options);
            let start = options.start();
            let from = |(of, id, _): &&Row| of == guru && id.as_str() >= &*start;
            let _ended = rows.iter().filter(from).try_for_each(|row| page.push(profile(row)));
            page.finish()
        })?
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        self.with_rows(|rows| rows.iter().filter(|(of, _, _)| of == guru).count() as u64)
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        self.with_rows(|rows| {
            let mut gurus: Vec<_> = rows.iter().map(|(guru, _, _)| guru.clone()).collect();
            gurus.dedup();
            gurus.into_iter().filter(|guru| after.is_none_or(|after| guru > after)).take(limit).collect()
        })
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        self.with_rows(|rows| {
            let before = rows.len();
            rows.retain(|(of, _, _)| of != guru);
            (before - rows.len()) as u64
        })
    }

    async fn stats(&self) -> Result<Stats> {
        self.with_rows(|rows| {
            let mut gurus: Vec<_> = rows.iter().map(|(guru, _, _)| guru).collect();
            gurus.dedup();
            let mut stats = Stats::default();
            stats.gurus = gurus.len() as u64;
            stats.profiles = rows.len() as u64;
            stats
        })
    }

    async fn compact(&self) -> Result<()> {
        self.with_rows(Vec::shrink_to_fit)
    }

    async fn health(&self, _probe: Probe) -> Result<()> {
        self.with_rows(|_| ())
    }

    async fn verify(&self) -> Result<Verification> {
        let mut found = Verification::default();
        found.profiles = self.with_rows(|rows| rows.len() as u64)?;
        Ok(found)
    }

    async fn close(&self) -> Result<()> {
        *self.rows.lock().unwrap() = None;
        Ok(())
    }
}

#[derive(Default)]
pub struct VecFixture(Shelf);

#[async_trait]
impl Fixture for VecFixture {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(VecStore::open_with(options, Arc::clone(&self.0))?))
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

profile_store::conformance_suite!(VecFixture::default);

/// P3: the suite does not check it.
#[test]
fn a_clock_that_panics_fails_its_write_only() {
    let asked = AtomicUsize::new(0);
    let clock = Clock::from_fn(move || {
        assert!(asked.fetch_add(1, Ordering::SeqCst) > 0, "a broken clock");
        Timestamp::from_micros(42)
    });
    let store = VecStore::open_with(StoreOptions::default().with_clock(clock), Shelf::default()).unwrap();
    let ada = User::serialize("ada", &serde_json::json!({}));
    let upsert = || pollster::block_on(store.guru("g").unwrap().upsert(ada.clone()));
    assert_eq!(upsert().unwrap_err().kind(), ErrorKind::InvalidInput);
    upsert().unwrap();
}

/// An option that promises is refused.
#[test]
fn it_is_not_opened_for_reading_only() {
    let options = StoreOptions::default().with_read_only(true);
    let refused = VecStore::open_with(options, Shelf::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}
