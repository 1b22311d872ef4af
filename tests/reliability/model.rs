//! A store beside its model, through whatever may happen to it: writes of every mode, bad input,
//! reopening, a handle dropped, I/O errors, and power cuts in the middle of a write.
//!
//! After each step the store must show what the model holds. A write that was cut short, or reported
//! as failed by a handle that has to be opened again, may be there or not, but whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use libc::{EIO, ENOSPC};
use profile_store::conformance::{Ask, Model};
use profile_store::{
    Batch, Clock, Durability, ErrorKind, ExternalUserId, Guru, GuruSlug, HasGurus as _, ListOptions, Memory,
    StoreOptions, Timestamp, User,
};

use crate::child::{End, Job, Order, each};
use crate::names::{FEW_IDS as IDS, FEW_SLUGS as GURUS};
use crate::power::slice;
use crate::recorder::{self, Act, Class};
use crate::replay::{Cut, Disk};
use crate::scratch::{Scratch, sync_tree};
use crate::workload::{Backend, Store, open_with, scramble};

const STEPS: u64 = 50;
/// Sequences of one child.
const CHUNK: u64 = 20;

/// A memory that no profile ever has.
const NEVER: &str = r#"{"never":"stored"}"#;

pub fn sequences(backend: Backend) {
    let wanted = slice(backend, 240, 10_000);
    let run = |first: &u64, durability: &str| {
        let scratch = Scratch::new();
        let job = Job::new("model", backend, &scratch.path("files")).with("first", first);
        job.with("durability", durability).patience(Duration::from_secs(300)).run()
    };
    let chunks: Vec<u64> = (0..wanted.div_ceil(CHUNK)).map(|n| n * CHUNK).collect();
    let (mut sums, mut wrong) = (BTreeMap::<String, u64>::new(), Vec::new());
    for end in each(&chunks, |first| run(first, "power-loss")) {
        match end {
            End::Done(words) => {
                for (what, count) in words {
                    *sums.entry(what).or_default() += count.parse::<u64>().unwrap();
                }
            }
            other => wrong.push(format!("{other:?}")),
        }
    }
    println!("  {} sequences of {STEPS} steps, {sums:?}", chunks.len() as u64 * CHUNK);
    println!("  children that ended otherwise: {}", wrong.len());
    wrong.iter().take(1).for_each(|wrong| println!("    {}", wrong.replace("\\n", "\n")));
    assert!(wrong.is_empty());
    if backend != Backend::Memory {
        let noticed = (0..3).filter(|first| !matches!(run(first, "process-crash"), End::Done(_))).count();
        println!("  control, durable for process crashes only: noticed in {noticed} of 3 children");
        assert!(noticed > 0, "what a power cut has lost goes unnoticed");
    }
}

/// A memory's members, in order; their values as JSON.
type Members = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
enum Item {
    Bad(&'static str),
    Put { id: &'static str, members: Members, condition: Condition },
}

impl Item {
    fn id(&self) -> Option<&'static str> {
        match self {
            Self::Bad(_) => None,
            Self::Put { id, .. } => Some(id),
        }
    }

    fn memory(&self) -> String {
        match self {
            Self::Bad(_) => String::new(),
            Self::Put { members, .. } => json(members),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    None,
    Absent,
    /// The ETag that is stored, if there is any.
    Matches,
    /// One that is not.
    Differs,
}

const CONDITIONS: [Condition; 5] =
    [Condition::None, Condition::None, Condition::Absent, Condition::Matches, Condition::Differs];

#[derive(Clone, Debug)]
enum Write {
    /// As one JSON body.
    Body(&'static str, Vec<Item>),
    Typed {
        guru: &'static str,
        items: Vec<Item>,
        merging: bool,
        whole: bool,
    },
    DeleteMany(&'static str, Vec<&'static str>),
    DeleteGuru(&'static str),
}

fn json(members: &Members) -> String {
    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

const BAD: [&str; 4] =
    ["7", "{}", r#"{"external_user_id":"","memory":{}}"#, r#"{"external_user_id":"a","memory":{"n":1e999}}"#];

/// Why a store does not show what the model holds.
enum Trouble {
    Refused(profile_store::Error),
    Wrong(String),
}

impl From<profile_store::Error> for Trouble {
    fn from(error: profile_store::Error) -> Self {
        Self::Refused(error)
    }
}

struct Run {
    backend: Backend,
    durability: Durability,
    root: PathBuf,
    /// Directories used so far.
    lives: u64,
    dice: u64,
    clock: Arc<AtomicI64>,
    store: Store,
    disk: Disk,
    held: Model,
    /// There was a fault that nobody may have been told of yet: a sync beside the commits may have
    /// failed, and the next write be refused for it.
    suspect: bool,
    counts: BTreeMap<&'static str, u64>,
}

/// Some sequences, one after the other. It panics where a promise is broken.
pub fn child(order: &Order) {
    let first = order.number("first").unwrap();
    let mut counts = BTreeMap::<&str, u64>::new();
    for sequence in first..first + CHUNK {
        let root = order.directory.join(format!("{sequence}"));
        std::fs::create_dir(&root).unwrap();
        let mut run = Run::new(order.backend, order.durability(), root, scramble(sequence));
        let mut trail = Vec::new();
        for step in 0..STEPS {
            let held = run.held.clone();
            trail.push(run.step());
            let reason = match run.settled() {
                Ok(()) => continue,
                Err(Trouble::Refused(error)) => format!("{error:?}"),
                Err(Trouble::Wrong(reason)) => reason,
            };
            for what in &trail {
                eprintln!("{}", what.chars().take(200).collect::<String>());
            }
            panic!("sequence {sequence}, step {step}: {reason}\nbefore it: {held:?}");
        }
        for (what, count) in std::mem::take(&mut run.counts) {
            *counts.entry(what).or_default() += count;
        }
        let _ = pollster::block_on(run.store.close());
        let root = run.root.clone();
        drop(run);
        recorder::disarm();
        std::fs::remove_dir_all(root).unwrap();
    }
    for (what, count) in counts {
        println!("{what}={count}");
    }
}

impl Run {
    fn new(backend: Backend, durability: Durability, root: PathBuf, dice: u64) -> Self {
        let clock = Arc::new(AtomicI64::new(1));
        recorder::record();
        let life = root.join("0");
        std::fs::create_dir(&life).unwrap();
        recorder::drain();
        let disk = Disk::new(&life, 0);
        let store = open(backend, &life, durability, &clock).unwrap();
        let (held, counts) = (Model::default(), BTreeMap::new());
        Self { backend, durability, root, lives: 1, dice, clock, store, disk, held, suspect: false, counts }
    }

    fn toss(&mut self, sides: u64) -> u64 {
        self.dice = scramble(self.dice);
        (self.dice >> 8) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let sides = from.len() as u64;
        from[self.toss(sides) as usize]
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn life(&self) -> PathBuf {
        self.root.join((self.lives - 1).to_string())
    }

    /// Lets the disk know what has been done to the files.
    fn settle(&mut self) {
        recorder::drain().iter().for_each(|event| self.disk.play(event));
    }

    fn open(&self) -> profile_store::Result<Store> {
        open(self.backend, &self.life(), self.durability, &self.clock)
    }

    /// One transition. Tells which.
    fn step(&mut self) -> String {
        // sled takes ten times as long to open.
        let rare = if self.backend == Backend::Sled { 80 } else { 24 };
        let files = self.backend != Backend::Memory;
        match self.toss(rare) {
            0 if files => self.reopen(),
            1 if files => self.abandon(),
            2 if files => self.power_cut(),
            3 | 4 if files => self.fault(),
            5 => self.refused(),
            _ => {
                let write = self.write();
                let expected = self.expected(&write);
                let told = self.insist(&write);
                assert_eq!(told, expected.1, "{write:?} on {:?}", self.held);
                self.held = expected.0;
                self.count("writes");
                format!("{write:?}")
            }
        }
    }

    fn reopen(&mut self) -> String {
        let closed = pollster::block_on(self.store.close());
        assert!(closed.is_ok() || self.suspect, "without a fault: {closed:?}");
        self.again();
        self.count("reopened");
        "reopen".to_owned()
    }

    /// The handle is dropped, perhaps with a write under way that nobody waits for.
    fn abandon(&mut self) -> String {
        let write = self.write();
        let after = self.expected(&write).0;
        let polls = self.toss(3);
        {
            let mut future = Box::pin(send(&self.store, &self.held, &write));
            for _ in 0..polls {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                if future.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        self.again();
        self.either(after);
        self.count("abandoned");
        format!("abandon {write:?}")
    }

    /// Makes a write, by a new handle if the one at hand is broken by an earlier fault.
    fn insist(&mut self, write: &Write) -> Vec<String> {
        match self.perform(write) {
            Err(error) if self.renewed_for(&error) => {
                assert!(self.check().is_ok(), "what is refused is not stored");
                self.perform(write)
            }
            told => told,
        }
        .unwrap_or_else(|error| panic!("{write:?}: {error:?}"))
    }

    /// The check, by a new handle if an earlier fault has broken the one at hand: reads are refused too while they
    /// might show what is not durable.
    fn settled(&mut self) -> Result<(), Trouble> {
        match self.check() {
            Err(Trouble::Refused(error)) if self.renewed_for(&error) => self.check(),
            shown => shown,
        }
    }

    /// Opens a new handle if this refusal is for an earlier fault. Tells whether it is.
    fn renewed_for(&mut self, refusal: &profile_store::Error) -> bool {
        let is_refused = refusal.kind() == ErrorKind::Closed && self.suspect;
        if is_refused {
            self.again();
            self.count("refused_for_a_fault_before");
        }
        is_refused
    }

    fn again(&mut self) {
        self.suspect = false;
        // The old handle goes first: sled lets one in.
        self.store = Arc::new(profile_store::MemoryStore::new());
        self.store = self.open().expect("it opens again");
    }

    /// The store may show the model's state, with or without a write whose result nobody knows.
    fn either(&mut self, after: Model) {
        if self.check().is_err() {
            self.held = after;
        }
    }

    /// The power fails in the middle of a write, or right behind its acknowledgement.
    fn power_cut(&mut self) -> String {
        self.settle();
        let write = self.write();
        let after = self.expected(&write).0;
        self.insist(&write);
        let events = recorder::drain();
        let at = self.toss(events.len() as u64 + 1) as usize;
        events[..at].iter().for_each(|event| self.disk.play(event));
        let seed = self.dice;
        let cut = self.pick(&[Cut::Dropped, Cut::Kept, Cut::Half(seed), Cut::Torn(seed)]);
        let image = self.disk.image(cut);
        self.store = Arc::new(profile_store::MemoryStore::new());
        self.lives += 1;
        let life = self.life();
        std::fs::create_dir(&life).unwrap();
        recorder::drain();
        self.disk = Disk::new(&life, 0);
        // The state after the cut is durable.
        image.lay_out(&life);
        sync_tree(&life);
        self.suspect = false;
        self.store = self.open().expect("it opens after a power cut");
        if at == events.len() {
            self.held = after;
        } else {
            self.either(after);
        }
        self.count("power_cuts");
        format!("power cut {cut:?} at event {at} of {} of {write:?}", events.len())
    }

    /// An I/O error while something is done.
    fn fault(&mut self) -> String {
        self.settle();
        let act = self.pick(&[
            Act::Fail { errno: EIO, sticky: false },
            Act::Fail { errno: EIO, sticky: true },
            Act::Fail { errno: ENOSPC, sticky: false },
            Act::Fail { errno: ENOSPC, sticky: true },
            Act::Short,
        ]);
        let write = self.write();
        let (after, told) = self.expected(&write);
        let at = 1 + self.toss(8);
        recorder::arm(Class::Changes, at, act);
        let result = self.perform(&write);
        let (fired, _) = recorder::disarm();
        self.suspect |= fired > 0;
        let what = format!("{act:?} at {at} of {write:?}, {result:?}");
        match result {
            Ok(found) => {
                assert_eq!(found, told, "{what}");
                self.held = after;
            }
            Err(error) => {
                assert!(self.suspect, "without a fault: {error:?}");
                assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Closed), "{what}");
                self.count("faults_in_effect");
                let shown = self.check();
                if let Err(Trouble::Wrong(reason)) = &shown {
                    panic!("S3: {what}, {reason}");
                }
                // It heals by itself, or has to be opened again.
                if shown.is_err() || self.probe().is_err() {
                    let _ = pollster::block_on(self.store.close());
                    self.again();
                    self.either(after);
                    self.count("faults_reopened");
                }
            }
        }
        self.count("faults");
        what
    }

    /// Writes something and takes it away again.
    fn probe(&self) -> profile_store::Result<()> {
        let guru = GuruSlug::new("probe")?;
        pollster::block_on(async {
            Guru::new(&self.store, guru.clone())
                .upsert(User::new("p", Memory::from_json("{}").unwrap()))
                .await?;
            self.store.delete_guru(&guru).await.map(drop)
        })
    }

    fn refused(&mut self) -> String {
        let body =
            self.pick(&["", "[]", r#"{"users":{}}"#, r#"{"users":["#, "\u{feff}{}", r#"{"users":[]}}"#]);
        let guru = GuruSlug::new(self.pick(&GURUS)).unwrap();
        let error = pollster::block_on(Guru::new(&self.store, guru.clone()).upsert_json(body.as_bytes()))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{body:?}");
        self.count("refused");
        format!("refused {body:?}")
    }

    fn write(&mut self) -> Write {
        self.clock.fetch_add(1, SeqCst);
        let guru = self.pick(&GURUS);
        match self.toss(12) {
            0 => Write::DeleteGuru(guru),
            1 | 2 => Write::DeleteMany(guru, (0..self.toss(4)).map(|_| self.pick(&IDS)).collect()),
            3..7 => {
                let item = |run: &mut Self| match run.toss(5) {
                    0 => Item::Bad(run.pick(&BAD)),
                    _ => run.item(false, Condition::None),
                };
                Write::Body(guru, (0..1 + self.toss(6)).map(|_| item(self)).collect())
            }
            kind => {
                let (merging, whole) = (kind > 9, self.toss(3) == 0);
                let mut items: Vec<Item> = Vec::new();
                for _ in 0..1 + self.toss(5) {
                    let condition = self.pick(&CONDITIONS);
                    let item = self.item(merging, condition);
                    // An id stands once: conditions are judged by what is stored.
                    if items.iter().all(|there| there.id() != item.id()) {
                        items.push(item);
                    }
                }
                Write::Typed { guru, items, merging, whole }
            }
        }
    }

    fn item(&mut self, patch: bool, condition: Condition) -> Item {
        let mut members = Members::new();
        for key in ["n", "m", "o"] {
            match self.toss(4) {
                0 => {}
                1 if patch => members.push((key, "null".to_owned())),
                _ => members.push((key, self.toss(3).to_string())),
            }
        }
        let filler: usize = match self.toss(60) {
            0 => 300_000,
            1..4 => 12_000,
            4..10 => 700,
            _ => 0,
        };
        if filler > 0 {
            members.push(("filler", format!("\"{}\"", "x".repeat(filler))));
        }
        Item::Put { id: self.pick(&IDS), members, condition }
    }

    /// The model after a write, and what its caller is to be told.
    fn expected(&self, write: &Write) -> (Model, Vec<String>) {
        let mut held = self.held.clone();
        let told = match write {
            Write::DeleteGuru(guru) => vec![held.delete_where(guru, |_, _| true).to_string()],
            Write::DeleteMany(guru, ids) => {
                held.delete_many(guru, ids).iter().map(ToString::to_string).collect()
            }
            Write::Body(guru, items) => self.put(&mut held, guru, items, false, false),
            Write::Typed { guru, items, merging, whole } => {
                self.put(&mut held, guru, items, *merging, *whole)
            }
        };
        (held, told)
    }

    fn put(&self, held: &mut Model, guru: &str, items: &[Item], merging: bool, whole: bool) -> Vec<String> {
        let memories: Vec<_> = items.iter().map(Item::memory).collect();
        let asks = items.iter().zip(&memories).filter_map(|(item, memory)| {
            let Item::Put { id, condition, .. } = item else { return None };
            let ask = Ask::put(id, memory);
            let ask = if merging { ask.merging() } else { ask };
            Some(match condition {
                Condition::None => ask,
                Condition::Absent => ask.if_absent(),
                Condition::Matches => ask.if_match(memory_of(&self.held, guru, id)),
                Condition::Differs => ask.if_match(NEVER),
            })
        });
        let results = held.upsert(guru, &asks.collect::<Vec<_>>(), whole, self.clock.load(SeqCst));
        let mut results = results.into_iter();
        let told = |item: &Item| match item {
            Item::Bad(_) => None,
            Item::Put { .. } => results.next().expect("a result for each").ok(),
        };
        let told = items.iter().map(told);
        told.map(|told| told.map_or("failed".to_owned(), |outcome| format!("{outcome:?}"))).collect()
    }

    fn perform(&self, write: &Write) -> profile_store::Result<Vec<String>> {
        pollster::block_on(send(&self.store, &self.held, write))
    }

    /// Whether the store shows what the model holds, by every way to read.
    fn check(&self) -> Result<(), Trouble> {
        let shown = pollster::block_on(self.shown())?;
        if shown == self.held {
            return Ok(());
        }
        Err(Trouble::Wrong(format!("shown {shown:?}, expected {:?}", self.held)))
    }

    async fn shown(&self) -> Result<Model, Trouble> {
        let mut shown = Model::default();
        for guru in GURUS {
            let slug = GuruSlug::new(guru)?;
            let mut options = ListOptions::default().with_limit(3);
            let mut listed = Vec::new();
            loop {
                let page = self.store.list(&slug, &options).await?;
                listed.extend(page.profiles);
                match page.next {
                    Some(next) => options = options.with_after(next),
                    None => break,
                }
            }
            let ids = IDS.map(|id| ExternalUserId::new(id).unwrap());
            let mut got: Vec<_> = self.store.get_many(&slug, &ids).await?.into_iter().flatten().collect();
            got.sort_by(|one, other| one.external_user_id.cmp(&other.external_user_id));
            if got != listed || self.store.count(&slug).await? != listed.len() as u64 {
                return Err(Trouble::Wrong(format!("list, lookups and count disagree about {guru}")));
            }
            for profile in &listed {
                shown.restore(guru, profile.external_user_id.as_str(), profile.into());
            }
        }
        let gurus = self.store.gurus(None, 9).await?;
        if !gurus.iter().map(GuruSlug::as_str).eq(shown.gurus()) {
            return Err(Trouble::Wrong(format!("the list of gurus disagrees: {gurus:?}")));
        }
        Ok(shown)
    }
}

fn open(
    backend: Backend,
    life: &Path,
    durability: Durability,
    clock: &Arc<AtomicI64>,
) -> profile_store::Result<Store> {
    let clock = Arc::clone(clock);
    let options = StoreOptions::default()
        .with_clock(Clock::from_fn(move || Timestamp::from_micros(clock.load(SeqCst))))
        .with_durability(durability)
        .with_read_threads(1)
        .with_busy_timeout(Duration::from_secs(10));
    open_with(backend, life, options)
}

/// The memory that is held, or one that is not.
fn memory_of<'a>(held: &'a Model, guru: &str, id: &str) -> &'a str {
    held.get(guru, id).map_or(NEVER, |held| &held.memory)
}

/// Makes a write, and gives what its caller is told.
async fn send(store: &Store, held: &Model, write: &Write) -> profile_store::Result<Vec<String>> {
    let outcome = |result: &profile_store::UserResult| match &result.result {
        Ok(outcome) => format!("{outcome:?}"),
        Err(_) => "failed".to_owned(),
    };
    match write {
        Write::DeleteGuru(guru) => {
            Ok(vec![store.delete_guru(&GuruSlug::new(guru).unwrap()).await?.to_string()])
        }
        Write::DeleteMany(guru, ids) => {
            let ids: Vec<_> = ids.iter().map(|id| ExternalUserId::new(*id).unwrap()).collect();
            let there = store.delete_many(&GuruSlug::new(guru).unwrap(), &ids).await?;
            Ok(there.iter().map(ToString::to_string).collect())
        }
        Write::Body(guru, items) => {
            let item = |item: &Item| match item {
                Item::Bad(text) => (*text).to_owned(),
                Item::Put { id, members, .. } => {
                    let id = if *id == "\u{1}" { "\\u0001" } else { id };
                    format!(r#"{{"memory":{}, "external_user_id":"{id}"}}"#, json(members))
                }
            };
            let items: Vec<_> = items.iter().map(item).collect();
            let body = format!(r#"{{"users":[{}]}}"#, items.join(" ,"));
            let report = store.guru(guru).unwrap().upsert_json(body.as_bytes()).await?;
            Ok(report.results().iter().map(outcome).collect())
        }
        Write::Typed { guru, items, merging, whole } => {
            let etag = |memory: &str| Memory::from_json(memory).unwrap().etag();
            let user = |item: &Item| {
                let Item::Put { id, members, condition } = item else { unreachable!("typed users are good") };
                let user = User::new(*id, Memory::from_json(&json(members)).unwrap());
                match condition {
                    Condition::None => user,
                    Condition::Absent => user.if_absent(),
                    Condition::Matches => user.if_match(etag(memory_of(held, guru, id))),
                    Condition::Differs => user.if_match(etag(NEVER)),
                }
            };
            let mut batch = Batch::from_users(items.iter().map(user));
            if *merging {
                batch = batch.merging();
            }
            if *whole {
                batch = batch.all_or_nothing();
            }
            let report = store.upsert_batch(&GuruSlug::new(guru).unwrap(), batch).await?;
            Ok(report.results().iter().map(outcome).collect())
        }
    }
}
