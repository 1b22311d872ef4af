//! Compaction: a copy of what is live, in the place of all that was.
//!
//! fjall's own compaction leaves deleted bytes in journals, and in tables until it merges them. A copy holds
//! nothing but what is there.

use std::fs;
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
use crate::model::error::{Error, ErrorKind, Result};

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
    let copied = shared.with(|database| copy(&database.view(), &new, cache_bytes));
    // Half a copy would keep the disk full.
    let damaged = copied.inspect_err(|_| drop(fs::remove_dir_all(&new)))?;
    let mut replaced = shared.replace();
    // fjall's threads write by the paths of its files: none may run when these lead to others.
    drop(replaced.database.take());
    let swapped = directory.swap_data();
    let opened = swapped.and_then(|()| recover(&directory.data(), cache_bytes, Deadline::after(NEVER)));
    *replaced.database = Some(opened.inspect_err(|error| breaker.trip(error))?);
    if damaged > 0 {
        let message = "the mark of a deleted guru is damaged, so its profiles are still in the files: copy the store to a new one";
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(())
}

/// Copies everything except the leavings of deleted gurus. An unknown number of profiles is counted. Damaged
/// records are copied as they are. Returns how many marks of deleted gurus are damaged.
fn copy(view: &View, new: &Path, cache_bytes: u64) -> Result<usize> {
    let database = create(new, cache_bytes)?;
    let (deleted, damaged) = emptying::deleted(view)?;
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
    database.write(staged, fjall::PersistMode::SyncAll).map(|()| damaged)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use crate::admission::batch::User;
    use crate::backends::fjall::open;
    use crate::backends::fjall::writer::Writer;
    use crate::engine::key_value::reading::scan::{all_end_within, during_a_scan};
    use crate::engine::key_value::writing::Writing;
    use crate::engine::threaded::Threaded;
    use crate::model::error::ErrorKind;
    use crate::store::contract::ProfileStore as _;
    use crate::store::handle::HasGurus as _;
    use crate::store::options::StoreOptions;

    use super::*;

    /// P2: a scan holds up compaction, which holds up nobody longer than they may wait.
    #[test]
    fn calls_behind_a_compaction_behind_a_scan_are_told_in_time() {
        const PATIENCE: Duration = Duration::from_millis(400);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (hand, handed) = mpsc::channel();
        let options = StoreOptions::default().with_busy_timeout(PATIENCE);
        let store = pollster::block_on(Threaded::open(options, 0, move |options, breaker, _| {
            let writer = Writer::new(open::open(&path, options)?, options, breaker);
            hand.send(writer.reader()).unwrap();
            let readers = (0..options.read_threads()).map(|_| writer.reader()).collect();
            Ok((Writing::new(writer), Vec::new(), readers))
        }))
        .unwrap();
        let guru = store.guru("g").unwrap();
        let upsert =
            |id: &str| pollster::block_on(guru.upsert(User::serialize(id, &serde_json::json!({})))).map(drop);
        upsert("ada").unwrap();
        let reader = handed.recv().unwrap();
        thread::scope(|scope| {
            let (compaction, calls, all_told) = during_a_scan(reader, || {
                let compaction = scope.spawn(|| pollster::block_on(store.compact()));
                thread::sleep(PATIENCE);
                let calls: Vec<_> = (0..10)
                    .map(|n| {
                        let (guru, upsert) = (&guru, &upsert);
                        scope.spawn(move || {
                            let told = match n {
                                0..5 => upsert(&format!("u{n}")),
                                _ => pollster::block_on(guru.count()).map(drop),
                            };
                            (n, told)
                        })
                    })
                    .collect();
                let all_told = all_end_within(&calls, 20 * PATIENCE);
                (compaction, calls, all_told)
            });
            assert!(all_told, "calls wait for the scan");
            for call in calls {
                let (n, told) = call.join().unwrap();
                // Reads may pass between two tries of the compaction.
                assert!(n >= 5 || told.is_err(), "{n}");
                assert!(told.is_ok() || told.unwrap_err().kind() == ErrorKind::Busy, "{n}");
            }
            compaction.join().unwrap().unwrap();
        });
        upsert("bob").unwrap();
        assert_eq!(pollster::block_on(guru.count()).unwrap(), 2);
        pollster::block_on(store.close()).unwrap();
    }
}
