//! What a listing asks for.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::error::Result;
use crate::model::filter::Filter;
use crate::model::name::ExternalUserId;
use crate::model::timestamp::Timestamp;

/// The start of a page, the profiles that it takes, and how many.
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
    /// `None` until it is set.
    limit: Option<usize>,
    updated_since: Option<Timestamp>,
    updated_before: Option<Timestamp>,
    prefix: Arc<str>,
    filter: Option<Filter>,
    skips_damaged: bool,
}

impl Default for ListOptions {
    /// From the first profile on, all of them, at most 1,000 a page.
    fn default() -> Self {
        Self {
            after: None,
            limit: None,
            updated_since: None,
            updated_before: None,
            prefix: Arc::default(),
            filter: None,
            skips_damaged: false,
        }
    }
}

impl ListOptions {
    /// Starts after this id, whether or not there is a profile of that id: the
    /// [`next`](crate::Page::next) of the page before.
    #[must_use]
    pub fn with_after(mut self, after: impl Into<Option<ExternalUserId>>) -> Self {
        self.after = after.into();
        self
    }

    /// The most profiles the page may hold, clamped to 1 to 10,000.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit.clamp(1, 10_000));
        self
    }

    /// Takes only profiles whose memory changed at this moment or later, for an incremental export. Start some
    /// seconds before the last export began, as a change is stamped just before it can be seen. All profiles are
    /// read, to verify and to compare: a page may hold few profiles, or none, and still have a next one.
    ///
    /// **Warning.** Deletions leave no trace to be listed. Restored, copied and imported profiles keep the time of
    /// their change, which may lie before the moment.
    #[must_use]
    pub fn with_updated_since(mut self, since: impl Into<Timestamp>) -> Self {
        self.updated_since = Some(since.into());
        self
    }

    /// Takes only profiles whose memory last changed before this moment.
    #[must_use]
    pub fn with_updated_before(mut self, before: impl Into<Timestamp>) -> Self {
        self.updated_before = Some(before.into());
        self
    }

    /// Takes only profiles whose ids begin with this text, byte for byte: tenants within a tenant. It is a range of
    /// keys: a page begins at the first such id, and ends at the first other one. The empty prefix takes all.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Selects only profiles whose memories match the filter ([L4](crate::contract#l4)). All profiles of the range are read, to verify and to
    /// judge. A page may hold few profiles, or none, and still have a next one.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the filter has more than
    /// [`Filter::MAX_COMPARISONS`].
    ///
    /// ```
    /// use profile_store::{Filter, HasGurus, ListOptions, MemoryStore, User};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// guru.upsert(User::serialize("org1:ada", &serde_json::json!({"plan": "pro"}))).await?;
    /// guru.upsert(User::serialize("org1:bob", &serde_json::json!({"plan": "free"}))).await?;
    /// guru.upsert(User::serialize("org2:cid", &serde_json::json!({"plan": "pro"}))).await?;
    /// let options = ListOptions::default().with_prefix("org1:").with_filter(Filter::at("/plan")?.eq("pro"))?;
    /// let page = guru.list(&options).await?;
    /// assert_eq!(page.profiles.len(), 1);
    /// assert_eq!(page.profiles[0].external_user_id.as_str(), "org1:ada");
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn with_filter(mut self, filter: impl Into<Option<Filter>>) -> Result<Self> {
        self.filter = filter.into();
        self.filter.as_ref().map_or(Ok(()), Filter::check)?;
        Ok(self)
    }

    /// Puts damaged records into the page's `damaged`, and goes on after them. Without, the first one is the error of the page.
    pub(crate) fn skipping_damaged(mut self, skips: bool) -> Self {
        self.skips_damaged = skips;
        self
    }

    pub(crate) fn skips_damaged(&self) -> bool {
        self.skips_damaged
    }

    /// The text that ids begin with; empty if all are taken.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The filter, if there is one.
    #[must_use]
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The text from which on a backend scans: every profile of the page has this id or a greater one, by bytes. It need not be
    /// an id itself; it is empty if the page begins with the first profile.
    #[must_use]
    pub fn start(&self) -> Cow<'_, str> {
        // No id holds a NUL: not an engine's bound either, and an id with the least other character is the next.
        let prefix = self.prefix().split('\0').next().unwrap_or_default();
        match &self.after {
            Some(after) if after.as_str() >= prefix => format!("{after}\u{1}").into(),
            _ => prefix.into(),
        }
    }

    /// Whether some profiles may be left out, those before the cursor aside.
    pub(crate) fn selects(&self) -> bool {
        let times = self.updated_since.or(self.updated_before);
        !self.prefix.is_empty() || self.filter.is_some() || times.is_some()
    }

    /// Only profiles that last changed at or after this moment are selected.
    #[must_use]
    pub fn updated_since(&self) -> Option<Timestamp> {
        self.updated_since
    }

    /// Only profiles that last changed before this moment are selected.
    #[must_use]
    pub fn updated_before(&self) -> Option<Timestamp> {
        self.updated_before
    }

    pub(crate) fn takes_time(&self, updated_at: Timestamp) -> bool {
        self.updated_since.is_none_or(|since| updated_at >= since)
            && self.updated_before.is_none_or(|before| updated_at < before)
    }

    /// The id that the page starts after.
    #[must_use]
    pub fn after(&self) -> Option<&ExternalUserId> {
        self.after.as_ref()
    }

    /// The most profiles the page may hold.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(1000)
    }

    pub(crate) fn has_limit(&self) -> bool {
        self.limit.is_some()
    }
}
