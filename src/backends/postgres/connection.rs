//! A connection that is made when it is needed, and made again when it is lost.
//!
//! It lives on a thread of the store's own, with a runtime that runs while the thread is in a call
//! (S11). So a caller that drops its future can neither tear a transaction nor leave a connection
//! dirty: the thread finishes what it has begun (S10).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, RowStream};

use super::error::{Failure, Remedy};
use super::target::{BEGIN, Dialect, MARK, STATEMENT, Target};
use super::tls;
use crate::model::error::{Error, ErrorKind, Result};

/// A way to the server, of one thread.
pub(super) struct Link {
    target: Arc<Target>,
    purpose: Purpose,
    /// Made on the thread that uses it: it must not be dropped within another runtime.
    runtime: Option<Runtime>,
    session: Option<Session>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Reading,
    /// It has the settings of what writes, where they can be its own.
    Writing,
}

/// An open connection.
pub(super) struct Session {
    pub client: Client,
    /// Whether it has a session of the server for itself, with the settings of what writes. Behind
    /// a pooler in transaction mode it does not, and each transaction brings the settings along.
    own: bool,
    /// What the server has prepared for its own session, by their text. The texts are few.
    prepared: RefCell<HashMap<String, tokio_postgres::Statement>>,
    /// Moves the bytes; ends when the client is dropped.
    driver: JoinHandle<()>,
    /// Whether a transaction was begun and has not ended.
    in_transaction: Cell<bool>,
    /// Whether the server has been told to commit, and has not answered yet.
    committing: Cell<bool>,
}

/// How long a statement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As a call for some profiles should.
    Quick,
    /// As long as a scan of the store takes.
    Scan,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("connected", &self.session.is_some()).finish_non_exhaustive()
    }
}

impl Link {
    pub fn new(target: Arc<Target>, purpose: Purpose) -> Self {
        Self { target, purpose, runtime: None, session: None }
    }

    /// Does `work` over a connection, again where that may help, until it is done or the store's
    /// patience is at its end. `doing` names it in errors.
    pub fn run<T>(
        &mut self,
        doing: &'static str,
        pace: Pace,
        mut work: impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread().enable_all().build().map_err(|source| {
                Error::new(ErrorKind::Storage, "can't start the runtime of a connection").with_source(source)
            })?,
        };
        let result = runtime.block_on(async {
            let mut tries = Tries::new(self.target.patience);
            // Whether one of them may have been committed.
            let mut unsettled = false;
            loop {
                let is_new = self.session.is_none();
                let failure = match self.attempt(pace, &mut work).await {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                };
                self.tidy(&failure).await;
                unsettled |= failure.is_unsettled();
                // It was read-only when the connection was opened, and may have come to write since.
                if failure.is_read_only() && !is_new {
                    continue;
                }
                let remedy = failure.remedy();
                if remedy == Remedy::GiveUp || !tries.again(remedy).await {
                    return Err(failure.into_error(doing, tries.waited(), unsettled));
                }
            }
        });
        self.runtime = Some(runtime);
        result
    }

    async fn attempt<T>(
        &mut self,
        pace: Pace,
        work: &mut impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            self.session = Some(Session::connect(&self.target, self.purpose).await?);
        }
        let session = self.session.as_ref().expect("connected");
        match pace {
            // The server gives up first, and says so; this is for one that says nothing any more.
            Pace::Quick => timeout(STATEMENT * 2, work(session))
                .await
                .unwrap_or_else(|_| Err(Failure::Late { committing: session.committing.get() })),
            Pace::Scan => work(session).await,
        }
    }

    /// Leaves no transaction open behind a failure, or no connection.
    async fn tidy(&mut self, failure: &Failure) {
        let Some(session) = self.session.take() else { return };
        let usable = match failure {
            Failure::Raced | Failure::Final(_) => true,
            // A server that has become read-only is a standby now: the next connection may find the one
            // that writes.
            Failure::Server(error) => {
                error.code().is_some() && !failure.is_read_only() && failure.remedy() != Remedy::Reconnect
            }
            Failure::Unknown(_) | Failure::Late { .. } | Failure::Silent => false,
        };
        if usable && session.rollback().await.is_ok() {
            self.session = Some(session);
        } else {
            session.abandon(&self.target).await;
        }
    }

    /// What kind of server it leads to.
    pub fn dialect(&self) -> Dialect {
        self.target.dialect()
    }

    /// Ends the connection in the way the server expects.
    pub fn close(mut self) {
        if let (Some(runtime), Some(session)) = (self.runtime.take(), self.session.take()) {
            runtime.block_on(session.end());
        }
    }
}

impl Session {
    async fn connect(target: &Target, purpose: Purpose) -> Result<Self, Failure> {
        if purpose == Purpose::Writing {
            match Self::connect_with_settings(target).await {
                Ok(Some(session)) => return Ok(session),
                Ok(None) => {}
                Err(failure) if refuses_settings(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        Self::connect_by(target, &target.config).await
    }

    /// `None` where the settings have not come through: a pooler has left them out.
    async fn connect_with_settings(target: &Target) -> Result<Option<Self>, Failure> {
        let mark = format!("{:016x}", RandomState::new().hash_one(0_u8));
        let mut session = Self::connect_by(target, &target.with_settings(&mark)).await?;
        // What is prepared has one plan that is right, and that takes longer to find than to run for a single
        // user; except on Citus, where a plan for any parameters can't tell which nodes to ask, and is refused.
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

    async fn connect_by(target: &Target, config: &Config) -> Result<Self, Failure> {
        let connecting = config.connect(tls::same(&target.tls));
        let limit = config.get_connect_timeout().copied().unwrap_or(STATEMENT);
        // Reaching the server has a limit of its own; this one is for a server that accepts and is silent.
        let (client, connection) = timeout(limit * 2, connecting).await.map_err(|_| Failure::Silent)??;
        let driver = tokio::spawn(async move {
            // What ends the connection is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self {
            client,
            own: false,
            prepared: RefCell::default(),
            driver,
            in_transaction: Cell::new(false),
            committing: Cell::new(false),
        })
    }

    /// Runs a statement of a fixed text, of which the store has few: prepared where the session is its
    /// own.
    pub async fn run_fixed(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<RowStream, tokio_postgres::Error> {
        if !self.own {
            let params = params.iter().map(|(value, kind)| (*value, kind.clone()));
            return self.client.query_typed_raw(sql, params).await;
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
        self.client.query_raw(&statement, params.iter().map(|(value, _)| *value)).await
    }

    /// Begins a transaction that writes, and does `first` in it, in one round trip.
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

    /// Does `work`, a statement that fails where it can't be done as a whole, in a transaction of one
    /// round trip.
    pub async fn at_once<T>(
        &self,
        target: &Target,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.own {
            // By itself it is a transaction.
            self.committing.set(true);
            let done = work.await.map_err(unknown);
            self.committing.set(false);
            return done;
        }
        self.committing.set(true);
        let (done, committed) = both(self.begin(target, work), self.client.batch_execute("COMMIT")).await;
        // First, as it may be that all answers are missing.
        self.committed(committed)?;
        done
    }

    /// Does `work`, which takes as long as it takes, without the time limits of the settings.
    pub async fn unlimited<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if !self.own {
            return work.await;
        }
        self.client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        let done = work.await;
        // To what the connection was opened with.
        let reset = self.client.batch_execute("RESET statement_timeout; RESET lock_timeout").await;
        let done = done?;
        reset?;
        Ok(done)
    }

    /// EngineReads in one round trip by `work`, a statement that should use the index whatever the server
    /// believes of the table: without statistics it takes a thousand ids for most of the rows.
    pub async fn by_index<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        const BEGIN_READING: &str = "BEGIN READ ONLY; SET LOCAL enable_seqscan = off";
        if self.own {
            return work.await;
        }
        self.in_transaction.set(true);
        let begun = both(self.client.batch_execute(BEGIN_READING), work);
        let ((begun, read), ended) = both(begun, self.client.batch_execute("COMMIT")).await;
        begun?;
        let read = read?;
        ended?;
        self.in_transaction.set(false);
        Ok(read)
    }

    /// Commits. Where the connection is lost meanwhile, nobody knows what became of the transaction.
    pub async fn commit(&self) -> Result<(), Failure> {
        self.committing.set(true);
        let committed = self.client.batch_execute("COMMIT").await;
        self.committed(committed)
    }

    fn committed(&self, answer: Result<(), tokio_postgres::Error>) -> Result<(), Failure> {
        self.committing.set(false);
        self.in_transaction.set(false);
        answer.map_err(|error| unknown(Failure::Server(error)))
    }

    /// Ends the transaction, if there is one, as if it had never been.
    pub async fn rollback(&self) -> Result<(), tokio_postgres::Error> {
        if self.in_transaction.replace(false) {
            self.client.batch_execute("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Lets go of a connection whose state is unknown: the server is told to stop what it does.
    async fn abandon(self, target: &Target) {
        if !self.client.is_closed() {
            let cancel = self.client.cancel_token();
            // The server ends the transaction in any case, once it finds the connection gone.
            let _ = timeout(Duration::from_secs(1), cancel.cancel_query(tls::same(&target.tls))).await;
        }
        self.driver.abort();
        let _ = self.driver.await;
    }

    async fn end(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        // The server would notice anyway.
        let _ = timeout(Duration::from_secs(1), driver).await;
    }
}

/// What a failure is of a statement that commits: where the server has not answered, whether it did is not known.
fn unknown(failure: Failure) -> Failure {
    let lost = failure.remedy() == Remedy::Reconnect;
    match failure {
        Failure::Server(error) if lost || error.code().is_none() => Failure::Unknown(error),
        failure => failure,
    }
}

/// Whether connecting may have failed for the settings brought along: poolers refuse what they do not
/// know as a violation of the protocol.
fn refuses_settings(failure: &Failure) -> bool {
    let Failure::Server(error) = failure else { return false };
    error.code().is_some_and(|code| ["08", "0A", "22", "42"].contains(&&code.code()[..2]))
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

/// The tries of one call.
struct Tries {
    begun: Instant,
    patience: Duration,
    pause: Duration,
    more_than_one: bool,
}

impl Tries {
    const FIRST_PAUSE: Duration = Duration::from_millis(4);
    const LONGEST_PAUSE: Duration = Duration::from_millis(250);

    fn new(patience: Duration) -> Self {
        Self { begun: Instant::now(), patience, pause: Self::FIRST_PAUSE, more_than_one: false }
    }

    /// Waits before the next try. `false` if there is no time for one.
    async fn again(&mut self, remedy: Remedy) -> bool {
        if self.begun.elapsed() >= self.patience {
            return false;
        }
        self.more_than_one = true;
        if remedy != Remedy::Repeat {
            // Between a half and the whole of the pause, so that those who met don't meet again.
            let jitter = RandomState::new().hash_one(0_u8) % 512;
            sleep(self.pause.mul_f64(0.5 + jitter as f64 / 1024.0)).await;
            self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
        }
        true
    }

    fn waited(&self) -> Option<Duration> {
        self.more_than_one.then(|| self.begun.elapsed())
    }
}
