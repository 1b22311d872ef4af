//! The questions of the read threads.

use std::path::PathBuf;

use rusqlite::{Connection, Transaction, params};

use super::error::failed;
use super::row::{self, GuruRow, READING, SELECT_GURUS, bytes, prepare, unreadable, verified_key};
use super::upkeep;
use crate::engine::guru_list::GuruList;
use crate::engine::threaded::EngineReads;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::list::ListOptions;
use crate::store::page::{Page, PageBuilder};
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
        match rows.next().map_err(unreadable(guru, id.as_str()))? {
            Some(row) => {
                verified_key(guru.as_str(), row, 4)?;
                row::profile(guru, id.clone(), row, 0).map(Some)
            }
            // That the guru's key is damaged must show.
            None => row::guru(&self.connection, guru).map(|_| None),
        }
    }

    /// A page, whose rows are read each by a statement of its own if it is so.
    fn page(&self, guru: &GuruSlug, options: &ListOptions, singly: bool) -> Result<Page> {
        let mut page = PageBuilder::new(options);
        let snapshot = self.snapshot()?;
        let Some(GuruRow { key, .. }) = row::guru(&snapshot, guru)? else { return page.finish() };
        // A row that SQLite can't read ends its statement. To go on after it, each is read by one of its own; the ids,
        // and where the rows are, stand in the index.
        let mut select = prepare(
            &snapshot,
            if singly {
                "SELECT external_user_id, rowid FROM profile
                 WHERE guru = ?1 AND external_user_id >= ?2 ORDER BY external_user_id"
            } else {
                "SELECT external_user_id, memory, created_at, updated_at, checksum FROM profile
                 WHERE guru = ?1 AND external_user_id >= ?2 ORDER BY external_user_id"
            },
        )?;
        let mut select_one = prepare(
            &snapshot,
            "SELECT memory, created_at, updated_at, checksum FROM profile WHERE rowid = ?1",
        )?;
        let mut rows = select.query(params![key, options.start()]).map_err(failed(READING))?;
        while let Some(row) = rows.next().map_err(failed(READING))? {
            let text = bytes(row, 0);
            let id = std::str::from_utf8(text).ok().and_then(|text| ExternalUserId::new(text).ok());
            let flow = match id {
                None => {
                    let text = String::from_utf8_lossy(text);
                    let error = Error::corrupt_record(guru.as_str(), &text, "its id is not valid");
                    page.push_damaged(None, error)?
                }
                Some(id) if singly => {
                    let rowid: i64 = row.get(1).map_err(failed(READING))?;
                    let mut one = select_one.query([rowid]).map_err(failed(READING))?;
                    let found = one.next().map_err(unreadable(guru, id.as_str()));
                    let gone = || Error::corrupt_record(guru.as_str(), id.as_str(), row::NO_ROW);
                    let read = || row::verify(guru, id.as_str(), found?.ok_or_else(gone)?, 0);
                    page.push_row(id.clone(), read)?
                }
                Some(id) => page.push_row(id.clone(), || row::verify(guru, id.as_str(), row, 1))?,
            };
            if flow.is_break() {
                break;
            }
        }
        page.finish()
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
            let row = rows.next().map_err(unreadable(guru, id.as_str()))?;
            profiles.push(row.map(|row| row::profile(guru, id.clone(), row, 0)).transpose()?);
        }
        Ok(profiles)
    }

    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        match self.page(guru, options, false) {
            // SQLite does not say which row it can't read.
            Err(error) if error.kind() == ErrorKind::Corrupt && error.external_user_id().is_none() => {
                self.page(guru, options, true)
            }
            page => page,
        }
    }

    fn count(&mut self, guru: &GuruSlug) -> Result<u64> {
        let snapshot = self.snapshot()?;
        let row = row::guru(&snapshot, guru)?;
        row.map_or(Ok(0), |row| row.profiles.or_counted(&snapshot, row.key))
    }

    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let after = after.map_or("", GuruSlug::as_str);
        let snapshot = self.snapshot()?;
        let mut gurus = GuruList::new(limit);
        let mut select = prepare(&snapshot, &format!("{SELECT_GURUS} WHERE slug > ?1 ORDER BY slug"))?;
        let mut rows = select.query([after]).map_err(failed(READING))?;
        while !gurus.is_full() {
            let Some(row) = rows.next().map_err(failed(READING))? else { break };
            gurus.push(bytes(row, 4), |guru| GuruRow::read(guru.as_str(), row).map(drop))?;
        }
        if !gurus.is_full() {
            // A slug that is no text compares as NULL or as less.
            let mut select = prepare(&snapshot, "SELECT slug FROM guru WHERE (slug > ?1) IS NOT TRUE")?;
            let mut rows = select.query([after]).map_err(failed(READING))?;
            while let Some(row) = rows.next().map_err(failed(READING))? {
                gurus.look_at(bytes(row, 0));
            }
        }
        gurus.finish()
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
