//! The pages of a whole store, guru by guru.

use std::fmt;
use std::str::FromStr;

use crate::admission::pacing::yield_now;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::store::contract::ProfileStore;
use crate::store::list::{ListOptions, Page};

/// A place between two profiles of a store: behind this one. Written as `guru/external_user_id`.
///
/// ```
/// use profile_store::Position;
///
/// let position: Position = "my-guru/a/b".parse()?;
/// assert_eq!((position.guru.as_str(), position.after.as_str()), ("my-guru", "a/b"));
/// assert_eq!(position.to_string(), "my-guru/a/b");
/// # Ok::<(), profile_store::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a place is named by these two")]
pub struct Position {
    /// The guru.
    pub guru: GuruSlug,
    /// The last profile before the place, whether or not it is there.
    pub after: ExternalUserId,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.guru, self.after)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((guru, after)) = text.split_once('/') else {
            let message = "a position is written as guru/external_user_id";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        Ok(Self { guru: GuruSlug::new(guru)?, after: ExternalUserId::new(after)? })
    }
}

/// Reads page after page, of one guru or of all of them in their order.
#[derive(Debug)]
pub(super) struct Walk<'a, S: ?Sized> {
    store: &'a S,
    /// The options of every page, but for the cursor.
    options: ListOptions,
    gurus: Gurus,
    /// Where in its profiles the present guru is.
    guru: Option<(GuruSlug, Option<ExternalUserId>)>,
}

/// The gurus that follow.
#[derive(Debug)]
enum Gurus {
    None,
    Behind(Option<GuruSlug>),
}

impl<'a, S: ProfileStore + ?Sized> Walk<'a, S> {
    /// Over one guru, or all of them, from the start or from `start` on.
    pub fn new(
        store: &'a S,
        options: ListOptions,
        only: Option<&GuruSlug>,
        start: Option<&Position>,
    ) -> Self {
        let start = start.filter(|start| only.is_none_or(|only| *only == start.guru));
        let guru = match (start, only) {
            (Some(start), _) => Some((start.guru.clone(), Some(start.after.clone()))),
            (None, only) => only.map(|only| (only.clone(), None)),
        };
        let gurus = match only {
            Some(_) => Gurus::None,
            None => Gurus::Behind(start.map(|start| start.guru.clone())),
        };
        Self { store, options, gurus, guru }
    }

    /// The next page and whose it is; `None` after the last. Cancel-safe: it moves on only once the
    /// page is read.
    pub async fn next(&mut self) -> Result<Option<(GuruSlug, Page)>> {
        loop {
            if let Some((guru, after)) = &mut self.guru {
                let options = self.options.clone().with_after(after.clone());
                // Others get a turn also where the store answers at once.
                yield_now().await;
                let page = self.store.list(guru, &options).await?;
                let guru = guru.clone();
                self.guru = page.next.clone().map(|next| (guru.clone(), Some(next)));
                return Ok(Some((guru, page)));
            }
            let Gurus::Behind(last) = &self.gurus else { return Ok(None) };
            let Some(next) = self.store.gurus(last.as_ref(), 1).await?.pop() else { return Ok(None) };
            self.gurus = Gurus::Behind(Some(next.clone()));
            self.guru = Some((next, None));
        }
    }
}
