//! The batches of one transaction, against what the server holds; no I/O.
//!
//! Every id that the group writes has a slot, in the order of the key: guru, then id, by bytes. All
//! locks are taken in this order, by everyone. Batches are resolved one after the other, each seeing
//! what the ones before it leave; what differs from the rows in the end is written.

use tokio_postgres::Row;

use super::error::altered;
use super::row;
use crate::engine::group_commit::Done;
use crate::model::error::{Error, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::timestamp::Timestamp;
use crate::plan::change::Effects;
use crate::plan::record::Record;
use crate::plan::writes::{Entry, Writes};

pub(super) struct Group<'a> {
    /// Each with the time that stamps its changes.
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

/// The table's row for a key.
enum Stored {
    Nothing,
    /// A row of this transaction that only holds the lock on a key without a profile.
    Placeholder,
    Profile(Row),
}

/// The content of a slot after the batches so far.
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

/// The net result of the group.
pub(super) struct Resolution {
    /// One result a batch, for when the changes are made.
    pub results: Vec<Result<Done>>,
    /// In the order of the key, each key at most once.
    pub changes: Vec<RowChange>,
}

/// A row to be stored or removed.
pub(super) struct RowChange {
    pub slot: usize,
    /// The checksum of the row that is there; `None` if there is none.
    pub expected: Option<i64>,
    /// The record to store, and its checksum; `None` to remove the row.
    pub record: Option<(Record, i64)>,
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

    /// Takes the rows that the server has for `slots`, which are of one guru and ascend; a slot without
    /// a row has nothing. After a read of locked keys, each has a row or a placeholder, or the server has refused one.
    pub fn take(&mut self, slots: &[usize], rows: Vec<Row>, locked: bool) -> Result<()> {
        for &slot in slots {
            self.slots[slot].stored = Stored::Nothing;
        }
        for row in rows {
            let (_, id) = row::key(&row)?;
            let Ok(at) = slots.binary_search_by(|&slot| self.slots[slot].id.as_str().cmp(id)) else {
                continue;
            };
            self.slots[slots[at]].stored = match (row::is_placeholder(&row)?, row::stored_checksum(&row)?) {
                (true, 0) => Stored::Placeholder,
                (true, _) if !self.only_deletes() => return Err(row::left_over(&row)),
                _ => Stored::Profile(row),
            };
        }
        let missing = |&&slot: &&usize| locked && matches!(self.slots[slot].stored, Stored::Nothing);
        slots.iter().find(missing).map_or(Ok(()), |&slot| Err(self.altered(slot)))
    }

    /// The server has not done to a row what the statement says.
    pub fn altered(&self, slot: usize) -> Error {
        let (guru, id) = self.key(slot);
        altered(&format!("profile {:?} of guru {:?}", id.as_str(), guru.as_str()))
            .with_guru(guru.as_str())
            .with_external_user_id(id.as_str())
    }

    /// The slot of a key.
    pub fn slot(&self, guru: &str, id: &str) -> Option<usize> {
        self.slots.binary_search_by(|slot| (slot.guru.as_str(), slot.id.as_str()).cmp(&(guru, id))).ok()
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
                Stored::Placeholder => Some(0),
                Stored::Profile(row) => Some(row::stored_checksum(row)?),
            };
            let record = match (next, stored) {
                (Next::Profile(record), _) => {
                    let sum = row::checksum(guru, id, &record);
                    Some((record, sum))
                }
                (Next::Nothing, Stored::Profile(_)) | (_, Stored::Placeholder) => None,
                (Next::Nothing | Next::AsStored, _) => continue,
            };
            changes.push(RowChange { slot, expected, record });
        }
        Ok(Resolution { results, changes })
    }

    /// The content of a slot, given what the batches so far leave there.
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
