//! The batches of one transaction, against what the server holds; no I/O.
//!
//! Every id that the group writes has a slot, in the order of the key: guru, then id, by bytes. All
//! locks are taken in this order, by everyone. Batches are resolved one after the other, each seeing
//! what the ones before it leave; what differs from the rows in the end is written.

use tokio_postgres::Row;

use super::row::{self, Sums};
use crate::engine::group_commit::Done;
use crate::model::error::Result;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::timestamp::Timestamp;
use crate::plan::change::{Effect, Effects};
use crate::plan::record::Record;
use crate::plan::writes::{Entry, Writes};

pub(super) struct Group<'a> {
    /// Each with the time that it is made at.
    batches: Vec<(&'a GuruSlug, &'a Writes, Timestamp)>,
    slots: Vec<Slot<'a>>,
    /// For each batch, the slot of each of its entries.
    places: Vec<Vec<usize>>,
}

struct Slot<'a> {
    guru: &'a GuruSlug,
    id: &'a ExternalUserId,
    stored: Stored,
}

/// What the table holds for a key.
enum Stored {
    Nothing,
    /// A row of this transaction that only holds the lock on a key without a profile.
    Placeholder,
    Profile(Row),
}

/// What a slot holds after the batches so far.
enum Next {
    AsStored,
    Profile(Record),
    Nothing,
}

/// A profile as the next batch finds it.
#[derive(Clone, Copy)]
enum Before<'s> {
    Row(&'s Row),
    Record(&'s Record),
}

/// What the group comes to.
pub(super) struct Resolution {
    /// One result a batch, for when the changes are made.
    pub results: Vec<Result<Done>>,
    /// In the order of the key, each key at most once.
    pub changes: Vec<RowChange>,
}

/// A row to be stored or removed.
pub(super) struct RowChange {
    pub slot: usize,
    /// The [version](Sums::version) of the row that is there; `None` where there is none.
    pub expected: Option<i64>,
    /// What to store, and its checksums; `None` to remove what is there.
    pub record: Option<(Record, Sums)>,
}

impl<'a> Group<'a> {
    pub fn new(batches: Vec<(&'a GuruSlug, &'a Writes, Timestamp)>) -> Self {
        let mut keys: Vec<(&GuruSlug, &ExternalUserId, usize, usize)> = Vec::new();
        let mut places = Vec::with_capacity(batches.len());
        for (batch, (guru, writes, _)) in batches.iter().enumerate() {
            keys.extend(writes.entries().enumerate().map(|(place, entry)| (*guru, entry.id(), batch, place)));
            places.push(vec![0; writes.len()]);
        }
        keys.sort_unstable();
        let mut slots: Vec<Slot<'a>> = Vec::with_capacity(keys.len());
        for (guru, id, batch, place) in keys {
            if slots.last().is_none_or(|last| (last.guru, last.id) != (guru, id)) {
                slots.push(Slot { guru, id, stored: Stored::Nothing });
            }
            places[batch][place] = slots.len() - 1;
        }
        Self { batches, slots, places }
    }

    /// The time of the last of the batches.
    pub fn now(&self) -> Timestamp {
        self.batches.iter().map(|(_, _, now)| *now).max().expect("a group is not empty")
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The key of a slot.
    pub fn key(&self, slot: usize) -> (&'a GuruSlug, &'a ExternalUserId) {
        (self.slots[slot].guru, self.slots[slot].id)
    }

    /// Whether no row needs to be looked into: all are to be deleted as they are.
    pub fn only_deletes(&self) -> bool {
        self.batches.iter().all(|(_, batch, _)| batch.entries().all(Entry::only_deletes))
    }

    /// The memories to be stored, one a slot; `None` where there is anything else to do than to put one for
    /// each, whatever is there.
    pub fn puts(&self) -> Option<Vec<&'a str>> {
        let mut memories = vec![None; self.slots.len()];
        for ((_, batch, _), places) in self.batches.iter().zip(&self.places) {
            for (entry, &slot) in batch.entries().zip(places) {
                if memories[slot].replace(entry.as_put()?.as_str()).is_some() {
                    return None;
                }
            }
        }
        memories.into_iter().collect()
    }

    /// The results of a group of [puts](Self::puts), by what became of each slot.
    pub fn applied(&self, effects: &[Effect]) -> Vec<Result<Done>> {
        let applied = |places: &Vec<usize>| Effects::of(places.iter().map(|&slot| effects[slot]).collect());
        self.places.iter().map(|places| Ok(Done::Applied(applied(places)))).collect()
    }

    /// The row that was taken for a slot.
    pub fn row(&self, slot: usize) -> Option<&Row> {
        match &self.slots[slot].stored {
            Stored::Profile(row) => Some(row),
            Stored::Nothing | Stored::Placeholder => None,
        }
    }

    /// Takes the rows that the server has for `slots`, which are of one guru and ascend; a slot without
    /// a row has nothing. Only behind `locked` reads, in the transaction that made them, can there be
    /// placeholders.
    pub fn take(&mut self, slots: &[usize], rows: Vec<Row>, locked: bool) -> Result<()> {
        let Some(&first) = slots.first() else { return Ok(()) };
        for &slot in slots {
            self.slots[slot].stored = Stored::Nothing;
        }
        let guru = self.slots[first].guru.as_str();
        for row in rows {
            let id = row::id(guru, &row)?;
            let Ok(at) = slots.binary_search_by(|&slot| self.slots[slot].id.as_str().cmp(id)) else {
                continue;
            };
            let placeholder = locked && row::is_placeholder(guru, id, &row)?;
            self.slots[slots[at]].stored =
                if placeholder { Stored::Placeholder } else { Stored::Profile(row) };
        }
        Ok(())
    }

    /// Whether a slot has the row of this version; `None` for no row at all.
    pub fn holds(&self, slot: usize, version: Option<i64>) -> Result<bool> {
        let Slot { guru, id, stored } = &self.slots[slot];
        Ok(match (stored, version) {
            (Stored::Profile(row), Some(version)) => {
                row::sums(guru.as_str(), id.as_str(), row)?.version() == version
            }
            (Stored::Profile(_), None) | (_, Some(_)) => false,
            (Stored::Nothing | Stored::Placeholder, None) => true,
        })
    }

    /// Resolves the batches against the rows taken.
    pub fn resolve(&self) -> Result<Resolution> {
        let mut after: Vec<_> = self.slots.iter().map(|_| Next::AsStored).collect();
        let results = (0..self.batches.len())
            .map(|batch| Ok(Done::Applied(self.resolve_batch(batch, &mut after)?)))
            .collect();
        let mut changes = Vec::new();
        for (slot, next) in after.into_iter().enumerate() {
            let Slot { guru, id, stored } = &self.slots[slot];
            let (guru, id) = (guru.as_str(), id.as_str());
            let expected = match stored {
                Stored::Nothing => None,
                Stored::Placeholder => Some(Sums::NONE.version()),
                Stored::Profile(row) => Some(row::sums(guru, id, row)?.version()),
            };
            let record = match (next, stored) {
                (Next::Profile(record), _) => {
                    let sums = Sums::of(guru, id, &record);
                    Some((record, sums))
                }
                (Next::Nothing, Stored::Profile(_)) | (_, Stored::Placeholder) => None,
                (Next::Nothing | Next::AsStored, _) => continue,
            };
            changes.push(RowChange { slot, expected, record });
        }
        Ok(Resolution { results, changes })
    }

    /// What a slot holds, given what the batches so far leave there.
    fn before<'s>(&'s self, slot: usize, after: &'s Next) -> Option<Before<'s>> {
        match (after, &self.slots[slot].stored) {
            (Next::AsStored, Stored::Profile(row)) => Some(Before::Row(row)),
            (Next::Profile(record), _) => Some(Before::Record(record)),
            (Next::Nothing, _) | (_, Stored::Nothing | Stored::Placeholder) => None,
        }
    }

    /// Resolves a batch against what the ones before it leave. One that fails leaves that as it is.
    fn resolve_batch(&self, batch: usize, after: &mut [Next]) -> Result<Effects> {
        let (guru, writes, now) = self.batches[batch];
        let mut plan = writes.plan(now);
        let mut changed = Vec::new();
        for (entry, &slot) in writes.entries().zip(&self.places[batch]) {
            let (before, changes) = (self.before(slot, &after[slot]), plan.changes().len());
            let read = |before| {
                move || match before {
                    Before::Row(row) => row::verify(guru.as_str(), entry.id().as_str(), row),
                    Before::Record(record) => Ok(record.into()),
                }
            };
            plan.resolve(entry, before.map(read))?;
            if plan.changes().len() > changes {
                changed.push(slot);
            }
        }
        for (change, slot) in plan.changes().iter().zip(changed) {
            after[slot] = change.record().map_or(Next::Nothing, |record| Next::Profile(record.clone()));
        }
        Ok(plan.finish())
    }
}
