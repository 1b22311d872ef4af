//! Looking after a store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use profile_store::{Error, Guru, GuruSlug, ListOptions, Probe, ProfileStore, Stats};

use crate::Done;
use crate::arguments::{Check, Sweep};
use crate::command::for_each_guru;
use crate::failure::Failure;
use crate::moving::without;
use crate::output::{Output, tell};

impl Sweep {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let age = Duration::from_secs(u64::from(self.days) * 86_400);
        let before = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let damaged = AtomicU64::new(0);
        let skip = |error: &Error| {
            damaged.fetch_add(1, Relaxed);
            tell(error);
        };
        let mut sweep = async |guru: &GuruSlug| {
            let handle = Guru::new(store, guru.clone());
            let (name, count) = if self.dry_run {
                let old = ListOptions::default().with_updated_before(before);
                ("to_sweep", handle.count_where(&old).await?)
            } else {
                let swept = match self.skip_damaged {
                    true => handle.sweep_skipping(before, skip).await?,
                    false => handle.sweep(before).await?,
                };
                ("swept", swept)
            };
            output.line(format_args!(r#"{{"guru":"{guru}","{name}":{count}}}"#))
        };
        match &self.guru {
            Some(guru) => sweep(guru).await?,
            None if self.skip_damaged => for_each_guru(store, Some(&skip), sweep).await?,
            None => for_each_guru(store, None, sweep).await?,
        }
        Ok(without(damaged.into_inner()))
    }
}

pub async fn stats(store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
    let Stats { gurus, profiles, live_bytes, disk_bytes, reclaimable_bytes, .. } = store.stats().await?;
    output.line(format_args!(
        r#"{{"gurus":{gurus},"profiles":{profiles},"live_bytes":{live_bytes},"disk_bytes":{disk_bytes},"reclaimable_bytes":{reclaimable_bytes}}}"#
    ))?;
    Ok(Done::Whole)
}

pub async fn compact(store: &dyn ProfileStore) -> Result<Done, Failure> {
    let before = store.stats().await?.disk_bytes;
    store.compact().await?;
    let after = store.stats().await?.disk_bytes;
    tell(format_args!("{before} bytes on disk before, {after} after"));
    Ok(Done::Whole)
}

pub async fn verify(store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
    let verified = store.verify().await?;
    for damage in &verified.damage {
        output.line(damage)?;
    }
    tell(format_args!("{} profiles sound, {} damages", verified.profiles, verified.damaged));
    Ok(Done::whole_if(verified.is_sound()))
}

impl Check {
    pub async fn run(self, store: &dyn ProfileStore) -> Result<Done, Failure> {
        store.health(if self.write { Probe::Write } else { Probe::Read }).await?;
        Ok(Done::Whole)
    }
}
