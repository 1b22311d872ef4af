//! A connection to the server, and what is sent over it.
//!
//! It lives in a runtime that runs only while a thread of the store is in a call (S11). So a caller that drops
//! its future can neither tear a transaction nor leave a connection dirty (S10).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_core::Stream as _;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row, RowStream};

use super::error::Failure;
use super::target::{BEGIN, MARK, Pace, STATEMENT, Target};
use super::tls;
use crate::engine::deadline::Deadline;

/// The parameters of a statement, each with its type.
pub(super) type Params<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// An open connection.
pub(super) struct Session {
    pub client: Client,
    /// Whether it has a session of the server for itself, with the settings of the store. Behind a pooler in
    /// transaction mode it does not, and each transaction brings the settings along.
    own: bool,
    /// The statements that the server has prepared for this session, by their text. They are few.
    prepared: RefCell<HashMap<String, tokio_postgres::Statement>>,
    /// When bytes were moved last.
    heard: Heard,
    /// Moves the bytes; ends when the client is dropped.
    driver: JoinHandle<()>,
    /// Whether a transaction was begun and has not ended.
    in_transaction: Cell<bool>,
    /// Whether a commit was sent, and the server has not answered yet.
    committing: Cell<bool>,
    /// Whether statements may have no time limit.
    unlimited: Cell<bool>,
}

impl Session {
    /// Reaches one of the hosts, until then at most.
    pub async fn connect(target: &Target, until: Deadline) -> Result<Self, Failure> {
        match Self::connect_with_settings(target, until).await {
            Ok(Some(session)) => return Ok(session),
            Ok(None) => {}
            Err(failure) if failure.refuses_settings() => {}
            Err(failure) => return Err(failure),
        }
        Self::connect_by(target, &target.config, until).await
    }

    /// `None` if the settings have not come through: a pooler has left them out.
    async fn connect_with_settings(target: &Target, until: Deadline) -> Result<Option<Self>, Failure> {
        let mark = format!("{:016x}", RandomState::new().hash_one(0_u8));
        let mut session = Self::connect_by(target, &target.with_settings(&mark), until).await?;
        // A prepared statement has one plan that is right, and it takes longer to find than to run for a single
        // user. From a plan for any parameters Citus can't know which nodes to ask, and refuses it.
        // Not among the settings, as a server that does not know one of them would refuse all.
        let sql = format!(
            "SELECT current_setting('{MARK}', true), (SELECT count(pg_catalog.set_config(name, \
             CASE name WHEN 'plan_cache_mode' THEN 'force_generic_plan' ELSE 'off' END, false)) \
             FROM pg_catalog.pg_settings WHERE name IN ('plan_cache_mode', 'enable_bitmapscan') \
             AND current_setting('{MARK}', true) = '{mark}' \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'))"
        );
        let found = timeout(STATEMENT, session.client.query_typed_one(&sql, &[])).await;
        let found = found.map_err(|_| Failure::Silent)??;
        session.own = found.try_get::<_, Option<&str>>(0)? == Some(mark.as_str());
        if session.own {
            return Ok(Some(session));
        }
        session.end().await;
        Ok(None)
    }

    async fn connect_by(target: &Target, config: &Config, until: Deadline) -> Result<Self, Failure> {
        let connect =
            async |config: &Config| config.connect(tls::same(&target.tls)).await.map_err(Failure::connecting);
        let (client, mut connection) = target.hosts.connect(config, until, connect).await?;
        let heard = Heard::now();
        let last = heard.clone();
        let driver = tokio::spawn(poll_fn(move |context| {
            last.touch();
            // The error that ends the connection goes to each call that waits for an answer.
            Pin::new(&mut connection).poll(context).map(drop)
        }));
        Ok(Self {
            client,
            own: false,
            prepared: RefCell::default(),
            heard,
            driver,
            in_transaction: Cell::new(false),
            committing: Cell::new(false),
            unlimited: Cell::new(false),
        })
    }

    /// Does `work` as long as the connection moves: a server that is silent for longer than `limit` is given up on ([P2](crate::contract#p2)).
    pub async fn while_heard<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.heard.within(limit, work).await
    }

    /// The rows that a statement gives. Its text is one of few: it is prepared if the session is its own.
    pub async fn rows(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, Failure> {
        if !self.own {
            return Ok(self.client.query_typed(sql, params).await?);
        }
        let known = self.prepared.borrow().get(sql).cloned();
        let statement = match known {
            Some(statement) => statement,
            None => {
                let types: Vec<_> = params.iter().map(|(_, kind)| kind.clone()).collect();
                let statement = self.client.prepare_typed(sql, &types).await?;
                self.prepared.borrow_mut().insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
        Ok(self.client.query(&statement, &values).await?)
    }

    /// Begins a transaction that writes, and does `first` in it, in one round trip if that has one.
    pub async fn begin<T>(
        &self,
        target: &Target,
        first: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.in_transaction.set(true);
        let begin = if self.own { BEGIN } else { &target.begin };
        let (begun, first) = both(self.client.batch_execute(begin), first).await;
        begun?;
        first
    }

    /// Does `work` without the time limit of a statement.
    pub async fn unlimited<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if !self.own {
            return work.await;
        }
        self.unlimited.set(true);
        // If it can't be set, the work has a limit, or has failed as well.
        both(self.client.batch_execute("SET statement_timeout = 0"), work).await.1
    }

    /// Reads in one round trip by `work`, a single statement. Without settings of its own, the session has them for this
    /// transaction: limits of waiting, and the index, whatever the server believes of the table (without statistics it
    /// takes a thousand ids for most of the rows).
    pub async fn read_at_once<T>(
        &self,
        target: &Target,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.own {
            return work.await;
        }
        self.in_transaction.set(true);
        let begun = both(self.client.batch_execute(&target.begin_reading), work);
        let ((begun, read), ended) = both(begun, self.client.batch_execute("COMMIT")).await;
        begun?;
        let read = read?;
        ended?;
        self.in_transaction.set(false);
        Ok(read)
    }

    /// The same by any number of statements, which takes a round trip more for those that have no settings of their own.
    pub async fn read<T>(
        &self,
        target: &Target,
        pace: Pace,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.own {
            return work.await;
        }
        self.in_transaction.set(true);
        let begin = match pace {
            Pace::Quick => target.begin_reading.clone(),
            Pace::Scan | Pace::Whole => format!("{}; SET LOCAL statement_timeout = 0", target.begin_reading),
        };
        let (begun, read) = both(self.client.batch_execute(&begin), work).await;
        begun?;
        let read = read?;
        self.client.batch_execute("COMMIT").await?;
        self.in_transaction.set(false);
        Ok(read)
    }

    /// Commits. If the answer does not come, nobody knows what became of the transaction.
    pub async fn commit(&self) -> Result<(), Failure> {
        self.committing.set(true);
        let answer = self.client.batch_execute("COMMIT").await.map_err(Failure::Server);
        self.committing.set(false);
        self.in_transaction.set(false);
        answer.map_err(|failure| if failure.is_unanswered() { failure.unsettled() } else { failure })
    }

    pub fn is_committing(&self) -> bool {
        self.committing.get()
    }

    /// Ends the transaction, if there is one, as if it had never been.
    pub async fn rollback(&self) -> Result<(), Failure> {
        if self.in_transaction.replace(false) {
            self.client.batch_execute("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Ends the transaction, and brings back the time limit of statements. Whether the connection is now as it was opened.
    pub async fn tidy(&self) -> bool {
        let tidying = async {
            self.rollback().await?;
            if self.unlimited.replace(false) {
                self.client.batch_execute("RESET statement_timeout").await?;
            }
            Ok::<_, Failure>(())
        };
        timeout(STATEMENT, tidying).await.is_ok_and(|tidied| tidied.is_ok())
    }

    /// Lets go of a connection whose state is unknown, and cancels its statement on the server.
    pub async fn abandon(self, target: &Target) {
        if !self.client.is_closed() {
            let cancel = self.client.cancel_token();
            // The server ends the transaction in any case, once it finds the connection gone.
            let _ = timeout(Duration::from_secs(1), cancel.cancel_query(tls::same(&target.tls))).await;
        }
        self.driver.abort();
        let _ = self.driver.await;
    }

    /// Ends the connection in the way the server expects.
    pub async fn end(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        // The server would notice anyway.
        let _ = timeout(Duration::from_secs(1), driver).await;
    }
}

/// The last time that a connection had something to do: it sends, or has received. Clones share it.
#[derive(Clone)]
struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn touch(&self) {
        *self.last() = Instant::now();
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if nothing moves for so long before the work is done.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        self.touch();
        loop {
            // As after what was heard last: when this is over, something may have been heard since.
            let silence = self.last().elapsed();
            if silence >= limit {
                return None;
            }
            if let Ok(done) = timeout(limit - silence, work.as_mut()).await {
                return Some(done);
            }
        }
    }
}

/// The next row as it comes in; `None` after the last. No more of them are held than the connection has read.
pub(super) async fn next(mut rows: Pin<&mut RowStream>) -> Result<Option<Row>, tokio_postgres::Error> {
    poll_fn(|context| rows.as_mut().poll_next(context)).await.transpose()
}

/// Polls two futures together; the first one goes first, so that its request does.
pub(super) async fn both<A, B>(one: impl Future<Output = A>, two: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut two) = (pin!(one), pin!(two));
    let (mut first, mut second) = (None, None);
    poll_fn(move |context| {
        if first.is_none()
            && let Poll::Ready(ready) = one.as_mut().poll(context)
        {
            first = Some(ready);
        }
        if second.is_none()
            && let Poll::Ready(ready) = two.as_mut().poll(context)
        {
            second = Some(ready);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (still, other) => {
                (first, second) = (still, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// Polls futures together, so that their requests go out in order and in one go.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if futures.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const LIMIT: Duration = Duration::from_millis(500);

    /// P2: what moves may take as long as it takes, and what is silent is given up on.
    #[test]
    fn only_silence_is_given_up_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let heard = Heard::now();
            let moving = async {
                for _ in 0..60 {
                    sleep(LIMIT / 25).await;
                    heard.touch();
                }
            };
            assert!(heard.within(LIMIT, moving).await.is_some());
            assert!(heard.within(LIMIT, std::future::pending::<()>()).await.is_none());
        });
    }
}
