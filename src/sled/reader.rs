//! What the read threads ask.

use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::engine::Shared;
use super::error::failed;
use crate::codec;
use crate::error::Result;
use crate::page::{ListOptions, Page, PageBuilder};
use crate::profile::{ExternalUserId, GuruSlug, Profile};

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

    pub fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.consistently(|| {
            let mut profiles = Vec::with_capacity(ids.len());
            for id in ids {
                let stored = self.db.get(codec::profile_key(guru, id)).map_err(failed(READING))?;
                profiles.push(stored.map(|bytes| profile(guru, id.clone(), &bytes)).transpose()?);
            }
            Ok(profiles)
        })
    }

    pub fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let prefix = codec::profiles_of(guru);
        let start = match options.after() {
            Some(after) => Bound::Excluded(codec::profile_key(guru, after)),
            None => Bound::Excluded(prefix.clone()),
        };
        self.consistently(|| {
            let mut page = PageBuilder::new(options);
            for entry in self.db.range((start.clone(), Bound::Unbounded)) {
                let (key, bytes) = entry.map_err(failed(READING))?;
                if !key.starts_with(&prefix) {
                    break;
                }
                let id = codec::id_of(guru, &prefix, &key)?;
                if page.push(profile(guru, id, &bytes)?).is_break() {
                    break;
                }
            }
            Ok(page.finish())
        })
    }

    pub fn count(&self, guru: &GuruSlug) -> Result<u64> {
        self.shared.check()?;
        let stored = self.db.get(codec::guru_key(guru)).map_err(failed(READING))?;
        stored.map_or(Ok(0), |bytes| codec::decode_guru(guru, &bytes))
    }

    pub fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let start = Bound::Excluded(after.map_or(codec::GURUS.to_vec(), codec::guru_key));
        self.consistently(|| {
            let mut gurus = Vec::new();
            for entry in self.db.range((start.clone(), Bound::Unbounded)).take(limit) {
                let (key, bytes) = entry.map_err(failed(READING))?;
                if !key.starts_with(&codec::GURUS) {
                    break;
                }
                let guru = codec::guru_of(&key)?;
                codec::decode_guru(&guru, &bytes)?;
                gurus.push(guru);
            }
            Ok(gurus)
        })
    }

    /// Reads while no batch is being applied.
    fn consistently<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        self.shared.check()?;
        let _applied = self.shared.applying.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }
}

fn profile(guru: &GuruSlug, id: ExternalUserId, bytes: &[u8]) -> Result<Profile> {
    Ok(codec::decode_profile(guru, &id, bytes)?.into_profile(id))
}
