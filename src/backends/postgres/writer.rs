//! A commit thread's transactions.
//!
//! A group that only replaces memories is one statement, see `upsert.rs`. What is conditional, merged,
//! deleted or restored, or what that statement can't do, takes two steps.
//!
//! It is read without a lock first, so that what changes nothing writes nothing, not even a row lock (S5).
//! What does change is stored by statements that check each row against what was read. If
//! one has changed meanwhile, all is rolled back, and the next try locks the keys before it reads
//! them again: nobody can come in between any more, so large batches get through between small ones.
//!
//! Every transaction takes its locks in one pass in the order of the key, so that no two wait for each
//! other in a circle. Removing a whole guru is the exception: the server finds its rows in an order of
//! its own, and where a deadlock comes of it, one of the two is tried again.

use std::pin::pin;
use std::sync::Arc;

use super::connection::{Link, Pace, Purpose, Session, all};
use super::error::Failure;
use super::group::{Group, Resolution, RowChange};
use super::row::COLUMNS;
use super::statement::{Statement, chunks, is_raced};
use super::stream::next;
use super::target::{Dialect, Target};
use super::upsert::{Kind, Upsert};
use crate::engine::deadline::Deadline;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::GuruSlug;
use crate::model::timestamp::Timestamp;
use crate::plan::change::Effect;
use tokio_postgres::types::{ToSql, Type};

const WRITING: &str = "to write";

pub(super) struct Writer {
    link: Link,
    target: Arc<Target>,
    /// What the last two groups came to: where they agree, the next one may as well.
    lately: [Option<Kind>; 2],
}

/// What is known of a call from its tries so far.
#[derive(Default)]
struct Course<'a> {
    /// Whether this is the first try.
    begun: bool,
    /// A row was changed by others between reading and writing.
    raced: bool,
    /// Tries of which nobody knows whether they were committed.
    unsettled: Vec<Unsettled>,
    /// The same, of one without a look at what was there.
    unsettled_upsert: Option<Upsert<'a>>,
}

struct Unsettled {
    /// The version that each slot has if it was committed; `None` for no row.
    marks: Vec<(usize, Option<i64>)>,
    results: Vec<Result<Done>>,
}

impl Engine for Writer {
    /// Small, so that larger batches spread over the connections.
    const GROUP_BYTES: usize = 128 << 10;

    /// What removes profiles locks by itself.
    fn shares(task: &Task) -> bool {
        matches!(task, Task::Apply { batch, .. } if !batch.deletes())
    }

    fn commit(&mut self, group: &[(&Task, Timestamp)], _: Deadline) -> Result<Vec<Result<Done>>> {
        let mut batches = Vec::with_capacity(group.len());
        for &(task, now) in group {
            match task {
                Task::Apply { guru, batch } => batches.push((guru, batch, now)),
                Task::DeleteGuru { guru } => {
                    assert_eq!(group.len(), 1, "it shares its transaction with nothing");
                    return Ok(vec![Ok(Done::Deleted(self.delete_guru(guru)?))]);
                }
            }
        }
        let Self { link, target, lately } = self;
        let mut group = Group::new(batches);
        let mut course = Course::default();
        let expected = lately[0].filter(|kind| lately[1] == Some(*kind));
        let (results, kind) = link.run(WRITING, Pace::Quick, async |session| {
            let tried = attempt(session, target, &mut group, &mut course, expected).await;
            course.begun = true;
            course.raced |= matches!(tried, Err(Failure::Raced));
            tried
        })?;
        *lately = [kind, lately[0]];
        Ok(results)
    }

    fn upkeep(&mut self, upkeep: Upkeep, _: Deadline) -> Result<()> {
        match upkeep {
            Upkeep::Compact => self.compact(),
            Upkeep::Probe => self.probe(),
        }
    }

    fn close(self) -> Result<()> {
        self.link.close();
        Ok(())
    }

    /// The server rolls back what was not committed.
    fn abandon(self) {}

    /// The server holds the state: a new connection goes on.
    fn successor(&self) -> Option<Self> {
        Some(Self::new(Link::new(Arc::clone(&self.target), Purpose::Writing), Arc::clone(&self.target)))
    }
}

impl Writer {
    pub fn new(link: Link, target: Arc<Target>) -> Self {
        Self { link, target, lately: [None; 2] }
    }

    fn delete_guru(&mut self, guru: &GuruSlug) -> Result<u64> {
        let Self { link, target, .. } = self;
        // What a try has removed of which nobody knows whether it was committed.
        let mut unsettled = None;
        link.run(WRITING, Pace::Scan, async |session| {
            let remove = async {
                session.client.batch_execute("SET LOCAL statement_timeout = 0").await?;
                let sql = "DELETE FROM profile_store.profile WHERE guru_slug = $1";
                Ok(session.client.execute_typed(sql, &[(&guru.as_str(), Type::TEXT)]).await?)
            };
            let removed = session.begin(target, remove).await?;
            let committed = session.commit().await;
            if matches!(committed, Err(Failure::Unknown(_))) {
                unsettled = Some(removed);
            }
            committed?;
            // Nothing left after an unknown try: that one has removed them.
            Ok(if removed == 0 { unsettled.unwrap_or(0) } else { removed })
        })
    }

    fn probe(&mut self) -> Result<()> {
        let Self { link, target, .. } = self;
        link.run("to write a probe", Pace::Quick, async |session| {
            let sql = "INSERT INTO profile_store.probe (singleton, at) \
                       VALUES (1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) \
                       ON CONFLICT (singleton) DO UPDATE SET at = excluded.at";
            let write = async { Ok(session.client.batch_execute(sql).await?) };
            session.begin(target, write).await?;
            session.commit().await
        })
    }

    fn compact(&mut self) -> Result<()> {
        self.link.run("to compact", Pace::Scan, async |session| {
            // The server skips what the role may not rewrite, with no more than a warning.
            let owner = "SELECT pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class \
                         WHERE oid = 'profile_store.profile'::regclass";
            let owns = session.client.query_typed_one(owner, &[]).await?.try_get::<_, bool>(0)?;
            if !owns {
                let message = "compacting takes the owner of the table profile_store.profile: \
                               let its owner run VACUUM (FULL, ANALYZE) profile_store.profile";
                return Err(Error::new(ErrorKind::Unsupported, message).into());
            }
            let rewrite = session.client.batch_execute("VACUUM (FULL, ANALYZE) profile_store.profile");
            session.unlimited(async { Ok(rewrite.await?) }).await
        })
    }
}

/// One try to store a group. Besides the results it tells what all of it came to.
async fn attempt<'a>(
    session: &Session,
    target: &Target,
    group: &mut Group<'a>,
    course: &mut Course<'a>,
    expected: Option<Kind>,
) -> Result<(Vec<Result<Done>>, Option<Kind>), Failure> {
    if !course.begun
        && let Some(effects) = upsert(session, target, group, course, expected).await?
    {
        return Ok((group.applied(&effects), Kind::of(&effects)));
    }
    let slots: Vec<_> = (0..group.len()).collect();
    read(session, group, &slots, false).await?;
    if let Some(results) = course.settled(group)? {
        return Ok((results, None));
    }
    let resolution = group.resolve()?;
    let arrays = target.takes_arrays();
    let results = match resolution.changes.as_slice() {
        [] => resolution.results,
        changes
            if changes.len() > 1
                && (course.raced || changes.iter().any(|change| change.record.is_none())) =>
        {
            lock(session, target, group, changes).await?;
            // A lost try may have been at its commit until the locks were free.
            if let Some(results) = course.settled(group)? {
                session.rollback().await?;
                return Ok((results, None));
            }
            let resolution = group.resolve()?;
            store(session, target, false, group, &resolution.changes).await?;
            let committed = session.commit().await;
            course.done(committed, resolution)?
        }
        changes if chunks(changes, arrays).len() == 1 => {
            let statement = match changes {
                [change] => Statement::single(group, change, arrays),
                changes => Statement::store(group, changes, arrays),
            };
            let write = raced(session.at_once(target, statement.run(session)).await);
            let committed = match write {
                Ok(rows) if rows == changes.len() as u64 => Ok(()),
                // Only a single one gets here: it can't be made in part.
                Ok(_) => Err(Failure::Raced),
                Err(failure) => Err(failure),
            };
            course.done(committed, resolution)?
        }
        changes => {
            store(session, target, true, group, changes).await?;
            let committed = session.commit().await;
            course.done(committed, resolution)?
        }
    };
    Ok((results, None))
}

/// Stores a group without a look at what is there; `None` where that can't be done.
async fn upsert<'a>(
    session: &Session,
    target: &Target,
    group: &Group<'a>,
    course: &mut Course<'a>,
    mut expected: Option<Kind>,
) -> Result<Option<Vec<Effect>>, Failure> {
    let Dialect::PostgreSql { partitioned } = target.dialect() else { return Ok(None) };
    let Some(upsert) = Upsert::new(group) else { return Ok(None) };
    if partitioned {
        // Each place of a row would be looked up in each partition.
        expected = expected.filter(|kind| *kind != Kind::Changed);
    }
    let stored = upsert.run(session, target, expected).await;
    if matches!(stored, Err(Failure::Unknown(_))) {
        course.unsettled_upsert = Some(upsert);
    }
    stored
}

impl<'a> Course<'a> {
    /// What a try comes to whose transaction was told to commit.
    fn done(
        &mut self,
        committed: Result<(), Failure>,
        resolution: Resolution,
    ) -> Result<Vec<Result<Done>>, Failure> {
        let Resolution { results, changes } = resolution;
        match committed {
            Ok(()) => Ok(results),
            Err(Failure::Unknown(error)) => {
                let mark = |change: &RowChange| {
                    (change.slot, change.record.as_ref().map(|(_, sums)| sums.version()))
                };
                self.unsettled.push(Unsettled { marks: changes.iter().map(mark).collect(), results });
                Err(Failure::Unknown(error))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The results of an earlier try that turns out to be committed. One row of it is proof, as it was
    /// all or nothing, and as a row's checksums cover the times of its changes: the others may have been
    /// changed again since. Removed rows leave no trace: where all are gone, they count as removed.
    fn settled(&mut self, group: &Group<'_>) -> Result<Option<Vec<Result<Done>>>> {
        if let Some(upsert) = &self.unsettled_upsert
            && let Some(effects) = upsert.settled(group)?
        {
            return Ok(Some(group.applied(&effects)));
        }
        for at in (0..self.unsettled.len()).rev() {
            let (stored, removed): (Vec<_>, Vec<_>) =
                self.unsettled[at].marks.iter().copied().partition(|(_, sum)| sum.is_some());
            let holds = |&(slot, sum): &(usize, Option<i64>)| group.holds(slot, sum);
            let proven = if stored.is_empty() {
                removed.iter().map(holds).try_fold(true, |all, holds| holds.map(|holds| all && holds))?
            } else {
                stored.iter().map(holds).try_fold(false, |any, holds| holds.map(|holds| any || holds))?
            };
            if proven {
                return Ok(Some(self.unsettled.swap_remove(at).results));
            }
        }
        Ok(None)
    }
}

/// EngineReads the rows of `slots`, which ascend, each guru's from one consistent state.
async fn read(
    session: &Session,
    group: &mut Group<'_>,
    slots: &[usize],
    locked: bool,
) -> Result<(), Failure> {
    // No memory is read where none is looked into.
    let columns = if group.only_deletes() {
        COLUMNS.replace("memory", "''::text AS memory")
    } else {
        COLUMNS.to_owned()
    };
    let placeholder = if locked { ", expected IS NOT NULL" } else { "" };
    let sql = format!(
        "SELECT {columns}{placeholder} FROM profile_store.profile \
         WHERE guru_slug = $1 AND external_user_id = ANY($2)"
    );
    let gurus: Vec<_> = slots.chunk_by(|one, other| group.key(*one).0 == group.key(*other).0).collect();
    let keys: Vec<_> = gurus
        .iter()
        .map(|slots| {
            let ids: Vec<&str> = slots.iter().map(|&slot| group.key(slot).1.as_str()).collect();
            (group.key(slots[0]).0.as_str(), ids)
        })
        .collect();
    let queries = keys.iter().map(|(guru, ids)| async {
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(guru, Type::TEXT), (ids, Type::TEXT_ARRAY)];
        let mut rows = pin!(session.run_fixed(&sql, &params).await?);
        let mut read = Vec::with_capacity(ids.len());
        while let Some(row) = next(rows.as_mut()).await? {
            read.push(row);
        }
        Ok::<_, Failure>(read)
    });
    let rows = if locked || slots.len() == 1 {
        all(queries).await
    } else {
        session.by_index(async { Ok(all(queries).await) }).await?
    };
    for (slots, rows) in gurus.iter().zip(rows) {
        group.take(slots, rows?, locked)?;
    }
    Ok(())
}

/// That a row is not what it was is somebody else's doing.
fn raced<T>(result: Result<T, Failure>) -> Result<T, Failure> {
    result.map_err(|failure| if is_raced(&failure) { Failure::Raced } else { failure })
}

/// Locks the keys of `changes`, and reads what is there then. Leaves the transaction open.
async fn lock(
    session: &Session,
    target: &Target,
    group: &mut Group<'_>,
    changes: &[RowChange],
) -> Result<(), Failure> {
    let mut begun = false;
    for chunk in chunks(changes, false) {
        let lock = Statement::lock(group, chunk).run(session);
        if begun {
            lock.await?
        } else {
            session.begin(target, lock).await?
        };
        begun = true;
    }
    let slots: Vec<_> = changes.iter().map(|change| change.slot).collect();
    read(session, group, &slots, true).await
}

/// Makes the changes, in a transaction that it begins if told so, and that it leaves open.
async fn store(
    session: &Session,
    target: &Target,
    mut begin: bool,
    group: &Group<'_>,
    changes: &[RowChange],
) -> Result<(), Failure> {
    let arrays = target.takes_arrays();
    for chunk in chunks(changes, arrays) {
        let removed: Vec<_> = chunk.iter().filter(|change| change.record.is_none()).collect();
        if removed.len() < chunk.len() {
            let write = Statement::store(group, chunk, arrays).run(session);
            raced(if begin { session.begin(target, write).await } else { write.await })?;
            begin = false;
        }
        if !removed.is_empty() {
            let rows = Statement::remove(group, &removed).run(session).await?;
            if rows != removed.len() as u64 {
                return Err(Failure::Raced);
            }
        }
    }
    Ok(())
}
