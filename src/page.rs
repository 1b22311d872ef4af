//! Listing in pages, by keyset cursor.

use std::ops::ControlFlow;

use crate::profile::{ExternalUserId, Profile};

/// Where a page starts and how much it may hold.
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
}

impl Default for ListOptions {
    /// From the first profile on, at most 1,000.
    fn default() -> Self {
        Self { after: None, limit: 1000 }
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
    /// The profiles. Fewer than asked for does not mean the end: a page also ends once its
    /// memories pass 16 MiB.
    pub profiles: Vec<Profile>,
    /// The cursor of the next page; `None` where there was nothing more when this one was read.
    pub next: Option<ExternalUserId>,
}

/// A page being filled by a backend, so that all of them end it by the same rule.
#[derive(Debug)]
pub struct PageBuilder {
    limit: usize,
    bytes: usize,
    page: Page,
}

impl PageBuilder {
    /// Bytes of memories after which a page takes no more profiles.
    const FULL_BYTES: usize = 16 << 20;

    /// An empty page.
    #[must_use]
    pub fn new(options: &ListOptions) -> Self {
        Self { limit: options.limit, bytes: 0, page: Page::default() }
    }

    /// Takes the next profile behind the cursor. `Break` means that the page was full already: this
    /// profile belongs to the next page, and reading can stop.
    pub fn push(&mut self, profile: Profile) -> ControlFlow<()> {
        if self.page.profiles.len() >= self.limit || self.bytes >= Self::FULL_BYTES {
            self.page.next = self.page.profiles.last().map(|last| last.external_user_id.clone());
            return ControlFlow::Break(());
        }
        self.bytes += profile.memory.as_str().len();
        self.page.profiles.push(profile);
        ControlFlow::Continue(())
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> Page {
        self.page
    }
}
