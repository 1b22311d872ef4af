//! A store as NDJSON.

use std::fmt;
use std::sync::Arc;

use super::line::{write_profile, write_user};
use super::walk::{Damaged, Walk};
use crate::admission::pacing::Pacing;
use crate::model::error::{Error, Result};
use crate::model::filter::Filter;
use crate::model::name::GuruSlug;
use crate::model::timestamp::Timestamp;
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::page::Page;

/// Profiles as NDJSON, one a line, guru by guru, ascending by the bytes of their ids.
///
/// With all that belongs to them, for [`Import::profiles`](crate::Import::profiles):
///
/// ```text
/// {"guru":"my-guru","external_user_id":"ada","memory":{"plan":"pro"},"etag":"…","created_at":"…","updated_at":"…"}
/// ```
///
/// or as the users of a request, for [`Import::users`](crate::Import::users) and every other taker:
///
/// ```text
/// {"external_user_id":"ada","memory":{"plan":"pro"}}
/// ```
///
/// Memories stand as stored, to the byte. Memory use is constant: a page at a time.
///
/// ```
/// use profile_store::{Export, HasGurus, Import, Memory, MemoryStore, User};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// let guru = store.guru("my-guru")?;
/// guru.upsert(User::new("ada", Memory::from_json(r#"{"plan":"pro"}"#)?)).await?;
///
/// let mut file = Vec::new();
/// let mut export = Export::profiles(&store);
/// while let Some(lines) = export.next().await? {
///     file.extend_from_slice(lines.as_bytes());
/// }
///
/// let other = MemoryStore::new();
/// let mut import = Import::profiles(&other);
/// for piece in file.chunks(16) {
///     assert!(import.push(piece).await?.is_empty(), "no line has failed");
/// }
/// assert!(import.finish().await?.is_empty());
/// assert_eq!(other.guru("my-guru")?.get("ada").await?, guru.get("ada").await?);
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "it reads nothing until it is asked for lines"]
pub struct Export<'a, S: ?Sized> {
    store: &'a S,
    guru: Option<GuruSlug>,
    with_metadata: bool,
    options: ListOptions,
    walk: Option<Walk<'a, S>>,
    /// The page whose lines are being made; kept until they are handed out.
    page: Option<(GuruSlug, Page)>,
    damaged: Option<Damaged<'a>>,
}

impl<'a, S: ProfileStore + ?Sized> Export<'a, S> {
    /// Exports all gurus, with guru, ETag and times.
    pub fn profiles(store: &'a S) -> Self {
        Self {
            store,
            guru: None,
            with_metadata: true,
            options: ListOptions::default(),
            walk: None,
            page: None,
            damaged: None,
        }
    }

    /// Exports one guru, with ids and memories only.
    pub fn users(store: &'a S, guru: &GuruSlug) -> Self {
        Self { with_metadata: false, ..Self::profiles(store).with_guru(guru.clone()) }
    }

    /// Exports only this guru. `None` changes nothing.
    pub fn with_guru(mut self, guru: impl Into<Option<GuruSlug>>) -> Self {
        self.guru = guru.into().or(self.guru);
        self
    }

    /// Exports only what has changed since: see
    /// [`ListOptions::with_updated_since`](crate::ListOptions::with_updated_since).
    pub fn with_updated_since(mut self, since: impl Into<Timestamp>) -> Self {
        self.options = self.options.with_updated_since(since);
        self
    }

    /// Exports only profiles whose ids begin with this text: see
    /// [`ListOptions::with_prefix`](crate::ListOptions::with_prefix).
    pub fn with_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.options = self.options.with_prefix(prefix);
        self
    }

    /// Exports only profiles whose memories the filter takes: see
    /// [`ListOptions::with_filter`](crate::ListOptions::with_filter).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the filter has more than
    /// [`Filter::MAX_COMPARISONS`].
    pub fn with_filter(mut self, filter: impl Into<Option<Filter>>) -> Result<Self> {
        self.options = self.options.with_filter(filter)?;
        Ok(self)
    }

    /// Skips damaged records instead of stopping at the first. Calls `damaged` for each, with its error: see
    /// [`CopyOptions::with_damaged`](crate::CopyOptions::with_damaged). If lines are selected by time or filter, all damaged records are
    /// reported, as they can't be judged.
    pub fn with_damaged(mut self, damaged: impl FnMut(&Error) + Send + 'a) -> Self {
        self.damaged = Some(Box::new(damaged));
        self.options = self.options.skipping_damaged(true);
        self
    }

    /// The next lines, each ended by a newline, of about a page (1,000 profiles or 16 MiB); `None`
    /// after the last. Cancel-safe: nothing is skipped.
    ///
    /// # Errors
    /// Those of [`list`](ProfileStore::list), and [`Corrupt`](crate::ErrorKind::Corrupt) if the store's cursor does not move.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let Self { store, guru, options, .. } = self;
        let walk = self.walk.get_or_insert_with(|| Walk::new(store, options.clone(), guru.as_ref(), None));
        while self.page.as_ref().is_none_or(|(_, page)| page.profiles.is_empty()) {
            let Some(found) = walk.next().await? else { return Ok(None) };
            if let Some(told) = &mut self.damaged {
                found.damage().iter().for_each(told);
            }
            self.page = found.into_page();
        }
        let (mut lines, mut slice) = (String::new(), Pacing::default());
        if let Some((guru, page)) = &self.page {
            for profile in &page.profiles {
                slice.take(profile.memory.as_str().len()).await;
                if self.with_metadata {
                    write_profile(&mut lines, guru, profile);
                } else {
                    write_user(&mut lines, profile);
                }
            }
        }
        self.page = None;
        Ok(Some(lines))
    }
}

impl<S: fmt::Debug + ?Sized> fmt::Debug for Export<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Export");
        out.field("store", &self.store).field("guru", &self.guru).finish_non_exhaustive()
    }
}
