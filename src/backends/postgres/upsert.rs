//! A group that only replaces memories, each key's once: one statement in one round trip, with nothing
//! read before.
//!
//! # Why it is right
//! Each statement runs at READ COMMITTED, and looks a key up in its snapshot, which is taken within the call. (At a
//! stricter level, which a role may have by default, what others have changed meanwhile makes it fail, and it is tried again.)
//!
//! - A row that it stores is judged again in its newest version, locked: `ON CONFLICT` sees what others have
//!   committed meanwhile. One that has got the memory in question by now is left alone, and one that is gone
//!   is made anew. `UPDATE` by place sees the newest version too, or (newer servers) misses it: then it has
//!   not stored all, and fails.
//! - A row that has the memory in the snapshot is not touched: no lock, no log (S5). If somebody changes it
//!   at the same time, the item comes before that change (S9).
//! - `created_at` is what an update leaves alone, with the checksum that covers it: it is kept, and where it
//!   is damaged it stays so for every reader (S7, S12).
//! - Where the clock is not ahead of the `updated_at` that is there, the statement fails as a whole, and the
//!   group is read and written in two steps, which stamps it later than that, and verifies it before (S7).
//!
//! Keys are locked in their order: the source is one scan of the arrays, which are sorted, and what is looked
//! up for each is written so that it can be nothing but a probe of the index, whatever the server
//! believes of the table.
//!
//! # Three statements
//! [`PUT`] does for any group. Where the groups before were all new, or all changed, [`PUT_NEW`] or
//! [`PUT_CHANGED`] comes first: they look each key up once less, write nothing unless the group is like that,
//! and have no rows to return.

use std::pin::pin;

use tokio_postgres::types::{ToSql, Type};

use super::connection::Session;
use super::error::Failure;
use super::group::Group;
use super::row;
use super::statement::{CHUNK_ARRAY_ROWS, CHUNK_BYTES, is_raced};
use super::stream::next;
use super::target::Target;
use crate::engine::checksum;
use crate::model::error::Result;
use crate::plan::change::Effect;

/// The least rows for which to expect anything: a statement in vain costs more than fewer look-ups save.
const EXPECTED_ROWS: usize = 32;

/// `$2` ids, `$3` memories, `$4` their checksums, `$5` the time, `$6` the checksums of a creation at that
/// time; `$1` the guru of all of them, or the guru of each, as `$guru` has it. `$key` tells the rows apart.
macro_rules! put {
    ($guru:literal, $key:literal) => {
        concat!(
            "INSERT INTO profile_store.profile AS stored (guru_slug, external_user_id, memory, \
             created_at, updated_at, checksum, created_checksum) \
             SELECT guru, id, memory, $5, $5, checksum, created_checksum FROM (SELECT ",
            $guru,
            " AS guru, unnest($2) AS id, unnest($3) AS memory, unnest($4) AS checksum, \
             unnest($6) AS created_checksum) AS new \
             WHERE (SELECT old.memory FROM profile_store.profile AS old \
             WHERE old.guru_slug = new.guru AND old.external_user_id = new.id) IS DISTINCT FROM new.memory \
             ON CONFLICT (guru_slug, external_user_id) DO UPDATE \
             SET memory = excluded.memory, updated_at = excluded.updated_at, checksum = \
             CASE WHEN stored.updated_at < excluded.updated_at AND stored.created_at <> excluded.updated_at \
             THEN excluded.checksum ELSE excluded.checksum % (excluded.checksum - excluded.checksum) END \
             WHERE stored.memory <> excluded.memory \
             RETURNING created_at = updated_at, ",
            $key
        )
    };
}

/// Stores all or, where one of the keys is there, nothing. The parameters are those of [`PUT`].
macro_rules! put_new {
    ($guru:literal) => {
        concat!(
            "INSERT INTO profile_store.profile (guru_slug, external_user_id, memory, \
             created_at, updated_at, checksum, created_checksum) \
             SELECT guru, id, memory, $5, $5, checksum, created_checksum FROM (SELECT ",
            $guru,
            " AS guru, unnest($2) AS id, unnest($3) AS memory, unnest($4) AS checksum, \
             unnest($6) AS created_checksum) AS new \
             WHERE NOT EXISTS (SELECT FROM (SELECT ",
            $guru,
            " AS guru, unnest($2) AS id) AS new WHERE (SELECT true FROM profile_store.profile AS old \
             WHERE old.guru_slug = new.guru AND old.external_user_id = new.id))"
        )
    };
}

/// Tells whether it has stored all of so many, `$6`, or none; anything between is an error. Where the first of
/// them, of the guru `$first`, is not to be changed, no other is looked up. What is looked up is where a row stands, as an update by the key would let the server choose which side to look up in
/// the other. The key is compared once more, since no place is unique in a table of several partitions.
macro_rules! put_changed {
    ($guru:literal, $first:literal) => {
        concat!(
            "WITH changed AS (UPDATE profile_store.profile AS stored \
             SET memory = new.memory, updated_at = $5, checksum = CASE WHEN stored.updated_at < $5 \
             THEN new.checksum ELSE new.checksum % (new.checksum - new.checksum) END \
             FROM (SELECT guru, id, memory, checksum, (SELECT old.ctid FROM profile_store.profile AS old \
             WHERE old.guru_slug = new.guru AND old.external_user_id = new.id) AS place FROM (SELECT ",
            $guru,
            " AS guru, unnest($2) AS id, unnest($3) AS memory, unnest($4) AS checksum) AS new OFFSET 0) AS new \
             WHERE stored.ctid = new.place AND stored.guru_slug || '' = new.guru \
             AND stored.external_user_id || '' = new.id AND stored.memory <> new.memory \
             AND (SELECT old.memory FROM profile_store.profile AS old WHERE old.guru_slug = ",
            $first,
            " AND old.external_user_id = ($2)[1]) <> ($3)[1] RETURNING 1) \
             SELECT CASE count(*) WHEN 0 THEN 0 WHEN $6 THEN 1 ELSE count(*) % (count(*) - count(*)) END \
             FROM changed"
        )
    };
}

// For keys of one guru, and of several.
const PUT: [&str; 2] = [put!("$1", "external_user_id"), put!("unnest($1)", "external_user_id, guru_slug")];
const PUT_NEW: [&str; 2] = [put_new!("$1"), put_new!("unnest($1)")];
const PUT_CHANGED: [&str; 2] = [put_changed!("$1", "$1"), put_changed!("unnest($1)", "($1)[1]")];

/// What all of a group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    New,
    Changed,
}

impl Kind {
    /// `None` for a group that is neither.
    pub fn of(effects: &[Effect]) -> Option<Self> {
        let all = |effect| effects.iter().all(|other| *other == effect);
        match effects.first()? {
            Effect::Created if all(Effect::Created) => Some(Self::New),
            Effect::Updated if all(Effect::Updated) => Some(Self::Changed),
            _ => None,
        }
    }
}

/// The rows of a group, in the order of their keys.
pub(super) struct Upsert<'a> {
    gurus: Vec<&'a str>,
    ids: Vec<&'a str>,
    memories: Vec<&'a str>,
    /// One for each row, as it is stored now.
    checksums: Vec<i64>,
    created_checksums: Vec<i64>,
    now: i64,
}

impl<'a> Upsert<'a> {
    /// `None` for a group that is more than one such statement takes.
    pub fn new(group: &Group<'a>) -> Option<Self> {
        let now = group.now();
        let rows = group.len();
        if !(1..=CHUNK_ARRAY_ROWS).contains(&rows) {
            return None;
        }
        let memories = group.puts()?;
        if rows > 1 && memories.iter().map(|memory| memory.len()).sum::<usize>() > CHUNK_BYTES {
            return None;
        }
        let keys = || (0..rows).map(|slot| group.key(slot)).map(|(guru, id)| (guru.as_str(), id.as_str()));
        let one_guru = group.key(0).0 == group.key(rows - 1).0;
        let gurus = keys().map(|(guru, _)| guru).take(if one_guru { 1 } else { rows }).collect();
        let content = |((guru, id), memory): (_, &&str)| checksum::of_content(guru, id, memory, now);
        let creation = |(guru, id): (_, _)| checksum::of_creation(guru, id, now);
        Some(Self {
            gurus,
            ids: keys().map(|(_, id)| id).collect(),
            checksums: keys().zip(&memories).map(content).map(u64::cast_signed).collect(),
            created_checksums: keys().map(creation).map(u64::cast_signed).collect(),
            memories,
            now: now.as_micros(),
        })
    }

    /// Stores the rows, and tells what became of each; `None` where it has to be done in another way, and
    /// nothing was stored.
    pub async fn run(
        &self,
        session: &Session,
        target: &Target,
        expected: Option<Kind>,
    ) -> Result<Option<Vec<Effect>>, Failure> {
        let rows = self.ids.len();
        let expected = expected.filter(|_| rows >= EXPECTED_ROWS);
        let stored = match expected {
            None => None,
            Some(Kind::New) => in_vain(session.at_once(target, self.put_new(session)).await)?,
            Some(Kind::Changed) => in_vain(session.at_once(target, self.put_changed(session)).await)?,
        };
        match (expected, stored) {
            (Some(Kind::New), Some(true)) => Ok(Some(vec![Effect::Created; rows])),
            (Some(Kind::Changed), Some(true)) => Ok(Some(vec![Effect::Updated; rows])),
            _ => in_vain(session.at_once(target, self.put(session)).await),
        }
    }

    async fn put(&self, session: &Session) -> Result<Vec<Effect>, Failure> {
        let mut params = self.params();
        params.push((&self.created_checksums, Type::INT8_ARRAY));
        let mut rows = pin!(session.run_fixed(PUT[self.form()], &params).await?);
        let mut effects = vec![Effect::Unchanged; self.ids.len()];
        while let Some(row) = next(rows.as_mut()).await? {
            let (created, id): (bool, &str) = (row.try_get(0)?, row.try_get(1)?);
            let guru: Option<&str> = if self.form() == 0 { None } else { Some(row.try_get(2)?) };
            let slot = self.slot(guru, id).expect("only what went in comes back");
            effects[slot] = if created { Effect::Created } else { Effect::Updated };
        }
        Ok(effects)
    }

    async fn put_new(&self, session: &Session) -> Result<bool, Failure> {
        let mut params = self.params();
        params.push((&self.created_checksums, Type::INT8_ARRAY));
        let mut rows = pin!(session.run_fixed(PUT_NEW[self.form()], &params).await?);
        while next(rows.as_mut()).await?.is_some() {}
        Ok(rows.rows_affected() != Some(0))
    }

    async fn put_changed(&self, session: &Session) -> Result<bool, Failure> {
        let mut params = self.params();
        let count = self.ids.len() as i64;
        params.push((&count, Type::INT8));
        let mut rows = pin!(session.run_fixed(PUT_CHANGED[self.form()], &params).await?);
        let mut stored = false;
        while let Some(row) = next(rows.as_mut()).await? {
            stored = row.try_get::<_, i64>(0)? == 1;
        }
        Ok(stored)
    }

    /// Where a key stands; the guru is `None` where there is but one. A sharded engine returns rows in any order.
    fn slot(&self, guru: Option<&str>, id: &str) -> Option<usize> {
        let of_guru = match guru {
            None => 0..self.ids.len(),
            Some(guru) => {
                let first = self.gurus.partition_point(|other| *other < guru);
                first..first + self.gurus[first..].partition_point(|other| *other == guru)
            }
        };
        let found = self.ids[of_guru.clone()].binary_search(&id);
        found.ok().map(|at| of_guru.start + at)
    }

    /// Which form of the statements.
    fn form(&self) -> usize {
        usize::from(self.gurus.len() > 1)
    }

    /// What all of the statements have.
    fn params(&self) -> Vec<Param<'_>> {
        let guru: Param<'_> = match self.gurus.as_slice() {
            [guru] => (guru, Type::TEXT),
            _ => (&self.gurus, Type::TEXT_ARRAY),
        };
        vec![
            guru,
            (&self.ids, Type::TEXT_ARRAY),
            (&self.memories, Type::TEXT_ARRAY),
            (&self.checksums, Type::INT8_ARRAY),
            (&self.now, Type::INT8),
        ]
    }

    /// What became of the rows if they have been stored by a statement whose answer was lost, by what is there
    /// now; `None` if nothing proves that they have. One row with its checksum of now is proof, as it covers the
    /// time, and as it was all or nothing.
    ///
    /// A row with this memory and another time was left unchanged. What others have changed or removed since
    /// is told as created where the time of that is still to be seen, and else as updated: it may have been
    /// unchanged before.
    pub fn settled(&self, group: &Group<'_>) -> Result<Option<Vec<Effect>>> {
        let mut proven = false;
        let effect = |slot: usize| {
            let Some(row) = group.row(slot) else { return Ok(Effect::Updated) };
            let (guru, id) = (group.key(slot).0.as_str(), self.ids[slot]);
            let stored = row::sums(guru, id, row)?.content == self.checksums[slot];
            proven |= stored;
            Ok(if row::created_at(guru, id, row)? == self.now {
                Effect::Created
            } else if !stored && row::memory(guru, id, row)? == self.memories[slot] {
                Effect::Unchanged
            } else {
                Effect::Updated
            })
        };
        let effects = (0..self.ids.len()).map(effect).collect::<Result<_>>()?;
        Ok(proven.then_some(effects))
    }
}

type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// `None` for a statement that has failed as a whole since a row is not as it must be for it, or since it may not
/// write: what changes nothing may still be done by reading.
fn in_vain<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(failure) if is_raced(&failure) || failure.is_read_only() => Ok(None),
        Err(failure) => Err(failure),
    }
}
