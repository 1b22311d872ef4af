//! The size and the soundness of a whole file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::emptying;
use super::error::failed;
use super::files::beside;
use super::open::number;
use super::row::{self, GuruRow, READING, SELECT_GURUS, Tally, bytes, prepare};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::store::upkeep::{Stats, Verification};

pub(super) fn stats(connection: &Connection, path: &Path) -> Result<Stats> {
    let snapshot = connection.unchecked_transaction().map_err(failed(READING))?;
    let number = |sql: &str| number(&snapshot, sql).map_err(failed(READING));
    let mut stats = Stats {
        gurus: number("SELECT count(*) FROM guru")?,
        profiles: profiles_of_all(&snapshot)?,
        ..Stats::default()
    };
    let (page, pages) = (number("PRAGMA page_size")?, number("PRAGMA page_count")?);
    stats.live_bytes = page * pages.saturating_sub(number("PRAGMA freelist_count")?);
    drop(snapshot);
    // Looking at their sizes opens no descriptor, whose closing would drop SQLite's locks. The third
    // file, `-shm`, is no room of the profiles: it comes and goes with the store's handles.
    stats.disk_bytes = size(path)? + size(&beside(path, "-wal"))?;
    stats.reclaimable_bytes = stats.disk_bytes.saturating_sub(stats.live_bytes);
    Ok(stats)
}

fn profiles_of_all(connection: &Connection) -> Result<u64> {
    let mut profiles = 0;
    for_each_guru(connection, |_, guru| {
        match guru {
            // A scrub reports it, and its profiles can't be read.
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            guru => {
                let guru = guru?;
                profiles += guru.profiles.or_counted(connection, guru.key)?;
            }
        }
        Ok(())
    })?;
    Ok(profiles)
}

fn for_each_guru(
    connection: &Connection,
    mut visit: impl FnMut(&str, Result<GuruRow>) -> Result<()>,
) -> Result<()> {
    let mut select = prepare(connection, SELECT_GURUS)?;
    let mut rows = select.query([]).map_err(failed(READING))?;
    while let Some(row) = rows.next().map_err(failed(READING))? {
        let slug = String::from_utf8_lossy(bytes(row, 4));
        visit(&slug, GuruRow::read(&slug, row))?;
    }
    Ok(())
}

/// Counts the profiles of every guru, and writes the numbers that are unknown or wrong. The row of one
/// without profiles goes. A damaged row stays as it is. It counts by the table: the index could hide a profile. Gives the damage,
/// if there are rows that belong to nobody, and so are never removed (L3).
pub(super) fn recount(connection: &Connection) -> Result<Option<Error>> {
    let mut counted: HashMap<i64, u64> = HashMap::new();
    let mut select = prepare(connection, "SELECT guru FROM profile NOT INDEXED")?;
    let mut rows = select.query([]).map_err(failed(READING))?;
    while let Some(row) = rows.next().map_err(failed(READING))? {
        if let Ok(ValueRef::Integer(guru)) = row.get_ref(0) {
            *counted.entry(guru).or_default() += 1;
        }
    }
    drop(rows);
    let (mut wrong, mut is_known) = (Vec::new(), true);
    for_each_guru(connection, |slug, guru| {
        let guru = match guru {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                is_known = false;
                return Ok(());
            }
            guru => guru?,
        };
        let profiles = counted.remove(&guru.key).unwrap_or_default();
        if guru.profiles != Tally::Known(profiles) || profiles == 0 {
            wrong.push((slug.to_owned(), GuruRow { profiles: Tally::Known(profiles), ..guru }));
        }
        Ok(())
    })?;
    for (slug, guru) in wrong {
        if guru.profiles != Tally::Known(0) {
            guru.update(connection, &slug)?;
        // The column that names the guru may be damaged in its rows, which are found by the index.
        } else if !guru.has_profiles(connection)? {
            guru.delete(connection)?;
        }
    }
    emptying::find_mark(connection, |mark| mark.ok().and_then(|key| counted.remove(&key)).and(None::<()>))?;
    // Those of a guru whose own row is damaged are under a key that nothing names.
    let strays: u64 = counted.values().sum();
    let message = || format!("{strays} stored profiles belong to no guru: verify names them");
    Ok((strays > 0 && is_known).then(|| Error::new(ErrorKind::Corrupt, message())))
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

/// Reads the table row by row, not by its index, which could hide one; then what is left of the
/// file by SQLite's own check, the index against the table included.
pub(super) fn verify(connection: &Connection) -> Result<Verification> {
    let snapshot = connection.unchecked_transaction().map_err(failed(READING))?;
    let mut found = Verification::default();
    let mut counted = HashMap::new();
    let records = marks(&snapshot, &mut found, &mut counted)
        .and_then(|()| profiles(&snapshot, &mut found, &mut counted))
        .and_then(|()| gurus(&snapshot, &mut found, &counted));
    match records {
        Ok(()) => {}
        Err(error) => found.report(error)?,
    }
    match structure(&snapshot, &mut found) {
        Ok(()) => Ok(found),
        Err(error) => found.report(error).map(|()| found),
    }
}

/// How many profiles were counted under a key; `None` if they are what a deleted guru has left.
type Counted = HashMap<i64, Option<u64>>;

/// Notes the keys of deleted gurus.
fn marks(connection: &Connection, found: &mut Verification, counted: &mut Counted) -> Result<()> {
    let damaged = emptying::find_mark(connection, |mark| match mark {
        Ok(key) => {
            counted.insert(key, None);
            None
        }
        Err(damage) => found.report(damage).err(),
    })?;
    damaged.map_or(Ok(()), Err)
}

/// The names of a profile's row, which stand before its memory, and the rest of it.
const NAMES: &str = "SELECT external_user_id, profile.rowid, profile.guru, slug";
const RECORD: &str = ", memory, created_at, updated_at, profile.checksum";
const FROM: &str = " FROM profile LEFT JOIN guru ON guru.id = profile.guru \
                    WHERE profile.rowid >= ?1 ORDER BY profile.rowid";

/// Verifies every profile, and counts them by the key of their guru.
fn profiles(connection: &Connection, found: &mut Verification, counted: &mut Counted) -> Result<()> {
    let mut select = prepare(connection, &format!("{NAMES}{RECORD}{FROM}"))?;
    let mut select_names = prepare(connection, &format!("{NAMES}{FROM} LIMIT 1"))?;
    let rowid = |row: &Row<'_>| row.get::<_, i64>(1).map_err(failed(READING));
    let mut next = i64::MIN;
    loop {
        let mut rows = select.query([next]).map_err(failed(READING))?;
        let error = loop {
            match rows.next().map_err(failed(READING)) {
                Ok(None) => return Ok(()),
                Ok(Some(row)) => {
                    let at = rowid(row)?;
                    if at < next {
                        return Err(Error::new(ErrorKind::Corrupt, "the rows of profiles are out of order"));
                    }
                    next = at.saturating_add(1);
                    if is_of_a_guru(row, counted) {
                        found.count(names(row).and_then(|(guru, id)| row::profile(&guru, id, row, 4)))?;
                    }
                }
                Err(error) => break error,
            }
        };
        // A row that SQLite can't read ends its statement; the next one goes on after it.
        let mut rows = select_names.query([next]).map_err(failed(READING))?;
        match rows.next().map_err(failed(READING))? {
            Some(row) if error.kind() == ErrorKind::Corrupt && rowid(row)? >= next && next < i64::MAX => {
                next = rowid(row)?.saturating_add(1);
                if is_of_a_guru(row, counted) {
                    found.count(names(row).and_then(|(guru, id)| {
                        let unread =
                            Error::corrupt_record(guru.as_str(), id.as_str(), "SQLite can't read it");
                        Err::<(), _>(unread.with_source(error))
                    }))?;
                }
            }
            _ => return Err(error),
        }
    }
}

/// Counts the row for its guru. What a deleted guru has left is nobody's.
fn is_of_a_guru(row: &Row<'_>, counted: &mut Counted) -> bool {
    let Ok(ValueRef::Integer(guru)) = row.get_ref(2) else { return true };
    match counted.entry(guru).or_insert(Some(0)) {
        Some(profiles) => {
            *profiles += 1;
            true
        }
        None => false,
    }
}

/// The names of a row of [`profiles`].
fn names(row: &Row<'_>) -> Result<(GuruSlug, ExternalUserId)> {
    let text = |at| match row.get_ref(at) {
        Ok(ValueRef::Text(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let (slug, id) = (text(3), text(0));
    let guru = slug.and_then(|slug| GuruSlug::new(slug).ok());
    match (guru, id.and_then(|id| ExternalUserId::new(id).ok())) {
        (Some(guru), Some(id)) => Ok((guru, id)),
        _ => {
            let (named, of) = (id.unwrap_or_default(), slug.unwrap_or_default());
            let what = "it belongs to no guru, or has no valid id";
            let message = format!("stored profile {named:?} of guru {of:?} is damaged: {what}");
            let mut error = Error::new(ErrorKind::Corrupt, message);
            if let Some(slug) = slug {
                error = error.with_guru(slug);
            }
            Err(if let Some(id) = id { error.with_external_user_id(id) } else { error })
        }
    }
}

/// Holds each guru's number of profiles to what was counted.
fn gurus(connection: &Connection, found: &mut Verification, counted: &Counted) -> Result<()> {
    for_each_guru(connection, |slug, guru| {
        let verified = guru.and_then(|guru| {
            let there = counted.get(&guru.key).copied().flatten().unwrap_or_default();
            match guru.profiles {
                Tally::Known(told) if told != there => Err(Error::miscounted(slug, told, there)),
                Tally::Damaged => {
                    Err(Error::corrupt_guru(slug, "its number of profiles does not match its checksum"))
                }
                Tally::Known(_) | Tally::Unknown => Ok(()),
            }
        });
        verified.or_else(|error| found.report(error))
    })
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
