//! Removing what deleted gurus have left, a bounded step at a time.
//!
//! `delete_guru` takes the guru out of sight by one small write, whatever its size (L2). Its profiles are
//! removed afterwards, between groups and when the store is opened. A mark names them until they are gone.

use std::ops::Bound;

use crate::engine::key_value::keys::{self, GuruNumber};
use crate::engine::key_value::record;
use crate::engine::key_value::snapshot::Snapshot;
use crate::engine::key_value::staging::Staged;
use crate::model::error::Result;

/// The most profiles that one step removes.
const STEP: usize = 1000;

/// Bytes of profiles after which a step ends: their values are read as well.
const STEP_BYTES: usize = 4 << 20;

/// The numbers of deleted gurus whose mark is sound, ascending, and how many marks are not.
#[cfg(feature = "fjall")]
pub(crate) fn deleted(snapshot: &impl Snapshot) -> Result<(Vec<GuruNumber>, usize)> {
    let (mut numbers, mut damaged) = (Vec::new(), 0);
    for entry in snapshot.scan(keys::all_deleted()) {
        let (key, mark) = entry?;
        match marked(key.as_ref(), mark.as_ref()) {
            Some(number) => numbers.push(number),
            None => damaged += 1,
        }
    }
    Ok((numbers, damaged))
}

/// The deleted guru of a mark. The guru of a damaged mark is not known; a scrub reports the mark.
fn marked(key: &[u8], mark: &[u8]) -> Option<GuruNumber> {
    let number = keys::deleted_of(key).ok()?;
    record::decode_deleted(number, mark).ok().map(|()| number)
}

/// How far the profiles of deleted gurus are removed.
#[derive(Debug, Default)]
pub(crate) struct Emptying {
    /// The last key removed. Looking for the next one from the start would pass over all that have been.
    at: Option<Vec<u8>>,
    /// Whether nothing is left to remove.
    done: bool,
}

impl Emptying {
    /// A guru has been deleted.
    pub fn begin(&mut self) {
        self.done = false;
    }

    /// The keys to remove next; empty if there are none.
    pub fn step(&mut self, snapshot: &impl Snapshot) -> Result<Staged> {
        let mut removed = Staged::new();
        if self.done {
            return Ok(removed);
        }
        for entry in snapshot.scan(keys::all_deleted()) {
            let (key, mark) = entry?;
            let Some(number) = marked(key.as_ref(), mark.as_ref()) else { continue };
            let (mut start, end) = keys::all_profiles(number);
            if let Some(at) = self.at.take().filter(|at| keys::number_of(at).ok() == Some(number)) {
                start = Bound::Excluded(at);
            }
            let (mut bytes, mut is_full) = (0, false);
            for entry in snapshot.scan((start, end)) {
                let (key, value) = entry?;
                bytes += value.as_ref().len();
                removed.insert(key.as_ref().to_vec(), None);
                is_full = removed.len() == STEP || bytes >= STEP_BYTES;
                if is_full {
                    break;
                }
            }
            self.at = removed.last_key_value().map(|(key, _)| key.clone()).filter(|_| is_full);
            if !is_full {
                removed.insert(key.as_ref().to_vec(), None);
            }
            return Ok(removed);
        }
        self.done = true;
        Ok(removed)
    }
}
