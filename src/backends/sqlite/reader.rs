//! What the read threads ask.

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::failed;
use super::row::{self, GuruRow, READING, SELECT_GURU, prepare};
use super::upkeep;
use crate::engine::threaded::EngineReads;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::list::{ListOptions, Page, PageBuilder};
use crate::store::upkeep::{Stats, Verification};

/// One read thread's connection.
#[derive(Debug)]
pub(super) struct Reader {
    pub connection: Connection,
    pub path: PathBuf,
    /// Keys of gurus seen. A guru's row is never removed, so its key never changes.
    keys: HashMap<GuruSlug, i64>,
}

impl Reader {
    pub fn new(connection: Connection, path: PathBuf) -> Self {
        Self { connection, path, keys: HashMap::new() }
    }

    fn key(&mut self, guru: &GuruSlug) -> Result<Option<i64>> {
        if let Some(key) = self.keys.get(guru) {
            return Ok(Some(*key));
        }
        let key = self.guru(guru)?.map(|row| row.key);
        self.keys.extend(key.map(|key| (guru.clone(), key)));
        Ok(key)
    }

    fn guru(&self, guru: &GuruSlug) -> Result<Option<GuruRow>> {
        let mut select = prepare(&self.connection, SELECT_GURU)?;
        let row = select.query_row([guru.as_str()], |row| Ok(GuruRow::read(guru.as_str(), row)));
        row.optional().map_err(failed(READING))?.transpose()
    }
}

impl EngineReads for Reader {
    fn get_many(&mut self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let Some(key) = self.key(guru)? else { return Ok(vec![None; ids.len()]) };
        // One snapshot for all of them; a single statement is a snapshot by itself.
        let transaction = match ids.len() {
            0 | 1 => None,
            _ => Some(self.connection.unchecked_transaction().map_err(failed(READING))?),
        };
        let mut select = prepare(
            &self.connection,
            "SELECT memory, created_at, updated_at, checksum FROM profile WHERE guru = ?1 AND external_user_id = ?2",
        )?;
        let mut profiles = Vec::with_capacity(ids.len());
        for id in ids {
            let mut rows = select.query(params![key, id.as_str()]).map_err(failed(READING))?;
            let row = rows.next().map_err(failed(READING))?;
            profiles.push(row.map(|row| row::profile(guru, id.clone(), row, 0)).transpose()?);
        }
        drop(select);
        if let Some(transaction) = transaction {
            transaction.commit().map_err(failed(READING))?;
        }
        Ok(profiles)
    }

    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let mut page = PageBuilder::new(options);
        let Some(key) = self.key(guru)? else { return Ok(page.finish()) };
        // No id is empty, so all of them lie behind the empty one.
        let after = options.after().map_or("", ExternalUserId::as_str);
        let mut select = prepare(
            &self.connection,
            "SELECT external_user_id, memory, created_at, updated_at, checksum FROM profile
             WHERE guru = ?1 AND external_user_id > ?2 ORDER BY external_user_id",
        )?;
        let mut rows = select.query(params![key, after]).map_err(failed(READING))?;
        while let Some(row) = rows.next().map_err(failed(READING))? {
            let id = row.get_ref(0).map_err(failed(READING))?;
            let id = id.as_str().map_err(|error| failed(READING)(error.into()))?;
            let id = ExternalUserId::new(id).map_err(|error| {
                Error::corrupt_record(guru.as_str(), id, "its id is not valid").with_source(error)
            })?;
            if page.push(row::profile(guru, id, row, 1)?).is_break() {
                break;
            }
        }
        Ok(page.finish())
    }

    fn count(&mut self, guru: &GuruSlug) -> Result<u64> {
        Ok(self.guru(guru)?.map_or(0, |row| row.profiles))
    }

    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let after = after.map_or("", GuruSlug::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut select = prepare(
            &self.connection,
            "SELECT id, profiles, checksum, slug FROM guru
             WHERE slug > ?1 AND profiles <> 0 ORDER BY slug LIMIT ?2",
        )?;
        let mut rows = select.query(params![after, limit]).map_err(failed(READING))?;
        let mut gurus = Vec::new();
        while let Some(row) = rows.next().map_err(failed(READING))? {
            let slug: String = row.get(3).map_err(failed(READING))?;
            GuruRow::read(&slug, row)?;
            gurus.push(GuruSlug::new(&slug).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("stored guru slug {slug:?} is not valid"))
                    .with_source(error)
            })?);
        }
        Ok(gurus)
    }

    fn stats(&mut self) -> Result<Stats> {
        upkeep::stats(&self.connection, &self.path)
    }

    fn verify(&mut self) -> Result<Verification> {
        upkeep::verify(&self.connection)
    }
}
