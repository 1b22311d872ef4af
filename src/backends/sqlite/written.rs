//! Looking again at what a transaction has written, if the file has triggers.
//!
//! A trigger that somebody has put into the file may leave out, change or remove what a statement wrote, after the
//! statement has counted it as done. What the callers are told must be what is committed.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::emptying;
use super::error::failed;
use super::row::{self, GuruRow, prepare};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::GuruSlug;

/// What a transaction has written.
#[derive(Default)]
pub(super) struct Written<'a> {
    /// The checksum that each profile was given; `None` if it was removed.
    profiles: BTreeMap<&'a GuruSlug, BTreeMap<String, Option<i64>>>,
    /// Keys of deleted gurus.
    marks: Vec<i64>,
}

impl<'a> Written<'a> {
    /// `None` if the file has no triggers, as usual.
    pub fn if_watched(connection: &Connection) -> Result<Option<Self>> {
        Ok(row::is_watched(connection)?.then(Self::default))
    }

    pub fn profile(&mut self, guru: &'a GuruSlug, id: &str, sum: Option<i64>) {
        self.profiles.entry(guru).or_default().insert(id.to_owned(), sum);
    }

    /// All profiles of the guru are gone, and its rows belong to `key` alone.
    pub fn mark(&mut self, guru: &GuruSlug, key: i64) {
        self.profiles.remove(guru);
        self.marks.push(key);
    }

    /// Fails if any of it is not there any more. Of each guru that was met, `gurus` has the row that the transaction found and the
    /// one that it leaves.
    pub fn look_again<'g>(
        &self,
        connection: &Connection,
        gurus: impl Iterator<Item = (&'g GuruSlug, Option<GuruRow>, Option<GuruRow>)>,
    ) -> Result<()> {
        for (guru, stored, now) in gurus {
            match row::guru(connection, guru) {
                Ok(found) if found == now => {}
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                _ => return Err(altered("the row of a guru").with_guru(guru.as_str())),
            }
            let Some(GuruRow { key, .. }) = now.or(stored) else { continue };
            for (id, sum) in self.profiles.get(guru).into_iter().flatten() {
                if !holds(connection, guru, key, id, *sum)? {
                    return Err(altered("a profile")
                        .with_guru(guru.as_str())
                        .with_external_user_id(id.as_str()));
                }
            }
        }
        for key in &self.marks {
            if !emptying::is_marked(connection, *key)? {
                return Err(altered("the mark of a deleted guru"));
            }
        }
        Ok(())
    }
}

/// Whether a profile has this checksum, and matches it; for `None`, whether it is not there.
fn holds(connection: &Connection, guru: &GuruSlug, key: i64, id: &str, sum: Option<i64>) -> Result<bool> {
    let mut select = prepare(
        connection,
        "SELECT memory, created_at, updated_at, checksum FROM profile WHERE guru = ?1 AND external_user_id = ?2",
    )?;
    let mut rows = select.query(params![key, id]).map_err(failed("to write"))?;
    Ok(match (rows.next().map_err(row::unreadable(guru, id))?, sum) {
        (None, None) => true,
        (Some(found), Some(sum)) => {
            row::verify(guru, id, found, 0).is_ok() && found.get::<_, i64>(3).is_ok_and(|found| found == sum)
        }
        _ => false,
    })
}

fn altered(what: &str) -> Error {
    let message =
        format!("the SQLite file has a trigger that changes {what} after it was written: nothing is stored");
    Error::new(ErrorKind::Incompatible, message)
}
