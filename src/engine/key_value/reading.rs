//! The reads of a key-value engine, by the names of the contract.

use std::fmt;
use std::ops::Bound;

use crate::engine::guru_list::GuruList;
use crate::engine::key_value::keys::{self, GuruNumber};
use crate::engine::key_value::record::{self, Profiles};
use crate::engine::key_value::snapshot::{self, Snapshot};
use crate::engine::threaded::EngineReads;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::list::ListOptions;
use crate::store::page::{Page, PageBuilder};
use crate::store::upkeep::{Stats, Verification};

/// The part of a backend's reads that an engine brings.
pub(crate) trait KeyValueReads: fmt::Debug + Send + 'static {
    type Snapshot: Snapshot;

    /// Reads from one state of the store, or refuses because what it shows may not be durable.
    fn consistently<T>(&self, read: impl FnOnce(&Self::Snapshot) -> Result<T>) -> Result<T>;

    /// Bytes of the engine's files.
    fn disk_bytes(&self) -> Result<u64>;
}

impl<R: KeyValueReads> EngineReads for R {
    fn get_many(&mut self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.consistently(|snapshot| {
            let Some(known) = snapshot::guru(snapshot, guru)? else { return Ok(vec![None; ids.len()]) };
            let mut profiles = Vec::with_capacity(ids.len());
            for id in ids {
                let stored = snapshot.get(&keys::profile(known.number, id))?;
                profiles.push(stored.map(|bytes| profile(guru, id.clone(), bytes.as_ref())).transpose()?);
            }
            Ok(profiles)
        })
    }

    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        self.consistently(|snapshot| {
            let mut page = PageBuilder::new(options);
            let Some(known) = snapshot::guru(snapshot, guru)? else { return page.finish() };
            let start = options.start();
            for entry in
                snapshot.scan(keys::profiles(known.number, (Bound::Included(&start), Bound::Unbounded)))
            {
                let (key, bytes) = entry?;
                let flow = match keys::id_of(guru, key.as_ref()) {
                    Ok(id) => {
                        let read = || record::decode_profile(guru, &id, bytes.as_ref());
                        page.push_row(id.clone(), read)?
                    }
                    Err(error) => page.push_damaged(None, error)?,
                };
                if flow.is_break() {
                    break;
                }
            }
            page.finish()
        })
    }

    fn count(&mut self, guru: &GuruSlug) -> Result<u64> {
        self.consistently(|snapshot| {
            let Some(known) = snapshot::guru(snapshot, guru)? else { return Ok(0) };
            match known.profiles {
                Profiles::Known(profiles) => Ok(profiles),
                Profiles::Unknown | Profiles::Damaged => count(snapshot, known.number),
            }
        })
    }

    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        self.consistently(|snapshot| {
            let mut gurus = GuruList::new(limit);
            let mut entries = snapshot.scan(keys::gurus(after));
            while !gurus.is_full() {
                let Some(entry) = entries.next() else { break };
                let (key, bytes) = entry?;
                let verify = |guru: &GuruSlug| record::decode_guru(guru, bytes.as_ref()).map(drop);
                gurus.push(keys::name_of(key.as_ref()), verify)?;
            }
            if let Some(after) = after
                && !gurus.is_full()
            {
                for entry in snapshot.scan(keys::gurus(None)) {
                    let (key, _) = entry?;
                    let name = keys::name_of(key.as_ref());
                    if name > after.as_str().as_bytes() {
                        break;
                    }
                    gurus.look_at(name);
                }
            }
            gurus.finish()
        })
    }

    /// Takes a scan: the engine knows the size of its files, not of what is in them.
    fn stats(&mut self) -> Result<Stats> {
        let disk_bytes = self.disk_bytes()?;
        self.consistently(|snapshot| {
            let mut stats = Stats { disk_bytes, ..Stats::default() };
            for entry in snapshot.scan(keys::gurus(None)) {
                let (key, bytes) = entry?;
                stats.gurus += 1;
                stats.live_bytes += size(&key, &bytes);
                let known = keys::slug_of(key.as_ref());
                let known = match known.and_then(|guru| record::decode_guru(&guru, bytes.as_ref())) {
                    // A scrub reports it, and its profiles can't be read.
                    Err(error) if error.kind() == ErrorKind::Corrupt => continue,
                    known => known?,
                };
                for entry in snapshot.scan(keys::all_profiles(known.number)) {
                    let (key, bytes) = entry?;
                    stats.profiles += 1;
                    stats.live_bytes += size(&key, &bytes);
                }
            }
            Ok(stats)
        })
    }

    fn verify(&mut self) -> Result<Verification> {
        self.consistently(|snapshot| {
            let mut found = Verification::default();
            match scrub(snapshot, &mut found) {
                Ok(()) => Ok(found),
                Err(error) => found.report(error).map(|()| found),
            }
        })
    }
}

/// Verifies every record, and holds each guru's number of profiles to what is there. It keeps 8 bytes in
/// memory for each guru.
fn scrub(snapshot: &impl Snapshot, found: &mut Verification) -> Result<()> {
    let mut numbers = Vec::new();
    for entry in snapshot.scan(keys::gurus(None)) {
        let (key, bytes) = entry?;
        let read = keys::slug_of(key.as_ref()).and_then(|guru| {
            let known = record::decode_guru(&guru, bytes.as_ref())?;
            Ok((guru, known))
        });
        let (guru, known) = match read {
            Ok(read) => read,
            Err(error) => {
                found.report(error)?;
                continue;
            }
        };
        numbers.push(known.number);
        let mut there = 0;
        for entry in snapshot.scan(keys::all_profiles(known.number)) {
            let (key, bytes) = entry?;
            there += 1;
            let id = keys::id_of(&guru, key.as_ref());
            found.count(id.and_then(|id| record::decode_profile(&guru, &id, bytes.as_ref()).map(drop)))?;
        }
        match known.profiles {
            Profiles::Known(told) if told != there => {
                found.report(Error::miscounted(guru.as_str(), told, there))?;
            }
            Profiles::Damaged => {
                found.report(Error::corrupt_guru(guru.as_str(), "its number of profiles is"))?;
            }
            Profiles::Known(_) | Profiles::Unknown => {}
        }
    }
    for entry in snapshot.scan(keys::all_deleted()) {
        let (key, mark) = entry?;
        let number = keys::deleted_of(key.as_ref())
            .and_then(|number| record::decode_deleted(number, mark.as_ref()).map(|()| number));
        match number {
            Ok(number) => numbers.push(number),
            Err(error) => found.report(error)?,
        }
    }
    if let Some(noted) = snapshot.get(&keys::NEXT_NUMBER)?
        && let Err(error) = record::decode_next_number(noted.as_ref())
    {
        found.report(error)?;
    }
    numbers.sort_unstable();
    orphans(snapshot, &numbers, found)
}

/// Reports profiles of numbers that no guru has, and two gurus that have one.
fn orphans(snapshot: &impl Snapshot, numbers: &[GuruNumber], found: &mut Verification) -> Result<()> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, what);
    if let Some(twice) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        found.report(corrupt(format!("two gurus have the number {}", twice[0].0)))?;
    }
    let (mut start, end) = keys::every_profile();
    while let Some(first) = snapshot.scan((start, end.clone())).next() {
        let (key, _) = first?;
        start = match keys::number_of(key.as_ref()) {
            Ok(number) => {
                if numbers.binary_search(&number).is_err() {
                    let there = count(snapshot, number)?;
                    let number = number.0;
                    let what = format!("{there} stored profiles are of guru number {number}, which is none");
                    found.report(corrupt(what))?;
                }
                match number.next() {
                    Some(next) => keys::all_profiles(next).0,
                    None => break,
                }
            }
            Err(error) => {
                found.report(error)?;
                Bound::Excluded(key.as_ref().to_vec())
            }
        };
    }
    Ok(())
}

/// How many profiles are there, whatever is noted of them.
pub(crate) fn count(snapshot: &impl Snapshot, guru: GuruNumber) -> Result<u64> {
    snapshot.scan(keys::all_profiles(guru)).try_fold(0, |count, entry| entry.map(|_| count + 1))
}

fn size<B: AsRef<[u8]>>(key: &B, value: &B) -> u64 {
    (key.as_ref().len() + value.as_ref().len()) as u64
}

fn profile(guru: &GuruSlug, id: ExternalUserId, bytes: &[u8]) -> Result<Profile> {
    Ok(record::decode_profile(guru, &id, bytes)?.into_profile(id))
}

/// Scans that tests hold others up by.
#[cfg(test)]
pub(crate) mod scan {
    use std::sync::mpsc;
    use std::thread::{self, ScopedJoinHandle};
    use std::time::{Duration, Instant};

    use crate::engine::key_value::reading::KeyValueReads;
    use crate::model::error::Error;

    /// Works while `reader` is in the middle of a scan. The scan ends afterwards, also after a panic.
    pub(crate) fn during_a_scan<T>(reader: impl KeyValueReads, work: impl FnOnce() -> T) -> T {
        let (release, released) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let held: Result<(), _> = reader.consistently(|_| {
                    begin.send(()).unwrap();
                    released.recv().map_err(|_| Error::closed())
                });
                drop(held);
            });
            begun.recv().unwrap();
            let _release = release;
            work()
        })
    }

    /// Whether all of the calls end within this time.
    pub(crate) fn all_end_within<T>(calls: &[ScopedJoinHandle<'_, T>], most: Duration) -> bool {
        let late = Instant::now() + most;
        while !calls.iter().all(ScopedJoinHandle::is_finished) {
            if Instant::now() > late {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }
}
