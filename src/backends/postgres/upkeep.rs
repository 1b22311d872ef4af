//! The store as a whole: its size, its soundness, its room.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::{Session, next};
use super::error::{Failure, is_unnamed_damage};
use super::pool::Pool;
use super::row::{self, COLUMNS};
use super::target::Pace;
use crate::engine::deadline::Deadline;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::upkeep::{Stats, Verification};

/// The bytes of the table and its index, and its dead rows, those of partitions included.
const SPACE: &str = "SELECT sum(pg_catalog.pg_total_relation_size(part))::bigint, coalesce(sum(n_dead_tup), 0)::bigint \
    FROM unnest(ARRAY['profile_store.profile'::regclass] || \
                ARRAY(SELECT relid FROM pg_catalog.pg_partition_tree('profile_store.profile') WHERE level > 0)) \
         AS here (part) \
    LEFT JOIN pg_catalog.pg_stat_all_tables ON relid = part";

/// The same on Citus, whose tables are empty themselves.
const SPACE_OF_SHARDS: &str = "SELECT citus_total_relation_size('profile_store.profile'), \
    coalesce((SELECT sum(result::bigint) FROM run_command_on_shards('profile_store.profile', \
              'SELECT n_dead_tup FROM pg_catalog.pg_stat_all_tables WHERE relid = ''%s''::regclass')), 0)::bigint";

/// Whether the role may rewrite the table and each of its partitions. The server skips what it may not, with no more than a
/// warning.
const OWNS: &str = "SELECT bool_and(pg_catalog.pg_has_role(relowner, 'USAGE')) FROM pg_catalog.pg_class \
    WHERE oid = 'profile_store.profile'::regclass \
       OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree('profile_store.profile'))";

/// The transactions of the database that are open now, by names that no other one will have. Everybody may ask for locks; the
/// snapshots of others are not shown to all.
const OPEN: &str = "SELECT virtualtransaction FROM pg_catalog.pg_locks \
        JOIN pg_catalog.pg_stat_activity USING (pid) \
        WHERE locktype = 'virtualxid' AND datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() \
    UNION ALL SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()";

/// How long the end of older transactions is waited for between two looks.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn compact(pool: &Pool, until: Deadline) -> Result<()> {
    pool.run("to compact", Pace::Whole, until, async |session| {
        let owns = session.client.query_typed_one(OWNS, &[]).await?.try_get::<_, bool>(0)?;
        if !owns {
            let message = "compacting takes the owner of the table profile_store.profile and of its partitions: \
                           let its owner run VACUUM (FULL, ANALYZE) profile_store.profile";
            return Err(Error::new(ErrorKind::Unsupported, message).into());
        }
        // For a transaction that is older than a deletion, the server keeps the rows, whatever it reads (L3).
        let older = open(session).await?;
        while !older.is_disjoint(&open(session).await?) {
            if until.is_over() {
                let message = "an older transaction of the database would keep deleted rows in the table of the \
                               PostgreSQL store: end it, and compact again";
                return Err(Error::new(ErrorKind::Busy, message).into());
            }
            sleep(PAUSE).await;
        }
        Ok(session.client.batch_execute("VACUUM (FULL, ANALYZE) profile_store.profile").await?)
    })
}

async fn open(session: &Session) -> Result<HashSet<String>, Failure> {
    let rows = session.client.query_typed(OPEN, &[]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

pub(super) fn database_id(pool: &Pool, until: Deadline) -> Result<String> {
    pool.read(Pace::Quick, until, async |session| {
        let sql = "SELECT format('%s/%s/%s', (SELECT system_identifier FROM pg_catalog.pg_control_system()), oid, \
                          (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint) \
                   FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
        Ok(session.client.query_typed_one(sql, &[]).await?.try_get(0)?)
    })
}

pub(super) fn stats(pool: &Pool, until: Deadline) -> Result<Stats> {
    let space = if pool.target.is_citus() { SPACE_OF_SHARDS } else { SPACE };
    pool.read(Pace::Whole, until, async |session| {
        let sql = "SELECT count(*), coalesce(sum(profiles), 0)::bigint, coalesce(sum(bytes), 0)::bigint \
                   FROM (SELECT count(*) AS profiles, \
                                sum(octet_length(external_user_id) + octet_length(memory)) AS bytes \
                         FROM profile_store.profile GROUP BY guru_slug) AS guru";
        let live = session.client.query_typed_one(sql, &[]).await?;
        let space = session.client.query_typed_one(space, &[]).await?;
        let number = |row: &Row, at: usize| row.try_get::<_, i64>(at).map(i64::cast_unsigned);
        let (profiles, live_bytes) = (number(&live, 1)?, number(&live, 2)?);
        let dead = number(&space, 1)?;
        Ok(Stats {
            gurus: number(&live, 0)?,
            profiles,
            live_bytes,
            disk_bytes: number(&space, 0)?,
            reclaimable_bytes: dead * live_bytes.checked_div(profiles).unwrap_or(0),
        })
    })
}

pub(super) fn verify(pool: &Pool, until: Deadline) -> Result<Verification> {
    match verify_at_once(pool, until) {
        Err(error) if is_unnamed_damage(&error) => pool.run("to read", Pace::Whole, until, verify_singly),
        verified => verified,
    }
}

/// By a statement for each row, after the server could not read one of them.
async fn verify_singly(session: &Session) -> Result<Verification, Failure> {
    let sql = "SELECT guru_slug, external_user_id FROM profile_store.profile \
               WHERE (guru_slug, external_user_id) > ($1, $2) ORDER BY guru_slug, external_user_id LIMIT 1000";
    let (mut found, mut last) = (Verification::default(), (String::new(), String::new()));
    loop {
        let keys = session.rows(sql, &[(&last.0, Type::TEXT), (&last.1, Type::TEXT)]).await?;
        let Some(end) = keys.last() else { return Ok(found) };
        last = (end.try_get(0)?, end.try_get(1)?);
        for key in &keys {
            match row::one(session, key.try_get(0)?, key.try_get(1)?).await {
                Ok(Some(row)) => found.count(row::profile(&row))?,
                // Somebody has deleted it since its id was read.
                Ok(None) => {}
                Err(Failure::Final(error)) => found.count(Err::<(), _>(error))?,
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn verify_at_once(pool: &Pool, until: Deadline) -> Result<Verification> {
    pool.read(Pace::Whole, until, async |session| {
        let sql = format!("SELECT {COLUMNS} FROM profile_store.profile");
        let params: [(&str, Type); 0] = [];
        let mut rows = pin!(session.client.query_typed_raw(&sql, params).await?);
        let mut found = Verification::default();
        while let Some(row) = next(rows.as_mut()).await? {
            found.count(row::profile(&row))?;
        }
        Ok::<_, Failure>(found)
    })
}
