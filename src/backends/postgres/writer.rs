//! A commit thread's transactions.
//!
//! A group is read without a lock first, so that what changes nothing writes nothing, not even a row lock (S5), and
//! nothing is replaced unseen (S12). Changes are stored by statements that don't touch a row if it is not the one
//! that was read. If a row has changed in between, all is rolled back, and the next try locks the keys before it reads
//! them again. Nobody can come in between then, so large batches get through between small ones.
//!
//! Every statement returns the rows that it has written. A transaction commits only if these are the rows that it was
//! to write. A row that a trigger has changed or left out is an error, and not stored. If the table has triggers, the rows are
//! read again before the commit, as some run after the statement.
//!
//! Every transaction takes its locks in one pass in the order of the key, so that no two wait for each
//! other in a circle. Removing a whole guru is the exception: the server finds its rows in an order of
//! its own, and if a deadlock comes of it, one of the two is tried again.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::{Params, Session, all};
use super::error::{Failure, altered};
use super::group::{Group, RowChange};
use super::pool::Pool;
use super::receipt::{self, Receipt};
use super::row::{self, COLUMNS, IS_WATCHED, KEY_COLUMNS};
use super::statement::{Statement, chunks};
use super::target::{Pace, STEP, Target};
use super::upkeep;
use crate::engine::deadline::Deadline;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::GuruSlug;
use crate::model::timestamp::Timestamp;

/// Has those triggers run that wait for the end of the transaction.
const RUN_TRIGGERS: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// Has others wait who write, until the transaction ends.
const KEEP_OTHERS_OUT: &str = "LOCK TABLE profile_store.profile IN SHARE ROW EXCLUSIVE MODE";

/// How long the probe waits between two tries.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Writer {
    pool: Arc<Pool>,
    /// Whose receipts are its own.
    number: i64,
    /// Tries in a row that have come to nothing.
    failed: Cell<u32>,
}

impl Engine for Writer {
    /// Small, so that larger batches spread over the connections.
    const GROUP_BYTES: usize = 128 << 10;

    /// A statement that removes profiles locks by itself.
    fn shares(task: &Task) -> bool {
        matches!(task, Task::Apply { batch, .. } if !batch.deletes())
    }

    fn commit(&mut self, group: &[(&Task, Timestamp)], until: Deadline) -> Result<Vec<Result<Done>>> {
        self.may_write()?;
        let mut batches = Vec::with_capacity(group.len());
        for (task, now) in group {
            match task {
                Task::Apply { guru, batch } => batches.push((guru, batch, *now)),
                Task::DeleteGuru { guru } => {
                    assert_eq!(group.len(), 1, "it shares its transaction with nothing");
                    return Ok(vec![Ok(Done::Deleted(self.delete_guru(guru, until)?))]);
                }
            }
        }
        let guru = batches[0].0;
        let mut group = Group::new(batches);
        let mut raced = false;
        let target = &self.pool.target;
        self.transact(guru.as_str(), Pace::Quick, until, async |session, receipt| {
            let tried = attempt(session, target, receipt, &mut group, raced).await;
            raced |= matches!(tried, Err(Failure::Raced));
            tried
        })
    }

    fn upkeep(&mut self, upkeep: Upkeep, until: Deadline) -> Result<()> {
        self.may_write()?;
        match upkeep {
            Upkeep::Compact => upkeep::compact(&self.pool, until),
            // It is busy after each step, as a group is.
            Upkeep::Probe => loop {
                match self.probe(until) {
                    Err(error) if error.kind() == ErrorKind::Busy && !until.is_over() => thread::sleep(PAUSE),
                    probed => return probed,
                }
            },
        }
    }

    fn close(self) -> Result<()> {
        self.pool.close();
        Ok(())
    }

    /// The server rolls back what was not committed.
    fn abandon(self) {}

    /// The state is the server's: a panic costs the connection that it was in.
    fn successor(&self) -> Option<Self> {
        Some(Self::new(Arc::clone(&self.pool)))
    }
}

impl Writer {
    pub fn new(pool: Arc<Pool>) -> Self {
        Self { pool, number: receipt::number(), failed: Cell::new(0) }
    }

    fn may_write(&self) -> Result<()> {
        if self.pool.target.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading only"));
        }
        Ok(())
    }

    /// Makes one transaction. `work` begins it by its receipt and leaves it open, or returns `false` if it has nothing to
    /// commit. Several tries are made only if others were in the way for less than a step, or if the answer to a commit
    /// was lost. Otherwise the transaction is busy at once.
    fn transact<T>(
        &self,
        guru: &str,
        pace: Pace,
        until: Deadline,
        mut work: impl AsyncFnMut(&Session, &Receipt) -> Result<(T, bool), Failure>,
    ) -> Result<T> {
        let target = &self.pool.target;
        let mut lost: Option<(Receipt, T)> = None;
        let again = Deadline::after(STEP).min(until);
        self.pool.run_in_steps("to write", pace, until, again, &self.failed, async |session| {
            if let Some((receipt, _)) = &lost {
                let made = receipt.is_there(session, target).await.map_err(Failure::unsettled)?;
                let done = lost.take().map(|(_, done)| done);
                if let Some(done) = done.filter(|_| made) {
                    return Ok(done);
                }
            }
            let receipt = Receipt::new(target, guru, self.number);
            let (done, begun) = work(session, &receipt).await?;
            if !begun {
                return Ok(done);
            }
            lost = Some((receipt, done));
            match session.commit().await {
                Err(failure) if failure.is_unsettled() => Err(failure),
                committed => {
                    let (_, done) = lost.take().expect("it was put there");
                    committed.map(|()| done)
                }
            }
        })
    }

    fn delete_guru(&mut self, guru: &GuruSlug, until: Deadline) -> Result<u64> {
        let target = &self.pool.target;
        let mut alone = false;
        self.transact(guru.as_str(), Pace::Scan, until, async |session, receipt| {
            if session.read(target, Pace::Scan, count(session, guru, "")).await? == 0 {
                return Ok((0, false));
            }
            let remove = async {
                session.client.batch_execute("SET LOCAL statement_timeout = 0").await?;
                if alone {
                    session.client.batch_execute(KEEP_OTHERS_OUT).await?;
                }
                // A batch that holds one of the rows ends first. The deletion sees all that it has stored, or none (L2).
                let there = count(session, guru, " ORDER BY external_user_id FOR UPDATE").await?;
                let sql = "DELETE FROM profile_store.profile WHERE guru_slug = $1";
                let removed = session.client.execute_typed(sql, &[(&guru.as_str(), Type::TEXT)]).await?;
                let altered =
                    || altered(&format!("the deletion of guru {:?}", guru.as_str())).with_guru(guru.as_str());
                if removed < there {
                    return Err(altered().into());
                }
                let watched = session.client.query_typed_one(&format!("SELECT {IS_WATCHED}"), &[]).await?;
                if watched.try_get(0)? {
                    session.client.batch_execute(RUN_TRIGGERS).await?;
                    // Brought back by a trigger, or others have stored them since: then it is done again without others.
                    if count(session, guru, "").await? > 0 {
                        return Err(if alone { altered().into() } else { Failure::Raced });
                    }
                }
                Ok(removed)
            };
            let removed = receipt.begin(session, target, remove).await;
            alone |= matches!(removed, Err(Failure::Raced));
            Ok((removed?, true))
        })
    }

    fn probe(&self, until: Deadline) -> Result<()> {
        let target = &self.pool.target;
        self.transact("", Pace::Quick, until, async |session, receipt| {
            receipt.begin(session, target, async { Ok(()) }).await?;
            Ok(((), true))
        })
    }
}

async fn count(session: &Session, guru: &GuruSlug, lock: &str) -> Result<u64, Failure> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM profile_store.profile WHERE guru_slug = $1{lock}) AS there"
    );
    let row = session.client.query_typed_one(&sql, &[(&guru.as_str(), Type::TEXT)]).await?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}

/// One try to store a group; `false` if it changes nothing, and no transaction was begun.
async fn attempt(
    session: &Session,
    target: &Target,
    receipt: &Receipt,
    group: &mut Group<'_>,
    raced: bool,
) -> Result<(Vec<Result<Done>>, bool), Failure> {
    let slots: Vec<_> = (0..group.len()).collect();
    read(session, target, group, &slots, false).await?;
    let mut resolution = group.resolve()?;
    if resolution.changes.is_empty() {
        return Ok((resolution.results, false));
    }
    // A statement that removes rows locks them in an order of its own.
    let locks = raced || resolution.changes.iter().any(|change| change.record.is_none());
    let write = async {
        let mut locked = Vec::new();
        if locks {
            lock(session, target, group, &resolution.changes).await?;
            locked = resolution.changes.iter().map(|change| change.slot).collect();
            resolution = group.resolve()?;
        }
        if store(session, target, group, &resolution.changes, &locked).await? {
            look_again(session, group, &resolution.changes).await?;
        }
        Ok(resolution.results)
    };
    Ok((receipt.begin(session, target, write).await?, true))
}

/// Reads the rows of `slots`, which ascend, each guru's from one consistent state.
async fn read(
    session: &Session,
    target: &Target,
    group: &mut Group<'_>,
    slots: &[usize],
    locked: bool,
) -> Result<(), Failure> {
    // No memory is read if none is looked into.
    let columns = if group.only_deletes() { KEY_COLUMNS } else { COLUMNS };
    let keys = keys(group, slots);
    let queries = keys.iter().map(|(_, (guru, ids))| row::several(session, columns, guru, ids));
    let rows = if locked {
        all(queries).await
    } else {
        session.read_at_once(target, async { Ok(all(queries).await) }).await?
    };
    for ((slots, (guru, ids)), rows) in keys.into_iter().zip(rows) {
        match rows {
            Err(Failure::Server(error)) if Failure::is_damage(&error) => {
                // The server does not say in which row.
                session.rollback().await?;
                for id in ids {
                    row::one(session, guru, id).await?;
                }
                return Err(error.into());
            }
            rows => group.take(slots, rows?, locked)?,
        }
    }
    Ok(())
}

/// A guru, and ids of it.
type Keys<'a> = (&'a str, Vec<&'a str>);

/// The keys of slots, which ascend, guru by guru.
fn keys<'s, 'a>(group: &Group<'a>, slots: &'s [usize]) -> Vec<(&'s [usize], Keys<'a>)> {
    let gurus = slots.chunk_by(|one, other| group.key(*one).0 == group.key(*other).0);
    gurus
        .map(|slots| {
            let ids = slots.iter().map(|&slot| group.key(slot).1.as_str()).collect();
            (slots, (group.key(slots[0]).0.as_str(), ids))
        })
        .collect()
}

/// Locks the keys of `changes`, and reads what is there then.
async fn lock(
    session: &Session,
    target: &Target,
    group: &mut Group<'_>,
    changes: &[RowChange],
) -> Result<(), Failure> {
    for chunk in chunks(changes, false) {
        Statement::lock(group, &chunk.iter().collect::<Vec<_>>()).run(session).await?;
    }
    let slots: Vec<_> = changes.iter().map(|change| change.slot).collect();
    read(session, target, group, &slots, true).await
}

/// Makes the changes, and looks whether they were made. The keys of the slots `locked`, which ascend, are. Returns
/// whether the table has triggers.
async fn store(
    session: &Session,
    target: &Target,
    group: &Group<'_>,
    changes: &[RowChange],
    locked: &[usize],
) -> Result<bool, Failure> {
    let (arrays, mut watched) = (!target.is_citus(), false);
    for chunk in chunks(changes, arrays) {
        let (stored, removed): (Vec<_>, Vec<_>) = chunk.iter().partition(|change| change.record.is_some());
        if !stored.is_empty() {
            let rows = Statement::store(group, &stored, arrays).run(session).await?;
            check(group, &stored, &rows, locked)?;
            watched |= rows.first().map_or(Ok(false), row::is_watched)?;
        }
        for of_guru in removed.chunk_by(|one, other| group.key(one.slot).0 == group.key(other.slot).0) {
            let rows = remove(session, target, group, of_guru).await?;
            check(group, of_guru, &rows, locked)?;
            watched |= rows.first().map_or(Ok(false), row::is_watched)?;
        }
    }
    Ok(watched)
}

/// Looks whether what was written is still there once all triggers have run, those of the end of a transaction included.
async fn look_again(session: &Session, group: &Group<'_>, changes: &[RowChange]) -> Result<(), Failure> {
    session.client.batch_execute(RUN_TRIGGERS).await?;
    let slots: Vec<_> = changes.iter().map(|change| change.slot).collect();
    let stored: Vec<_> = changes.iter().filter(|change| change.record.is_some()).collect();
    let keys = keys(group, &slots);
    let rows = all(keys.iter().map(|(_, (guru, ids))| row::several(session, COLUMNS, guru, ids))).await;
    let rows: Vec<_> = rows.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    check(group, &stored, &rows, &slots)
}

/// Removes rows of one guru, and returns them.
async fn remove(
    session: &Session,
    target: &Target,
    group: &Group<'_>,
    changes: &[&RowChange],
) -> Result<Vec<Row>, Failure> {
    let returned = row::returning(KEY_COLUMNS, target.is_citus());
    let sql = format!(
        "DELETE FROM profile_store.profile WHERE guru_slug = $1 AND external_user_id = ANY($2) RETURNING {returned}"
    );
    let guru = group.key(changes[0].slot).0.as_str();
    let ids: Vec<_> = changes.iter().map(|change| group.key(change.slot).1.as_str()).collect();
    let params: &Params<'_> = &[(&guru, Type::TEXT), (&ids, Type::TEXT_ARRAY)];
    session.rows(&sql, params).await
}

/// Whether the server has written the rows of `changes`, as they were sent. A row that is missing was changed by
/// others, or, if its key was locked, left out by the server itself.
fn check(group: &Group<'_>, changes: &[&RowChange], rows: &[Row], locked: &[usize]) -> Result<(), Failure> {
    let mut written = vec![false; changes.len()];
    for row in rows {
        let (guru, id) = row::key(row)?;
        let at = group
            .slot(guru, id)
            .and_then(|slot| changes.binary_search_by_key(&slot, |change| change.slot).ok());
        let Some(at) = at else {
            return Err(altered(&format!("profile {id:?} of guru {guru:?}")).into());
        };
        if let Some((record, sum)) = &changes[at].record {
            if row::is_placeholder(row)? {
                let slot = changes[at].slot;
                // A locked key's row has been replaced by then, unless a trigger says otherwise.
                let is_locked = locked.binary_search(&slot).is_ok();
                return Err(if is_locked { group.altered(slot).into() } else { Failure::Raced });
            }
            if !row::holds(row, record, *sum)? {
                return Err(group.altered(changes[at].slot).into());
            }
        }
        written[at] = true;
    }
    let mut missing =
        changes.iter().zip(written).filter(|(_, written)| !written).map(|(change, _)| change.slot);
    match missing.next() {
        None => Ok(()),
        Some(slot) if locked.binary_search(&slot).is_ok() => Err(group.altered(slot).into()),
        Some(_) => Err(Failure::Raced),
    }
}
