//! How much one batch, one memory and one id may hold.

use std::ops::RangeInclusive;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::item_error::ItemError;

/// The limits that admission enforces, the same for every backend ([A5](crate::contract#a5)).
///
/// They are set when a store is opened and judge what comes in from then on; what is already
/// stored stays readable. A value out of its range is an error when the store is opened.
///
/// | limit | default | range |
/// |---|---|---|
/// | items in a batch | 10,000 | 1 to 10,000,000 |
/// | bytes of a memory, as stored | 1 MiB | 2 to 256 MiB |
/// | nesting of a memory, itself being 1 | 64 | 1 to 127, where `serde_json` stops |
/// | bytes of an `external_user_id` | 255 | 1 to 1,024 |
///
/// ```
/// use profile_store::Limits;
///
/// let limits = Limits::default().with_memory_bytes(64 * 1024);
/// assert_eq!(limits.memory_bytes(), 65_536);
/// assert_eq!(limits.batch_items(), 10_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    batch_items: usize,
    memory_bytes: usize,
    memory_depth: usize,
    id_bytes: usize,
}

/// Whether the value of an option is within its range.
pub(crate) fn within(option: &str, value: u64, range: RangeInclusive<u64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{option} is {value}, allowed are {} to {}", range.start(), range.end());
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// The largest limit for ids, in bytes: every engine can index such an id together
/// with a slug.
pub(crate) const MAX_ID_BYTES: usize = 1024;

/// `serde_json` refuses the 128th level of nesting, and A2 follows it.
pub(crate) const MAX_DEPTH: usize = 127;

impl Default for Limits {
    fn default() -> Self {
        Self { batch_items: 10_000, memory_bytes: 1 << 20, memory_depth: 64, id_bytes: 255 }
    }
}

impl Limits {
    /// The most items one batch may hold; a larger one is refused whole ([R3](crate::contract#r3)).
    #[must_use]
    pub fn with_batch_items(mut self, items: usize) -> Self {
        self.batch_items = items;
        self
    }

    /// The most bytes one memory may hold, counted as stored: without insignificant whitespace.
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// The deepest nesting of one memory: `{}` is 1 deep, `{"a":[]}` is 2 deep.
    #[must_use]
    pub fn with_memory_depth(mut self, depth: usize) -> Self {
        self.memory_depth = depth;
        self
    }

    /// The most bytes of UTF-8 one `external_user_id` may hold.
    #[must_use]
    pub fn with_id_bytes(mut self, bytes: usize) -> Self {
        self.id_bytes = bytes;
        self
    }

    /// Whether every limit is within its range.
    pub(crate) fn check(&self) -> Result<()> {
        within("batch_items", self.batch_items as u64, 1..=10_000_000)?;
        within("memory_bytes", self.memory_bytes as u64, 2..=256 << 20)?;
        within("memory_depth", self.memory_depth as u64, 1..=MAX_DEPTH as u64)?;
        within("id_bytes", self.id_bytes as u64, 1..=MAX_ID_BYTES as u64)
    }

    /// The most items one batch may hold.
    #[must_use]
    pub fn batch_items(&self) -> usize {
        self.batch_items
    }

    /// The most bytes one memory may hold.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The deepest nesting of one memory.
    #[must_use]
    pub fn memory_depth(&self) -> usize {
        self.memory_depth
    }

    /// The most bytes one `external_user_id` may hold.
    #[must_use]
    pub fn id_bytes(&self) -> usize {
        self.id_bytes
    }

    /// Whether a memory of so many bytes may be stored. `is_deeper_than` says whether it has more levels than this.
    pub(crate) fn judge_memory(
        &self,
        bytes: usize,
        is_deeper_than: impl FnOnce(usize) -> bool,
    ) -> Result<(), ItemError> {
        if bytes > self.memory_bytes {
            return Err(ItemError::MemoryTooLarge { limit: self.memory_bytes });
        }
        if is_deeper_than(self.memory_depth) {
            return Err(ItemError::MemoryTooDeep { limit: self.memory_depth });
        }
        Ok(())
    }
}
