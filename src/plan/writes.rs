//! The admitted writes, by id, with their conditions.

use crate::model::etag::ETag;
use crate::model::limits::Limits;
use crate::model::memory::Memory;
use crate::model::name::ExternalUserId;
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::plan::duplicates::Duplicates;
use crate::plan::record::Record;

/// The admitted writes of one call, at most one entry for each id.
///
/// Only this crate builds one, so what reaches a backend has passed admission.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    pub(super) entries: Vec<Entry>,
    bytes: usize,
    pub(super) limits: Limits,
    pub(super) all_or_nothing: bool,
}

/// The writes to one id, which apply in order.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the batch.
    pub(super) place: usize,
    pub(super) id: ExternalUserId,
    // Nearly always one write: the others are dropped as soon as a later one makes them void.
    pub(super) first: Operation,
    pub(super) later: Vec<Operation>,
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

/// The state that the profile must have for a write to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    None,
    Absent,
    Match(ETag),
    /// There is a profile, and its memory last changed before this moment.
    UpdatedBefore(Timestamp),
    /// There is a profile with this ETag, and its memory last changed at this moment.
    Seen(ETag, Timestamp),
}

impl Writes {
    /// An empty batch with room for about so many entries.
    pub(crate) fn new(limits: Limits, all_or_nothing: bool, expected: usize) -> Self {
        Self { entries: Vec::with_capacity(expected), bytes: 0, limits, all_or_nothing }
    }

    /// A batch that deletes `ids`, and for each of them the place of its entry.
    pub(crate) fn deleting(ids: &[ExternalUserId], condition: Condition) -> (Self, Vec<usize>) {
        Self::of(ids.iter().map(|id| (id.clone(), condition, Action::Delete)))
    }

    /// A batch that deletes profiles if they are still as they were seen.
    pub(crate) fn deleting_seen(profiles: &[Profile]) -> Self {
        let delete = |profile: &Profile| {
            let seen = Condition::Seen(profile.etag(), profile.updated_at);
            (profile.external_user_id.clone(), seen, Action::Delete)
        };
        Self::of(profiles.iter().map(delete)).0
    }

    /// A batch that stores profiles with their times, and for each of them the place of its entry.
    pub(crate) fn restoring(profiles: impl ExactSizeIterator<Item = Profile>) -> (Self, Vec<usize>) {
        let restore = |profile: Profile| {
            let Profile { external_user_id, memory, created_at, updated_at } = profile;
            (
                external_user_id,
                Condition::None,
                Action::Restore(Box::new(Record::new(memory, created_at, updated_at))),
            )
        };
        Self::of(profiles.map(restore))
    }

    fn of(actions: impl ExactSizeIterator<Item = (ExternalUserId, Condition, Action)>) -> (Self, Vec<usize>) {
        let mut batch = Self::default();
        let mut known = Duplicates::with_capacity(actions.len());
        let place = |(item, (id, condition, action)): (usize, (ExternalUserId, Condition, Action))| {
            batch.push(&mut known, id, Operation { item, condition, action })
        };
        let places = actions.enumerate().map(place).collect();
        (batch, places)
    }

    /// Adds a write, and returns the place of its id's entry. `known` are the ids of the entries so far.
    pub(crate) fn push(&mut self, known: &mut Duplicates, id: ExternalUserId, operation: Operation) -> usize {
        let next = self.entries.len();
        if let Some(place) = known.find_or_set(id.as_str(), next, |at| self.entries[at].id.as_str()) {
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

    /// Whether the id's record is only to be deleted, whatever it holds.
    pub(crate) fn only_deletes(&self) -> bool {
        self.later.is_empty() && self.first.is_plain() && matches!(self.first.action, Action::Delete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P2: the room of the queue is measured by it.
    #[test]
    fn what_waits_weighs_its_bytes() {
        let (mut known, mut writes) = (Duplicates::with_capacity(1), Writes::default());
        let mut weight_after = |condition, action| {
            let id = ExternalUserId::new("u").unwrap();
            writes.push(&mut known, id, Operation { item: 0, condition, action });
            writes.bytes()
        };
        let memory = || Memory::from_json(r#"{"a":1}"#).unwrap();
        assert_eq!(weight_after(Condition::None, Action::Put(memory())), 8);
        assert_eq!(weight_after(Condition::None, Action::Put(memory())), 8, "the first is void");
        assert_eq!(weight_after(Condition::None, Action::Merge(memory())), 15);
        assert_eq!(weight_after(Condition::Absent, Action::Put(memory())), 22);
        assert_eq!(weight_after(Condition::None, Action::Put(memory())), 29);
        assert_eq!(weight_after(Condition::None, Action::Delete), 22, "the one before is void");
    }
}
