//! The questions of the read threads.

use std::borrow::Cow;
use std::path::PathBuf;

use rusqlite::{Connection, Transaction, params};

use super::error::failed;
use super::row::{self, GuruRow, READING, SELECT_GURUS, prepare, verified_key};
use super::upkeep;
use crate::engine::threaded::EngineReads;
use crate::model::error::{Error, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::list::{ListOptions, Page, PageBuilder};
use crate::store::upkeep::{Stats, Verification};

/// No join: SQLite would plan it again for each set of parameters. That takes longer than the read.
const SELECT_PROFILE: &str =
    "SELECT memory, created_at, updated_at, checksum, guru, (SELECT checksum FROM guru WHERE slug = ?1)
     FROM profile WHERE guru = (SELECT id FROM guru WHERE slug = ?1) AND external_user_id = ?2";

/// One read thread's connection. It remembers nothing of the file: another process may restore a backup into
/// it, in which gurus have other keys.
#[derive(Debug)]
pub(super) struct Reader {
    pub connection: Connection,
    pub path: PathBuf,
}

impl Reader {
    /// One state for several statements, until it is dropped.
    fn snapshot(&self) -> Result<Transaction<'_>> {
        self.connection.unchecked_transaction().map_err(failed(READING))
    }

    fn get(&self, guru: &GuruSlug, id: &ExternalUserId) -> Result<Option<Profile>> {
        let mut select = prepare(&self.connection, SELECT_PROFILE)?;
        let mut rows = select.query(params![guru.as_str(), id.as_str()]).map_err(failed(READING))?;
        match rows.next().map_err(failed(READING))? {
            Some(row) => {
                verified_key(guru.as_str(), row, 4)?;
                row::profile(guru, id.clone(), row, 0).map(Some)
            }
            // That the guru's key is damaged must show.
            None => row::guru(&self.connection, guru).map(|_| None),
        }
    }
}

impl EngineReads for Reader {
    fn get_many(&mut self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        if let [id] = ids {
            return Ok(vec![self.get(guru, id)?]);
        }
        let snapshot = self.snapshot()?;
        let Some(GuruRow { key, .. }) = row::guru(&snapshot, guru)? else { return Ok(vec![None; ids.len()]) };
        let mut select = prepare(
            &snapshot,
            "SELECT memory, created_at, updated_at, checksum FROM profile WHERE guru = ?1 AND external_user_id = ?2",
        )?;
        let mut profiles = Vec::with_capacity(ids.len());
        for id in ids {
            let mut rows = select.query(params![key, id.as_str()]).map_err(failed(READING))?;
            let row = rows.next().map_err(failed(READING))?;
            profiles.push(row.map(|row| row::profile(guru, id.clone(), row, 0)).transpose()?);
        }
        Ok(profiles)
    }

    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let mut page = PageBuilder::new(options);
        let snapshot = self.snapshot()?;
        let Some(GuruRow { key, .. }) = row::guru(&snapshot, guru)? else { return page.finish() };
        let mut select = prepare(
            &snapshot,
            "SELECT external_user_id, memory, created_at, updated_at, checksum FROM profile
             WHERE guru = ?1 AND external_user_id >= ?2 ORDER BY external_user_id",
        )?;
        let mut rows = select.query(params![key, options.start()]).map_err(failed(READING))?;
        while let Some(row) = rows.next().map_err(failed(READING))? {
            let text = row.get_ref(0).map_err(failed(READING))?;
            let text = text.as_bytes().map_err(|error| failed(READING)(error.into()))?;
            let text = String::from_utf8_lossy(text);
            let id = match &text {
                Cow::Borrowed(text) => ExternalUserId::new(*text).ok(),
                Cow::Owned(_) => None,
            };
            let Some(id) = id else {
                let error = Error::corrupt_record(guru.as_str(), &text, "its id is not valid");
                if page.push_damaged(None, error)?.is_break() {
                    break;
                }
                continue;
            };
            if page.push_row(id.clone(), || row::verify(guru, id.as_str(), row, 1))?.is_break() {
                break;
            }
        }
        page.finish()
    }

    fn count(&mut self, guru: &GuruSlug) -> Result<u64> {
        let snapshot = self.snapshot()?;
        let row = row::guru(&snapshot, guru)?;
        row.map_or(Ok(0), |row| row.profiles.or_counted(&snapshot, row.key))
    }

    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let after = after.map_or("", GuruSlug::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("{SELECT_GURUS} WHERE slug > ?1 ORDER BY slug LIMIT ?2");
        let mut select = prepare(&self.connection, &sql)?;
        let mut rows = select.query(params![after, limit]).map_err(failed(READING))?;
        let mut gurus = Vec::new();
        while let Some(row) = rows.next().map_err(failed(READING))? {
            let slug: String = row.get(4).map_err(failed(READING))?;
            GuruRow::read(&slug, row)?;
            gurus.push(
                GuruSlug::new(&slug).map_err(|error| {
                    Error::corrupt_guru(&slug, "its slug is not valid").with_source(error)
                })?,
            );
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

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::backends::sqlite::open;
    use crate::store::options::StoreOptions;

    #[test]
    fn a_get_is_planned_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.db");
        let mut opened = open::open(&path, &StoreOptions::default()).unwrap();
        let reader = Reader { connection: opened.readers.pop().unwrap(), path };
        for id in ["a", "b", "c"] {
            assert!(reader.get(&GuruSlug::new("g").unwrap(), &id.parse().unwrap()).unwrap().is_none());
        }
        let select = reader.connection.prepare_cached(SELECT_PROFILE).unwrap();
        assert_eq!(select.get_status(StatementStatus::Run), 3, "it is the statement that was used");
        assert_eq!(select.get_status(StatementStatus::RePrepare), 0);
    }
}
