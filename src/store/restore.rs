//! Profiles stored as they are, with their times.

use crate::admission::aside::aside;
use crate::admission::pacing::{Pacing, SLICE_BYTES};
use crate::model::error::{Error, ErrorKind, Result, quoted};
use crate::model::item_error::ItemError;
use crate::model::limits::Limits;
use crate::model::name::GuruSlug;
use crate::model::profile::Profile;
use crate::plan::change::Effect;
use crate::plan::writes::Writes;
use crate::store::contract::ProfileStore;

/// How many profiles [`Guru::restore`](crate::Guru::restore) has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Restored {
    /// Profiles that were not there.
    pub created: u64,
    /// Profiles that were there with another memory or other times.
    pub updated: u64,
    /// Profiles that were there already, or in a later state.
    pub unchanged: u64,
}

/// Stores profiles after a look at their number and size. If one is large, that is done on a thread of its own (S11).
pub(crate) async fn restore<S: ProfileStore + ?Sized>(
    store: &S,
    guru: &GuruSlug,
    profiles: Vec<Profile>,
) -> Result<Restored> {
    let (given, limit) = (profiles.len(), store.limits().batch_items());
    if given > limit {
        let message = format!("{given} profiles to restore at once, the limit is {limit}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let is_large = |profile: &Profile| profile.memory.as_str().len() > SLICE_BYTES;
    let profiles = if profiles.iter().any(is_large) {
        aside(fitting(guru.clone(), profiles, *store.limits())).await?
    } else {
        fitting(guru.clone(), profiles, *store.limits()).await?
    };
    restore_fitting(store, guru, profiles).await
}

/// The profiles, if each is within the limits.
async fn fitting(guru: GuruSlug, profiles: Vec<Profile>, limits: Limits) -> Result<Vec<Profile>> {
    let mut pacing = Pacing::default();
    for profile in &profiles {
        pacing.take(profile.memory.as_str().len()).await;
        fits(profile, &limits).map_err(|error| {
            let id = &profile.external_user_id;
            let name = quoted(id.as_str());
            let message =
                format!("profile {name} does not fit the store: {error}; open it with larger limits");
            Error::new(ErrorKind::InvalidInput, message)
                .with_guru(guru.as_str())
                .with_external_user_id(id.as_str())
        })?;
    }
    Ok(profiles)
}

/// Stores profiles that have been found to [fit](fits).
pub(crate) async fn restore_fitting<S: ProfileStore + ?Sized>(
    store: &S,
    guru: &GuruSlug,
    profiles: Vec<Profile>,
) -> Result<Restored> {
    let mut restored = Restored::default();
    if profiles.is_empty() {
        return Ok(restored);
    }
    let (writes, places) = Writes::restoring(profiles.into_iter());
    let effects = store.apply(guru, writes).await?;
    for place in places {
        *match effects.effects()[place] {
            Effect::Created => &mut restored.created,
            Effect::Updated => &mut restored.updated,
            Effect::Unchanged | Effect::Deleted | Effect::Absent => &mut restored.unchanged,
        } += 1;
    }
    Ok(restored)
}

/// Whether a profile is within the limits (A1, A5).
pub(crate) fn fits(profile: &Profile, limits: &Limits) -> Result<(), ItemError> {
    if profile.external_user_id.as_str().len() > limits.id_bytes() {
        return Err(ItemError::IdTooLong { limit: limits.id_bytes() });
    }
    profile.memory.within(limits)
}
