//! A store over an engine that blocks: one thread commits, several read.

use std::fmt;

use async_trait::async_trait;

use crate::engine::breaker::Breaker;
use crate::engine::group_commit::{Engine, GroupCommit, Upkeep};
use crate::engine::read_pool::ReadPool;
use crate::model::error::Result;
use crate::model::limits::Limits;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::plan::change::Effects;
use crate::plan::duplicates::Duplicates;
use crate::plan::writes::Writes;
use crate::store::contract::ProfileStore;
use crate::store::list::{ListOptions, Page};
use crate::store::options::StoreOptions;
use crate::store::upkeep::{Probe, Stats, Verification};

/// What an engine answers on a read thread, each with a connection of its own.
pub(crate) trait EngineReads: fmt::Debug + Send + 'static {
    fn get_many(&mut self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>>;
    fn list(&mut self, guru: &GuruSlug, options: &ListOptions) -> Result<Page>;
    fn count(&mut self, guru: &GuruSlug) -> Result<u64>;
    fn gurus(&mut self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>>;
    fn stats(&mut self) -> Result<Stats>;
    fn verify(&mut self) -> Result<Verification>;
}

/// The threads of one open store.
#[derive(Debug)]
pub(crate) struct Threaded<R: EngineReads> {
    options: StoreOptions,
    // The readers go first, so that the commit thread drops the last handle to the engine.
    readers: ReadPool<R>,
    committer: GroupCommit,
}

impl<R: EngineReads> Threaded<R> {
    /// Opens an engine and its readers on the commit thread, and so many further engines, which go to
    /// a thread each. What is opened trips the breaker after a failure that it can't be trusted to go on from.
    pub async fn open<E: Engine + Send + 'static>(
        options: StoreOptions,
        further: usize,
        open: impl FnOnce(&StoreOptions, &Breaker) -> Result<(E, Vec<E>, Vec<R>)> + Send + 'static,
    ) -> Result<Self> {
        let breaker = Breaker::default();
        let on_thread = (options.clone(), breaker.clone());
        let opening =
            GroupCommit::start(&options, &breaker, further, move || open(&on_thread.0, &on_thread.1));
        let (committer, readers) = opening.await?;
        Ok(Self { options, readers: ReadPool::start(readers)?, committer })
    }

    /// Runs `read` on a read thread.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut R) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.run(read).await
    }
}

/// Ids without repetition, and for each of those given its place among these.
fn each_once(ids: &[ExternalUserId]) -> (Vec<ExternalUserId>, Vec<usize>) {
    let mut known = Duplicates::with_capacity(ids.len());
    let mut once: Vec<ExternalUserId> = Vec::with_capacity(ids.len());
    let place = |id: &ExternalUserId| {
        let next = once.len();
        known.find_or_set(id.as_str(), next, |at| once[at].as_str()).unwrap_or_else(|| {
            once.push(id.clone());
            next
        })
    };
    let places = ids.iter().map(place).collect();
    (once, places)
}

#[async_trait]
impl<R: EngineReads> ProfileStore for Threaded<R> {
    fn limits(&self) -> &Limits {
        self.options.limits()
    }

    async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        self.committer.apply(guru, batch).await
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let guru = guru.clone();
        if let [id] = ids {
            let id = id.clone();
            return self.read(move |reader| reader.get_many(&guru, &[id])).await;
        }
        // Of an id that stands many times, the row is read and copied once (P1).
        let (once, places) = each_once(ids);
        let profiles = self.read(move |reader| reader.get_many(&guru, &once)).await?;
        Ok(places.into_iter().map(|place| profiles[place].clone()).collect())
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let (guru, options) = (guru.clone(), options.clone());
        self.read(move |reader| reader.list(&guru, &options)).await
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        let guru = guru.clone();
        self.read(move |reader| reader.count(&guru)).await
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let after = after.cloned();
        self.read(move |reader| reader.gurus(after.as_ref(), limit)).await
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        self.committer.delete_guru(guru).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.read(EngineReads::stats).await
    }

    async fn compact(&self) -> Result<()> {
        self.committer.upkeep(Upkeep::Compact).await
    }

    async fn health(&self, probe: Probe) -> Result<()> {
        match probe {
            Probe::Read => self.read(|reader| reader.gurus(None, 1)).await.map(drop),
            Probe::Write => self.committer.upkeep(Upkeep::Probe).await,
        }
    }

    async fn verify(&self) -> Result<Verification> {
        self.read(EngineReads::verify).await
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await?;
        self.committer.close().await
    }
}
