//! A store that takes every batch and keeps none: what is left is admission and report.

use profile_store::backend::{Effects, RecordRef, Writes};
use profile_store::{
    ExternalUserId, GuruSlug, Limits, ListOptions, Page, Probe, Profile, ProfileStore, Result, Stats,
    Timestamp, Verification,
};

#[derive(Debug, Default)]
pub struct Nowhere(pub Limits);

#[async_trait::async_trait]
impl ProfileStore for Nowhere {
    fn limits(&self) -> &Limits {
        &self.0
    }

    async fn apply(&self, _: &GuruSlug, batch: Writes) -> Result<Effects> {
        let mut plan = batch.plan(Timestamp::from_micros(0));
        for entry in batch.entries() {
            plan.resolve(entry, None::<fn() -> Result<RecordRef<'static>>>)?;
        }
        Ok(plan.finish())
    }

    async fn get_many(&self, _: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        Ok(vec![None; ids.len()])
    }

    async fn list(&self, _: &GuruSlug, _: &ListOptions) -> Result<Page> {
        Ok(Page::default())
    }

    async fn count(&self, _: &GuruSlug) -> Result<u64> {
        Ok(0)
    }

    async fn gurus(&self, _: Option<&GuruSlug>, _: usize) -> Result<Vec<GuruSlug>> {
        Ok(Vec::new())
    }

    async fn delete_guru(&self, _: &GuruSlug) -> Result<u64> {
        Ok(0)
    }

    async fn stats(&self) -> Result<Stats> {
        Ok(Stats::default())
    }

    async fn compact(&self) -> Result<()> {
        Ok(())
    }

    async fn health(&self, _: Probe) -> Result<()> {
        Ok(())
    }

    async fn verify(&self) -> Result<Verification> {
        Ok(Verification::default())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
