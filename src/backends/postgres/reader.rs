//! The questions of the read threads.
//!
//! Every answer is one statement, and so one consistent state, unless said otherwise.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use tokio_postgres::types::Type;

use super::connection::{Session, next};
use super::error::{Failure, is_unnamed_damage};
use super::pool::Pool;
use super::row::{self, COLUMNS};
use super::target::Pace;
use super::upkeep;
use crate::engine::deadline::Deadline;
use crate::engine::guru_list::GuruList;
use crate::engine::threaded::EngineReads;
use crate::model::error::{Error, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::list::ListOptions;
use crate::store::page::{Page, PageBuilder};
use crate::store::upkeep::{Stats, Verification};

/// Rows asked for at a time when a page is filled, unless it is known how large they are.
const FIRST_ROWS: usize = 128;

/// The most rows asked for at a time, and the bytes of memories that they should come to.
const MOST_ROWS: usize = 1000;
const AIMED_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Reader {
    pool: Arc<Pool>,
    /// Until when a read may wait to begin.
    until: Deadline,
}

impl Reader {
    pub fn new(pool: Arc<Pool>) -> Self {
        let until = Deadline::after(pool.target.patience);
        Self { pool, until }
    }

    fn run<T>(&self, pace: Pace, work: impl AsyncFnMut(&Session) -> Result<T, Failure>) -> Result<T> {
        self.pool.read(pace, self.until, work)
    }

    pub fn database_id(&self) -> Result<String> {
        upkeep::database_id(&self.pool, self.until)
    }
}

impl EngineReads for Reader {
    fn wait_until(&mut self, until: Deadline) {
        self.until = until;
    }

    fn get_many(&mut self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let texts: Vec<_> = ids.iter().map(ExternalUserId::as_str).collect();
        let read = self.pool.run("to read", Pace::Quick, self.until, async |session| {
            let rows = row::several(session, COLUMNS, guru.as_str(), &texts);
            let rows = session.read_at_once(&self.pool.target, rows).await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in rows {
                let profile = row::profile(&row)?;
                found.insert(profile.external_user_id.clone(), profile);
            }
            Ok(found)
        });
        let mut found = match read {
            Err(error) if is_unnamed_damage(&error) => {
                self.pool.run("to read", Pace::Scan, self.until, async |session| {
                    for id in &texts {
                        row::one(session, guru.as_str(), id).await?;
                    }
                    Ok(())
                })?;
                return Err(error);
            }
            found => found?,
        };
        if found.len() == ids.len() {
            return Ok(ids.iter().map(|id| found.remove(id)).collect());
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    /// Several statements for a large or filtered page, each of a state of its own: as several pages would be.
    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let page = self.run(Pace::Quick, async |session| page(session, guru, options).await);
        match page {
            Err(error) if is_unnamed_damage(&error) => {
                let singly = async |session: &Session| page_singly(session, guru, options).await;
                self.pool.run("to read", Pace::Quick, self.until, singly)
            }
            page => page,
        }
    }

    fn count(&mut self, guru: &GuruSlug) -> Result<u64> {
        self.run(Pace::Scan, async |session| {
            let sql = "SELECT count(*) FROM profile_store.profile WHERE guru_slug = $1";
            let row = session.client.query_typed_one(sql, &[(&guru.as_str(), Type::TEXT)]).await?;
            Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
        })
    }

    /// A seek in the index for each guru, instead of a scan of all profiles.
    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let pace = if limit > 1000 || after.is_some() { Pace::Scan } else { Pace::Quick };
        self.run(pace, async |session| {
            let (mut gurus, after) = (GuruList::new(limit), after.map_or("", GuruSlug::as_str));
            let mut last = after.to_owned();
            while !gurus.is_full() {
                let Some(next) = name_after(session, &last).await? else { break };
                gurus.push(next.as_bytes(), |_| Ok(()))?;
                last = next;
            }
            // Citus has no such statement.
            if !gurus.is_full() && !after.is_empty() && !self.pool.target.is_citus() {
                for row in session.client.query_typed(STRAYS, &[(&after, Type::TEXT)]).await? {
                    gurus.look_at(row.try_get::<_, &str>(0)?.as_bytes());
                }
            }
            Ok(gurus.finish()?)
        })
    }

    fn stats(&mut self) -> Result<Stats> {
        upkeep::stats(&self.pool, self.until)
    }

    fn verify(&mut self) -> Result<Verification> {
        upkeep::verify(&self.pool, self.until)
    }
}

/// A page, of as many statements as it takes.
async fn page(session: &Session, guru: &GuruSlug, options: &ListOptions) -> Result<Page, Failure> {
    let mut page = PageBuilder::new(options);
    let mut start = options.start().into_owned();
    let (mut wanted, mut read, mut bytes) = (FIRST_ROWS.min(options.limit() + 1), 0, 0);
    loop {
        let sql = format!(
            "SELECT {COLUMNS} FROM profile_store.profile \
             WHERE guru_slug = $1 AND external_user_id >= $2 ORDER BY external_user_id LIMIT {wanted}"
        );
        let params = [(guru.as_str(), Type::TEXT), (start.as_str(), Type::TEXT)];
        let mut rows = pin!(session.client.query_typed_raw(&sql, params).await?);
        let (mut got, mut last) = (0, None);
        while let Some(row) = next(rows.as_mut()).await? {
            got += 1;
            last = Some(row::key(&row)?.1.to_owned());
            let flow = match row::external_user_id(&row) {
                Ok(id) => {
                    let verified = || row::verify(guru.as_str(), id.as_str(), &row);
                    let read = || verified().inspect(|record| bytes += record.memory().len());
                    page.push_row(id.clone(), read)?
                }
                Err(error) => page.push_damaged(None, error)?,
            };
            if flow.is_break() {
                return Ok(page.finish()?);
            }
        }
        if let Some(last) = last {
            // No id holds a NUL, so this is the next one.
            start = format!("{last}\u{1}");
        }
        if got < wanted {
            return Ok(page.finish()?);
        }
        read += got;
        let aimed = (AIMED_BYTES / (bytes / read).max(1)).clamp(16, MOST_ROWS);
        // Beyond the limit are those that the filters leave out.
        wanted = match (options.limit() + 1).saturating_sub(read) {
            0 => aimed,
            more => aimed.min(more),
        };
    }
}

/// The same after the server could not read one of the rows: those near it are read by a statement each.
async fn page_singly(session: &Session, guru: &GuruSlug, options: &ListOptions) -> Result<Page, Failure> {
    let mut page = PageBuilder::new(options);
    let mut start = options.start().into_owned();
    let sql = format!(
        "SELECT external_user_id FROM profile_store.profile \
         WHERE guru_slug = $1 AND external_user_id >= $2 ORDER BY external_user_id LIMIT {FIRST_ROWS}"
    );
    loop {
        let found =
            session.rows(&sql, &[(&guru.as_str(), Type::TEXT), (&start.as_str(), Type::TEXT)]).await?;
        let texts = found.iter().map(|row| row.try_get::<_, &str>(0)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = match row::several(session, COLUMNS, guru.as_str(), &texts).await {
            Ok(rows) => {
                let keyed = rows.into_iter().map(|row| Ok((row::key(&row)?.1.to_owned(), row)));
                Some(keyed.collect::<Result<HashMap<_, _>>>()?)
            }
            Err(Failure::Server(error)) if Failure::is_damage(&error) => None,
            Err(failure) => return Err(failure),
        };
        for text in &texts {
            start = format!("{text}\u{1}");
            let row = match &mut rows {
                Some(rows) => Ok(rows.remove(*text)),
                None => match row::one(session, guru.as_str(), text).await {
                    Err(Failure::Final(error)) => Err(error),
                    row => Ok(row?),
                },
            };
            let flow = match (ExternalUserId::new(*text), row) {
                (Err(_), _) => {
                    let error = Error::corrupt_record(guru.as_str(), text, "its id can't be one");
                    page.push_damaged(None, error)?
                }
                (Ok(id), Ok(Some(row))) => {
                    page.push_row(id.clone(), || row::verify(guru.as_str(), id.as_str(), &row))?
                }
                // Somebody has deleted it since its id was read.
                (Ok(_), Ok(None)) => continue,
                (Ok(id), Err(error)) => page.push_damaged(Some(id), error)?,
            };
            if flow.is_break() {
                return Ok(page.finish()?);
            }
        }
        if texts.len() < FIRST_ROWS {
            return Ok(page.finish()?);
        }
    }
}

/// The names up to this one that are no slugs: by the same seeks, at the server.
const STRAYS: &str = "WITH RECURSIVE here (name) AS ( \
    (SELECT guru_slug FROM profile_store.profile WHERE guru_slug < $1 ORDER BY guru_slug LIMIT 1) \
    UNION ALL \
    SELECT (SELECT guru_slug FROM profile_store.profile WHERE guru_slug > here.name AND guru_slug < $1 \
            ORDER BY guru_slug LIMIT 1) \
    FROM here WHERE here.name IS NOT NULL) \
    SELECT name FROM here WHERE name !~ '^[-0-9A-Za-z_]{1,255}$'";

/// The first name of a guru after this text.
async fn name_after(session: &Session, text: &str) -> Result<Option<String>, Failure> {
    let sql = "SELECT guru_slug FROM profile_store.profile WHERE guru_slug > $1 ORDER BY guru_slug LIMIT 1";
    let row = session.client.query_typed_opt(sql, &[(&text, Type::TEXT)]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
