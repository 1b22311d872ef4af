//! A page of a listing, by keyset cursor.

use std::ops::ControlFlow;

use crate::model::error::{Error, ErrorKind, Result, quoted};
use crate::model::filter::Matcher;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
#[cfg(any(feature = "sqlite", feature = "fjall", feature = "sled", feature = "postgres"))]
use crate::plan::record::RecordRef;
use crate::store::list::ListOptions;

/// A run of profiles, ascending by the bytes of their ids.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Page {
    /// The profiles. Fewer than asked for does not mean the end: a page also ends, at the latest, once 16 MiB of
    /// memories, or 100,000 profiles, have been read for it.
    pub profiles: Vec<Profile>,
    /// The cursor of the next page; `None` if there was nothing more when this one was read.
    pub next: Option<ExternalUserId>,
    /// The damaged records that were skipped, if the options say so.
    #[serde(skip)]
    pub(crate) damaged: Vec<Error>,
}

impl Page {
    /// This page, if its cursor is after that of its options: a reader of one that does not move would read for ever (L1).
    pub(crate) fn moved_on(self, guru: &GuruSlug, options: &ListOptions) -> Result<Self> {
        match &self.next {
            Some(next) if options.after().is_some_and(|after| next <= after) => {
                let (of, at) = (quoted(guru.as_str()), quoted(next.as_str()));
                let message = format!("the store lists guru {of} again and again: its cursor stays at {at}");
                let error = Error::new(ErrorKind::Corrupt, message);
                Err(error.with_guru(guru.as_str()).with_external_user_id(next.as_str()))
            }
            _ => Ok(self),
        }
    }
}

/// A page that a backend fills. It ends the page, and leaves profiles out of it, by the same rules for all
/// backends.
///
/// ```
/// use profile_store::backend::PageBuilder;
/// use profile_store::{Error, ErrorKind, ExternalUserId, ListOptions, Page, Profile, Result};
///
/// /// `rows` ascend from `options.start()` on, each with its id and what reading it gave.
/// fn list(rows: impl Iterator<Item = (ExternalUserId, Result<Profile>)>, options: &ListOptions) -> Result<Page> {
///     let mut page = PageBuilder::new(options);
///     for (id, read) in rows {
///         let flow = match read {
///             Ok(profile) => page.push(profile),
///             Err(error) => page.push_damaged(Some(id), error)?,
///         };
///         if flow.is_break() {
///             break;
///         }
///     }
///     page.finish()
/// }
/// let damaged = Error::corrupt_record("my-guru", "ada", "its checksum differs");
/// let rows = [(ExternalUserId::new("ada")?, Err(damaged))].into_iter();
/// assert_eq!(list(rows, &ListOptions::default()).unwrap_err().kind(), ErrorKind::Corrupt);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct PageBuilder {
    options: ListOptions,
    matcher: Option<Matcher>,
    /// Profiles taken, and bytes and profiles read, that end the page.
    limit: usize,
    full_bytes: usize,
    full_read: usize,
    /// Profiles and bytes of memories read so far, those left out included.
    read: usize,
    bytes: usize,
    /// The last sound profile, if it was left out.
    left_out: Option<ExternalUserId>,
    /// The last record, if it is damaged. Its id may be the damage, so it says nothing about the order.
    damaged: Option<ExternalUserId>,
    page: Page,
    /// Why the page is none.
    refused: Option<Error>,
}

impl PageBuilder {
    /// Bytes of memories, and profiles, after which no more is read for a page.
    const FULL_BYTES: usize = 16 << 20;
    const FULL_READ: usize = 100_000;

    /// Damaged records after which a page ends, though its cursor is one of them then.
    const FULL_DAMAGED: usize = 10_000;

    /// An empty page.
    #[must_use]
    pub fn new(options: &ListOptions) -> Self {
        let matcher = options.filter().map(Matcher::new);
        Self {
            options: options.clone(),
            matcher,
            limit: options.limit(),
            full_bytes: Self::FULL_BYTES,
            full_read: Self::FULL_READ,
            read: 0,
            bytes: 0,
            left_out: None,
            damaged: None,
            page: Page::default(),
            refused: None,
        }
    }

    /// An empty page that is read on the caller's thread: it ends early if a filter has to look into each memory (S11).
    pub(crate) fn in_place(options: &ListOptions) -> Self {
        let part = if options.filter().is_some() { 16 } else { 1 };
        let (full_bytes, full_read) = (Self::FULL_BYTES / part, Self::FULL_READ / part);
        Self { full_bytes, full_read, ..Self::new(options) }
    }

    /// Takes the next profile after the cursor, or leaves it out as the options say. `Break` means that
    /// reading can stop: this profile belongs to the next page, or to none. It also ends the reading if the id is not
    /// after the cursor and the ids before it. [`finish`](Self::finish) then returns an error.
    pub fn push(&mut self, profile: Profile) -> ControlFlow<()> {
        if self.ends_before(&profile.external_user_id) {
            return ControlFlow::Break(());
        }
        if self.takes(&profile.external_user_id, profile.memory.as_str(), profile.updated_at) {
            self.page.profiles.push(profile);
        } else {
            self.left_out = Some(profile.external_user_id);
        }
        ControlFlow::Continue(())
    }

    /// [Pushes](Self::push) the profile of `id`, whose row `read` reads and verifies. A row that belongs to no page or to the next one is
    /// not read, and a profile that is left out is not built.
    #[cfg(any(feature = "sqlite", feature = "fjall", feature = "sled", feature = "postgres"))]
    pub(crate) fn push_row<'r>(
        &mut self,
        id: ExternalUserId,
        read: impl FnOnce() -> Result<RecordRef<'r>>,
    ) -> Result<ControlFlow<()>> {
        // A damaged id that is skipped says nothing about the order or the end of the prefix.
        let skips = self.options.skips_damaged();
        if if skips { self.ends_full() } else { self.ends_before(&id) } {
            return Ok(ControlFlow::Break(()));
        }
        let record = match read() {
            Ok(record) => record,
            Err(error) => return self.skip(Some(id), error),
        };
        if skips && self.ends_before(&id) {
            return Ok(ControlFlow::Break(()));
        }
        if self.takes(&id, record.memory(), record.updated_at()) {
            self.page.profiles.push(record.into_profile(id));
        } else {
            self.left_out = Some(id);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Replaces [`push`](Self::push) for a record that can't be read; [`Error::corrupt_record`] makes the error. If the
    /// options skip damaged records, as [`copy`](crate::copy()) can, the damage is noted and the page goes on. `id` is
    /// `None` if the stored id is not valid.
    ///
    /// # Errors
    /// The same error if it stops the page: return it.
    pub fn push_damaged(&mut self, id: Option<ExternalUserId>, error: Error) -> Result<ControlFlow<()>> {
        let ends = match &id {
            _ if self.options.skips_damaged() => self.ends_full(),
            Some(id) => self.ends_before(id),
            None => false,
        };
        if ends { Ok(ControlFlow::Break(())) } else { self.skip(id, error) }
    }

    fn skip(&mut self, id: Option<ExternalUserId>, error: Error) -> Result<ControlFlow<()>> {
        if !self.options.skips_damaged() || error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        self.page.damaged.push(error);
        if let Some(id) = id {
            self.read += 1;
            self.damaged = Some(id);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether the profile of this id comes after all that the page may hold. The next cursor is noted then.
    fn ends_before(&mut self, id: &ExternalUserId) -> bool {
        let last = self.page.profiles.last().map(|last| &last.external_user_id);
        let last = self.left_out.as_ref().or(last).or(self.options.after());
        if last.is_some_and(|last| id <= last) {
            let message = "the store lists a profile that is not after the one before it";
            self.refused = Some(Error::new(ErrorKind::Corrupt, message).with_external_user_id(id.as_str()));
            return true;
        }
        if !id.as_str().starts_with(self.options.prefix()) && id.as_str() > self.options.prefix() {
            return true;
        }
        self.ends_full()
    }

    /// Whether nothing more fits the page. The cursor is noted then.
    fn ends_full(&mut self) -> bool {
        if self.is_full() {
            let last = self.page.profiles.last().map(|last| &last.external_user_id);
            self.page.next = self.damaged.as_ref().or(self.left_out.as_ref()).or(last).cloned();
        }
        self.page.next.is_some()
    }

    fn takes(&mut self, id: &ExternalUserId, memory: &str, updated_at: Timestamp) -> bool {
        self.read += 1;
        self.bytes += memory.len();
        // A backend may begin before the prefix.
        let takes = id.as_str().starts_with(self.options.prefix())
            && self.options.takes_time(updated_at)
            && self.matcher.as_ref().is_none_or(|matcher| matcher.matches(memory));
        self.damaged = None;
        if takes {
            self.left_out = None;
        }
        takes
    }

    fn is_full(&self) -> bool {
        self.page.profiles.len() >= self.limit
            || self.damaged.is_some() && self.page.damaged.len() >= Self::FULL_DAMAGED
            || self.bytes >= self.full_bytes
            || self.read >= self.full_read
    }

    /// The page.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if an id was not after the cursor and the ids before it: such a page
    /// would be listed for ever.
    pub fn finish(self) -> Result<Page> {
        match self.refused {
            Some(error) => Err(error),
            None => Ok(self.page),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::memory::Memory;

    fn profile(id: &str, updated: i64) -> Profile {
        let at = Timestamp::from_micros(updated);
        Profile::new(ExternalUserId::new(id).unwrap(), Memory::from_json("{}").unwrap(), at, at)
    }

    /// L1: of a cursor that does not move on, a reader would read for ever.
    #[test]
    fn a_page_takes_no_id_at_or_before_the_cursor() {
        let options = ListOptions::default().with_after(ExternalUserId::new("b").unwrap());
        let options = options.with_updated_since(Timestamp::from_micros(5));
        for (ids, refused) in [
            (&["c", "d"][..], None),
            (&["b"], Some("b")),
            (&["a"], Some("a")),
            (&["c", "c"], Some("c")),
            (&["d", "c"], Some("c")),
        ] {
            // Also after profiles that are left out of the page.
            for updated in [1, 9] {
                let mut page = PageBuilder::new(&options);
                let ended = ids.iter().map(|id| page.push(profile(id, updated))).find(|flow| flow.is_break());
                assert_eq!(ended.is_some(), refused.is_some(), "{ids:?}");
                match page.finish() {
                    Ok(page) => assert_eq!(page.profiles.len(), if updated == 1 { 0 } else { 2 }),
                    Err(error) => assert_eq!(error.external_user_id(), refused, "{ids:?}"),
                }
            }
        }
    }

    /// S12: pages of skipped damage end, go on after it, and report each once, even if none of them can be a cursor.
    #[test]
    fn damage_that_is_skipped_is_told_of_once() {
        for (limit, rows) in [
            (1, "a!b!c"),
            (2, "!!!a"),
            (2, "a?b??c?"),
            (3, "????????????"),
            (1, "?a?b"),
            (2, "!?!?a"),
            (100, "a?b!"),
        ] {
            // `?` is damaged and has an id, `!` is damaged and has none.
            let rows: Vec<_> =
                rows.chars().enumerate().map(|(at, kind)| (format!("{at:02}"), kind)).collect();
            let (mut taken, mut damaged, mut after) = (0, 0, None);
            let mut pages = 0;
            loop {
                let options = ListOptions::default().with_limit(limit).with_after(after.clone());
                let mut page = PageBuilder::new(&options.skipping_damaged(true));
                let start = after.as_ref().map_or("", |after: &ExternalUserId| after.as_str());
                for (id, kind) in rows.iter().filter(|(id, _)| id.as_str() > start) {
                    let damage = || Error::corrupt_record("g", id, "it is");
                    let flow = match kind {
                        '!' => page.push_damaged(None, damage()).unwrap(),
                        '?' => page
                            .push_damaged(Some(ExternalUserId::new(id.as_str()).unwrap()), damage())
                            .unwrap(),
                        _ => page.push(profile(id, 1)),
                    };
                    if flow.is_break() {
                        break;
                    }
                }
                let page = page.finish().unwrap();
                taken += page.profiles.len();
                damaged += page.damaged.len();
                pages += 1;
                assert!(page.profiles.len() <= limit && pages < 20, "{rows:?}");
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            let there = rows.iter().filter(|(_, kind)| kind.is_alphabetic()).count();
            assert_eq!((taken, taken + damaged), (there, rows.len()), "{limit} {rows:?}");
        }
        let mut page = PageBuilder::new(&ListOptions::default());
        assert!(page.push_damaged(None, Error::corrupt_record("g", "", "it is")).is_err());
        let mut page = PageBuilder::new(&ListOptions::default().skipping_damaged(true));
        assert!(page.push_damaged(None, Error::closed()).is_err(), "it is no damage");
    }

    /// P1, L1: a page that takes nothing ends too, and the next one begins where it ended.
    #[test]
    fn a_page_that_takes_nothing_goes_on_where_it_ended() {
        let options = ListOptions::default().with_updated_since(Timestamp::from_micros(5));
        let mut page = PageBuilder::new(&options);
        let id = |n: usize| format!("{n:06}");
        let read = (0..200_000).take_while(|n| page.push(profile(&id(*n), 1)).is_continue()).count();
        assert_eq!(read, PageBuilder::FULL_READ);
        let page = page.finish().unwrap();
        assert_eq!(page.next.map(|next| next.to_string()), Some(id(read - 1)));
    }
}
