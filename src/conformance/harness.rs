//! The tools of a check: a fixture, a clock set by hand, and stores called without a runtime.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use pollster::block_on;

use super::fixture::Fixture;
use crate::admission::batch::{Batch, User};
use crate::admission::report::{Outcome, UpsertReport};
use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::limits::Limits;
use crate::model::memory::Memory;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::store::contract::ProfileStore;
use crate::store::handle::{Guru, HasGurus as _};
use crate::store::list::ListOptions;
use crate::store::options::StoreOptions;
use crate::store::page::Page;
use crate::store::restore::Restored;
use crate::store::upkeep::{Stats, Verification};

/// Makes a fresh fixture.
pub(super) type MakeFixture<'a> = &'a dyn Fn() -> Box<dyn Fixture>;

/// A clock that stands still until it is set.
#[derive(Clone, Debug)]
pub(super) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// 2026-01-01, with microseconds that a backend could lose.
    pub const START: i64 = 1_767_225_600_123_457;

    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    /// Moves the clock on and returns the new time.
    pub fn advance(&self) -> Timestamp {
        self.move_by(1_000_003)
    }

    /// Moves the clock, backwards too, and returns the new time.
    pub fn move_by(&self, micros: i64) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(micros, Ordering::SeqCst) + micros)
    }

    fn clock(&self) -> Clock {
        let hand = self.clone();
        Clock::from_fn(move || hand.now())
    }
}

/// A fresh fixture and the clock of the stores opened from it.
pub(super) struct Stage {
    fixture: Box<dyn Fixture>,
    pub clock: HandClock,
    begun: Instant,
}

impl Stage {
    pub fn new(make: MakeFixture<'_>) -> Self {
        let clock = HandClock(Arc::new(AtomicI64::new(HandClock::START)));
        Self { fixture: make(), clock, begun: Instant::now() }
    }

    /// A fresh stage and its store, opened with default options.
    pub fn opened(make: MakeFixture<'_>) -> (Self, Subject) {
        Self::opened_with(make, Limits::default())
    }

    /// A fresh stage and its store, opened with these limits.
    pub fn opened_with(make: MakeFixture<'_>, limits: Limits) -> (Self, Subject) {
        let stage = Self::new(make);
        let subject = stage.open(limits);
        (stage, subject)
    }

    /// Options with the clock of this stage.
    pub fn options(&self) -> StoreOptions {
        StoreOptions::default().with_clock(self.clock.clock())
    }

    pub fn is_persistent(&self) -> bool {
        self.fixture.is_persistent()
    }

    /// Whether the check has been given up on: a loop that waits for another thread ends then.
    pub fn is_given_up(&self) -> bool {
        self.begun.elapsed() > self.fixture.time_limit()
    }

    pub fn open(&self, limits: Limits) -> Subject {
        self.open_as(self.options().with_limits(limits))
    }

    pub fn open_as(&self, options: StoreOptions) -> Subject {
        Subject(block_on(self.fixture.open(options)).expect("the fixture opens its store"))
    }

    /// The store closed and opened again where the fixture is persistent, else as it is.
    pub fn reopened(&self, subject: Subject) -> Subject {
        self.reopened_with(subject, Limits::default())
    }

    /// As [`reopened`](Self::reopened), with limits for the reopened store.
    pub fn reopened_with(&self, subject: Subject, limits: Limits) -> Subject {
        if !self.fixture.is_persistent() {
            return subject;
        }
        subject.close();
        drop(subject);
        self.open(limits)
    }

    /// The store opened again after its last handle's drop, if the fixture is persistent.
    pub fn dropped_and_reopened(&self, subject: Subject) -> Subject {
        if !self.fixture.is_persistent() {
            return subject;
        }
        drop(subject);
        self.open(Limits::default())
    }
}

/// Why `serde_json` refuses a memory, if it does (A2). With `arbitrary_precision`, which any crate may turn on, it takes
/// every number: those of these checks that no `f64` can hold end the last line, but for brackets.
pub(super) fn refusal(memory: &str) -> Option<String> {
    let reason = match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(memory) {
        Err(reason) => reason.to_string(),
        Ok(map) if map.values().any(is_beyond_f64) => {
            let (lines, last) = (memory.lines().count(), memory.lines().last().unwrap_or_default());
            let column = last.trim_end_matches([' ', '}', ']']).len();
            format!("number out of range at line {lines} column {column}")
        }
        Ok(_) => return None,
    };
    Some(format!("memory is not valid: {reason}"))
}

fn is_beyond_f64(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.as_f64().is_none(),
        serde_json::Value::Array(values) => values.iter().any(is_beyond_f64),
        serde_json::Value::Object(members) => members.values().any(is_beyond_f64),
        _ => false,
    }
}

/// A store under test. Its methods block, take plain text, and panic where the store fails.
#[derive(Clone, Debug)]
pub(super) struct Subject(pub Arc<dyn ProfileStore>);

impl Subject {
    pub fn guru(&self, slug: &str) -> Guru<&Arc<dyn ProfileStore>> {
        self.0.guru(slug).expect("a slug")
    }

    /// Sends a request body.
    pub fn send(&self, guru: &str, body: impl AsRef<[u8]>) -> UpsertReport {
        self.try_send(guru, body).expect("the store takes the request")
    }

    /// Sends a request body of which every user is stored.
    pub fn fill(&self, guru: &str, body: impl AsRef<[u8]>) {
        assert_complete(&self.send(guru, body));
    }

    pub fn try_send(&self, guru: &str, body: impl AsRef<[u8]>) -> Result<UpsertReport> {
        block_on(self.guru(guru).upsert_json(body.as_ref()))
    }

    /// Sends a request body that must be refused whole.
    pub fn refusal(&self, guru: &str, body: impl AsRef<[u8]>) -> Error {
        assert_fails(self.try_send(guru, body), ErrorKind::InvalidRequest, "a request that is refused whole")
    }

    pub fn send_users(&self, guru: &str, users: Vec<User>) -> UpsertReport {
        self.send_batch(guru, Batch::from(users))
    }

    pub fn send_batch(&self, guru: &str, batch: Batch<'_>) -> UpsertReport {
        block_on(self.guru(guru).upsert_batch(batch)).expect("the store takes the batch")
    }

    pub fn restore(&self, guru: &str, profiles: Vec<Profile>) -> Restored {
        block_on(self.guru(guru).restore(profiles)).expect("the store takes the profiles")
    }

    pub fn sweep(&self, guru: &str, updated_before: Timestamp) -> u64 {
        block_on(self.guru(guru).sweep(updated_before)).expect("the store sweeps")
    }

    pub fn stats(&self) -> Stats {
        block_on(self.0.stats()).expect("the store tells its size")
    }

    pub fn verify(&self) -> Verification {
        block_on(self.0.verify()).expect("the store scrubs itself")
    }

    /// Compacts the store, where its engine can.
    pub fn compact(&self) {
        match block_on(self.0.compact()) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            compacted => compacted.expect("the store compacts"),
        }
    }

    /// Stores one profile.
    pub fn put(&self, guru: &str, id: &str, memory: &str) -> Outcome {
        let memory = Memory::from_json(memory).expect("a valid memory");
        let report = self.send_users(guru, vec![User::new(id, memory)]);
        match &report.results()[0].result {
            Ok(outcome) => *outcome,
            Err(errors) => panic!("storing {id:?}: expected an outcome, got {errors:?}"),
        }
    }

    /// Sends one item with this memory, and returns its errors in words.
    pub fn errors_of_memory(&self, memory: &str) -> Vec<String> {
        let report = self.send("g", format!(r#"{{"users":[{}]}}"#, item("u", memory)));
        errors(&report, 0)
    }

    pub fn get(&self, guru: &str, id: &str) -> Option<Profile> {
        block_on(self.guru(guru).get(id)).expect("the store reads a profile")
    }

    /// A profile that must be there.
    pub fn profile(&self, guru: &str, id: &str) -> Profile {
        self.get(guru, id).unwrap_or_else(|| panic!("{id:?} of {guru:?}: expected a profile, got none"))
    }

    /// The text of a profile's memory, if there is one.
    pub fn memory(&self, guru: &str, id: &str) -> Option<String> {
        self.get(guru, id).map(|profile| profile.memory.as_str().to_owned())
    }

    pub fn get_many<S: AsRef<str>>(&self, guru: &str, ids: &[S]) -> Vec<Option<Profile>> {
        block_on(self.guru(guru).get_many(&self::ids(ids))).expect("the store reads profiles")
    }

    pub fn page(&self, guru: &str, after: Option<&str>, limit: usize) -> Page {
        self.list_with(guru, &ListOptions::default().with_after(after.map(id)).with_limit(limit))
    }

    /// A page, held to its limit. Its cursor is held to move, so that no check reads for ever.
    pub fn list_with(&self, guru: &str, options: &ListOptions) -> Page {
        let page = block_on(self.guru(guru).list(options)).expect("the store lists a page");
        let (found, limit) = (page.profiles.len(), options.limit());
        assert!(found <= limit, "a page: expected at most {limit} profiles, got {found} (L1)");
        let (next, after) = (page.next.as_ref(), options.after());
        assert!(
            next.is_none() || next > after,
            "the next cursor: expected one after {after:?}, got {next:?} (L1)"
        );
        page
    }

    /// All profiles that the options take, page after page.
    pub fn select(&self, guru: &str, options: &ListOptions) -> Vec<Profile> {
        let (mut options, mut profiles) = (options.clone(), Vec::new());
        loop {
            let page = self.list_with(guru, &options);
            profiles.extend(page.profiles);
            match page.next {
                Some(next) => options = options.with_after(next),
                None => return profiles,
            }
        }
    }

    /// The ids of all profiles that the options take, page after page.
    pub fn selected(&self, guru: &str, options: &ListOptions) -> Vec<String> {
        self.select(guru, options).iter().map(|profile| profile.external_user_id.to_string()).collect()
    }

    /// All profiles of a guru, read in pages.
    pub fn list(&self, guru: &str, limit: usize) -> Vec<Profile> {
        self.select(guru, &ListOptions::default().with_limit(limit))
    }

    /// The ids of all profiles of a guru, as listed.
    pub fn ids(&self, guru: &str) -> Vec<String> {
        self.selected(guru, &ListOptions::default())
    }

    pub fn count(&self, guru: &str) -> u64 {
        block_on(self.guru(guru).count()).expect("the store counts")
    }

    pub fn gurus_after(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let after = after.map(slug);
        let gurus = block_on(self.0.gurus(after.as_ref(), limit)).expect("the store lists gurus");
        gurus.iter().map(ToString::to_string).collect()
    }

    pub fn gurus(&self) -> Vec<String> {
        self.gurus_after(None, 10_000)
    }

    pub fn delete(&self, guru: &str, id: &str) -> bool {
        block_on(self.guru(guru).delete(id)).expect("the store deletes")
    }

    pub fn delete_many<S: AsRef<str>>(&self, guru: &str, ids: &[S]) -> Vec<bool> {
        block_on(self.guru(guru).delete_many(&self::ids(ids))).expect("the store deletes")
    }

    pub fn delete_guru(&self, guru: &str) -> u64 {
        block_on(self.0.delete_guru(&slug(guru))).expect("the store deletes a guru")
    }

    pub fn close(&self) {
        block_on(self.0.close()).expect("the store closes");
    }
}

pub(super) fn slug(guru: &str) -> GuruSlug {
    GuruSlug::new(guru).expect("a valid slug")
}

pub(super) fn id(id: &str) -> ExternalUserId {
    ExternalUserId::new(id).expect("a valid id")
}

pub(super) fn ids<S: AsRef<str>>(ids: &[S]) -> Vec<ExternalUserId> {
    ids.iter().map(|text| id(text.as_ref())).collect()
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An item of a request.
pub(super) fn item(id: &str, memory: &str) -> String {
    format!(r#"{{"external_user_id":{},"memory":{memory}}}"#, quoted(id))
}

/// A request with these items.
pub(super) fn request<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.as_ref().to_owned()).collect();
    format!(r#"{{"users":[{}]}}"#, items.join(","))
}

/// A request of ids and memories.
pub(super) fn body<I: AsRef<str>, M: AsRef<str>>(users: impl IntoIterator<Item = (I, M)>) -> String {
    request(users.into_iter().map(|(id, memory)| item(id.as_ref(), memory.as_ref())))
}

/// An object nested `depth` deep.
pub(super) fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

/// Every item of the report is stored.
#[track_caller]
pub(super) fn assert_complete(report: &UpsertReport) {
    assert!(report.is_complete(), "the report: expected every item stored, got {}", report.to_json());
}

#[track_caller]
pub(super) fn assert_sound(verified: &Verification) {
    let sound = verified.is_sound() && verified.damage.is_empty();
    assert!(sound, "verifying: expected no damage, got {verified:?}");
}

#[track_caller]
pub(super) fn assert_begins(text: &str, expected: &str) {
    assert!(text.starts_with(expected), "the text: expected {expected} at its beginning, got {text}");
}

#[track_caller]
pub(super) fn assert_holds(text: &str, expected: &str) {
    assert!(text.contains(expected), "the text: expected {expected} in it, got {text}");
}

/// Nothing of a memory is shown: those of the checks say `hush`.
#[track_caller]
pub(super) fn assert_hushed(words: &str) {
    assert!(!words.contains("hush"), "words: expected nothing of a memory, got {words}");
}

#[track_caller]
pub(super) fn assert_none<T: Debug>(got: Option<T>, of: &str) {
    assert!(got.is_none(), "{of}: expected None, got {got:?}");
}

/// The error of a call that must fail with this kind.
#[track_caller]
pub(super) fn assert_fails<T: Debug>(told: Result<T>, kind: ErrorKind, of: &str) -> Error {
    match told {
        Err(error) if error.kind() == kind => error,
        got => panic!("{of}\n  expected: Err({kind:?})\n       got: {got:?}"),
    }
}

/// The outcomes of a report whose items all succeeded.
pub(super) fn outcomes(report: &UpsertReport) -> Vec<Outcome> {
    report.results().iter().map(|result| *result.result.as_ref().expect("every item is stored")).collect()
}

/// The errors of an item, in words.
pub(super) fn errors(report: &UpsertReport, index: usize) -> Vec<String> {
    report.results()[index].errors().iter().map(ToString::to_string).collect()
}
