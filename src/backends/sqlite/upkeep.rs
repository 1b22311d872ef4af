//! The size and the soundness of a whole file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::error::failed;
use super::open::number;
use super::row::{self, GuruRow, READING, prepare};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::store::upkeep::{Stats, Verification};

pub(super) fn stats(connection: &Connection, path: &Path) -> Result<Stats> {
    let snapshot = connection.unchecked_transaction().map_err(failed(READING))?;
    let number = |sql: &str| number(&snapshot, sql).map_err(failed(READING));
    let mut stats = Stats {
        gurus: number("SELECT count(*) FROM guru WHERE profiles <> 0")?,
        profiles: number("SELECT coalesce(sum(profiles), 0) FROM guru")?,
        ..Stats::default()
    };
    let (page, pages) = (number("PRAGMA page_size")?, number("PRAGMA page_count")?);
    stats.live_bytes = page * pages.saturating_sub(number("PRAGMA freelist_count")?);
    drop(snapshot);
    // Looking at their sizes opens no descriptor, whose closing would drop SQLite's locks. The third
    // file, `-shm`, is no room of the profiles: it comes and goes with the store's handles.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    stats.disk_bytes = size(path)? + size(Path::new(&log))?;
    stats.reclaimable_bytes = stats.disk_bytes.saturating_sub(stats.live_bytes);
    Ok(stats)
}

fn size(path: &Path) -> Result<u64> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => {
            let message = format!("can't look at {}", path.display());
            Err(Error::io(message, error))
        }
    }
}

/// EngineReads the table row by row, not by its index, which could hide one; then what is left of the
/// file by SQLite's own check, the index against the table included.
pub(super) fn verify(connection: &Connection) -> Result<Verification> {
    let snapshot = connection.unchecked_transaction().map_err(failed(READING))?;
    let mut found = Verification::default();
    let mut counted = HashMap::new();
    match profiles(&snapshot, &mut found, &mut counted).and_then(|()| gurus(&snapshot, &mut found, &counted))
    {
        Ok(()) => {}
        Err(error) => found.report(error)?,
    }
    match structure(&snapshot, &mut found) {
        Ok(()) => Ok(found),
        Err(error) => found.report(error).map(|()| found),
    }
}

/// Verifies every profile, and counts them by the key of their guru.
fn profiles(
    connection: &Connection,
    found: &mut Verification,
    counted: &mut HashMap<i64, u64>,
) -> Result<()> {
    let mut select = prepare(
        connection,
        "SELECT external_user_id, memory, created_at, updated_at, profile.checksum, profile.guru, slug
         FROM profile LEFT JOIN guru ON guru.id = profile.guru ORDER BY profile.rowid",
    )?;
    let mut rows = select.query([]).map_err(failed(READING))?;
    while let Some(row) = rows.next().map_err(failed(READING))? {
        *counted.entry(row.get(5).map_err(failed(READING))?).or_default() += 1;
        found.count(names(row).and_then(|(guru, id)| row::profile(&guru, id, row, 1)))?;
    }
    Ok(())
}

/// The names of a row of [`profiles`].
fn names(row: &Row<'_>) -> Result<(GuruSlug, ExternalUserId)> {
    let text = |at| match row.get_ref(at) {
        Ok(ValueRef::Text(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let (slug, id) = (text(6), text(0));
    let guru = slug.and_then(|slug| GuruSlug::new(slug).ok());
    match (guru, id.and_then(|id| ExternalUserId::new(id).ok())) {
        (Some(guru), Some(id)) => Ok((guru, id)),
        _ => {
            let message = format!("stored profile {id:?} of guru {slug:?} is damaged: it has no valid names");
            let mut error = Error::new(ErrorKind::Corrupt, message);
            if let Some(slug) = slug {
                error = error.with_guru(slug);
            }
            Err(if let Some(id) = id { error.with_external_user_id(id) } else { error })
        }
    }
}

/// Holds each guru's number of profiles to what was counted.
fn gurus(connection: &Connection, found: &mut Verification, counted: &HashMap<i64, u64>) -> Result<()> {
    let mut select = prepare(connection, "SELECT id, profiles, checksum, slug FROM guru")?;
    let mut rows = select.query([]).map_err(failed(READING))?;
    while let Some(row) = rows.next().map_err(failed(READING))? {
        let slug: String = row.get(3).map_err(failed(READING))?;
        let verified = GuruRow::read(&slug, row).and_then(|guru| {
            match counted.get(&guru.key).copied().unwrap_or_default() {
                there if there == guru.profiles => Ok(()),
                there => Err(Error::miscounted(&slug, guru.profiles, there)),
            }
        });
        if let Err(error) = verified {
            found.report(error)?;
        }
    }
    Ok(())
}

fn structure(connection: &Connection, found: &mut Verification) -> Result<()> {
    let mut check = connection.prepare("PRAGMA integrity_check(1000)").map_err(failed(READING))?;
    let mut rows = check.query([]).map_err(failed(READING))?;
    while let Some(row) = rows.next().map_err(failed(READING))? {
        let said: String = row.get(0).map_err(failed(READING))?;
        if said != "ok" {
            found.report(Error::new(ErrorKind::Corrupt, format!("SQLite's check of the file: {said}")))?;
        }
    }
    Ok(())
}
