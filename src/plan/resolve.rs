//! A batch being resolved against what a backend holds: what its writes amount to.

use crate::json::fold::Fold;
use crate::model::error::Result;
use crate::model::etag::ETag;
use crate::model::item_error::ItemError;
use crate::model::memory::Memory;
use crate::model::timestamp::Timestamp;
use crate::plan::change::{Change, Effect, Effects};
use crate::plan::record::{Record, RecordRef};
use crate::plan::writes::{Action, Condition, Entry, Writes};

/// A profile while the writes of an entry are made, one after the other. Its text is copied at most once, at the end.
struct State<'a> {
    memory: Content<'a>,
    /// `created_at` and `updated_at`, if they are brought along instead of read from the clock.
    times: Option<(Timestamp, Timestamp)>,
    /// The present memory's, once it was asked for.
    etag: Option<ETag>,
}

enum Content<'a> {
    /// As it is stored.
    Stored(&'a str),
    /// As a write gave it.
    Given(&'a Memory),
    /// With patches merged in.
    Folded(Fold<'a>),
}

impl<'a> State<'a> {
    fn new(memory: Content<'a>) -> Self {
        Self { memory, times: None, etag: None }
    }

    fn etag(&mut self) -> ETag {
        let memory = &self.memory;
        *self.etag.get_or_insert_with(|| match memory {
            Content::Stored(text) => ETag::of(text),
            Content::Given(memory) => memory.etag(),
            Content::Folded(fold) => ETag::of(&fold.text()),
        })
    }

    /// The record to be stored in the place of `current`; `None` if it is there already.
    fn record(self, current: Option<RecordRef<'_>>, now: Timestamp) -> Option<Record> {
        let memory = match self.memory {
            Content::Stored(_) => return None,
            Content::Given(memory) => memory.clone(),
            Content::Folded(fold) => Memory::from_stored(fold.text()),
        };
        let Some(current) = current else {
            let (created_at, updated_at) = self.times.unwrap_or((now, now));
            return Some(Record::new(memory, created_at, updated_at));
        };
        let stored = (current.created_at(), current.updated_at());
        if memory.as_str() == current.memory() && self.times.is_none_or(|times| times == stored) {
            return None;
        }
        let (created_at, updated_at) = self.times.unwrap_or((stored.0, now.max(stored.1.next())));
        Some(Record::new(memory, created_at, updated_at))
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
    /// not read, so that a damaged one can be ([S12](crate::contract#s12)).
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
                (Some(state), None) => {
                    let record = state.record(None, self.now);
                    (Effect::Created, record.map(|record| Change::Insert(id, record)))
                }
                (Some(state), Some(_)) => match state.record(current, self.now) {
                    Some(record) => (Effect::Updated, Some(Change::Update(id, record))),
                    None => (Effect::Unchanged, None),
                },
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

    /// The profile once the entry's writes have been made in order, each that can be.
    fn outcome<'s>(&mut self, entry: &'s Entry, current: Option<RecordRef<'s>>) -> Option<State<'s>> {
        if entry.later.is_empty() {
            return self.play(entry, current, true);
        }
        // The limits hold for what all of them come to, wherever that was in between. A batch that keeps them is the same
        // when it is sent again (S5), which begins at the result. Otherwise each write has to keep them.
        let failures = self.failures.len();
        let state = self.play(entry, current, false);
        let limits = self.writes.limits;
        let keeps = |state: &State<'_>| match &state.memory {
            Content::Folded(fold) => limits.judge_memory(fold.bytes(), |limit| fold.depth() > limit).is_ok(),
            Content::Stored(_) | Content::Given(_) => true,
        };
        if state.as_ref().is_none_or(keeps) {
            return state;
        }
        self.failures.truncate(failures);
        self.play(entry, current, true)
    }

    /// Makes the writes of an entry, each within the limits, if they are `limited`.
    fn play<'s>(
        &mut self,
        entry: &'s Entry,
        current: Option<RecordRef<'s>>,
        limited: bool,
    ) -> Option<State<'s>> {
        let mut state = current.map(|current| State::new(Content::Stored(current.memory())));
        for operation in std::iter::once(&entry.first).chain(&entry.later) {
            let times = state.as_ref().and_then(|state| state.times);
            let updated_at = match times {
                Some((_, updated_at)) => Some(updated_at),
                None => current.map(|current| current.updated_at()),
            };
            let refused = match operation.condition {
                Condition::Absent if state.is_some() => Some(ItemError::Exists),
                Condition::Match(etag) if state.as_mut().map(State::etag) != Some(etag) => {
                    Some(ItemError::Changed)
                }
                Condition::UpdatedBefore(moment) if updated_at.is_none_or(|at| at >= moment) => {
                    Some(ItemError::Changed)
                }
                Condition::Seen(etag, moment)
                    if updated_at != Some(moment) || state.as_mut().map(State::etag) != Some(etag) =>
                {
                    Some(ItemError::Changed)
                }
                Condition::None
                | Condition::Absent
                | Condition::Match(_)
                | Condition::UpdatedBefore(_)
                | Condition::Seen(..) => None,
            };
            if let Some(error) = refused {
                self.failures.push((operation.item, error));
                continue;
            }
            match &operation.action {
                Action::Put(memory) => state = Some(State::new(Content::Given(memory))),
                Action::Merge(patch) => {
                    let (before, times, etag) = match state.take() {
                        None => (None, None, None),
                        Some(State { memory, times, etag }) => (Some(memory), times, etag),
                    };
                    let existed = before.is_some();
                    let mut fold = match before {
                        None => Fold::new("{}"),
                        Some(Content::Stored(text)) => Fold::new(text),
                        Some(Content::Given(memory)) => Fold::new(memory.as_str()),
                        Some(Content::Folded(fold)) => fold,
                    };
                    let limits = self.writes.limits;
                    let fits = |bytes, depth| match limited {
                        true => limits.judge_memory(bytes, |limit| depth > limit),
                        false => Ok(()),
                    };
                    match fold.merge(patch.as_str(), fits) {
                        Ok(()) => state = Some(State::new(Content::Folded(fold))),
                        Err(error) => {
                            self.failures.push((operation.item, error));
                            let memory = Content::Folded(fold);
                            state = existed.then_some(State { memory, times, etag });
                        }
                    }
                }
                Action::Delete => state = None,
                Action::Restore(record) => {
                    // A state after the last moment can't show that it is newer, so no state of that moment is replaced (S7).
                    if updated_at.is_none_or(|at| at <= record.updated_at && at < Timestamp::LAST) {
                        let times = Some((record.created_at, record.updated_at));
                        state = Some(State { times, ..State::new(Content::Given(&record.memory)) });
                    }
                }
            }
        }
        state
    }

    /// Whether the batch is given up: it is stored whole or not at all, and an item of it failed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.writes.all_or_nothing && !self.failures.is_empty()
    }

    /// The changes to write, each id at most once. If there are none, nothing may be written at all ([S5](crate::contract#s5)).
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
    use crate::model::error::Error;
    use crate::model::limits::Limits;
    use crate::model::name::ExternalUserId;
    use crate::plan::duplicates::Duplicates;
    use crate::plan::writes::Operation;

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

    /// P1: the text is neither parsed, hashed nor copied again for each item.
    #[test]
    fn an_id_that_stands_many_times_costs_its_profile_once() {
        let members: Vec<_> = (0..60_000).map(|n| format!("\"member{n:05}\":{n}")).collect();
        let large = Memory::from_json(&format!("{{{}}}", members.join(","))).unwrap();
        let memory = |text: &str| Memory::from_json(text).unwrap();
        let id = ExternalUserId::new("u").unwrap();
        let started = std::time::Instant::now();
        let patches = [r#"{"z":1}"#, r#"{"z":{"a":null}}"#, r#"{"member00007":null}"#].map(memory);
        let merge = |item: usize| (Condition::None, Action::Merge(patches[item % 3].clone()));
        let refused = |_| (Condition::None, Action::Merge(memory(&format!(r#"{{"z":"{:01$}"}}"#, 0, 999))));
        let stale = |_| (Condition::Match(patches[0].etag()), Action::Put(patches[0].clone()));
        let operations: [&dyn Fn(usize) -> (Condition, Action); 3] = [&merge, &refused, &stale];
        for operation in operations {
            let limits = Limits::default().with_memory_bytes(large.as_str().len() + 99);
            let (mut batch, mut known) = (Writes::new(limits, false, 1), Duplicates::with_capacity(1));
            for item in 0..1_000 {
                let (condition, action) = operation(item);
                batch.push(&mut known, id.clone(), Operation { item, condition, action });
            }
            let mut plan = batch.plan(at(200));
            plan.resolve(&batch.entries[0], Some(|| Ok(RecordRef::new(large.as_str(), at(1), at(2)))))
                .unwrap();
        }
        assert!(started.elapsed().as_secs() < 90, "{:?}", started.elapsed());
    }

    /// S7: after the last moment no time shows which state is newer, so the stored one is kept.
    #[test]
    fn a_restore_replaces_nothing_of_the_last_moment() {
        let profile = |memory: &str, updated_at| {
            let id = ExternalUserId::new("u").unwrap();
            crate::model::profile::Profile::new(id, Memory::from_json(memory).unwrap(), at(10), updated_at)
        };
        for (stored, given, kept) in [
            (Timestamp::LAST, Timestamp::LAST, true),
            (Timestamp::LAST, at(100), true),
            (at(100), at(99), true),
            (at(100), at(100), false),
            (at(100), Timestamp::LAST, false),
        ] {
            let (batch, _) = Writes::restoring(std::iter::once(profile(r#"{"a":2}"#, given)));
            let mut plan = batch.plan(at(200));
            let row = || Ok(RecordRef::new(r#"{"a":1}"#, at(10), stored));
            plan.resolve(&batch.entries[0], Some(row)).unwrap();
            assert_eq!(plan.changes().is_empty(), kept, "{given} over {stored}");
        }
    }
}
