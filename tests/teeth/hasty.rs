//! A backend that decides outside of the transaction in which it writes.

use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use profile_store::backend::{Effects, Record, Writes};
use profile_store::{
    Clock, ExternalUserId, Guru, GuruSlug, Limits, ListOptions, MemoryStore, Page, Probe, Profile,
    ProfileStore, Result, Stats, Verification,
};

#[derive(Debug)]
pub struct Hasty(pub MemoryStore);

#[async_trait]
impl ProfileStore for Hasty {
    /// Decides what the batch amounts to, and lets others write before it does that.
    async fn apply(&self, guru: &GuruSlug, batch: Writes) -> Result<Effects> {
        let ids: Vec<_> = batch.entries().map(|entry| entry.id().clone()).collect();
        let current = self.0.get_many(guru, &ids).await?;
        let mut plan = batch.plan(Clock::default().now());
        for (entry, current) in batch.entries().zip(current) {
            let record =
                current.map(|current| Record::new(current.memory, current.created_at, current.updated_at));
            plan.resolve(entry, record.as_ref().map(|record| || Ok(record.into())))?;
        }
        thread::sleep(Duration::from_micros(50));
        for change in plan.changes() {
            let mut written = Vec::new();
            if let Some(record) = change.record() {
                let Record { memory, created_at, updated_at, .. } = record.clone();
                written.push(Profile::new(change.id().clone(), memory, created_at, updated_at));
            }
            self.0.delete_many(guru, std::slice::from_ref(change.id())).await?;
            Guru::new(&self.0, guru.clone()).restore(written).await?;
        }
        Ok(plan.finish())
    }

    fn limits(&self) -> &Limits {
        self.0.limits()
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        self.0.get_many(guru, ids).await
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        self.0.list(guru, options).await
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        self.0.count(guru).await
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        self.0.gurus(after, limit).await
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        self.0.delete_guru(guru).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.0.stats().await
    }

    async fn compact(&self) -> Result<()> {
        self.0.compact().await
    }

    async fn health(&self, probe: Probe) -> Result<()> {
        self.0.health(probe).await
    }

    async fn verify(&self) -> Result<Verification> {
        self.0.verify().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
