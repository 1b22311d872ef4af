//! One transaction of the commit thread.
//!
//! Each write of the group is planned in full before its first row is written. A write that can fail by itself,
//! on a damaged record say, fails while it is planned and has left no trace, so no write needs a
//! savepoint. If a planned row can't be written, the group fails as a whole.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, params};

use super::emptying;
use super::error::failed;
use super::row::{self, GuruRow, Tally};
use super::written::Written;
use crate::engine::checksum;
use crate::engine::group_commit::{Done, Task};
use crate::model::error::{Error, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::timestamp::Timestamp;
use crate::plan::change::{Change, Effects};
use crate::plan::record::Record;
use crate::plan::resolve::Plan;
use crate::plan::writes::{Entry, Writes};

const WRITING: &str = "to write";

/// A group being written, after `BEGIN IMMEDIATE`.
struct Transaction<'a> {
    connection: &'a Connection,
    /// The gurus met so far, as the group's writes leave them. Their rows are written at the end.
    gurus: BTreeMap<&'a GuruSlug, Guru>,
    /// The last key that was given to a new one.
    last_key: i64,
    /// The rows written so far, kept only if the file has triggers.
    written: Option<Written<'a>>,
}

/// A guru's row; `stored` is what the table holds of it, if anything.
struct Guru {
    stored: Option<GuruRow>,
    now: Option<GuruRow>,
    /// A profile of it has been removed.
    shrunk: bool,
}

/// The plan of a task, before any of it is written.
enum Planned<'a> {
    Batch { plan: Plan<'a>, rowids: Vec<Option<i64>>, guru: &'a GuruSlug },
    Emptied { guru: &'a GuruSlug, row: GuruRow, profiles: u64 },
    Nothing(Done),
}

/// Writes a group durably, as [`Engine::commit`](crate::engine::group_commit::Engine::commit) says. After an error the
/// transaction may still be open.
pub(super) fn commit(connection: &Connection, group: &[(&Task, Timestamp)]) -> Result<Vec<Result<Done>>> {
    Transaction { connection, gurus: BTreeMap::new(), last_key: 0, written: None }.run(group)
}

impl<'a> Transaction<'a> {
    fn run(mut self, group: &[(&'a Task, Timestamp)]) -> Result<Vec<Result<Done>>> {
        self.execute("BEGIN IMMEDIATE")?;
        self.written = Written::if_watched(self.connection)?;
        let mut results = Vec::with_capacity(group.len());
        for &(task, now) in group {
            results.push(match self.plan(task, now) {
                Ok(planned) => Ok(self.write(planned)?),
                // SQLite has rolled everything back (I/O error, no memory): nobody is stored.
                Err(error) if self.connection.is_autocommit() => return Err(error),
                Err(error) => Err(error),
            });
        }
        // SQLite commits nothing once it has met a damaged page, and would say so in the place of these errors.
        if results.iter().all(Result::is_err) {
            self.execute("ROLLBACK")?;
            return Ok(results);
        }
        self.write_gurus()?;
        if let Some(written) = &self.written {
            let gurus = self.gurus.iter().map(|(guru, Guru { stored, now, .. })| (*guru, *stored, *now));
            written.look_again(self.connection, gurus)?;
        }
        self.execute("COMMIT")?;
        Ok(results)
    }

    fn plan(&mut self, task: &'a Task, now: Timestamp) -> Result<Planned<'a>> {
        match task {
            Task::Apply { guru, batch } => self.plan_batch(guru, batch, now),
            Task::DeleteGuru { guru } => Ok(match self.guru(guru)? {
                Some(row) => {
                    let profiles = row.profiles.or_counted(self.connection, row.key)?;
                    Planned::Emptied { guru, row, profiles }
                }
                None => Planned::Nothing(Done::Deleted(0)),
            }),
        }
    }

    fn plan_batch(&mut self, guru: &'a GuruSlug, batch: &'a Writes, now: Timestamp) -> Result<Planned<'a>> {
        let stored = self.guru(guru)?;
        let mut plan = batch.plan(now);
        // The row of each change, in their order; of an insert, none.
        let mut rowids = Vec::new();
        // A row that is only to be deleted is not read, so that one which SQLite can't read can be deleted (S12).
        let columns = match batch.entries().all(Entry::only_deletes) {
            true => "NULL, NULL, NULL, NULL, rowid",
            false => "memory, created_at, updated_at, checksum, rowid",
        };
        let sql = format!("SELECT {columns} FROM profile WHERE guru = ?1 AND external_user_id = ?2");
        let mut select = self.prepare(&sql)?;
        let mut entries: Vec<_> = batch.entries().map(|entry| (first_bytes(entry.id()), entry)).collect();
        // In the order of the index, so that neighbours are found, and put, on the same pages. Nearly all
        // ids differ in their first bytes, which are compared without being looked up.
        entries.sort_unstable_by(|(first, one), (other_first, other)| {
            first.cmp(other_first).then_with(|| one.id().cmp(other.id()))
        });
        for (_, entry) in entries {
            let id = entry.id().as_str();
            let mut rows = match stored {
                Some(guru) => Some(select.query(params![guru.key, id]).map_err(failed(WRITING))?),
                None => None,
            };
            let row = match &mut rows {
                Some(rows) => rows.next().map_err(row::unreadable(guru, id))?,
                None => None,
            };
            let changes = plan.changes().len();
            plan.resolve(entry, row.map(|row| move || row::verify(guru, id, row, 0)))?;
            if plan.changes().len() > changes {
                if rowids.is_empty() {
                    rowids.reserve_exact(batch.len());
                }
                rowids.push(row.map(|row| row.get::<_, i64>(4)).transpose().map_err(failed(WRITING))?);
            }
        }
        drop(select);
        if plan.changes().is_empty() {
            return Ok(Planned::Nothing(Done::Applied(plan.finish())));
        }
        Ok(Planned::Batch { plan, rowids, guru })
    }

    fn write(&mut self, planned: Planned<'a>) -> Result<Done> {
        match planned {
            Planned::Batch { plan, rowids, guru } => self.write_batch(plan, rowids, guru).map(Done::Applied),
            Planned::Emptied { guru, row, profiles } => {
                emptying::mark(self.connection, row.key)?;
                if let Some(written) = &mut self.written {
                    written.mark(guru, row.key);
                }
                self.met(guru).now = None;
                Ok(Done::Deleted(profiles))
            }
            Planned::Nothing(done) => Ok(done),
        }
    }

    fn write_batch(
        &mut self,
        plan: Plan<'a>,
        rowids: Vec<Option<i64>>,
        guru: &'a GuruSlug,
    ) -> Result<Effects> {
        let GuruRow { key, profiles } = match self.guru(guru)? {
            Some(row) => row,
            None => GuruRow { key: self.next_key()?, profiles: Tally::Known(0) },
        };
        let met = self.met(guru);
        met.now = Some(GuruRow { key, profiles: profiles.grown(plan.growth()) });
        met.shrunk |= plan.changes().iter().any(|change| matches!(change, Change::Delete(_)));
        let mut insert = self.prepare(
            "INSERT INTO profile (guru, external_user_id, memory, created_at, updated_at, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut update = self.prepare(
            "UPDATE profile SET memory = ?2, created_at = ?3, updated_at = ?4, checksum = ?5 WHERE rowid = ?1",
        )?;
        let mut delete = self.prepare("DELETE FROM profile WHERE rowid = ?1")?;
        for (change, rowid) in plan.changes().iter().zip(rowids) {
            let id = change.id().as_str();
            let sum = change.record().map(|Record { memory, created_at, updated_at }| {
                checksum::of_profile(guru.as_str(), id, memory.as_str(), *created_at, *updated_at)
                    .cast_signed()
            });
            if let Some(written) = &mut self.written {
                written.profile(guru, id, sum);
            }
            let written = match change {
                Change::Insert(_, record) => insert.execute(params![
                    key,
                    id,
                    record.memory.as_str(),
                    record.created_at.as_micros(),
                    record.updated_at.as_micros(),
                    sum
                ]),
                Change::Update(_, record) => update.execute(params![
                    rowid,
                    record.memory.as_str(),
                    record.created_at.as_micros(),
                    record.updated_at.as_micros(),
                    sum
                ]),
                Change::Delete(_) => delete.execute(params![rowid]),
            };
            let rows = written.map_err(|error| row::of_record(guru, id, failed(WRITING)(error)))?;
            // If there are triggers, the rows are looked at again.
            if rows == 0 && self.written.is_none() {
                return Err(Error::corrupt_record(guru.as_str(), id, row::NO_ROW));
            }
        }
        Ok(plan.finish())
    }

    /// The guru as the group's writes so far leave it; `None` if it has no row.
    fn guru(&mut self, guru: &'a GuruSlug) -> Result<Option<GuruRow>> {
        if let Some(known) = self.gurus.get(guru) {
            return Ok(known.now);
        }
        let stored = row::guru(self.connection, guru)?;
        self.gurus.insert(guru, Guru { stored, now: stored, shrunk: false });
        Ok(stored)
    }

    fn met(&mut self, guru: &'a GuruSlug) -> &mut Guru {
        self.gurus.get_mut(guru).expect("planning has looked at the guru")
    }

    /// A key that no guru has or has had.
    fn next_key(&mut self) -> Result<i64> {
        let mut next = self.prepare(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'guru' AND typeof(seq) = 'integer'), 0),
                        coalesce((SELECT max(id) FROM guru), 0),
                        coalesce((SELECT max(guru) FROM emptied), 0)) + 1",
        )?;
        let next: i64 = next.query_row([], |row| row.get(0)).map_err(failed(WRITING))?;
        self.last_key = next.max(self.last_key.saturating_add(1));
        Ok(self.last_key)
    }

    /// Writes the rows of the gurus. That of a guru goes with its last profile.
    fn write_gurus(&mut self) -> Result<()> {
        let connection = self.connection;
        for (guru, Guru { stored, now, shrunk }) in &mut self.gurus {
            if let Some(row) = now
                && *shrunk
                && !matches!(row.profiles, Tally::Known(1..))
            {
                if !row.has_profiles(connection)? {
                    *now = None;
                } else if row.profiles == Tally::Known(0) {
                    row.profiles = Tally::Unknown;
                }
            }
            if let Some(stored) = stored
                && now.is_none_or(|now| now.key != stored.key)
            {
                stored.delete(connection)?;
            }
            match (stored, now) {
                (_, None) => {}
                (Some(stored), Some(row)) if stored == row => {}
                (Some(stored), Some(row)) if stored.key == row.key => {
                    row.update(connection, guru.as_str())?
                }
                (_, Some(row)) => row.insert(connection, guru.as_str())?,
            }
        }
        Ok(())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql).map_err(failed(WRITING))
    }

    fn execute(&self, sql: &str) -> Result<()> {
        self.prepare(sql)?.execute([]).map(drop).map_err(failed(WRITING))
    }
}

/// As a number that orders as the bytes do.
fn first_bytes(id: &ExternalUserId) -> u128 {
    let (text, mut first) = (id.as_str().as_bytes(), [0; 16]);
    let count = text.len().min(first.len());
    first[..count].copy_from_slice(&text[..count]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::sqlite::open;
    use crate::model::error::ErrorKind;
    use crate::model::memory::Memory;
    use crate::plan::change::Effect;
    use crate::plan::duplicates::Duplicates;
    use crate::plan::writes::Condition;
    use crate::plan::writes::{Action, Operation};
    use crate::store::options::StoreOptions;

    #[test]
    fn first_bytes_order_as_ids_do() {
        let mut ids = ["b", "a", "a\u{1}", "aaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaa", "\u{10FFFF}", "é", "ab"]
            .map(|id| ExternalUserId::new(id).unwrap());
        ids.sort();
        assert!(ids.is_sorted_by_key(first_bytes));
    }

    fn slug(guru: &str) -> GuruSlug {
        GuruSlug::new(guru).unwrap()
    }

    fn memory(a: u8) -> Action {
        Action::Put(Memory::from_json(&format!(r#"{{"a":{a}}}"#)).unwrap())
    }

    fn write(guru: &str, id: &str, condition: Condition, action: Action) -> Task {
        let mut batch = Writes::default();
        let operation = Operation { item: 0, condition, action };
        batch.push(&mut Duplicates::with_capacity(1), ExternalUserId::new(id).unwrap(), operation);
        Task::Apply { guru: slug(guru), batch }
    }

    fn upsert(guru: &str, id: &str) -> Task {
        write(guru, id, Condition::None, memory(1))
    }

    fn opened(directory: &tempfile::TempDir) -> Connection {
        open::open(&directory.path().join("p.db"), &StoreOptions::default()).unwrap().writer
    }

    fn run(connection: &Connection, group: &[Task]) -> Result<Vec<Result<Done>>> {
        let now = Timestamp::from_micros(1);
        commit(connection, &group.iter().map(|task| (task, now)).collect::<Vec<_>>())
    }

    /// Gurus with their numbers of profiles as recorded and as counted, by slug.
    fn gurus(connection: &Connection) -> Vec<(String, u64, u64)> {
        let sql = "SELECT slug, profiles, (SELECT count(*) FROM profile WHERE guru = guru.id) FROM guru ORDER BY slug";
        let mut select = connection.prepare(sql).unwrap();
        let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let rows = select.query_map([], |row| Ok((row.get(0)?, number(row, 1)?, number(row, 2)?))).unwrap();
        rows.map(|row| row.unwrap()).collect()
    }

    fn guru(slug: &str, profiles: u64) -> (String, u64, u64) {
        (slug.to_owned(), profiles, profiles)
    }

    /// S1, S8: each task sees the ones before it, and new gurus of one group get a key each.
    #[test]
    fn tasks_of_a_group_build_on_one_another() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opened(&directory);
        let emptied = Task::DeleteGuru { guru: slug("b") };
        let group = [
            upsert("b", "1"),
            upsert("a", "1"),
            upsert("b", "2"),
            emptied,
            upsert("b", "3"),
            upsert("a", "1"),
        ];
        let results = run(&connection, &group).unwrap();
        assert!(results.iter().all(Result::is_ok));
        assert!(matches!(results[3], Ok(Done::Deleted(2))));
        assert_eq!(gurus(&connection), [guru("a", 1), guru("b", 1)]);
    }

    #[test]
    fn a_damaged_record_fails_its_task_alone() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opened(&directory);
        run(&connection, &[upsert("a", "1")]).unwrap();
        connection.execute("UPDATE profile SET memory = '{}'", []).unwrap();
        let results = run(&connection, &[upsert("a", "0"), upsert("a", "1"), upsert("a", "2")]).unwrap();
        let failed: Vec<_> =
            results.iter().map(|result| result.as_ref().err().map(|error| error.kind())).collect();
        assert_eq!(failed, [None, Some(ErrorKind::Corrupt), None]);
        assert_eq!(gurus(&connection), [guru("a", 3)]);
    }

    #[test]
    fn a_row_that_is_not_written_fails_the_group() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opened(&directory);
        // Somebody else's constraint: no two profiles of the same memory.
        connection.execute_batch("CREATE UNIQUE INDEX refuse ON profile (memory)").unwrap();
        assert!(run(&connection, &[upsert("a", "1"), upsert("a", "2"), upsert("b", "3")]).is_err());
        connection.execute_batch("ROLLBACK").unwrap();
        assert_eq!(gurus(&connection), []);
    }

    /// S5, S12: a retry sees damage, too.
    #[test]
    fn a_retry_is_looked_up() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opened(&directory);
        let retry = || run(&connection, &[upsert("a", "1")]).unwrap().remove(0);
        assert!(matches!(retry(), Ok(Done::Applied(applied)) if applied.effects() == [Effect::Created]));
        assert!(matches!(retry(), Ok(Done::Applied(applied)) if applied.effects() == [Effect::Unchanged]));
        connection.execute("UPDATE profile SET memory = '{}'", []).unwrap();
        assert!(retry().is_err_and(|error| error.kind() == ErrorKind::Corrupt));
    }
}
