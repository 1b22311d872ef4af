//! Reading and deleting.

use profile_store::{GuruSlug, ListOptions, ProfileStore};

use crate::Done;
use crate::arguments::{Count, Delete, Get, List};
use crate::failure::Failure;
use crate::output::Output;

impl Get {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let profiles = store.get_many(&self.guru.slug, &self.ids).await?;
        for profile in &profiles {
            output.line(profile.as_ref().map_or("null", |profile| profile.memory.as_str()))?;
        }
        Ok(Done::Whole)
    }
}

impl List {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut after = self.after;
        while left > 0 && !output.is_closed() {
            let options = ListOptions::default();
            let limit = options.limit().min(left);
            let page = store.list(&self.guru.slug, &options.with_after(after).with_limit(limit)).await?;
            left -= page.profiles.len();
            for profile in page.profiles {
                output.line(profile.to_json())?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(Done::Whole)
    }
}

impl Delete {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let guru = &self.guru.slug;
        if self.all {
            let deleted = store.delete_guru(guru).await?;
            output.line(format_args!(r#"{{"guru":"{guru}","deleted":{deleted}}}"#))?;
            return Ok(Done::Whole);
        }
        let deleted = store.delete_many(guru, &self.ids).await?;
        for (id, deleted) in self.ids.iter().zip(deleted) {
            let id = serde_json::Value::from(id.as_str());
            output.line(format_args!(r#"{{"external_user_id":{id},"deleted":{deleted}}}"#))?;
        }
        Ok(Done::Whole)
    }
}

impl Count {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        output.line(store.count(&self.guru.slug).await?)?;
        Ok(Done::Whole)
    }
}

pub async fn gurus(store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
    for_each_guru(store, async |guru| output.line(guru)).await?;
    Ok(Done::Whole)
}

pub async fn for_each_guru(
    store: &dyn ProfileStore,
    mut work: impl AsyncFnMut(&GuruSlug) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut last: Option<GuruSlug> = None;
    loop {
        let gurus = store.gurus(last.as_ref(), 1000).await?;
        for guru in &gurus {
            work(guru).await?;
        }
        last = gurus.into_iter().last();
        if last.is_none() {
            return Ok(());
        }
    }
}
