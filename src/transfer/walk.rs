//! The pages of a whole store, guru by guru.

use std::fmt;
use std::str::FromStr;

use crate::admission::pacing::yield_now;
use crate::model::error::{Error, ErrorKind, Result, quoted};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::store::contract::ProfileStore;
use crate::store::list::{ListOptions, Page};

/// A place between two profiles of a store: after this one. Written as `guru/external_user_id`.
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

impl Position {
    /// Whether the record that an error is about lies before this place.
    pub(super) fn is_after(&self, error: &Error) -> bool {
        let (guru, id) = (error.guru(), error.external_user_id());
        guru < Some(self.guru.as_str())
            || guru == Some(self.guru.as_str()) && id.is_some_and(|id| id <= self.after.as_str())
    }
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

/// Is called with each damaged record that is skipped.
pub(super) type Damaged<'a> = Box<dyn FnMut(&Error) + Send + 'a>;

/// Reads page after page, of one guru or of all of them in their order. If the options skip damaged records, a guru
/// whose own record is damaged is a page of that damage.
#[derive(Debug)]
pub(super) struct Walk<'a, S: ?Sized> {
    store: &'a S,
    /// The options of every page, but for the cursor.
    options: ListOptions,
    gurus: Gurus,
    /// The place within the profiles of the present guru.
    guru: Option<(GuruSlug, Option<ExternalUserId>)>,
}

/// The gurus that follow.
#[derive(Debug)]
enum Gurus {
    None,
    Behind(Option<GuruSlug>),
}

impl<'a, S: ProfileStore + ?Sized> Walk<'a, S> {
    /// Over one guru, or all of them, from the start or from `start` on, which is of that guru then.
    pub fn new(
        store: &'a S,
        options: ListOptions,
        only: Option<&GuruSlug>,
        start: Option<&Position>,
    ) -> Self {
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
            if let Some((guru, after)) = &self.guru {
                let options = self.options.clone().with_after(after.clone());
                // Others get a turn also if the store answers at once.
                yield_now().await;
                let page = match self.store.list(guru, &options).await {
                    Err(error)
                        if self.options.skips_damaged() && damaged_guru(&error).as_ref() == Some(guru) =>
                    {
                        Page::of_damage(error)
                    }
                    page => page?.moved_on(guru, &options)?,
                };
                let guru = guru.clone();
                self.guru = page.next.clone().map(|next| (guru.clone(), Some(next)));
                return Ok(Some((guru, page)));
            }
            match self.next_guru().await? {
                None => return Ok(None),
                Some((guru, Ok(()))) => self.guru = Some((guru, None)),
                Some((guru, Err(error))) => return Ok(Some((guru, Page::of_damage(error)))),
            }
        }
    }

    /// Moves on to the next guru, which may be a damaged one that is skipped.
    async fn next_guru(&mut self) -> Result<Option<(GuruSlug, Result<()>)>> {
        let Gurus::Behind(last) = &self.gurus else { return Ok(None) };
        let (guru, state) = match self.store.gurus(last.as_ref(), 1).await {
            Ok(gurus) => match gurus.into_iter().next() {
                // A reader of gurus that are not after the last one would read for ever (L1).
                Some(guru) if last.as_ref() >= Some(&guru) => {
                    let at = quoted(guru.as_str());
                    let message = format!("the store lists gurus again and again: its cursor stays at {at}");
                    return Err(Error::new(ErrorKind::Corrupt, message).with_guru(guru.as_str()));
                }
                Some(guru) => (guru, Ok(())),
                None => return Ok(None),
            },
            Err(error) => match damaged_guru(&error) {
                Some(guru) if self.options.skips_damaged() && last.as_ref() < Some(&guru) => {
                    (guru, Err(error))
                }
                _ => return Err(error),
            },
        };
        self.gurus = Gurus::Behind(Some(guru.clone()));
        Ok(Some((guru, state)))
    }

    /// How many profiles there are, those of damaged gurus aside if they are skipped.
    pub async fn count(mut self) -> Result<u64> {
        let mut total = 0;
        let mut next = self.guru.take().map(|(guru, _)| guru);
        loop {
            if let Some(guru) = &next {
                total += match self.store.count(guru).await {
                    Err(error) if self.options.skips_damaged() && damaged_guru(&error).is_some() => 0,
                    count => count?,
                };
            }
            next = match self.next_guru().await? {
                None => return Ok(total),
                Some((guru, Ok(()))) => Some(guru),
                Some((_, Err(_))) => None,
            };
        }
    }
}

/// The guru whose own record is damaged, as the error says.
fn damaged_guru(error: &Error) -> Option<GuruSlug> {
    let of_guru = error.kind() == ErrorKind::Corrupt && error.external_user_id().is_none();
    error.guru().filter(|_| of_guru).and_then(|guru| GuruSlug::new(guru).ok())
}
