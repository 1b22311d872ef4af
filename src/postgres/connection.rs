//! A connection that is made when it is needed, and made again when it is lost.
//!
//! It lives on a thread of the store's own, with a runtime that runs while the thread is in a call
//! (S11). So a caller that drops its future can neither tear a transaction nor leave a connection
//! dirty: the thread finishes what it has begun (S10).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::error::{Failure, Remedy};
use super::target::{STATEMENT, Target};
use super::tls;
use crate::error::{Error, ErrorKind, Result};

/// A way to the server, of one thread.
pub(super) struct Link {
    target: Arc<Target>,
    /// Made on the thread that uses it: it must not be dropped within another runtime.
    runtime: Option<Runtime>,
    session: Option<Session>,
}

/// An open connection.
pub(super) struct Session {
    pub client: Client,
    /// Moves the bytes; ends when the client is dropped.
    driver: JoinHandle<()>,
    /// Whether a transaction was begun and has not ended.
    in_transaction: Cell<bool>,
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
    pub fn new(target: Arc<Target>) -> Self {
        Self { target, runtime: None, session: None }
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
            loop {
                let failure = match self.attempt(pace, &mut work).await {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                };
                self.tidy(&failure).await;
                let remedy = failure.remedy();
                if remedy == Remedy::GiveUp || !tries.again(remedy).await {
                    return Err(failure.into_error(doing, tries.waited()));
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
            self.session = Some(Session::connect(&self.target).await?);
        }
        let session = self.session.as_ref().expect("connected");
        match pace {
            // The server gives up first, and says so; this is for one that says nothing any more.
            Pace::Quick => timeout(STATEMENT * 2, work(session)).await.unwrap_or(Err(Failure::Late)),
            Pace::Scan => work(session).await,
        }
    }

    /// Leaves no transaction open behind a failure, or no connection.
    async fn tidy(&mut self, failure: &Failure) {
        let Some(session) = self.session.take() else { return };
        let usable = match failure {
            Failure::Raced | Failure::Final(_) => true,
            Failure::Server(error) => {
                // A server that has become read-only is a standby now: the next connection may find
                // the one that writes.
                let standby =
                    error.code() == Some(&tokio_postgres::error::SqlState::READ_ONLY_SQL_TRANSACTION);
                error.code().is_some() && !standby && failure.remedy() != Remedy::Reconnect
            }
            Failure::Unknown(_) | Failure::Late | Failure::Silent => false,
        };
        if usable && session.rollback().await.is_ok() {
            self.session = Some(session);
        } else {
            session.abandon(&self.target).await;
        }
    }

    /// Ends the connection in the way the server expects.
    pub fn close(mut self) {
        if let (Some(runtime), Some(session)) = (self.runtime.take(), self.session.take()) {
            runtime.block_on(session.end());
        }
    }
}

impl Session {
    async fn connect(target: &Target) -> Result<Self, Failure> {
        let connecting = target.config.connect(tls::same(&target.tls));
        let limit = target.config.get_connect_timeout().copied().unwrap_or(STATEMENT);
        // Reaching the server has a limit of its own; this one is for a server that accepts and is silent.
        let (client, connection) = timeout(limit * 2, connecting).await.map_err(|_| Failure::Silent)??;
        let driver = tokio::spawn(async move {
            // What ends the connection is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self { client, driver, in_transaction: Cell::new(false) })
    }

    /// Begins a transaction that writes, and does `first` in it, in one round trip.
    pub async fn begin<T>(
        &self,
        target: &Target,
        first: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.in_transaction.set(true);
        let (begun, first) = both(self.client.batch_execute(&target.begin), first).await;
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
        let (done, committed) = both(self.begin(target, work), self.client.batch_execute("COMMIT")).await;
        // First, as it may be that all answers are missing.
        self.committed(committed)?;
        done
    }

    /// Reads in one round trip by `work`, a statement that should use the index whatever the server
    /// believes of the table: without statistics it takes a thousand ids for most of the rows.
    pub async fn by_index<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL enable_seqscan = off";
        self.in_transaction.set(true);
        let begun = both(self.client.batch_execute(BEGIN), work);
        let ((begun, read), ended) = both(begun, self.client.batch_execute("COMMIT")).await;
        begun?;
        let read = read?;
        ended?;
        self.in_transaction.set(false);
        Ok(read)
    }

    /// Commits. Where the connection is lost meanwhile, nobody knows what became of the transaction.
    pub async fn commit(&self) -> Result<(), Failure> {
        let committed = self.client.batch_execute("COMMIT").await;
        self.committed(committed)
    }

    fn committed(&self, answer: Result<(), tokio_postgres::Error>) -> Result<(), Failure> {
        self.in_transaction.set(false);
        answer.map_err(|error| {
            let failure = Failure::Server(error);
            match (failure.remedy(), failure) {
                (Remedy::Reconnect, Failure::Server(error)) => Failure::Unknown(error),
                (_, failure) => failure,
            }
        })
    }

    async fn rollback(&self) -> Result<(), tokio_postgres::Error> {
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
