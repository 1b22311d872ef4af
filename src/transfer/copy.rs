//! Copying profiles from one store to another.

use std::fmt;

use super::walk::{Damaged, Found, Position, Walk};
use crate::model::error::{Error, ErrorKind, Result, quoted};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::store::contract::ProfileStore;
use crate::store::handle::Guru;
use crate::store::list::ListOptions;
use crate::store::page::Page;

/// Copies profiles from one store to another, of any two backends, with their times and ETags, and
/// verifies at the end that they are there.
///
/// - **Resumable**: run it again after any failure. Copied profiles are not written again. To skip reading
///   them too, start from the last [`CopyProgress::position`].
/// - **Constant memory**: a page of at most 1,000 profiles or about 16 MiB at a time, each page a
///   transaction.
/// - **Nothing newer is overwritten**: a profile that is newer in `to` is kept. Profiles that only `to` has
///   are kept, too.
/// - **`from` may be in use**: to move for good, copy, stop the writers of `from`, and copy again. The second copy
///   writes only the changes.
///
/// Dropping the future leaves whole pages copied.
///
/// # Hazards
/// - **Missed writes**: a write to `from` during the copy may be missed. The verification reports it as an error if
///   it happened before the verification read it.
/// - **Deletions**: a profile that is deleted from `from` between two copies stays in `to`. Stop deletions and sweeps
///   before the first copy.
///
/// # Errors
/// - Any error of reading `from` or writing to `to`. A damaged record of `from` stops the copy, unless
///   [`CopyOptions::with_damaged`] skips it.
/// - [`Corrupt`](ErrorKind::Corrupt) if the cursor of `from` does not move.
/// - [`InvalidInput`](ErrorKind::InvalidInput) if a profile is over the limits of `to`.
/// - [`Busy`](ErrorKind::Busy) if the verification finds differences: `from` was written to in between. Copy
///   again.
/// - [`Conflict`](ErrorKind::Conflict) if all differences are profiles whose `updated_at` is the last moment of the year 9999
///   on both sides: no time shows which one is newer, so the one in `to` is kept ([S7](crate::contract#s7)).
///
/// # Examples
/// ```
/// use profile_store::{CopyOptions, HasGurus, Memory, MemoryStore, User, copy};
///
/// # pollster::block_on(async {
/// let (from, to) = (MemoryStore::new(), MemoryStore::new());
/// from.guru("my-guru")?.upsert(User::new("ada", Memory::from_json(r#"{"plan":"pro"}"#)?)).await?;
///
/// let report = |progress: &profile_store::CopyProgress| println!("{progress}");
/// let copied = copy(&from, &to, CopyOptions::default().with_progress(report)).await?;
/// assert_eq!((copied.profiles, copied.written), (1, 1));
/// assert_eq!(to.guru("my-guru")?.get("ada").await?, from.guru("my-guru")?.get("ada").await?);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
pub async fn copy<F, T>(from: &F, to: &T, options: CopyOptions<'_>) -> Result<Copied>
where
    F: ProfileStore + ?Sized,
    T: ProfileStore + ?Sized,
{
    let CopyOptions { guru, start, mut progress, mut damaged } = options;
    let start = start.filter(|start| guru.as_ref().is_none_or(|guru| *guru == start.guru));
    let pages = ListOptions::default().skipping_damaged(damaged.is_some());
    let pages = pages.clone().with_limit(pages.limit().min(to.limits().batch_items()));
    let walk = |start| Walk::new(from, pages.clone(), guru.as_ref(), start);
    let total = walk(None).count().await?;
    let mut copied = Copied::default();

    let mut tell = Teller { total, phase: CopyPhase::Copying, progress: &mut progress };
    let mut source = walk(start.as_ref());
    while let Some(found) = source.next().await? {
        let Some((guru, page)) = copied.skip(&mut damaged, found, |_| true) else { continue };
        let Some(last) = page.profiles.last().map(|last| last.external_user_id.clone()) else { continue };
        copied.profiles += page.profiles.len() as u64;
        let restored = Guru::new(to, guru.clone()).restore(page.profiles).await?;
        copied.written += restored.created + restored.updated;
        tell.about(&copied, copied.profiles, guru, last);
    }

    tell.phase = CopyPhase::Verifying;
    let (mut verified, mut changed, mut kept) = (0, Differing::default(), Differing::default());
    let mut source = walk(None);
    while let Some(found) = source.next().await? {
        // Copying has passed over those before the start, and has reported the others.
        let unseen = |error: &Error| start.as_ref().is_some_and(|start| start.is_after(error));
        let Some((guru, page)) = copied.skip(&mut damaged, found, unseen) else { continue };
        let ids: Vec<_> = page.profiles.iter().map(|profile| profile.external_user_id.clone()).collect();
        let Some(last) = ids.last().cloned() else { continue };
        for (theirs, ours) in page.profiles.iter().zip(to.get_many(&guru, &ids).await?) {
            if !holds(ours.as_ref(), theirs) {
                let is_kept = ours.is_some_and(|ours| ours.updated_at == Timestamp::LAST);
                let differing = if is_kept { &mut kept } else { &mut changed };
                differing.number += 1;
                differing.first.get_or_insert_with(|| (guru.clone(), theirs.external_user_id.clone()));
            }
        }
        verified += ids.len() as u64;
        tell.about(&copied, verified, guru, last);
    }
    changed.refuse(ErrorKind::Busy, "they were written to meanwhile, copy again")?;
    kept.refuse(
        ErrorKind::Conflict,
        "both sides were last changed at the last moment there is, so none is newer, and the target's are kept; \
         delete those that are not to stay, and copy again",
    )?;
    Ok(copied)
}

/// Profiles that differ from their copies.
#[derive(Default)]
struct Differing {
    number: u64,
    first: Option<(GuruSlug, ExternalUserId)>,
}

impl Differing {
    fn refuse(self, kind: ErrorKind, why: &str) -> Result<()> {
        let Some((guru, id)) = self.first else { return Ok(()) };
        let (number, user, of) = (self.number, quoted(id.as_str()), quoted(guru.as_str()));
        let message = format!("{number} profiles differ from their copies, first {user} of guru {of}: {why}");
        Err(Error::new(kind, message).with_guru(guru.as_str()).with_external_user_id(id.as_str()))
    }
}

/// Whether the copy is the profile, or has changed since.
fn holds(copy: Option<&Profile>, original: &Profile) -> bool {
    copy.is_some_and(|copy| copy == original || copy.updated_at > original.updated_at)
}

type Progress<'a> = Box<dyn FnMut(&CopyProgress) + Send + 'a>;

/// The selection of [`copy`], and its callbacks.
#[derive(Default)]
pub struct CopyOptions<'a> {
    guru: Option<GuruSlug>,
    start: Option<Position>,
    progress: Option<Progress<'a>>,
    damaged: Option<Damaged<'a>>,
}

impl<'a> CopyOptions<'a> {
    /// Copies only this guru; all gurus by default, and again with `None`.
    #[must_use]
    pub fn with_guru(mut self, guru: impl Into<Option<GuruSlug>>) -> Self {
        self.guru = guru.into();
        self
    }

    /// Skips the profiles before this place as copied. They are verified anyway. A place in another guru than that of
    /// [`with_guru`](Self::with_guru) has no effect.
    #[must_use]
    pub fn with_start(mut self, start: impl Into<Option<Position>>) -> Self {
        self.start = start.into();
        self
    }

    /// Is called after every page, on the task that copies: it should be quick.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(&CopyProgress) + Send + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Skips damaged records of the source instead of stopping at the first. Calls `damaged` for each, with the
    /// [`Corrupt`](ErrorKind::Corrupt) that reading it gives: guru and id are its fields. If the record of a guru itself is damaged,
    /// all of the guru is skipped, and the error has no id. Gurus whose names are damaged, so that they are no slugs, are skipped
    /// too: one error at the end names the first, and how many there are. A later copy skips, and reports, the same ones again.
    ///
    /// Damage that hides more than single records, such as a broken page of the engine's, still stops the copy. A damaged
    /// index may hide profiles from it: [`verify`](ProfileStore::verify) finds that.
    ///
    /// ```
    /// use profile_store::{CopyOptions, MemoryStore, copy};
    ///
    /// # pollster::block_on(async {
    /// let (from, to) = (MemoryStore::new(), MemoryStore::new());
    /// let lost = |error: &profile_store::Error| eprintln!("{:?} {:?}", error.guru(), error.external_user_id());
    /// let copied = copy(&from, &to, CopyOptions::default().with_damaged(lost)).await?;
    /// assert_eq!(copied.damaged, 0);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn with_damaged(mut self, damaged: impl FnMut(&Error) + Send + 'a) -> Self {
        self.damaged = Some(Box::new(damaged));
        self
    }
}

impl fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CopyOptions");
        out.field("guru", &self.guru).field("start", &self.start).finish_non_exhaustive()
    }
}

/// The phase of [`copy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CopyPhase {
    /// Reading and writing.
    Copying,
    /// Reading both sides.
    Verifying,
}

/// How far [`copy`] is. `Display` is a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// The phase.
    pub phase: CopyPhase,
    /// Profiles done in this phase.
    pub done: u64,
    /// Profiles there were when the copy began, those before [`with_start`](CopyOptions::with_start) included. So
    /// such a copy ends copying with a `done` below it.
    pub total: u64,
    /// Profiles written.
    pub written: u64,
    /// The last profile done. To go on from here later, give it to [`CopyOptions::with_start`], if
    /// the phase is still copying.
    pub position: Position,
}

impl fmt::Display for CopyProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.phase {
            CopyPhase::Copying => "copied",
            CopyPhase::Verifying => "verified",
        };
        write!(f, "{} of {} profiles {doing}, {} written", self.done, self.total, self.written)
    }
}

/// The result of [`copy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Copied {
    /// Profiles read.
    pub profiles: u64,
    /// Profiles that were written, because the target had none or an older one.
    pub written: u64,
    /// Damaged records that were skipped ([`CopyOptions::with_damaged`]).
    pub damaged: u64,
}

impl Copied {
    /// Reports the damage in what was found, if it is new, and returns the rest of it.
    fn skip(
        &mut self,
        told: &mut Option<Damaged<'_>>,
        found: Found,
        is_new: impl Fn(&Error) -> bool,
    ) -> Option<(GuruSlug, Page)> {
        for error in found.damage().iter().filter(|error| is_new(error)) {
            self.damaged += 1;
            told.iter_mut().for_each(|told| told(error));
        }
        found.into_page()
    }
}

struct Teller<'a, 'b> {
    total: u64,
    phase: CopyPhase,
    progress: &'a mut Option<Progress<'b>>,
}

impl Teller<'_, '_> {
    fn about(&mut self, copied: &Copied, done: u64, guru: GuruSlug, after: ExternalUserId) {
        if let Some(progress) = self.progress {
            let (phase, total, written) = (self.phase, self.total, copied.written);
            progress(&CopyProgress { phase, done, total, written, position: Position { guru, after } });
        }
    }
}
