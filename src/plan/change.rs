//! The result of planning a batch: changes to make, and effects to report.

use crate::model::item_error::ItemError;
use crate::model::name::ExternalUserId;
use crate::plan::record::Record;

/// A change of one row, which a backend has to make.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a backend must handle every kind of change")]
pub enum Change<'a> {
    /// The id has no record yet: store this one.
    Insert(&'a ExternalUserId, Record),
    /// The id has a record: store this one in its place, its times included.
    Update(&'a ExternalUserId, Record),
    /// The id has a record: remove it.
    Delete(&'a ExternalUserId),
}

impl<'a> Change<'a> {
    /// The id whose row changes.
    #[must_use]
    pub fn id(&self) -> &'a ExternalUserId {
        match self {
            Self::Insert(id, _) | Self::Update(id, _) | Self::Delete(id) => id,
        }
    }

    /// The record to be stored; `None` if one is to be removed.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Insert(_, record) | Self::Update(_, record) => Some(record),
            Self::Delete(_) => None,
        }
    }
}

/// The outcome of one entry, by the net effect of the batch ([S4](crate::contract#s4)).
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

/// The outcome of a batch: one [`Effect`] an entry, in the order of [`Writes::entries`](crate::backend::Writes::entries), and the
/// items that failed in the transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub(super) effects: Vec<Effect>,
    /// Sorted by item.
    pub(super) failures: Vec<(usize, ItemError)>,
    pub(super) abandoned: bool,
}

impl Effects {
    /// One effect an entry.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// The errors of an item of the request, if it has any.
    pub(crate) fn failure(&self, item: usize) -> Option<&ItemError> {
        let failed = self.failures.binary_search_by_key(&item, |(failed, _)| *failed);
        let failed = failed.ok().map(|at| &self.failures[at].1);
        failed.or(self.abandoned.then_some(&ItemError::NotStored))
    }
}
