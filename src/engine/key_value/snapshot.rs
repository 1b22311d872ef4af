//! The engine as its keys are read, and the records that more than one room looks up.

use crate::engine::key_value::keys::{self, KeyRange};
use crate::engine::key_value::record::{self, GuruRecord};
use crate::model::error::Result;
use crate::model::name::GuruSlug;

/// One consistent state of an engine's keys.
pub(crate) trait Snapshot {
    type Bytes: AsRef<[u8]>;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>>;

    /// The keys of the range and what they hold, ascending.
    fn scan(
        &self,
        range: KeyRange,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes)>> + '_;
}

/// The record of a guru; `None` if it has no profiles.
pub(crate) fn guru(snapshot: &impl Snapshot, guru: &GuruSlug) -> Result<Option<GuruRecord>> {
    let stored = snapshot.get(&keys::guru(guru))?;
    stored.map(|bytes| record::decode_guru(guru, bytes.as_ref())).transpose()
}

#[cfg(test)]
impl Snapshot for std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    type Bytes = Vec<u8>;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(key).cloned())
    }

    fn scan(&self, range: KeyRange) -> impl DoubleEndedIterator<Item = Result<(Vec<u8>, Vec<u8>)>> + '_ {
        self.range(range).map(|(key, value)| Ok((key.clone(), value.clone())))
    }
}
