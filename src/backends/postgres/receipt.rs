//! The proof of a commit: a row that each transaction writes, with a number that no other has.
//!
//! If the answer to a commit is lost, the writer reads its receipt by a lock. The lock waits until the lost
//! transaction has ended, so whether it was made is known then, and can't change any more.

use std::hash::{BuildHasher as _, RandomState};

use tokio_postgres::types::Type;

use super::connection::{Params, Session, both};
use super::error::{Failure, altered};
use super::target::Target;

const LEAVE: &str = "INSERT INTO profile_store.receipt AS last (guru_slug, writer, token) VALUES ($1, $2, $3) \
    ON CONFLICT (guru_slug, writer) DO UPDATE SET token = excluded.token, at = excluded.at RETURNING token";

const READ: &str = "INSERT INTO profile_store.receipt AS last (guru_slug, writer, token) VALUES ($1, $2, $3) \
    ON CONFLICT (guru_slug, writer) DO UPDATE SET token = last.token RETURNING token";

/// The receipt of one transaction.
pub(super) struct Receipt {
    /// On Citus the guru that is written, so that the receipt is on its node; else nothing.
    guru: String,
    writer: i64,
    token: i64,
}

/// A number that nobody else has, by chance.
pub(super) fn number() -> i64 {
    RandomState::new().hash_one(0_u8).cast_signed()
}

impl Receipt {
    pub fn new(target: &Target, guru: &str, writer: i64) -> Self {
        let guru = if target.is_citus() { guru.to_owned() } else { String::new() };
        Self { guru, writer, token: number() }
    }

    /// Begins a transaction, leaves the receipt in it, and does `work`.
    pub async fn begin<T>(
        &self,
        session: &Session,
        target: &Target,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let leave = async {
            let told = self.ask(session, LEAVE, self.token).await?;
            if told == Some(self.token) { Ok(()) } else { Err(Failure::from(altered("a receipt"))) }
        };
        let (left, done) = session.begin(target, async { Ok(both(leave, work).await) }).await?;
        match (left, done) {
            (Ok(()), done) => done,
            (Err(failure), Err(cause)) if failure.is_aftermath() => Err(cause),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Whether the transaction of this receipt was committed.
    pub async fn is_there(&self, session: &Session, target: &Target) -> Result<bool, Failure> {
        let found = session.begin(target, self.ask(session, READ, 0)).await?;
        session.rollback().await?;
        Ok(found == Some(self.token))
    }

    async fn ask(&self, session: &Session, sql: &str, token: i64) -> Result<Option<i64>, Failure> {
        let params: &Params<'_> =
            &[(&self.guru, Type::TEXT), (&self.writer, Type::INT8), (&token, Type::INT8)];
        let rows = session.rows(sql, params).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }
}
