//! Listing in pages, by keyset cursor.

use std::ops::ControlFlow;

use crate::model::name::ExternalUserId;
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;

/// Where a page starts, which profiles it takes, and how many.
///
/// ```
/// use profile_store::{ExternalUserId, ListOptions};
///
/// let options = ListOptions::default().with_after(ExternalUserId::new("ada")?).with_limit(50);
/// assert_eq!(options.limit(), 50);
/// # Ok::<(), profile_store::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    after: Option<ExternalUserId>,
    limit: usize,
    updated_since: Option<Timestamp>,
    updated_before: Option<Timestamp>,
}

impl Default for ListOptions {
    /// From the first profile on, all of them, at most 1,000 a page.
    fn default() -> Self {
        Self { after: None, limit: 1000, updated_since: None, updated_before: None }
    }
}

impl ListOptions {
    /// Starts behind this id, whether or not there is a profile of that id: the
    /// [`next`](Page::next) of the page before.
    #[must_use]
    pub fn with_after(mut self, after: impl Into<Option<ExternalUserId>>) -> Self {
        self.after = after.into();
        self
    }

    /// The most profiles the page may hold, 1 to 10,000; what lies outside is taken as the nearer
    /// of the two.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, 10_000);
        self
    }

    /// Takes only profiles whose memory changed at this moment or later, for an incremental export:
    /// give it the moment at which the one before began, or some seconds less, as a change is stamped
    /// just before it can be seen. Reads all of them, to verify and to compare;
    /// a page may hold few profiles, or none, and still have a next one.
    ///
    /// Deletions leave no trace to be listed, and profiles that are restored, copied or imported bring
    /// the time of their change along, which may lie before the moment.
    #[must_use]
    pub fn with_updated_since(mut self, since: impl Into<Option<Timestamp>>) -> Self {
        self.updated_since = since.into();
        self
    }

    /// Takes only profiles whose memory last changed before this moment.
    #[must_use]
    pub fn with_updated_before(mut self, before: impl Into<Option<Timestamp>>) -> Self {
        self.updated_before = before.into();
        self
    }

    /// The earliest change taken.
    #[must_use]
    pub fn updated_since(&self) -> Option<Timestamp> {
        self.updated_since
    }

    /// The moment that a change must lie before to be taken.
    #[must_use]
    pub fn updated_before(&self) -> Option<Timestamp> {
        self.updated_before
    }

    fn takes(&self, profile: &Profile) -> bool {
        self.updated_since.is_none_or(|since| profile.updated_at >= since)
            && self.updated_before.is_none_or(|before| profile.updated_at < before)
    }

    /// The id that the page starts behind.
    #[must_use]
    pub fn after(&self) -> Option<&ExternalUserId> {
        self.after.as_ref()
    }

    /// The most profiles the page may hold.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A run of profiles, ascending by the bytes of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The profiles. Fewer than asked for does not mean the end: a page also ends once 16 MiB of
    /// memories, or 100,000 profiles, have been read for it.
    pub profiles: Vec<Profile>,
    /// The cursor of the next page; `None` where there was nothing more when this one was read.
    pub next: Option<ExternalUserId>,
}

/// A page being filled by a backend, so that all of them end it, and leave out of it, by the same
/// rules.
#[derive(Debug)]
pub struct PageBuilder {
    options: ListOptions,
    /// Profiles and bytes of memories read so far, those left out included.
    read: usize,
    bytes: usize,
    /// The last profile read, where it was left out.
    left_out: Option<ExternalUserId>,
    page: Page,
}

impl PageBuilder {
    /// Bytes of memories, and profiles, after which no more is read for a page.
    const FULL_BYTES: usize = 16 << 20;
    const FULL_READ: usize = 100_000;

    /// An empty page.
    #[must_use]
    pub fn new(options: &ListOptions) -> Self {
        Self { options: options.clone(), read: 0, bytes: 0, left_out: None, page: Page::default() }
    }

    /// Takes the next profile behind the cursor, or leaves it out as the options say. `Break` means
    /// that the page was full already: this profile belongs to the next page, and reading can stop.
    pub fn push(&mut self, profile: Profile) -> ControlFlow<()> {
        if self.is_full() {
            let last = self.page.profiles.last().map(|last| &last.external_user_id);
            self.page.next = self.left_out.take().or_else(|| last.cloned());
            return ControlFlow::Break(());
        }
        self.read += 1;
        self.bytes += profile.memory.as_str().len();
        if self.options.takes(&profile) {
            self.left_out = None;
            self.page.profiles.push(profile);
        } else {
            self.left_out = Some(profile.external_user_id);
        }
        ControlFlow::Continue(())
    }

    fn is_full(&self) -> bool {
        self.page.profiles.len() >= self.options.limit
            || self.bytes >= Self::FULL_BYTES
            || self.read >= Self::FULL_READ
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> Page {
        self.page
    }
}
