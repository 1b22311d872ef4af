//! Looking after a store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use profile_store::{Error, Export, Guru, GuruSlug, ListOptions, Probe, ProfileStore, Stats, Timestamp};
use serde::Deserialize;

use crate::arguments::{Check, Sweep};
use crate::command::for_each_guru;
use crate::done::Done;
use crate::failure::Failure;
use crate::moving::without;
use crate::output::{Output, tell};

impl Sweep {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let age = Duration::from_secs(u64::from(self.days) * 86_400);
        let before = Timestamp::from(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        let damaged = AtomicU64::new(0);
        let skip = |error: &Error| {
            damaged.fetch_add(1, Relaxed);
            tell(error);
        };
        let mut sweep = async |guru: &GuruSlug| {
            let handle = Guru::new(store, guru.clone());
            let old = ListOptions::default().with_updated_before(before);
            let (name, count) = match (self.dry_run, self.skip_damaged) {
                (true, true) => ("to_sweep", count_skipping(store, guru, before, skip).await?),
                (true, false) => ("to_sweep", handle.count_where(&old).await?),
                (false, true) => ("swept", handle.sweep_skipping(before, skip).await?),
                (false, false) => ("swept", handle.sweep(before).await?),
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

/// The part of an exported line that a sweep judges by.
#[derive(Deserialize)]
struct Age {
    updated_at: Timestamp,
}

/// How many profiles of the guru have last changed before this moment. An export is what passes over damaged records;
/// it passes over a damaged guru, too, which a sweep does not.
async fn count_skipping(
    store: &dyn ProfileStore,
    guru: &GuruSlug,
    before: Timestamp,
    mut damaged: impl FnMut(&Error) + Send,
) -> Result<u64, Error> {
    let (mut count, mut of_guru) = (0, None);
    let mut export = Export::profiles(store).with_guru(guru.clone()).with_damaged(|error| {
        match error.external_user_id() {
            Some(_) => damaged(error),
            None => of_guru = Some(error.clone()),
        }
    });
    while let Some(lines) = export.next().await? {
        for line in lines.lines() {
            let Age { updated_at } = serde_json::from_str(line).expect("a line of an export is a profile");
            count += u64::from(updated_at < before);
        }
    }
    drop(export);
    of_guru.map_or(Ok(count), Err)
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
