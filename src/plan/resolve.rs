//! A batch being resolved against what a backend holds: what its writes amount to.

use crate::json::merge::merge;
#[cfg(any(feature = "sled", test))]
use crate::model::error::Error;
use crate::model::error::Result;
use crate::model::item_error::ItemError;
use crate::model::memory::Memory;
#[cfg(feature = "sled")]
use crate::model::name::GuruSlug;
use crate::model::timestamp::Timestamp;
use crate::plan::change::{Change, Effect, Effects};
use crate::plan::record::{Record, RecordRef};
use crate::plan::writes::{Action, Condition, Entry, Operation, Writes};

/// What an entry leaves behind: a memory, and its times `(created_at, updated_at)` where they are
/// brought along instead of told by the clock.
#[derive(Clone)]
struct After {
    memory: Memory,
    times: Option<(Timestamp, Timestamp)>,
}

impl After {
    fn now(memory: Memory) -> Self {
        Self { memory, times: None }
    }

    /// Whether it is what is there already.
    fn is(&self, current: RecordRef<'_>) -> bool {
        self.memory.as_str() == current.memory()
            && self.times.is_none_or(|times| times == (current.created_at(), current.updated_at()))
    }
}

/// A batch being resolved against what a backend holds.
#[derive(Debug)]
pub struct Plan<'a> {
    writes: &'a Writes,
    now: Timestamp,
    effects: Vec<Option<Effect>>,
    failures: Vec<(usize, ItemError)>,
    changes: Vec<Change<'a>>,
}

impl Writes {
    /// Starts to resolve the batch; `now` stamps what changes.
    #[must_use]
    pub fn plan(&self, now: Timestamp) -> Plan<'_> {
        Plan { writes: self, now, effects: vec![None; self.len()], failures: Vec::new(), changes: Vec::new() }
    }
}

impl<'a> Plan<'a> {
    /// Decides what an entry of the batch amounts to, given its id's row, if there is one. Entries may come in any order, each
    /// once.
    ///
    /// `row` reads and verifies the row. It is called only if the entry looks into it: a row that is only to be deleted is
    /// not read, so that a damaged one can be (S12).
    ///
    /// # Errors
    /// The error of `row`. The entry is not resolved then.
    ///
    /// # Panics
    /// If the entry is not of this batch.
    pub fn resolve<'r>(
        &mut self,
        entry: &'a Entry,
        row: Option<impl FnOnce() -> Result<RecordRef<'r>>>,
    ) -> Result<()> {
        let own = self.writes.entries.get(entry.place);
        assert!(own.is_some_and(|own| std::ptr::eq(own, entry)), "the entry is of this batch");
        let id = &entry.id;
        let (effect, change) = if entry.only_deletes() {
            match row {
                Some(_) => (Effect::Deleted, Some(Change::Delete(id))),
                None => (Effect::Absent, None),
            }
        } else {
            let current = row.map(|read| read()).transpose()?;
            match (self.outcome(entry, current), current) {
                (Some(after), None) => {
                    let (created_at, updated_at) = after.times.unwrap_or((self.now, self.now));
                    let record = Record::new(after.memory, created_at, updated_at);
                    (Effect::Created, Some(Change::Insert(id, record)))
                }
                (Some(after), Some(current)) if after.is(current) => (Effect::Unchanged, None),
                (Some(after), Some(current)) => {
                    let moved = (current.created_at(), self.now.max(current.updated_at().next()));
                    let (created_at, updated_at) = after.times.unwrap_or(moved);
                    let record = Record::new(after.memory, created_at, updated_at);
                    (Effect::Updated, Some(Change::Update(id, record)))
                }
                (None, Some(_)) => (Effect::Deleted, Some(Change::Delete(id))),
                (None, None) => (Effect::Absent, None),
            }
        };
        self.effects[entry.place] = Some(effect);
        if let Some(change) = change {
            if self.changes.is_empty() {
                // A batch that changes one profile usually changes most, and a list that grows moves what it holds.
                self.changes.reserve_exact(self.writes.len());
            }
            self.changes.push(change);
        }
        Ok(())
    }

    /// What is there once the entry's writes have been made in order, each that can be.
    fn outcome(&mut self, entry: &Entry, current: Option<RecordRef<'_>>) -> Option<After> {
        // The usual case, for which nothing is copied.
        if let (Operation { condition: Condition::None, action: Action::Put(memory), .. }, []) =
            (&entry.first, entry.later.as_slice())
        {
            return Some(After::now(memory.clone()));
        }
        let mut state = current.map(|current| After::now(Memory::from_stored(current.memory())));
        for operation in std::iter::once(&entry.first).chain(&entry.later) {
            let updated_at = match &state {
                Some(After { times: Some((_, updated_at)), .. }) => Some(*updated_at),
                _ => current.map(|current| current.updated_at()),
            };
            let memory = state.as_ref().map(|state| &state.memory);
            let allowed = match operation.condition {
                Condition::Absent if memory.is_some() => Err(ItemError::Exists),
                Condition::Match(etag) if memory.map(Memory::etag) != Some(etag) => Err(ItemError::Changed),
                Condition::UpdatedBefore(moment) if updated_at.is_none_or(|at| at >= moment) => {
                    Err(ItemError::Changed)
                }
                Condition::None | Condition::Absent | Condition::Match(_) | Condition::UpdatedBefore(_) => {
                    Ok(())
                }
            };
            let next = allowed.and_then(|()| match &operation.action {
                Action::Put(memory) => Ok(Some(After::now(memory.clone()))),
                Action::Merge(patch) => {
                    let target = memory.map_or("{}", Memory::as_str);
                    let merged = Memory::from_stored(merge(target, patch.as_str()));
                    merged.within(&self.writes.limits).map(After::now).map(Some)
                }
                Action::Delete => Ok(None),
                Action::Restore(record) if updated_at.is_some_and(|at| at > record.updated_at) => {
                    Ok(state.clone())
                }
                Action::Restore(record) => Ok(Some(After {
                    memory: record.memory.clone(),
                    times: Some((record.created_at, record.updated_at)),
                })),
            });
            match next {
                Ok(next) => state = next,
                Err(error) => self.failures.push((operation.item, error)),
            }
        }
        state
    }

    /// Whether the batch is given up: it is stored whole or not at all, and an item of it failed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.writes.all_or_nothing && !self.failures.is_empty()
    }

    /// What is to be written, each id at most once; empty where the batch changes nothing, and
    /// then nothing may be written at all (S5).
    #[must_use]
    pub fn changes(&self) -> &[Change<'a>] {
        if self.is_abandoned() { &[] } else { &self.changes }
    }

    /// By how much the changes move the number of the guru's profiles.
    #[must_use]
    pub fn growth(&self) -> i64 {
        self.changes()
            .iter()
            .map(|change| match change {
                Change::Insert(..) => 1,
                Change::Update(..) => 0,
                Change::Delete(_) => -1,
            })
            .sum()
    }

    /// The number of the guru's profiles once the changes are made, given the one before. One that
    /// would be negative can't have been right (S12).
    #[cfg(feature = "sled")]
    pub(crate) fn grown(&self, guru: &GuruSlug, profiles: u64) -> Result<u64> {
        let grown = profiles.checked_add_signed(self.growth());
        grown.ok_or_else(|| Error::corrupt_guru(guru.as_str(), "its number of profiles is wrong"))
    }

    /// The result, once the changes are made.
    ///
    /// # Panics
    /// If an entry was not resolved.
    #[must_use]
    pub fn finish(self) -> Effects {
        let effects = self.effects.iter().map(|effect| effect.expect("every entry is resolved")).collect();
        let abandoned = self.is_abandoned();
        let mut failures = self.failures;
        failures.sort_unstable_by_key(|(item, _)| *item);
        Effects { effects, failures, abandoned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::ExternalUserId;
    use crate::plan::duplicates::Duplicates;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn put(text: &str) -> Writes {
        let mut batch = Writes::default();
        let action = Action::Put(Memory::from_json(text).unwrap());
        batch.push(
            &mut Duplicates::with_capacity(1),
            ExternalUserId::new("u").unwrap(),
            Operation { item: 0, condition: Condition::None, action },
        );
        batch
    }

    fn stored() -> Result<RecordRef<'static>> {
        Ok(RecordRef::new(r#"{"a":1}"#, at(10), at(100)))
    }

    /// S7: a clock that stands still or steps back never takes `updated_at` back.
    #[test]
    fn an_update_is_stamped_after_the_one_before() {
        let batch = put(r#"{"a":2}"#);
        for (now, expected) in [(50, 101), (100, 101), (200, 200)] {
            let mut plan = batch.plan(at(now));
            plan.resolve(&batch.entries[0], Some(stored)).unwrap();
            let [Change::Update(_, record)] = plan.changes() else { panic!("one update") };
            assert_eq!((record.created_at, record.updated_at), (at(10), at(expected)));
        }
    }

    /// S5.
    #[test]
    fn the_same_memory_is_no_change() {
        let batch = put(r#"{"a":1}"#);
        let mut plan = batch.plan(at(200));
        plan.resolve(&batch.entries[0], Some(stored)).unwrap();
        assert!(plan.changes().is_empty());
        assert_eq!(plan.finish().effects(), [Effect::Unchanged]);
    }

    /// S12: a damaged row can be deleted, and is not replaced unseen.
    #[test]
    fn a_row_is_read_only_if_the_entry_looks_into_it() {
        let damaged = || Err(Error::closed());
        let id = ExternalUserId::new("u").unwrap();
        for (condition, looks) in [(Condition::None, false), (Condition::UpdatedBefore(at(1)), true)] {
            let (batch, _) = Writes::deleting(std::slice::from_ref(&id), condition);
            let mut plan = batch.plan(at(200));
            let resolved = plan.resolve(&batch.entries[0], Some(damaged));
            assert_eq!(resolved.is_err(), looks);
            assert_eq!(plan.changes().len(), usize::from(!looks));
        }
        let batch = put(r#"{"a":1}"#);
        assert!(batch.plan(at(200)).resolve(&batch.entries[0], Some(damaged)).is_err());
    }
}
