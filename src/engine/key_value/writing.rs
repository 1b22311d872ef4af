//! The commit thread's side of a key-value engine: groups, upkeep and the end.

use std::thread;
use std::time::Duration;

use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::engine::key_value::directory::Directory;
use crate::engine::key_value::emptying::Emptying;
use crate::engine::key_value::keys;
use crate::engine::key_value::snapshot::Snapshot;
use crate::engine::key_value::staging::{Staged, Staging};
use crate::model::error::{ErrorKind, Result};
use crate::model::timestamp::Timestamp;

/// How long the commit thread sleeps between two tries to begin upkeep.
const PAUSE: Duration = Duration::from_millis(5);

/// The part of a backend's writes that an engine brings.
pub(crate) trait KeyValueWrites: Sized {
    type Snapshot: Snapshot;

    /// The present state.
    fn snapshot(&self) -> Result<Self::Snapshot>;

    /// Waits until a write would not wait for reads, or for the engine's own upkeep. The next call is that write.
    /// [`Busy`](crate::model::error::ErrorKind::Busy) if that takes some tens of milliseconds, or beyond `until`.
    fn ready(&mut self, until: Deadline) -> Result<()>;

    /// Makes the writes, all or none, as durably as the store was opened for, or for a power loss. After an
    /// error nobody knows what of them is stored.
    fn write(&mut self, staged: Staged, for_power_loss: bool) -> Result<()>;

    /// Rewrites the files, without deleted and replaced records.
    fn compact(&mut self) -> Result<()>;

    fn directory(&mut self) -> &mut Directory;

    fn breaker(&self) -> &Breaker;

    /// Lets go of the engine, all of which is durable.
    fn close(self) -> Directory;

    /// Lets go of the engine after a failure, whatever it holds.
    fn abandon(self);
}

/// The engine under [`GroupCommit`](crate::engine::group_commit::GroupCommit).
pub(crate) struct Writing<W> {
    writes: W,
    emptying: Emptying,
}

impl<W: KeyValueWrites> Writing<W> {
    pub fn new(writes: W) -> Self {
        Self { writes, emptying: Emptying::default() }
    }

    /// Whether the files are still where they were opened, which the engines don't notice.
    fn look(&mut self) -> Result<()> {
        let breaker = self.writes.breaker().clone();
        self.writes.directory().check(&breaker)
    }

    /// The steps before a write.
    fn begin(&mut self, until: Deadline) -> Result<()> {
        let breaker = self.writes.breaker().clone();
        self.writes.directory().begin_writing(&breaker)?;
        self.writes.ready(until)
    }

    /// Writes what is staged, after it may [`begin`](Self::begin). An error leaves open what is stored: the engine is given up.
    fn write(&mut self, staged: Staged, for_power_loss: bool) -> Result<()> {
        self.writes.write(staged, for_power_loss).map_err(|error| {
            self.writes.breaker().trip(&error);
            error.with_may_be_stored(true)
        })
    }

    /// Removes a little of what deleted gurus have left. Returns whether there was anything.
    fn empty(&mut self) -> Result<bool> {
        let staged = self.emptying.step(&self.writes.snapshot()?)?;
        let is_any = !staged.is_empty();
        if is_any {
            // Nothing that was found is removed in this case: the search begins again.
            self.begin(Deadline::after(Duration::ZERO))
                .inspect_err(|_| self.emptying = Emptying::default())?;
            self.write(staged, false)?;
        }
        Ok(is_any)
    }

    /// Counts the end in the engine, as the last thing, durably, whatever was promised: a missing end is damage.
    fn end(&mut self) -> Result<Vec<u8>> {
        let before = self.writes.snapshot()?.get(&keys::CLOSED)?;
        let end = Directory::next_end(before.as_ref().map(AsRef::as_ref));
        self.writes.write(Staged::from([(keys::CLOSED.to_vec(), Some(end.clone()))]), true)?;
        Ok(end)
    }
}

impl<W: KeyValueWrites> Engine for Writing<W> {
    fn commit(&mut self, group: &[(&Task, Timestamp)], until: Deadline) -> Result<Vec<Result<Done>>> {
        let snapshot = self.writes.snapshot()?;
        let mut staging = Staging::new(&snapshot);
        let results = group.iter().map(|&(task, now)| staging.run(task, now)).collect();
        let staged = staging.finish();
        if !staged.is_empty() {
            self.begin(until)?;
            self.write(staged, false)?;
        }
        if group.iter().any(|(task, _)| matches!(task, Task::DeleteGuru { .. })) {
            self.emptying.begin();
        }
        Ok(results)
    }

    fn upkeep(&mut self, upkeep: Upkeep, until: Deadline) -> Result<()> {
        match upkeep {
            Upkeep::Compact => self.look().and_then(|()| self.writes.compact()),
            Upkeep::Probe => {
                while let Err(error) = self.begin(until) {
                    if error.kind() != ErrorKind::Busy || until.is_over() {
                        return Err(error);
                    }
                    thread::sleep(PAUSE);
                }
                self.write(Staged::from([(keys::PROBE.to_vec(), Some(Vec::new()))]), false)
            }
        }
    }

    /// Rows that can't be read or written now are removed after the next group, or the next opening.
    fn rest(&mut self) -> Result<bool> {
        self.empty()
    }

    fn close(mut self) -> Result<()> {
        if !self.writes.directory().is_written() {
            drop(self.writes.close());
            return Ok(());
        }
        match self.look().and_then(|()| self.end()) {
            Ok(end) => self.writes.close().close(&end),
            Err(error) => {
                // Another handle may read on: what is applied may not be durable.
                self.writes.breaker().trip(&error);
                self.writes.abandon();
                Err(error)
            }
        }
    }

    fn abandon(self) {
        self.writes.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::model::error::Error;
    use crate::model::memory::Memory;
    use crate::model::name::{ExternalUserId, GuruSlug};
    use crate::model::profile::Profile;
    use crate::plan::writes::Writes;
    use crate::store::options::StoreOptions;

    type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

    /// Keys in memory, behind somebody who reads.
    struct Lab {
        keys: Keys,
        directory: Directory,
        breaker: Breaker,
        is_read: bool,
    }

    impl KeyValueWrites for Lab {
        type Snapshot = Keys;

        fn snapshot(&self) -> Result<Keys> {
            Ok(self.keys.clone())
        }

        fn ready(&mut self, _: Deadline) -> Result<()> {
            if self.is_read { Err(Error::new(ErrorKind::Busy, "a scan")) } else { Ok(()) }
        }

        fn write(&mut self, staged: Staged, _: bool) -> Result<()> {
            for (key, value) in staged {
                match value {
                    Some(value) => drop(self.keys.insert(key, value)),
                    None => drop(self.keys.remove(&key)),
                }
            }
            Ok(())
        }

        fn compact(&mut self) -> Result<()> {
            Ok(())
        }

        fn directory(&mut self) -> &mut Directory {
            &mut self.directory
        }

        fn breaker(&self) -> &Breaker {
            &self.breaker
        }

        fn close(self) -> Directory {
            self.directory
        }

        fn abandon(self) {}
    }

    fn lab(path: &Path) -> Writing<Lab> {
        let until = Deadline::after(Duration::from_secs(10));
        let directory = Directory::open("lab", path, &StoreOptions::default(), until, |_| Ok(())).unwrap();
        let breaker = Breaker::default();
        Writing::new(Lab { keys: Keys::new(), directory, breaker, is_read: false })
    }

    /// L2: rows whose removal could not begin are removed later, all of them.
    #[test]
    fn emptying_that_could_not_begin_is_taken_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = lab(&directory.path().join("store"));
        let (now, until) = (Timestamp::from_micros(7), Deadline::after(Duration::MAX));
        let guru = GuruSlug::new("g").unwrap();
        let profile = |n: usize| {
            let id = ExternalUserId::new(format!("{n}")).unwrap();
            Profile::new(id, Memory::from_json("{}").unwrap(), now, now)
        };
        let batch = Writes::restoring((0..2500).map(profile)).0;
        for task in [Task::Apply { guru: guru.clone(), batch }, Task::DeleteGuru { guru }] {
            assert!(writing.commit(&[(&task, now)], until).unwrap()[0].is_ok());
        }
        for is_read in [true, false, true, true, false] {
            writing.writes.is_read = is_read;
            assert_eq!(writing.rest().is_ok_and(|more| more), !is_read);
        }
        while writing.rest().unwrap() {}
        let left = writing.writes.keys.keys().filter(|key| **key != keys::NEXT_NUMBER).count();
        assert_eq!(left, 0, "neither rows nor a mark");
    }
}
