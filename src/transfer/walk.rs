//! The pages of a whole store, guru by guru.

use std::fmt;
use std::str::FromStr;

use crate::admission::pacing::yield_now;
use crate::model::error::{Error, ErrorKind, Result, quoted};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::page::Page;

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
    /// Whether the record that an error is about lies before this place. What is in no guru comes after all of them.
    pub(super) fn is_after(&self, error: &Error) -> bool {
        let (guru, id) = (error.guru(), error.external_user_id());
        guru < Some(self.guru.as_str()) && !is_stray(error)
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

/// What a walk comes to.
#[derive(Debug)]
pub(super) enum Found {
    Page(GuruSlug, Page),
    /// A guru whose own record is damaged, if the options skip damaged records.
    DamagedGuru(Error),
}

impl Found {
    /// The damaged records that were skipped.
    pub fn damage(&self) -> &[Error] {
        match self {
            Self::Page(_, page) => &page.damaged,
            Self::DamagedGuru(error) => std::slice::from_ref(error),
        }
    }

    pub fn into_page(self) -> Option<(GuruSlug, Page)> {
        match self {
            Self::Page(guru, page) => Some((guru, page)),
            Self::DamagedGuru(_) => None,
        }
    }
}

/// Reads page after page, of one guru or of all of them in their order.
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

    /// The next page; `None` after the last. Cancel-safe: it moves on only once the page is read.
    pub async fn next(&mut self) -> Result<Option<Found>> {
        loop {
            if let Some((guru, after)) = &self.guru {
                let options = self.options.clone().with_after(after.clone());
                // Others get a turn also if the store answers at once.
                yield_now().await;
                let page = match self.store.list(guru, &options).await {
                    Err(error)
                        if self.options.skips_damaged() && damaged_guru(&error).as_ref() == Some(guru) =>
                    {
                        self.guru = None;
                        return Ok(Some(Found::DamagedGuru(error)));
                    }
                    page => page?.moved_on(guru, &options)?,
                };
                let guru = guru.clone();
                self.guru = page.next.clone().map(|next| (guru.clone(), Some(next)));
                return Ok(Some(Found::Page(guru, page)));
            }
            match self.next_guru().await? {
                None => return Ok(None),
                Some(Ok(guru)) => self.guru = Some((guru, None)),
                Some(Err(error)) => return Ok(Some(Found::DamagedGuru(error))),
            }
        }
    }

    /// Moves on to the next guru, which may be a damaged one that is skipped.
    async fn next_guru(&mut self) -> Result<Option<Result<GuruSlug>>> {
        let Gurus::Behind(last) = &self.gurus else { return Ok(None) };
        let (guru, next) = match self.store.gurus(last.as_ref(), 1).await {
            Ok(gurus) => match gurus.into_iter().next() {
                // A reader of gurus that are not after the last one would read for ever (L1).
                Some(guru) if last.as_ref() >= Some(&guru) => {
                    let at = quoted(guru.as_str());
                    let message = format!("the store lists gurus again and again: its cursor stays at {at}");
                    return Err(Error::new(ErrorKind::Corrupt, message).with_guru(guru.as_str()));
                }
                Some(guru) => (guru.clone(), Ok(guru)),
                None => return Ok(None),
            },
            Err(error) if !self.options.skips_damaged() => return Err(error),
            // It comes after all others.
            Err(error) if is_stray(&error) => {
                self.gurus = Gurus::None;
                return Ok(Some(Err(error)));
            }
            Err(error) => match damaged_guru(&error) {
                Some(guru) if last.as_ref() < Some(&guru) => (guru, Err(error)),
                _ => return Err(error),
            },
        };
        self.gurus = Gurus::Behind(Some(guru));
        Ok(Some(next))
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
                Some(guru) => guru.ok(),
            };
        }
    }
}

/// The guru whose own record is damaged, as the error says.
fn damaged_guru(error: &Error) -> Option<GuruSlug> {
    GuruSlug::new(damaged_name(error)?).ok()
}

/// Whether the error is about a guru whose name is damaged, so that it is no slug.
fn is_stray(error: &Error) -> bool {
    damaged_name(error).is_some_and(|name| GuruSlug::new(name).is_err())
}

fn damaged_name(error: &Error) -> Option<&str> {
    let of_guru = error.kind() == ErrorKind::Corrupt && error.external_user_id().is_none();
    error.guru().filter(|_| of_guru)
}
