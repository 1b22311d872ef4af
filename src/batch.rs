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
//!                 rows.insert(change.id.to_string(), record.clone());
//!             }
//!             Write::Delete => {
//!                 rows.remove(change.id.as_str());
//!             }
//!         }
//!     }
//!     Ok(plan.finish())
//! }
//! ```

use std::collections::HashMap;

use crate::memory::Memory;
use crate::profile::{ExternalUserId, Timestamp};

/// The admitted writes of one call, at most one entry for each id.
///
/// Only this crate builds one, so what reaches a backend has passed admission.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    entries: Vec<Entry>,
    bytes: usize,
}

/// The write of one id.
#[derive(Clone, Debug)]
pub struct Entry {
    id: ExternalUserId,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Put(Memory),
    Delete,
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
    /// The id that it is about.
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
    /// There is one: store this one in its place.
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
    /// The memory has changed.
    Updated,
    /// The same memory was there already; nothing was written.
    Unchanged,
    /// There was a profile, now there is none.
    Deleted,
    /// There was no profile to delete.
    Absent,
}

/// What became of a batch: one [`Effect`] an entry, in the order of [`WriteBatch::entries`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    effects: Vec<Effect>,
}

impl Applied {
    /// One effect an entry.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }
}

impl WriteBatch {
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self { entries: Vec::with_capacity(entries), bytes: 0 }
    }

    /// Adds the write of an id that the batch does not hold yet, and tells its place.
    pub(crate) fn push_put(&mut self, id: ExternalUserId, memory: Memory) -> usize {
        self.bytes += id.as_str().len() + memory.as_str().len();
        self.entries.push(Entry { id, action: Action::Put(memory) });
        self.entries.len() - 1
    }

    /// Replaces the write at `place`: the last one of an id wins (S4).
    pub(crate) fn replace_put(&mut self, place: usize, memory: Memory) {
        let entry = &mut self.entries[place];
        self.bytes += memory.as_str().len();
        if let Action::Put(earlier) = &entry.action {
            self.bytes -= earlier.as_str().len();
        }
        entry.action = Action::Put(memory);
    }

    /// A batch that deletes `ids`, and for each of them the place of its entry.
    pub(crate) fn deleting(ids: &[ExternalUserId]) -> (Self, Vec<usize>) {
        let mut batch = Self::with_capacity(ids.len());
        let mut places = HashMap::with_capacity(ids.len());
        let place = |id: &ExternalUserId| {
            *places.entry(id.clone()).or_insert_with(|| {
                batch.bytes += id.as_str().len();
                batch.entries.push(Entry { id: id.clone(), action: Action::Delete });
                batch.entries.len() - 1
            })
        };
        let places = ids.iter().map(place).collect();
        (batch, places)
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

    /// Bytes of ids and memories.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Starts to resolve the batch; `now` stamps what changes.
    #[must_use]
    pub fn plan(&self, now: Timestamp) -> Plan<'_> {
        Plan { batch: self, now, effects: Vec::with_capacity(self.len()), changes: Vec::new() }
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
        matches!(self.action, Action::Put(_))
    }
}

/// A batch being resolved against what a backend holds.
#[derive(Debug)]
pub struct Plan<'a> {
    batch: &'a WriteBatch,
    now: Timestamp,
    effects: Vec<Effect>,
    changes: Vec<Change<'a>>,
}

impl<'a> Plan<'a> {
    /// Decides what the next entry of the batch amounts to, given what is stored for its id.
    ///
    /// # Panics
    /// If the entries are not resolved in the order of [`WriteBatch::entries`].
    pub fn resolve(&mut self, entry: &'a Entry, current: Option<Current<'_>>) {
        let next = self.batch.entries.get(self.effects.len());
        assert!(next.is_some_and(|next| std::ptr::eq(next, entry)), "entries are resolved in their order");
        let (effect, write) = match (&entry.action, current) {
            (Action::Put(memory), None) => {
                (Effect::Created, Some(Write::Insert(Record::new(memory.clone(), self.now, self.now))))
            }
            (Action::Put(memory), Some(current)) if memory.as_str() == current.memory.0 => {
                (Effect::Unchanged, None)
            }
            (Action::Put(memory), Some(current)) => {
                let updated_at = self.now.max(current.updated_at.next());
                (
                    Effect::Updated,
                    Some(Write::Update(Record::new(memory.clone(), current.created_at, updated_at))),
                )
            }
            (Action::Delete, Some(_)) => (Effect::Deleted, Some(Write::Delete)),
            (Action::Delete, None) => (Effect::Absent, None),
        };
        self.effects.push(effect);
        self.changes.extend(write.map(|write| Change { id: &entry.id, write }));
    }

    /// What is to be written, each id at most once; empty where the batch changes nothing, and
    /// then nothing may be written at all (S5).
    #[must_use]
    pub fn changes(&self) -> &[Change<'a>] {
        &self.changes
    }

    /// By how much the changes move the number of the guru's profiles.
    #[must_use]
    pub fn growth(&self) -> i64 {
        self.changes
            .iter()
            .map(|change| match change.write {
                Write::Insert(_) => 1,
                Write::Update(_) => 0,
                Write::Delete => -1,
            })
            .sum()
    }

    /// The result, once the changes are made.
    ///
    /// # Panics
    /// If an entry was not resolved.
    #[must_use]
    pub fn finish(self) -> Applied {
        assert_eq!(self.effects.len(), self.batch.len(), "every entry is resolved");
        Applied { effects: self.effects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn put(text: &str) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.push_put(ExternalUserId::new("u").unwrap(), Memory::from_json(text).unwrap());
        batch
    }

    /// S7: a clock that stands still or steps back never takes `updated_at` back.
    #[test]
    fn an_update_is_stamped_after_the_one_before() {
        let batch = put(r#"{"a":2}"#);
        for (now, expected) in [(50, 101), (100, 101), (200, 200)] {
            let mut plan = batch.plan(at(now));
            plan.resolve(&batch.entries[0], Some(Current::new(r#"{"a":1}"#, at(10), at(100))));
            let [Change { write: Write::Update(record), .. }] = plan.changes() else { panic!("one update") };
            assert_eq!((record.created_at, record.updated_at), (at(10), at(expected)));
        }
    }

    /// S5.
    #[test]
    fn the_same_memory_is_no_change() {
        let batch = put(r#"{"a":1}"#);
        let mut plan = batch.plan(at(200));
        plan.resolve(&batch.entries[0], Some(Current::new(r#"{"a":1}"#, at(10), at(100))));
        assert!(plan.changes().is_empty());
        assert_eq!(plan.finish().effects(), [Effect::Unchanged]);
    }
}
