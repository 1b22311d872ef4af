//! What a backend is asked to write, and what that amounts to against what it holds.
//!
//! The semantics of writing (S4, S5, S7) live here and nowhere else. Inside one transaction a
//! backend reads the current record of each entry, hands it to [`Plan::resolve`], and then makes
//! the changes of [`Plan::changes`], all or none:
//!
//! ```
//! use std::collections::BTreeMap;
//! use profile_store::{Applied, Current, Record, Result, Timestamp, Write, WriteBatch};
//!
//! fn apply(rows: &mut BTreeMap<String, Record>, batch: &WriteBatch, now: Timestamp) -> Result<Applied> {
//!     let mut plan = batch.plan(now);
//!     for entry in batch.entries() {
//!         plan.resolve(entry, rows.get(entry.id().as_str()).map(Record::current));
//!     }
//!     for change in plan.changes() {
//!         match &change.write {
//!             Write::Insert(record) | Write::Update(record) => {
//!                 rows.insert(change.id.to_string(), record.clone().detached());
//!             }
//!             Write::Delete => {
//!                 rows.remove(change.id.as_str());
//!             }
//!         }
//!     }
//!     Ok(plan.finish())
//! }
//! ```

mod plan;

use crate::item_error::ItemError;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::places::Places;
use crate::profile::{ExternalUserId, Profile, Timestamp};
use crate::request::Condition;

pub use plan::Plan;

/// The admitted writes of one call, at most one entry for each id.
///
/// Only this crate builds one, so what reaches a backend has passed admission.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    entries: Vec<Entry>,
    bytes: usize,
    limits: Limits,
    all_or_nothing: bool,
}

/// What is to be done with one id: writes that apply in order.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the batch.
    place: usize,
    id: ExternalUserId,
    // Nearly always one write: the others are dropped as soon as a later one makes them void.
    first: Operation,
    later: Vec<Operation>,
}

/// A write of an id, as one item of the batch asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// The item's place in the request.
    pub item: usize,
    pub condition: Condition,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Put(Memory),
    Merge(Memory),
    Delete,
    /// Stores the record with its own times, unless the profile there has changed later.
    Restore(Box<Record>),
}

impl Operation {
    /// Whether a later unconditional replacement makes this one void: it can't fail, and what it
    /// does is overwritten.
    fn is_plain(&self) -> bool {
        self.condition == Condition::None && matches!(self.action, Action::Put(_) | Action::Delete)
    }

    fn bytes(&self) -> usize {
        match &self.action {
            Action::Put(memory) | Action::Merge(memory) => memory.as_str().len(),
            Action::Restore(record) => record.memory.as_str().len(),
            Action::Delete => 0,
        }
    }
}

/// What a backend holds for an id, borrowed from wherever the engine keeps it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Current<'a> {
    memory: CurrentMemory<'a>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The text of a record, hidden from `Debug` (S14).
#[derive(Clone, Copy)]
struct CurrentMemory<'a>(&'a str);

impl std::fmt::Debug for CurrentMemory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a> Current<'a> {
    /// What is stored, its checksum verified.
    #[must_use]
    pub fn new(memory: &'a str, created_at: Timestamp, updated_at: Timestamp) -> Self {
        Self { memory: CurrentMemory(memory), created_at, updated_at }
    }

    /// The profile of `id` that this is.
    #[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
    pub(crate) fn into_profile(self, id: ExternalUserId) -> Profile {
        Profile::new(id, Memory::from_stored(self.memory.0), self.created_at, self.updated_at)
    }

    /// The text of the memory.
    #[must_use]
    pub fn memory(&self) -> &'a str {
        self.memory.0
    }

    /// When the profile came to be.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When the memory last changed.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at
    }
}

/// What is to be stored for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The memory.
    pub memory: Memory,
    /// When the profile came to be.
    pub created_at: Timestamp,
    /// When the memory last changed.
    pub updated_at: Timestamp,
}

impl Record {
    /// A record as a backend has read it.
    #[must_use]
    pub fn new(memory: Memory, created_at: Timestamp, updated_at: Timestamp) -> Self {
        Self { memory, created_at, updated_at }
    }

    /// The same record, its memory [detached](Memory::detached): for backends that keep it as it is.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { memory: self.memory.detached(), ..self }
    }

    /// The record as input to [`Plan::resolve`].
    #[must_use]
    pub fn current(&self) -> Current<'_> {
        Current::new(self.memory.as_str(), self.created_at, self.updated_at)
    }
}

/// One change that a backend has to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change<'a> {
    /// The id that it is about. What keeps it as it is keeps it [detached](ExternalUserId::detached).
    pub id: &'a ExternalUserId,
    /// What to do with it.
    pub write: Write,
}

/// What to do with the record of an id.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a backend must handle every kind of write")]
pub enum Write {
    /// There is none yet: store this one.
    Insert(Record),
    /// There is one: store this one in its place, its times included.
    Update(Record),
    /// There is one: remove it.
    Delete,
}

/// What became of one entry, by the net effect of the batch (S4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// There was no profile, now there is.
    Created,
    /// The memory, or a time of a profile restored, has changed.
    Updated,
    /// The same memory was there already; nothing was written.
    Unchanged,
    /// There was a profile, now there is none.
    Deleted,
    /// There was no profile to delete.
    Absent,
}

/// What became of a batch: one [`Effect`] an entry, in the order of [`WriteBatch::entries`], and the
/// items that failed in the transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    effects: Vec<Effect>,
    /// Sorted by item.
    failures: Vec<(usize, ItemError)>,
    abandoned: bool,
}

impl Applied {
    /// Of a batch of which no item can fail.
    #[cfg(feature = "postgres")]
    pub(crate) fn of(effects: Vec<Effect>) -> Self {
        Self { effects, failures: Vec::new(), abandoned: false }
    }

    /// One effect an entry.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// What is wrong with an item of the request, if anything is.
    pub(crate) fn failure(&self, item: usize) -> Option<&ItemError> {
        let failed = self.failures.binary_search_by_key(&item, |(failed, _)| *failed);
        let failed = failed.ok().map(|at| &self.failures[at].1);
        failed.or(self.abandoned.then_some(&ItemError::NotStored))
    }
}

impl WriteBatch {
    /// An empty batch with room for about so many entries.
    pub(crate) fn new(limits: Limits, all_or_nothing: bool, expected: usize) -> Self {
        Self { entries: Vec::with_capacity(expected), bytes: 0, limits, all_or_nothing }
    }

    /// A batch that deletes `ids`, and for each of them the place of its entry.
    pub(crate) fn deleting(ids: &[ExternalUserId], condition: Condition) -> (Self, Vec<usize>) {
        Self::of(ids.iter().map(|id| (id.clone(), Action::Delete)), condition)
    }

    /// A batch that stores profiles with their times, and for each of them the place of its entry.
    pub(crate) fn restoring(profiles: impl ExactSizeIterator<Item = Profile>) -> (Self, Vec<usize>) {
        let restore = |profile: Profile| {
            let Profile { external_user_id, memory, created_at, updated_at } = profile;
            (external_user_id, Action::Restore(Box::new(Record::new(memory, created_at, updated_at))))
        };
        Self::of(profiles.map(restore), Condition::None)
    }

    fn of(
        actions: impl ExactSizeIterator<Item = (ExternalUserId, Action)>,
        condition: Condition,
    ) -> (Self, Vec<usize>) {
        let mut batch = Self::default();
        let mut places = Places::with_capacity(actions.len());
        let place = |(item, (id, action)): (usize, (ExternalUserId, Action))| {
            batch.push(&mut places, id, Operation { item, condition, action })
        };
        let places = actions.enumerate().map(place).collect();
        (batch, places)
    }

    /// Adds a write, and tells the place of its id's entry. `places` are those of the entries so far.
    pub(crate) fn push(&mut self, places: &mut Places, id: ExternalUserId, operation: Operation) -> usize {
        let next = self.entries.len();
        if let Some(place) = places.find_or_set(id.as_str(), next, |at| self.entries[at].id.as_str()) {
            self.push_later(place, operation);
            return place;
        }
        self.bytes += id.as_str().len() + operation.bytes();
        self.entries.push(Entry { place: next, id, first: operation, later: Vec::new() });
        next
    }

    /// Adds a further write of the id at `place` (S4).
    fn push_later(&mut self, place: usize, operation: Operation) {
        let entry = &mut self.entries[place];
        self.bytes += operation.bytes();
        if operation.is_plain() {
            while let Some(void) = entry.later.pop_if(|last| last.is_plain()) {
                self.bytes -= void.bytes();
            }
            if entry.later.is_empty() && entry.first.is_plain() {
                self.bytes -= entry.first.bytes();
                entry.first = operation;
                return;
            }
        }
        entry.later.push(operation);
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Lets go of the body that ids and memories are parts of.
    pub(crate) fn detach(&mut self) {
        for entry in &mut self.entries {
            entry.id = entry.id.clone().detached();
            for operation in std::iter::once(&mut entry.first).chain(&mut entry.later) {
                if let Action::Put(memory) | Action::Merge(memory) = &mut operation.action {
                    *memory = memory.clone().detached();
                }
            }
        }
    }

    /// The memories that replace others.
    #[cfg(test)]
    pub(crate) fn puts(&self) -> impl Iterator<Item = &Memory> {
        self.entries.iter().filter_map(|entry| match &entry.first.action {
            Action::Put(memory) => Some(memory),
            Action::Merge(_) | Action::Delete | Action::Restore(_) => None,
        })
    }

    /// The entries; no two of them have the same id.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a profile may be removed by it.
    #[cfg(feature = "postgres")]
    pub(crate) fn deletes(&self) -> bool {
        let deletes = |operation: &Operation| matches!(operation.action, Action::Delete);
        self.entries.iter().any(|entry| deletes(&entry.first) || entry.later.iter().any(deletes))
    }

    /// Bytes of ids and memories.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Entry {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &ExternalUserId {
        &self.id
    }

    /// Whether [`Plan::resolve`] looks into the current memory. Where it does not, a record that
    /// is damaged can be handed in as `Current::new("", …)`: so it can still be deleted.
    #[must_use]
    pub fn reads_memory(&self) -> bool {
        !(self.later.is_empty() && self.first.is_plain() && matches!(self.first.action, Action::Delete))
    }

    /// The memory to store whatever is there, if nothing else is asked for.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn as_put(&self) -> Option<&Memory> {
        match &self.first {
            Operation { condition: Condition::None, action: Action::Put(memory), .. }
                if self.later.is_empty() =>
            {
                Some(memory)
            }
            _ => None,
        }
    }

    /// The record to resolve against, as `read` verifies it. One that is only to be deleted is not
    /// looked into, so that a damaged one can be.
    #[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
    pub(crate) fn current<'r>(
        &self,
        read: impl FnOnce() -> crate::error::Result<Current<'r>>,
    ) -> crate::error::Result<Current<'r>> {
        if self.reads_memory() {
            return read();
        }
        Ok(Current::new("", Timestamp::from_micros(0), Timestamp::from_micros(0)))
    }
}
