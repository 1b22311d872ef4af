//! The tables: made, or refused (S13), like surroundings in which the contract can't hold.

use tokio_postgres::types::{ToSql, Type};

use super::connection::Session;
use super::error::{Failure, Remedy, Server};
use super::pool::Pool;
use super::row::COLUMNS;
use super::target::{Pace, Target};
use crate::engine::deadline::Deadline;
use crate::model::error::{Error, ErrorKind, Result};

const SCHEMA: &str = include_str!("schema/postgresql.sql");

/// The format that this crate reads and writes.
const FORMAT: i32 = 2;

/// Whether this role may read profiles.
const MAY_READ: &str = "SELECT has_table_privilege('profile_store.profile', 'SELECT')";

/// Whether it may do all that a write does.
const MAY_WRITE: &str = "SELECT bool_and(has_table_privilege(name, privilege)) \
    FROM unnest(ARRAY['profile_store.profile', 'profile_store.receipt']) AS name, \
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege";

/// The flaws of the tables, a row for each table: its name, and whether it has each flaw.
const TABLES: &str = "SELECT relname::text, relpersistence = 'u' OR EXISTS ( \
        SELECT FROM pg_catalog.pg_partition_tree(profile.oid) AS part \
        JOIN pg_catalog.pg_class AS leaf ON leaf.oid = part.relid WHERE leaf.relpersistence = 'u'), \
    row_security_active(profile.oid), \
    EXISTS (SELECT FROM pg_catalog.pg_attribute \
            WHERE attrelid = profile.oid AND attname IN ('guru_slug', 'external_user_id', 'memory') \
                  AND atttypid NOT IN ('text'::regtype, 'varchar'::regtype) \
               OR attrelid = profile.oid AND attname IN ('created_at', 'updated_at', 'checksum', 'expected', 'writer', 'token') \
                  AND atttypid <> 'bigint'::regtype), \
    EXISTS (SELECT FROM pg_catalog.pg_attribute LEFT JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation \
            WHERE attrelid = profile.oid AND attname = ANY(keys) AND attname <> 'writer' AND collname IS DISTINCT FROM 'C'), \
    NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = profile.oid AND indisunique AND indisvalid \
                AND indpred IS NULL AND indnatts = 2 \
                AND (SELECT count(*) FROM pg_catalog.pg_attribute \
                     WHERE attrelid = indrelid AND attnum = ANY(indkey) AND attname = ANY(keys)) = 2) \
    FROM unnest($1::text[], $2::text[]) AS here (name, key) \
    CROSS JOIN LATERAL (SELECT ARRAY['guru_slug', key]) AS of_key (keys) \
    JOIN pg_catalog.pg_class AS profile ON profile.oid = here.name::regclass";

/// The maker of the tables holds this lock, `PSTO` in ASCII, so that services that start at once take turns.
const LOCK: i64 = 0x5053_544F;

/// Sees to it that the tables are there, in the format of this crate, on a server that can keep the contract.
pub(super) fn prepare(pool: &Pool) -> Result<()> {
    let (target, until) = (&pool.target, Deadline::after(pool.target.patience));
    pool.run("to open", Pace::Quick, until, async |session| {
        look_at_server(session, target).await?;
        if !has_tables(session).await? {
            if !target.create {
                let message = "there is no store in the PostgreSQL database";
                return Err(Error::new(ErrorKind::NotFound, message).into());
            }
            let lock = async {
                Ok(session.client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?)
            };
            session.begin(target, lock).await?;
            // Another service may have made them while this one waited.
            if !has_tables(session).await? {
                make(session).await?;
            }
            session.commit().await?;
        }
        look_at_tables(session, target).await?;
        if target.read_only { Ok(()) } else { sweep(session).await }
    })
}

/// Refuses a server whose texts can't hold every memory and id, or that keeps nothing through a power loss.
async fn look_at_server(session: &Session, target: &Target) -> Result<(), Failure> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'), \
               current_setting('server_encoding'), current_setting('client_encoding'), \
               current_setting('server_version_num')::integer, current_setting('server_version'), \
               current_setting('fsync')";
    let server = session.client.query_typed_one(sql, &[]).await?;
    target.citus.get_or_init(|| server.get(0));
    for (place, encoding) in [("database", server.try_get(1)?), ("connection", server.try_get::<_, &str>(2)?)]
    {
        if encoding != "UTF8" {
            return Err(unfit(format!("the {place} is in {encoding}, and not in UTF8")));
        }
    }
    if server.try_get::<_, i32>(3)? < 130_000 {
        let version: &str = server.try_get(4)?;
        return Err(unfit(format!("the server is PostgreSQL {version}, and 13 is the oldest that will do")));
    }
    if server.try_get::<_, &str>(5)? == "off" && target.survives_power_loss && !target.read_only {
        return Err(unfit(
            "the server runs with fsync off, so it can lose everything with the power: turn fsync on, or open with \
             Durability::ProcessCrash"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Refuses tables of another format, tables that would lose, hide or misplace rows, and a role that may not use them.
async fn look_at_tables(session: &Session, target: &Target) -> Result<(), Failure> {
    let sql = "SELECT version, (SELECT relpersistence = 'u' FROM pg_catalog.pg_class \
                                WHERE oid = 'profile_store.format'::regclass) FROM profile_store.format";
    let row = session.client.query_typed_opt(sql, &[]).await?;
    let version: Option<i32> = row.as_ref().map(|row| row.try_get(0)).transpose()?;
    if version != Some(FORMAT) {
        let has = version.map_or("no version".to_owned(), |version| format!("version {version}"));
        let why = if version == Some(1) { ", made by an unreleased version" } else { "" };
        let message =
            format!("the tables of the PostgreSQL store have {has}{why}; this crate knows {FORMAT}");
        return Err(Error::new(ErrorKind::Incompatible, message).into());
    }
    if !target.read_only && row.map_or(Ok(false), |row| row.try_get(1))? {
        return Err(unfit(
            "the table profile_store.format is unlogged: the server empties it after a crash".to_owned(),
        ));
    }
    let may = async |sql| Ok::<bool, Failure>(session.client.query_typed_one(sql, &[]).await?.try_get(0)?);
    let reads = may(MAY_READ).await?;
    // Who only reads needs no receipts.
    if !reads || !target.read_only && !may(MAY_WRITE).await? {
        let message = format!(
            "this role may not {} the PostgreSQL store: grant what src/backends/postgres/schema/postgresql.sql says",
            if reads { "write to" } else { "read" },
        );
        return Err(Error::new(ErrorKind::PermissionDenied, message).into());
    }
    let mut tables = vec![("profile_store.profile", "external_user_id")];
    if !target.read_only {
        tables.push(("profile_store.receipt", "writer"));
    }
    let (names, keys): (Vec<_>, Vec<_>) = tables.into_iter().unzip();
    let params = [(&names as &(dyn ToSql + Sync), Type::TEXT_ARRAY), (&keys, Type::TEXT_ARRAY)];
    for table in session.client.query_typed(TABLES, &params).await? {
        let name: &str = table.try_get(0)?;
        let flaws = [
            "is unlogged, or a partition of it: the server empties it after a crash",
            "has policies of row security, which hide rows from this role",
            "has a column of another type",
            "does not order its keys by COLLATE \"C\"",
            "has lost the unique index of its keys",
        ];
        // A view will do for reading.
        let looked_at = if target.read_only { 4 } else { flaws.len() };
        for (at, flaw) in flaws.into_iter().enumerate().take(looked_at) {
            if table.try_get(1 + at)? {
                return Err(unfit(format!("the table profile_store.{name} {flaw}")));
            }
        }
    }
    // Another schema has other columns.
    session.rows(&format!("SELECT {COLUMNS} FROM profile_store.profile LIMIT 0"), &[]).await?;
    Ok(())
}

fn unfit(reason: String) -> Failure {
    let message = format!("the PostgreSQL database can't hold a store: {reason}");
    Error::new(ErrorKind::Incompatible, message).into()
}

async fn make(session: &Session) -> Result<(), Failure> {
    session.client.batch_execute(SCHEMA).await.map_err(|error| {
        let (kind, what) = match error.code().map(|code| code.code()) {
            Some("42P06" | "42P07") => (
                ErrorKind::Incompatible,
                "the PostgreSQL database has a schema profile_store of something else".to_owned(),
            ),
            Some("42501") => (
                ErrorKind::PermissionDenied,
                format!(
                    "the PostgreSQL database has no tables of format {FORMAT}, and this role may not make them: \
                     let its owner run src/backends/postgres/schema/postgresql.sql, which says what to grant"
                ),
            ),
            _ => return Failure::Server(error),
        };
        Failure::Final(Error::new(kind, what).with_source(Server::from(error)))
    })
}

async fn has_tables(session: &Session) -> Result<bool, Failure> {
    // By the catalog's rows: what looks names up by itself may not have heard of a table made while this
    // transaction waited for the lock.
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables \
                 WHERE schemaname = 'profile_store' AND tablename = 'format')";
    Ok(session.client.query_typed_one(there, &[]).await?.try_get(0)?)
}

/// Removes the receipts of writers that are gone: nobody asks for a lost answer for a day.
async fn sweep(session: &Session) -> Result<(), Failure> {
    let sql = "DELETE FROM profile_store.receipt WHERE at < now() - interval '1 day'";
    match session.client.batch_execute(sql).await.map_err(Failure::Server) {
        // A writer is at work on its own old one. They are left for the next opening.
        Err(failure) if failure.remedy() == Remedy::Wait => Ok(()),
        swept => swept,
    }
}
