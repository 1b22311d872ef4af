//! What a batch comes to: changes to make, and effects to tell.

use crate::model::item_error::ItemError;
use crate::model::name::ExternalUserId;
use crate::plan::record::Record;

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

/// What became of a batch: one [`Effect`] an entry, in the order of [`Writes::entries`], and the
/// items that failed in the transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub(super) effects: Vec<Effect>,
    /// Sorted by item.
    pub(super) failures: Vec<(usize, ItemError)>,
    pub(super) abandoned: bool,
}

impl Effects {
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
