//! A group of writes being decided: each sees the ones before it, and all become one batch of the engine.

use std::collections::BTreeMap;

use crate::engine::group_commit::{Done, Task};
use crate::engine::key_value::keys::{self, GuruNumber};
use crate::engine::key_value::record::{self, GuruRecord, Profiles};
use crate::engine::key_value::snapshot::Snapshot;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::GuruSlug;
use crate::model::timestamp::Timestamp;
use crate::plan::change::Effects;
use crate::plan::writes::Writes;

/// Writes that are decided and not made yet: the value, or `None` for a removal.
pub(crate) type Staged = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A group being decided against what is stored.
pub(crate) struct Staging<'s, S> {
    snapshot: &'s S,
    staged: Staged,
    /// Of a guru whose number of profiles is unknown, how many there are at least. So deletions look only now and then
    /// whether any are left, and not each over all that the others have removed (P1).
    at_least: BTreeMap<GuruNumber, u64>,
}

impl<'s, S: Snapshot> Staging<'s, S> {
    pub fn new(snapshot: &'s S) -> Self {
        Self { snapshot, staged: Staged::new(), at_least: BTreeMap::new() }
    }

    /// All that is to be written, empty if nothing is ([S5](crate::contract#s5)).
    pub fn finish(self) -> Staged {
        self.staged
    }

    /// Decides a write. One that fails leaves no trace.
    pub fn run(&mut self, task: &Task, now: Timestamp) -> Result<Done> {
        let mut own = Staged::new();
        let done = match task {
            Task::Apply { guru, batch } => self.apply(guru, batch, now, &mut own).map(Done::Applied)?,
            Task::DeleteGuru { guru } => self.delete_guru(guru, &mut own).map(Done::Deleted)?,
        };
        // Not `append`, which builds all of `staged` again for every task.
        self.staged.extend(own);
        Ok(done)
    }

    fn apply(
        &mut self,
        guru: &GuruSlug,
        batch: &Writes,
        now: Timestamp,
        own: &mut Staged,
    ) -> Result<Effects> {
        let known = self.guru(guru)?;
        let mut plan = batch.plan(now);
        for entry in batch.entries() {
            let stored = match known {
                Some(known) => self.read(&keys::profile(known.number, entry.id()))?,
                None => None,
            };
            let row =
                stored.as_ref().map(|bytes| || record::decode_profile(guru, entry.id(), bytes.as_ref()));
            plan.resolve(entry, row)?;
        }
        if plan.changes().is_empty() {
            return Ok(plan.finish());
        }
        let known = match known {
            Some(known) => known,
            None => GuruRecord { number: self.next_number(own)?, profiles: Profiles::Known(0) },
        };
        for change in plan.changes() {
            let value = change.record().map(|record| record::encode_profile(guru, change.id(), record));
            own.insert(keys::profile(known.number, change.id()), value);
        }
        if plan.growth() != 0 {
            let value = self.guru_after(guru, known, plan.growth(), own)?;
            own.insert(keys::guru(guru), value);
        }
        Ok(plan.finish())
    }

    /// A guru's record once its number of profiles has changed: gone with its last profile. A number that
    /// says so is not believed (S12).
    fn guru_after(
        &mut self,
        guru: &GuruSlug,
        before: GuruRecord,
        growth: i64,
        own: &Staged,
    ) -> Result<Option<Vec<u8>>> {
        let profiles = before.profiles.known().and_then(|profiles| profiles.checked_add_signed(growth));
        let profiles = profiles.filter(|profiles| *profiles > 0);
        if growth < 0 && profiles.is_none() {
            let known = self.at_least.get(&before.number).and_then(|least| least.checked_add_signed(growth));
            let least = known.filter(|least| *least > 0).unwrap_or_else(|| {
                let enough = 1 + own.len() + self.staged.len();
                self.profiles(before.number, own).take(enough).count() as u64
            });
            if least == 0 {
                return Ok(None);
            }
            self.at_least.insert(before.number, least);
        }
        Ok(Some(record::encode_guru(guru, before.number, profiles)))
    }

    /// The guru's record goes, and its profiles with it from sight; [`Emptying`] removes them.
    ///
    /// [`Emptying`]: crate::engine::key_value::emptying::Emptying
    fn delete_guru(&self, guru: &GuruSlug, own: &mut Staged) -> Result<u64> {
        let Some(known) = self.guru(guru)? else { return Ok(0) };
        let profiles = match known.profiles.known() {
            Some(profiles) => profiles,
            None => self.profiles(known.number, own).try_fold(0, |count, there| there.map(|()| count + 1))?,
        };
        own.insert(keys::guru(guru), None);
        own.insert(keys::deleted(known.number), Some(record::encode_deleted(known.number)));
        Ok(profiles)
    }

    /// A number that no guru has had, and the note of it.
    fn next_number(&self, own: &mut Staged) -> Result<GuruNumber> {
        let noted = self.read(&keys::NEXT_NUMBER)?.map(|bytes| record::decode_next_number(bytes.as_ref()));
        let number = match noted {
            Some(Ok(number)) => number,
            Some(Err(error)) if error.kind() != ErrorKind::Corrupt => return Err(error),
            // It can be derived.
            Some(Err(_)) | None => self.unused_number()?,
        };
        let exhausted = || Error::new(ErrorKind::Storage, "no number is left for another guru");
        let next = number.next().ok_or_else(exhausted)?;
        own.insert(keys::NEXT_NUMBER.to_vec(), Some(record::encode_next_number(next)));
        Ok(number)
    }

    /// A number greater than all that stand in a sound record or key.
    fn unused_number(&self) -> Result<GuruNumber> {
        let mut last = None;
        let staged = self.staged.iter().filter_map(|(key, value)| Some((key.as_slice(), value.as_deref()?)));
        for (key, value) in staged {
            last = last.max(mentioned(key, value));
        }
        for range in [keys::gurus(None), keys::all_deleted()] {
            for entry in self.snapshot.scan(range) {
                let (key, value) = entry?;
                last = last.max(mentioned(key.as_ref(), value.as_ref()));
            }
        }
        if let Some(entry) = self.snapshot.scan(keys::every_profile()).next_back() {
            last = last.max(keys::number_of(entry?.0.as_ref()).ok());
        }
        let Some(last) = last else { return Ok(GuruNumber(1)) };
        // Its own damage, as nobody makes so many.
        let exhausted =
            || Error::new(ErrorKind::Corrupt, "a record of the last number that a guru can have is damaged");
        last.next().ok_or_else(exhausted)
    }

    fn guru(&self, guru: &GuruSlug) -> Result<Option<GuruRecord>> {
        let stored = self.read(&keys::guru(guru))?;
        stored.map(|bytes| record::decode_guru(guru, bytes.as_ref())).transpose()
    }

    /// The key's value once what is staged is written.
    fn read(&self, key: &[u8]) -> Result<Option<Read<'_, S::Bytes>>> {
        match self.staged.get(key) {
            Some(value) => Ok(value.as_deref().map(Read::Staged)),
            None => Ok(self.snapshot.get(key)?.map(Read::Stored)),
        }
    }

    /// One item for each profile that the guru has once `own` and what is staged are written.
    fn profiles<'a>(&'a self, guru: GuruNumber, own: &'a Staged) -> impl Iterator<Item = Result<()>> + 'a {
        let range = keys::all_profiles(guru);
        let staged = self.staged.range(range.clone()).filter(|(key, _)| !own.contains_key(*key));
        let added = own.range(range.clone()).chain(staged).filter(|(_, value)| value.is_some());
        let is_stored = |key: &[u8]| !own.contains_key(key) && !self.staged.contains_key(key);
        let stored = self.snapshot.scan(range).filter_map(move |entry| match entry {
            Ok((key, _)) => is_stored(key.as_ref()).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        added.map(|_| Ok(())).chain(stored)
    }
}

/// A value, from wherever it is.
enum Read<'a, B> {
    Staged(&'a [u8]),
    Stored(B),
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Read<'_, B> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Staged(bytes) => bytes,
            Self::Stored(bytes) => bytes.as_ref(),
        }
    }
}

/// The number that a key or its sound record mentions.
fn mentioned(key: &[u8], value: &[u8]) -> Option<GuruNumber> {
    let of_guru = || {
        let guru = keys::slug_of(key).ok()?;
        record::decode_guru(&guru, value).ok().map(|record| record.number)
    };
    keys::number_of(key).or_else(|_| keys::deleted_of(key)).ok().or_else(of_guru)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::engine::key_value::emptying::Emptying;
    use crate::engine::key_value::snapshot;
    use crate::model::memory::Memory;
    use crate::model::name::ExternalUserId;
    use crate::model::profile::Profile;
    use crate::plan::writes::Condition;

    type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

    fn slug(slug: &str) -> GuruSlug {
        GuruSlug::new(slug).unwrap()
    }

    fn id(n: usize) -> ExternalUserId {
        ExternalUserId::new(format!("u{n:06}")).unwrap()
    }

    fn put(guru: &str, ids: impl IntoIterator<Item = usize>) -> Task {
        let now = Timestamp::from_micros(7);
        let memory = Memory::from_json("{}").unwrap();
        let profiles: Vec<_> =
            ids.into_iter().map(|n| Profile::new(id(n), memory.clone(), now, now)).collect();
        Task::Apply { guru: slug(guru), batch: Writes::restoring(profiles.into_iter()).0 }
    }

    fn delete(guru: &str, ids: impl IntoIterator<Item = usize>) -> Task {
        let ids: Vec<_> = ids.into_iter().map(id).collect();
        Task::Apply { guru: slug(guru), batch: Writes::deleting(&ids, Condition::None).0 }
    }

    fn delete_guru(guru: &str) -> Task {
        Task::DeleteGuru { guru: slug(guru) }
    }

    fn write(keys: &mut Keys, staged: Staged) {
        for (key, value) in staged {
            match value {
                Some(value) => drop(keys.insert(key, value)),
                None => drop(keys.remove(&key)),
            }
        }
    }

    /// Writes the tasks as one group; returns the counts of `delete_guru`.
    fn group(keys: &mut Keys, tasks: &[Task]) -> Vec<u64> {
        let mut staging = Staging::new(&*keys);
        let done =
            tasks.iter().filter_map(|task| match staging.run(task, Timestamp::from_micros(7)).unwrap() {
                Done::Deleted(count) => Some(count),
                _ => None,
            });
        let told = done.collect();
        let staged = staging.finish();
        write(keys, staged);
        told
    }

    fn guru(keys: &Keys, guru: &str) -> Option<GuruRecord> {
        snapshot::guru(keys, &slug(guru)).unwrap()
    }

    fn profiles(keys: &Keys) -> usize {
        keys.range(keys::every_profile()).count()
    }

    /// A group's work grows with its tasks, not with their square.
    #[test]
    fn a_group_of_many_small_tasks_costs_no_more_each() {
        let tasks: Vec<_> = (0..40_000).map(|n| put("g", [n])).collect();
        let time = |tasks_of_a_group: usize| {
            let begun = Instant::now();
            for group in tasks.chunks(tasks_of_a_group) {
                let keys = Keys::new();
                let mut staging = Staging::new(&keys);
                for task in group {
                    staging.run(task, Timestamp::from_micros(7)).unwrap();
                }
                assert_eq!(staging.finish().len(), group.len() + 2);
            }
            begun.elapsed()
        };
        // The same tasks take about as long, and one group of them would sixteen times, if it were quadratic. A machine
        // that is busy with something else slows both down.
        let times: Vec<_> = (0..2).map(|_| (time(2_500), time(40_000))).collect();
        let (small, large) = (times.iter().map(|time| time.0).min(), times.iter().map(|time| time.1).min());
        assert!(large.unwrap() < 5 * small.unwrap(), "{times:?}");
    }

    /// Keys that count how many of them a scan has given.
    struct Counting<'a>(&'a Keys, std::cell::Cell<usize>);

    impl Snapshot for Counting<'_> {
        type Bytes = Vec<u8>;

        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            Snapshot::get(self.0, key)
        }

        fn scan(&self, range: keys::KeyRange) -> impl DoubleEndedIterator<Item = Result<(Vec<u8>, Vec<u8>)>> {
            Snapshot::scan(self.0, range).inspect(|_| self.1.set(self.1.get() + 1))
        }
    }

    /// P1: deletions of a guru whose number of profiles is unknown, the last one of which removes it.
    #[test]
    fn a_group_of_deletions_looks_at_each_profile_a_few_times() {
        const MANY: usize = 3_000;
        for order in [|n| n, |n| MANY - 1 - n, |n| n * 7 % MANY] {
            let mut keys = Keys::new();
            group(&mut keys, &[put("g", 0..MANY)]);
            let number = guru(&keys, "g").unwrap().number;
            keys.insert(keys::guru(&slug("g")), record::encode_guru(&slug("g"), number, None));
            let counting = Counting(&keys, Default::default());
            let mut staging = Staging::new(&counting);
            for n in 0..MANY {
                assert!(staging.guru(&slug("g")).unwrap().is_some(), "after {n}");
                staging.run(&delete("g", [order(n)]), Timestamp::from_micros(7)).unwrap();
            }
            assert!(staging.guru(&slug("g")).unwrap().is_none());
            let looked_at = counting.1.get();
            assert!(looked_at < 20 * MANY, "{looked_at} looks at {MANY} profiles");
        }
    }

    /// A task that fails leaves no trace, and those after it see the ones before it.
    #[test]
    fn a_group_is_made_in_order() {
        let mut keys = Keys::new();
        let told = group(
            &mut keys,
            &[put("a", 0..3), put("b", 0..2), delete("a", [0]), delete_guru("a"), put("a", 5..6)],
        );
        assert_eq!(told, [2]);
        assert_eq!(guru(&keys, "a").unwrap().profiles, Profiles::Known(1));
        assert_eq!(guru(&keys, "b").unwrap().profiles, Profiles::Known(2));
        assert_eq!(group(&mut keys, &[delete("a", [5, 9]), delete_guru("a"), delete_guru("c")]), [0, 0]);
        assert_eq!(guru(&keys, "a"), None);
        let damaged = keys.get_mut(&keys::guru(&slug("b"))).unwrap();
        damaged[3] ^= 1;
        let before = keys.clone();
        let mut staging = Staging::new(&before);
        for task in [put("b", [7]), delete_guru("b")] {
            let error = staging.run(&task, Timestamp::from_micros(7)).err().unwrap();
            assert_eq!((error.kind(), error.guru()), (ErrorKind::Corrupt, Some("b")));
        }
        assert!(staging.finish().is_empty());
    }

    /// S12: a wrong number of profiles costs no profile and no write. One that can't be right is marked
    /// unknown, and the guru goes with its last profile, whatever the number says.
    #[test]
    fn a_number_of_profiles_decides_nothing() {
        for (told, after_one, after_both) in [
            (Some(1), Profiles::Unknown, None),
            (Some(0), Profiles::Unknown, None),
            (None, Profiles::Unknown, None),
        ] {
            let mut keys = Keys::new();
            group(&mut keys, &[put("g", 0..2)]);
            let number = guru(&keys, "g").unwrap().number;
            keys.insert(keys::guru(&slug("g")), record::encode_guru(&slug("g"), number, told));
            assert_eq!(group(&mut keys.clone(), &[delete_guru("g")]), [told.unwrap_or(2)]);
            group(&mut keys, &[delete("g", [0])]);
            assert_eq!(guru(&keys, "g").map(|guru| guru.profiles), Some(after_one), "{told:?}");
            assert_eq!(group(&mut keys.clone(), &[delete_guru("g")]), [1]);
            group(&mut keys, &[delete("g", [1])]);
            assert_eq!(guru(&keys, "g").map(|guru| guru.profiles), after_both, "{told:?}");
            assert_eq!(profiles(&keys), 0);
        }
    }

    /// Numbers are never given again, though their note is lost or damaged.
    #[test]
    fn a_guru_made_again_has_another_number() {
        let mut keys = Keys::new();
        let mut numbers = Vec::new();
        for round in 0..4 {
            group(&mut keys, &[put("g", 0..2), put("h", 0..2), put("i", 0..2)]);
            numbers.extend(["g", "h", "i"].map(|slug| guru(&keys, slug).unwrap().number));
            match round {
                0 => {}
                1 => drop(keys.remove(keys::NEXT_NUMBER.as_slice())),
                _ => keys.get_mut(keys::NEXT_NUMBER.as_slice()).unwrap()[9] ^= 1,
            }
            group(&mut keys, &[delete_guru("g"), delete("h", 0..2), delete_guru("i")]);
        }
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }

    /// A deleted guru's profiles are removed in bounded steps, also after the store was closed in between. Those of
    /// a guru that was made again are not removed.
    #[test]
    fn what_a_deleted_guru_leaves_is_emptied_in_steps() {
        let mut keys = Keys::new();
        group(&mut keys, &[put("g", 0..2500), put("h", 0..10)]);
        group(&mut keys, &[delete_guru("g"), put("g", 0..7)]);
        assert_eq!(profiles(&keys), 2517);
        let mut emptying = Emptying::default();
        for left in [1517, 517, 17] {
            if left == 517 {
                emptying = Emptying::default();
            }
            let step = emptying.step(&keys).unwrap();
            assert!(step.len() <= 1000 && step.values().all(Option::is_none));
            write(&mut keys, step);
            assert_eq!(profiles(&keys), left);
        }
        assert_eq!(keys.range(keys::all_deleted()).count(), 0);
        assert!(emptying.step(&keys).unwrap().is_empty());
        group(&mut keys, &[delete_guru("h")]);
        emptying.begin();
        let step = emptying.step(&keys).unwrap();
        write(&mut keys, step);
        assert_eq!((profiles(&keys), guru(&keys, "g").unwrap().profiles), (7, Profiles::Known(7)));
    }

    /// S8: a mark that is damaged, and may name another guru, removes nothing.
    #[test]
    fn a_damaged_mark_empties_nothing() {
        let mut keys = Keys::new();
        group(&mut keys, &[put("g", 0..5), put("h", 0..5)]);
        group(&mut keys, &[delete_guru("g")]);
        let (mark, value) =
            keys.range(keys::all_deleted()).next().map(|(k, v)| (k.clone(), v.clone())).unwrap();
        keys.remove(&mark);
        keys.insert(keys::deleted(guru(&keys, "h").unwrap().number), value);
        assert!(Emptying::default().step(&keys).unwrap().is_empty());
    }
}
