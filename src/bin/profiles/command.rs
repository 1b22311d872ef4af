//! Reading and deleting.

use profile_store::{Error, ErrorKind, Guru, GuruSlug, Profile, ProfileStore};

use crate::arguments::{Count, Delete, Get, List};
use crate::done::Done;
use crate::failure::Failure;
use crate::output::Output;

impl Get {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        for profile in store.get_many(&self.guru.slug, &self.ids).await? {
            match profile {
                Some(profile) => self.print(&profile, output)?,
                None => output.line("null")?,
            }
        }
        Ok(Done::Whole)
    }

    fn print(&self, profile: &Profile, output: &mut Output) -> Result<(), Failure> {
        match &self.at {
            Some(pointer) => output.line(profile.memory.at(pointer)?.unwrap_or("null")),
            None if self.json => output.line(profile.to_json()),
            None => output.line(profile.memory.as_str()),
        }
    }
}

impl List {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let options = self.selection.options()?.with_after(self.after);
        let mut left = self.limit.unwrap_or(usize::MAX);
        let limit = options.limit().min(left);
        let mut profiles = Guru::new(store, self.guru.slug).profiles(options.with_limit(limit));
        while left > 0
            && !output.is_closed()
            && let Some(profile) = profiles.next().await
        {
            output.line(profile?.to_json())?;
            left -= 1;
        }
        Ok(Done::Whole)
    }
}

impl Delete {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let guru = Guru::new(store, self.guru.slug);
        if self.ids.is_empty() {
            let deleted = match self.all {
                true => guru.delete_all().await?,
                false => guru.delete_where(&self.selection.options()?).await?,
            };
            output.line(format_args!(r#"{{"guru":"{}","deleted":{deleted}}}"#, guru.slug()))?;
            return Ok(Done::Whole);
        }
        let deleted = guru.delete_many(&self.ids).await?;
        for (id, deleted) in self.ids.iter().zip(deleted) {
            let id = serde_json::Value::from(id.as_str());
            output.line(format_args!(r#"{{"external_user_id":{id},"deleted":{deleted}}}"#))?;
        }
        Ok(Done::Whole)
    }
}

impl Count {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let guru = Guru::new(store, self.guru.slug);
        let count = match self.selection.is_all() {
            true => guru.count().await?,
            false => guru.count_where(&self.selection.options()?).await?,
        };
        output.line(count)?;
        Ok(Done::Whole)
    }
}

pub async fn gurus(store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
    for_each_guru(store, None, async |guru| output.line(guru)).await?;
    Ok(Done::Whole)
}

/// Works on one guru after the other. A guru whose own record is damaged goes to `skip`, if there is one.
pub async fn for_each_guru(
    store: &dyn ProfileStore,
    skip: Option<&dyn Fn(&Error)>,
    mut work: impl AsyncFnMut(&GuruSlug) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut limit = 1000;
    let mut last: Option<GuruSlug> = None;
    loop {
        match store.gurus(last.as_ref(), limit).await {
            Ok(gurus) if gurus.is_empty() => return Ok(()),
            Ok(gurus) => {
                if gurus.last() <= last.as_ref() {
                    let message = "the store lists gurus again and again: its cursor does not move";
                    return Err(Error::new(ErrorKind::Corrupt, message).into());
                }
                for guru in &gurus {
                    work(guru).await?;
                }
                last = gurus.into_iter().last();
            }
            // One at a time, those before the damaged one come first, and an error hides no other.
            Err(error) if error.kind() == ErrorKind::Corrupt && limit > 1 => limit = 1,
            Err(error) => {
                let damaged = error.guru().filter(|_| error.kind() == ErrorKind::Corrupt);
                let (Some(skip), Some(damaged)) = (skip, damaged) else { return Err(error.into()) };
                match GuruSlug::new(damaged) {
                    Ok(guru) if Some(&guru) <= last.as_ref() => return Err(error.into()),
                    Ok(guru) => last = Some(guru),
                    // A damaged name that is no slug comes after all others.
                    Err(_) => {
                        skip(&error);
                        return Ok(());
                    }
                }
                skip(&error);
            }
        }
    }
}
