//! What the read threads ask.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::error::failed;
use super::shared::Shared;
use crate::engine::key_value;
use crate::engine::key_value::Kind;
use crate::engine::threaded::EngineReads;
use crate::model::error::{Error, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::list::{ListOptions, Page, PageBuilder};
use crate::store::upkeep::{Stats, Verification};

const READING: &str = "to read";

/// One read thread's handle.
#[derive(Debug)]
pub(super) struct Reader {
    db: sled::Db,
    shared: Arc<Shared>,
}

impl Reader {
    pub fn new(db: sled::Db, shared: Arc<Shared>) -> Self {
        Self { db, shared }
    }

    /// EngineReads while no batch is being applied.
    fn consistently<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        self.shared.breaker.check()?;
        let _applied = self.shared.applying.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }
}

impl Reader {
    /// Verifies every record, and holds each guru's number of profiles to what is there. Gurus come
    /// first in the order of keys, and profiles follow guru by guru.
    fn scrub(&self, found: &mut Verification) -> Result<()> {
        let mut counted: BTreeMap<GuruSlug, Counted> = BTreeMap::new();
        for entry in self.db.iter() {
            let (key, bytes) = entry.map_err(failed(READING))?;
            let verified = match key_value::kind(&key) {
                Kind::Guru => key_value::guru_of(&key).and_then(|guru| {
                    let profiles = key_value::decode_guru(&guru, &bytes)?;
                    counted.entry(guru).or_default().told = profiles;
                    Ok(())
                }),
                Kind::Profile => {
                    let sound = key_value::names_of(&key).and_then(|(guru, id)| {
                        counted.entry(guru.clone()).or_default().there += 1;
                        key_value::decode_profile(&guru, &id, &bytes).map(drop)
                    });
                    found.profiles += u64::from(sound.is_ok());
                    sound
                }
                Kind::Other => Ok(()),
            };
            verified.or_else(|error| found.report(error))?;
        }
        for (guru, Counted { told, there }) in counted {
            if told != there {
                found.report(Error::miscounted(guru.as_str(), told, there))?;
            }
        }
        Ok(())
    }
}

/// A guru's number of profiles: as its record tells, and as they are there.
#[derive(Default)]
struct Counted {
    told: u64,
    there: u64,
}

impl EngineReads for Reader {
    fn get_many(&mut self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.consistently(|| {
            let mut profiles = Vec::with_capacity(ids.len());
            for id in ids {
                let stored = self.db.get(key_value::profile_key(guru, id)).map_err(failed(READING))?;
                profiles.push(stored.map(|bytes| profile(guru, id.clone(), &bytes)).transpose()?);
            }
            Ok(profiles)
        })
    }

    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let prefix = key_value::profiles_of(guru);
        let start = match options.after() {
            Some(after) => Bound::Excluded(key_value::profile_key(guru, after)),
            None => Bound::Excluded(prefix.clone()),
        };
        self.consistently(|| {
            let mut page = PageBuilder::new(options);
            for entry in self.db.range((start.clone(), Bound::Unbounded)) {
                let (key, bytes) = entry.map_err(failed(READING))?;
                if !key.starts_with(&prefix) {
                    break;
                }
                let id = key_value::id_of(guru, &prefix, &key)?;
                if page.push(profile(guru, id, &bytes)?).is_break() {
                    break;
                }
            }
            Ok(page.finish())
        })
    }

    fn count(&mut self, guru: &GuruSlug) -> Result<u64> {
        self.shared.breaker.check()?;
        let stored = self.db.get(key_value::guru_key(guru)).map_err(failed(READING))?;
        stored.map_or(Ok(0), |bytes| key_value::decode_guru(guru, &bytes))
    }

    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let start = Bound::Excluded(after.map_or(key_value::GURUS.to_vec(), key_value::guru_key));
        self.consistently(|| {
            let mut gurus = Vec::new();
            for entry in self.db.range((start.clone(), Bound::Unbounded)).take(limit) {
                let (key, bytes) = entry.map_err(failed(READING))?;
                if !key.starts_with(&key_value::GURUS) {
                    break;
                }
                let guru = key_value::guru_of(&key)?;
                key_value::decode_guru(&guru, &bytes)?;
                gurus.push(guru);
            }
            Ok(gurus)
        })
    }

    /// Takes a scan: sled knows the size of its files, not of what is in them.
    fn stats(&mut self) -> Result<Stats> {
        self.consistently(|| {
            let mut stats =
                Stats { disk_bytes: self.db.size_on_disk().map_err(failed(READING))?, ..Stats::default() };
            for entry in self.db.iter() {
                let (key, bytes) = entry.map_err(failed(READING))?;
                stats.live_bytes += (key.len() + bytes.len()) as u64;
                match key_value::kind(&key) {
                    Kind::Guru => stats.gurus += 1,
                    Kind::Profile => stats.profiles += 1,
                    Kind::Other => {}
                }
            }
            Ok(stats)
        })
    }

    fn verify(&mut self) -> Result<Verification> {
        self.consistently(|| {
            let mut found = Verification::default();
            match self.scrub(&mut found) {
                Ok(()) => Ok(found),
                Err(error) => found.report(error).map(|()| found),
            }
        })
    }
}

fn profile(guru: &GuruSlug, id: ExternalUserId, bytes: &[u8]) -> Result<Profile> {
    Ok(key_value::decode_profile(guru, &id, bytes)?.into_profile(id))
}
