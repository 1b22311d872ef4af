//! Compaction: a copy of what is live, in the place of all that was.
//!
//! fjall's own compaction leaves deleted bytes in journals, and in tables until it merges them. A copy holds
//! nothing but what is there.

use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use super::open::{create, recover};
use super::shared::{Shared, View};
use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::key_value::directory::Directory;
use crate::engine::key_value::emptying;
use crate::engine::key_value::keys;
use crate::engine::key_value::reading;
use crate::engine::key_value::record;
use crate::engine::key_value::snapshot::Snapshot as _;
use crate::engine::key_value::staging::Staged;
use crate::model::error::Result;

/// Bytes copied by one write.
const STEP_BYTES: usize = 1 << 20;

const NEVER: Duration = Duration::MAX;

/// Copies while reads go on; they wait while the files change places. A failure before that changes nothing.
/// One after it trips the breaker: opening the store again finds the old files or the new ones.
pub(super) fn compact(
    shared: &Shared,
    directory: &Directory,
    cache_bytes: u64,
    breaker: &Breaker,
) -> Result<()> {
    let new = directory.new_data()?;
    shared.with(|database| copy(&database.view(), &new, cache_bytes))?;
    let mut replaced = shared.replace();
    // fjall's threads write by the paths of its files: none may run when these lead to others.
    drop(replaced.take());
    let swapped = directory.swap_data();
    let opened = swapped.and_then(|()| recover(&directory.data(), cache_bytes, Deadline::after(NEVER)));
    *replaced = Some(opened.inspect_err(|error| breaker.trip(error))?);
    Ok(())
}

/// Copies everything except the leavings of deleted gurus. An unknown number of profiles is counted. Damaged
/// records are copied as they are.
fn copy(view: &View, new: &Path, cache_bytes: u64) -> Result<()> {
    let database = create(new, cache_bytes)?;
    let deleted = emptying::deleted(view)?;
    let (mut staged, mut bytes) = (Staged::new(), 0);
    for entry in view.scan((Bound::Unbounded, Bound::Unbounded)) {
        let (key, value) = entry?;
        let number = keys::number_of(&key).or_else(|_| keys::deleted_of(&key));
        if number.is_ok_and(|number| deleted.binary_search(&number).is_ok()) {
            continue;
        }
        let counted = keys::slug_of(&key).ok().and_then(|guru| {
            let known = record::decode_guru(&guru, &value).ok()?;
            known.profiles.known().is_none().then_some((guru, known.number))
        });
        let value = match counted {
            Some((guru, number)) => record::encode_guru(&guru, number, Some(reading::count(view, number)?)),
            None => value.to_vec(),
        };
        bytes += key.len() + value.len();
        staged.insert(key.to_vec(), Some(value));
        if bytes >= STEP_BYTES {
            database.settles(Deadline::after(NEVER))?;
            database.write(std::mem::take(&mut staged), fjall::PersistMode::Buffer)?;
            bytes = 0;
        }
    }
    database.write(staged, fjall::PersistMode::SyncAll)
}
