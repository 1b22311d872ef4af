//! The work that the stores do: writers with a guru each, whose every step follows from its number.
//!
//! So the state after any number of steps is known, and a store found after a crash must show
//! exactly one of two: with or without the step that was not acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use profile_store::{
    Durability, ExternalUserId, FjallStore, Guru, GuruSlug, ListOptions, Memory, MemoryStore, ProfileStore,
    Result, SledStore, SqliteStore, StoreOptions, Timestamp, User,
};

use crate::beside;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Memory,
    Sqlite,
    Fjall,
    Sled,
}

impl Backend {
    pub const ALL: &[Self] = &[Self::Memory, Self::Sqlite, Self::Fjall, Self::Sled];
    pub const PERSISTENT: &[Self] = &[Self::Sqlite, Self::Fjall, Self::Sled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }
}

impl FromStr for Backend {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|backend| backend.name() == name).ok_or(())
    }
}

pub type Store = Arc<dyn ProfileStore>;

/// By id, the memory's bytes.
pub type State = BTreeMap<String, String>;

/// Opens the store in `directory`.
pub fn open(backend: Backend, directory: &Path, durability: Durability) -> Result<Store> {
    let options = StoreOptions::default()
        .with_durability(durability)
        .with_read_threads(2)
        .with_busy_timeout(beside::patience().unwrap_or(Duration::from_secs(1)));
    let options = match beside::clock() {
        Some(clock) => options.with_clock(clock),
        None => options,
    };
    open_with(backend, directory, options)
}

pub fn open_with(backend: Backend, directory: &Path, options: StoreOptions) -> Result<Store> {
    let path = directory.join("store");
    // SQLite's log is moved into the file every 40 pages, so that crashes and faults meet it.
    let options = options.with_log_bytes(4 * 40 * (4096 + 24));
    pollster::block_on(async {
        Ok(match backend {
            Backend::Memory => Arc::new(MemoryStore::open_with(options)?) as Store,
            Backend::Sqlite => Arc::new(SqliteStore::open_with(path, options).await?),
            Backend::Fjall => Arc::new(FjallStore::open_with(path, options).await?),
            Backend::Sled => Arc::new(SledStore::open_with(path, options).await?),
        })
    })
}

pub fn guru(writer: u64) -> GuruSlug {
    GuruSlug::new(&format!("guru-{writer}")).unwrap()
}

pub enum Step {
    Upsert(BTreeMap<String, String>),
    /// Patches `{"step":n}` for these ids.
    Merge(Vec<String>),
    Delete(Vec<String>),
    DeleteGuru,
    /// All of the guru, as all of it is old enough.
    Sweep,
}

/// Ids that a writer uses.
pub const IDS: u64 = 24;

pub fn id(n: u64) -> String {
    format!("user-{:02}", n % IDS)
}

/// Every number the same scramble, splitmix64's.
pub fn scramble(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// The step of number `n`, from 0. Each changes something, so that no two states in a row are alike.
pub fn step(writer: u64, n: u64) -> Step {
    let dice = scramble((writer << 32) | n);
    match n % 10 {
        3 => Step::Merge((0..3).map(|i| id(dice + i * 5)).chain([id(n)]).collect()),
        6 => Step::Delete((0..3).map(|i| id(dice + i)).chain([id(n - 1)]).collect()),
        9 if dice.is_multiple_of(8) => Step::DeleteGuru,
        // A sweep of large memories takes several transactions.
        9 if dice.is_multiple_of(4) && !LARGE.load(Relaxed) => Step::Sweep,
        _ => {
            let users = (0..1 + dice % 7).map(|i| dice + i * 5).chain([n]);
            Step::Upsert(users.map(|user| (id(user), memory(writer, n, user))).collect())
        }
    }
}

static LARGE: AtomicBool = AtomicBool::new(false);

/// From now on this process's memories are so large that ten of them exceed 4 MiB. sled keeps a node
/// that large in a blob file, not in its log.
pub fn large_memories() {
    LARGE.store(true, Relaxed);
}

fn memory(writer: u64, n: u64, user: u64) -> String {
    let dice = scramble(user ^ (n << 20));
    let filler = match dice % 16 {
        _ if LARGE.load(Relaxed) => 419_000 + dice % 3_000,
        0 => 9_000 + dice % 3_000,
        1 if n % 16 == 3 => 300_000,
        _ => dice % 400,
    };
    let letter = char::from(b'a' + (dice % 26) as u8);
    let filler = String::from_iter(std::iter::repeat_n(letter, filler as usize));
    format!(r#"{{"writer":{writer},"step":{n},"user":{},"filler":"{filler}"}}"#, user % IDS)
}

/// The state after `steps` steps.
pub fn state(writer: u64, steps: u64) -> State {
    let mut state = State::new();
    (0..steps).for_each(|n| advance(&mut state, writer, n));
    state
}

/// Applies step `n` to the state.
pub fn advance(state: &mut State, writer: u64, n: u64) {
    match step(writer, n) {
        Step::Upsert(users) => state.extend(users),
        Step::Merge(ids) => {
            for id in ids {
                let memory = state.entry(id).or_insert_with(|| patch(0));
                *memory = merged(memory, n);
            }
        }
        Step::Delete(ids) => ids.iter().for_each(|id| drop(state.remove(id))),
        Step::DeleteGuru | Step::Sweep => state.clear(),
    }
}

fn patch(n: u64) -> String {
    format!(r#"{{"step":{n}}}"#)
}

/// A memory with the step in it replaced: every one has it, as a number.
fn merged(memory: &str, n: u64) -> String {
    let (before, after) = memory.split_once(r#""step":"#).expect("every memory has its step");
    let rest = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!(r#"{before}"step":{n}{rest}"#)
}

/// Does step `n`. `Ok` is the acknowledgement.
pub fn perform(store: &Store, writer: u64, n: u64) -> Result<()> {
    pollster::block_on(async {
        beside::before(store, writer, n).await?;
        loop {
            match performing(store, writer, n).await {
                Err(error) if beside::is_the_clocks(&error) => {}
                done => return done,
            }
        }
    })
}

/// [`perform`] for a caller that polls.
pub async fn performing(store: &Store, writer: u64, n: u64) -> Result<()> {
    let guru = guru(writer);
    match step(writer, n) {
        Step::Upsert(users) => {
            let users = users.iter().map(|(id, memory)| {
                User::new(id.as_str(), Memory::from_json(memory).expect("memories are valid"))
            });
            let report = store.upsert_batch(&guru, users.collect::<Vec<_>>().into()).await?;
            assert!(report.is_complete(), "{report:?}");
        }
        Step::Merge(ids) => {
            let patch = Memory::from_json(&patch(n)).expect("it is valid");
            let users = ids.iter().map(|id| User::new(id.as_str(), patch.clone()).merging());
            let report = store.upsert_batch(&guru, users.collect::<Vec<_>>().into()).await?;
            assert!(report.is_complete(), "{report:?}");
        }
        Step::Sweep if !beside::clock_misleads() => {
            Guru::new(store, guru).sweep(Timestamp::from_micros(i64::MAX)).await?;
        }
        Step::Delete(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| ExternalUserId::new(id.as_str()).unwrap()).collect();
            store.delete_many(&guru, &ids).await?;
        }
        Step::DeleteGuru | Step::Sweep => {
            store.delete_guru(&guru).await?;
        }
    }
    Ok(())
}

/// Reads a writer's guru from the store. List, lookups and count must agree.
pub fn observe(store: &Store, writer: u64) -> Result<State> {
    let guru = guru(writer);
    pollster::block_on(async {
        let mut state = State::new();
        let mut options = ListOptions::default().with_limit(7);
        loop {
            let page = store.list(&guru, &options).await?;
            for profile in page.profiles {
                state
                    .insert(profile.external_user_id.as_str().to_owned(), profile.memory.as_str().to_owned());
            }
            match page.next {
                Some(next) => options = options.with_after(next),
                None => break,
            }
        }
        for n in 0..IDS {
            let memory = Guru::new(&store, guru.clone())
                .get(&id(n))
                .await?
                .map(|profile| profile.memory.as_str().to_owned());
            assert_eq!(memory.as_ref(), state.get(&id(n)), "list and get disagree about {}", id(n));
        }
        assert_eq!(store.count(&guru).await?, state.len() as u64, "list and count disagree");
        let gurus = store.gurus(None, 100).await?;
        assert_eq!(gurus.contains(&guru), !state.is_empty(), "list and gurus disagree");
        Ok(state)
    })
}
