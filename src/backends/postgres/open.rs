//! The tables: made, migrated, or refused (S13).

use std::sync::Arc;

use super::connection::{Link, Pace, Session};
use super::error::{Failure, Server};
use super::target::{Dialect, Target};
use crate::model::error::{Error, ErrorKind, Result};

/// What takes the schema from each format to the next, the first one from nothing.
const STEPS: &[&str] = &[include_str!("schema/postgresql.sql")];

/// The format that this crate reads and writes.
const FORMAT: usize = STEPS.len();

/// Whoever makes or migrates the tables holds this lock, `PSTO` in ASCII, so that services that start at once do
/// it in turn.
const LOCK: i64 = 0x5053_544F;

/// Sees to it that the tables are there, in the format of this crate.
pub(super) fn prepare(link: &mut Link, target: &Arc<Target>) -> Result<()> {
    link.run("to open", Pace::Quick, async |session| {
        let server = "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'), \
                      EXISTS (SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS schema \
                      ON schema.oid = relnamespace WHERE nspname = 'profile_store' AND relkind = 'p')";
        let server = session.client.query_typed_one(server, &[]).await?;
        let dialect = Dialect::new(server.try_get(0)?, server.try_get(1)?);
        target.dialect.get_or_init(|| dialect);
        match format(session).await? {
            FORMAT => return Ok(()),
            0 if !target.create => {
                let message = "there is no store in the PostgreSQL database";
                return Err(Error::new(ErrorKind::InvalidInput, message).into());
            }
            _ => {}
        }
        let lock = async {
            Ok(session.client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?)
        };
        session.begin(target, lock).await?;
        // Another service may have done it while this one waited.
        for (step, sql) in STEPS.iter().enumerate().skip(format(session).await?) {
            migrate(session, step + 1, sql).await?;
        }
        session.commit().await
    })
}

async fn migrate(session: &Session, format: usize, sql: &str) -> Result<(), Failure> {
    session.client.batch_execute(sql).await.map_err(|error| {
        let (kind, what) = match error.code().map(|code| code.code()) {
            Some("42P06" | "42P07") => (
                ErrorKind::Incompatible,
                "the PostgreSQL database has a schema profile_store of something else".to_owned(),
            ),
            Some("42501") => (
                ErrorKind::PermissionDenied,
                format!(
                    "the PostgreSQL database has no tables of format {format}, and this role may not make them: \
                     let its owner run src/backends/postgres/schema/postgresql.sql, which says what to grant"
                ),
            ),
            _ => return Failure::Server(error),
        };
        Failure::Final(Error::new(kind, what).with_source(Server::from(error)))
    })
}

/// The format of the tables; 0 where there are none.
async fn format(session: &Session) -> Result<usize, Failure> {
    // By the catalog's rows: what looks names up by itself may not have heard of a table made while this
    // transaction waited for the lock.
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables \
                 WHERE schemaname = 'profile_store' AND tablename = 'format')";
    if !session.client.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let version = "SELECT version FROM profile_store.format";
    let row = session.client.query_typed_opt(version, &[]).await?;
    let version: Option<i32> = row.map(|row| row.try_get(0)).transpose()?;
    match version.and_then(|version| usize::try_from(version).ok()) {
        Some(known) if (1..=FORMAT).contains(&known) => Ok(known),
        _ => {
            let has = version.map_or("no version".to_owned(), |version| format!("version {version}"));
            let message =
                format!("the tables of the PostgreSQL store have {has}, this crate knows 1 to {FORMAT}");
            Err(Error::new(ErrorKind::Incompatible, message).into())
        }
    }
}
