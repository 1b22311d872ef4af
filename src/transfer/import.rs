//! NDJSON into a store.

use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use super::line::{Wrong, in_memory, read_profile};
use crate::admission::aside::aside;
use crate::admission::batch::{Batch, Mode, User};
use crate::admission::pacing::{Pacing, SLICE_BYTES};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::item_error::ItemError;
use crate::model::limits::Limits;
use crate::model::name::GuruSlug;
use crate::model::profile::Profile;
use crate::plan::writes::Condition;
use crate::store::contract::ProfileStore;
use crate::store::restore::{fits, restore_fitting};

/// NDJSON of any size on its way into a store, handed over piece by piece.
///
/// Lines are stored in batches, each a transaction, in their order; a line that can't be stored fails
/// by itself. Blank lines are skipped, but counted. Memory use is constant.
///
/// **Warning.** Lines wait until a batch is full, and the last ones until [`finish`](Self::finish) is called. An import
/// that is dropped before loses them without an error.
///
/// [Profiles](Self::profiles) can always be imported again: a stored profile that is the same or newer is kept.
/// **Warning.** Importing [users](Self::users) again overwrites what others have written since. It can also change
/// a profile whose id stands on several lines.
///
/// A future dropped half-way may have stored some of the lines; import the file again then, with a new
/// `Import`. See [`Export`](crate::Export) for an example.
#[derive(Debug)]
#[must_use = "its last lines are stored by `finish`"]
pub struct Import<'a, S: ?Sized> {
    store: &'a S,
    form: Form,
    mode: Mode,
    batch_lines: usize,
    /// The beginning of a line that has not ended yet.
    partial: Vec<u8>,
    /// The line that has not ended yet is over the limit; its beginning is forgotten.
    overlong: bool,
    pending: Pending,
    imported: Imported,
    /// A piece is being taken; it stays so if that failed or was dropped half-way.
    taking: bool,
    slice: Pacing,
}

#[derive(Debug)]
enum Form {
    Profiles,
    Users(GuruSlug),
}

/// The outcomes of the lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Imported {
    /// Lines read, blank ones included.
    pub lines: u64,
    /// Profiles that were not there.
    pub created: u64,
    /// Profiles that were there, and have changed.
    pub updated: u64,
    /// Profiles that were there already, or in a later state.
    pub unchanged: u64,
    /// Lines that could not be stored.
    pub failed: u64,
}

/// A line that could not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineFailure {
    /// Its number, from 1.
    pub line: u64,
    /// The id it names, if it names one.
    pub external_user_id: Option<Arc<str>>,
    /// The errors, in words.
    pub errors: Vec<String>,
}

/// Lines that could not be stored, in their order: a slice of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "lines that were not stored are reported here, not as an error"]
pub struct LineFailures(Vec<LineFailure>);

impl Deref for LineFailures {
    type Target = [LineFailure];

    fn deref(&self) -> &[LineFailure] {
        &self.0
    }
}

impl IntoIterator for LineFailures {
    type Item = LineFailure;
    type IntoIter = std::vec::IntoIter<LineFailure>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Lines read and not stored yet.
#[derive(Debug, Default)]
struct Pending {
    users: Vec<(u64, User)>,
    /// All of one guru.
    guru: Option<GuruSlug>,
    profiles: Vec<Profile>,
    bytes: usize,
}

impl Pending {
    /// Bytes of lines after which a batch takes no more, so that memory stays bounded.
    const FULL_BYTES: usize = 8 << 20;

    fn len(&self) -> usize {
        self.users.len() + self.profiles.len()
    }
}

impl<'a, S: ProfileStore + ?Sized> Import<'a, S> {
    /// Imports lines with guru, ETag and times, as [`Export::profiles`](crate::Export::profiles) gives
    /// them. Times and ETags are kept. A stored profile that is newer is kept.
    pub fn profiles(store: &'a S) -> Self {
        Self::new(store, Form::Profiles)
    }

    /// Imports lines that are users of a request, to be upserted under this guru.
    pub fn users(store: &'a S, guru: &GuruSlug) -> Self {
        Self::new(store, Form::Users(guru.clone()))
    }

    fn new(store: &'a S, form: Form) -> Self {
        Self {
            store,
            form,
            mode: Mode::default(),
            batch_lines: 1000,
            partial: Vec::new(),
            overlong: false,
            pending: Pending::default(),
            imported: Imported::default(),
            taking: false,
            slice: Pacing::default(),
        }
        .with_batch_lines(1000)
    }

    /// Merges the memories of [users](Self::users) into those of their profiles: see
    /// [`Batch::merging`](crate::Batch::merging). Profiles are never merged.
    pub fn merging(mut self) -> Self {
        self.mode.merging = true;
        self
    }

    /// Stores each of the [users](Self::users) only if there is no profile; else the line fails: see
    /// [`User::if_absent`](crate::User::if_absent). It has no effect on [profiles](Self::profiles).
    pub fn if_absent(mut self) -> Self {
        self.mode.condition = Condition::Absent;
        self
    }

    /// How many lines make a batch, 1 to the store's limit; 1,000 by default. A batch also ends
    /// after 8 MiB.
    pub fn with_batch_lines(mut self, lines: usize) -> Self {
        self.batch_lines = lines.clamp(1, self.store.limits().batch_items());
        self
    }

    /// The outcomes of the lines that are stored, or failed, so far.
    #[must_use]
    pub fn imported(&self) -> Imported {
        self.imported
    }

    /// The longest line, in bytes, at least 64 KiB: of [users](Self::users) eight times the largest memory, for
    /// whitespace and keys that are not stored; of [profiles](Self::profiles) twice.
    #[must_use]
    pub fn max_line_bytes(&self) -> usize {
        let times = if matches!(self.form, Form::Users(_)) { 8 } else { 2 };
        self.store.limits().memory_bytes().saturating_mul(times).max(64 << 10)
    }

    /// Takes the next bytes of the file, cut anywhere, and stores the batches that they fill. Returns
    /// the lines that have failed.
    ///
    /// **Warning.** Lines of a batch that is not full are not stored yet: call [`finish`](Self::finish) after the last
    /// bytes.
    ///
    /// # Errors
    /// Those of [`upsert_batch`](ProfileStore::upsert_batch); the lines of that batch are not stored. From
    /// then on, and after a dropped future of this method, every call fails with
    /// [`Closed`](ErrorKind::Closed): import the file again.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<LineFailures> {
        self.begin()?;
        let mut failures = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            self.end_line(&mut failures).await?;
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
        self.taking = false;
        Ok(LineFailures(failures))
    }

    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.taking, true) {
            let message = "an earlier piece of this import was not stored: import the file again";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        Ok(())
    }

    /// Stores what is left, a last line without a newline included. Returns the lines that have failed.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub async fn finish(&mut self) -> Result<LineFailures> {
        self.begin()?;
        let mut failures = Vec::new();
        if self.overlong || !self.partial.is_empty() {
            self.end_line(&mut failures).await?;
        }
        self.store_pending(&mut failures).await?;
        self.taking = false;
        Ok(LineFailures(failures))
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.overlong || self.partial.len() + bytes.len() > self.max_line_bytes() {
            self.overlong = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    async fn end_line(&mut self, failures: &mut Vec<LineFailure>) -> Result<()> {
        self.imported.lines += 1;
        let line = self.imported.lines;
        let mut text = mem::take(&mut self.partial);
        self.slice.take(text.len()).await;
        if mem::take(&mut self.overlong) {
            let error = format!("line must be at most {} bytes", self.max_line_bytes());
            self.fail(failures, line, None, vec![error]).await?;
        } else if !text.trim_ascii().is_empty() {
            self.take_line(line, &mut text, failures).await?;
            if self.pending.len() >= self.batch_lines || self.pending.bytes >= Pending::FULL_BYTES {
                self.store_pending(failures).await?;
            }
        }
        // Its room serves the next line, unless it was an unusual one.
        if text.capacity() <= 2 << 20 {
            self.partial = text;
            self.partial.clear();
        }
        Ok(())
    }

    /// A line that is read on another thread does not come back.
    async fn take_line(
        &mut self,
        line: u64,
        text: &mut Vec<u8>,
        failures: &mut Vec<LineFailure>,
    ) -> Result<()> {
        let bytes = text.len();
        match self.form {
            Form::Users(_) => self.pending.users.push((line, User::from_json(&**text))),
            Form::Profiles => match self.profile(text).await {
                Err((id, error)) => return self.fail(failures, line, id, vec![error]).await,
                Ok((guru, profile)) => {
                    if self.pending.guru.as_ref().is_some_and(|pending| *pending != guru) {
                        self.store_pending(failures).await?;
                    }
                    self.pending.guru = Some(guru);
                    self.pending.profiles.push(profile);
                }
            },
        }
        self.pending.bytes += bytes;
        Ok(())
    }

    /// The profile of a line, if it is one that the store takes. A line of more than a slice is read on a thread of its own (S11).
    async fn profile(&mut self, text: &mut Vec<u8>) -> Result<(GuruSlug, Profile), Wrong> {
        let limits = *self.store.limits();
        if text.len() > SLICE_BYTES {
            let text = mem::take(text);
            return aside(async move { fitting(&text, &limits) }).await;
        }
        self.slice.take_for_serde(text.len()).await;
        fitting(text, &limits)
    }

    /// Tells a line that can't be stored, in its order.
    async fn fail(
        &mut self,
        failures: &mut Vec<LineFailure>,
        line: u64,
        external_user_id: Option<Arc<str>>,
        errors: Vec<String>,
    ) -> Result<()> {
        self.store_pending(failures).await?;
        self.imported.failed += 1;
        failures.push(LineFailure { line, external_user_id, errors });
        Ok(())
    }

    async fn store_pending(&mut self, failures: &mut Vec<LineFailure>) -> Result<()> {
        let Pending { users, guru, profiles, .. } = mem::take(&mut self.pending);
        if let Form::Users(guru) = &self.form {
            let (lines, users): (Vec<_>, Vec<_>) = users.into_iter().unzip();
            let report = self.store.upsert_batch(guru, Batch::in_mode(users, self.mode)).await?;
            let counts = report.counts();
            self.imported.created += counts.created as u64;
            self.imported.updated += counts.updated as u64;
            self.imported.unchanged += counts.unchanged as u64;
            self.imported.failed += counts.failed as u64;
            failures.extend(report.failures().map(|failure| LineFailure {
                line: lines[failure.user_index],
                external_user_id: failure.external_user_id().map(Into::into),
                errors: failure.errors().iter().map(in_a_line).collect(),
            }));
        } else if let Some(guru) = guru {
            let restored = restore_fitting(self.store, &guru, profiles).await?;
            self.imported.created += restored.created;
            self.imported.updated += restored.updated;
            self.imported.unchanged += restored.unchanged;
        }
        Ok(())
    }
}

/// The profile of a line, if it is one and within the limits.
fn fitting(text: &[u8], limits: &Limits) -> Result<(GuruSlug, Profile), Wrong> {
    let (guru, profile) = read_profile(text)?;
    match fits(&profile, limits) {
        Ok(()) => Ok((guru, profile)),
        Err(error) => Err((Some(profile.external_user_id.as_str().into()), error.to_string())),
    }
}

/// The error of a user, in words. A line is counted by its number in the file, so within it only the column gives the place.
fn in_a_line(error: &ItemError) -> String {
    match error {
        ItemError::NotJson { .. } => error.to_string().replacen(" at line 1 column ", " at column ", 1),
        _ => in_memory(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::json::scan::meter;
    use crate::model::memory::Memory;
    use crate::model::name::ExternalUserId;
    use crate::store::handle::HasGurus;

    fn line(memory: &str) -> String {
        let time = "2026-01-01T00:00:00Z";
        format!(
            r#"{{"guru":"g","external_user_id":"a","memory":{memory},"created_at":"{time}","updated_at":"{time}"}}"#
        ) + "\n"
    }

    /// S11.
    #[test]
    fn what_is_large_is_imported_and_restored_without_a_long_poll() {
        let store = MemoryStore::new();
        let large = format!(r#"{{"n":[{}1]}}"#, "[[],[]],".repeat(50_000));
        let mut import = Import::profiles(&store);
        let (failures, _, most) = meter::run(import.push(line(&large).as_bytes()));
        assert!(failures.unwrap().is_empty() && most <= SLICE_BYTES, "{most} bytes in one poll");
        let (id, time) = (ExternalUserId::new("a").unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
        let profile = Profile::new(id, Memory::from_json(&large).unwrap(), time, time);
        let guru = store.guru("g").unwrap();
        let (restored, _, most) = meter::run(guru.restore(vec![profile]));
        assert!(restored.unwrap().created == 1 && most <= SLICE_BYTES, "{most} bytes in one poll");
    }

    /// S11.
    #[test]
    fn others_get_a_turn_before_each_line_that_may_take_long() {
        let store = MemoryStore::new();
        let lines = line(&format!(r#"{{"n":1e100,"filler":"{}"}}"#, "x".repeat(10_000))).repeat(10);
        let (failures, polls, _) = meter::run(Import::profiles(&store).push(lines.as_bytes()));
        assert!(failures.unwrap().is_empty() && polls > 10, "{polls}");
    }
}
