//! The stored state of an id: borrowed from an engine, and owned.

use crate::model::memory::Memory;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
use crate::model::name::ExternalUserId;
#[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;

/// A [`Record`] borrowed from wherever an engine keeps it.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    memory: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Without the memory's content (S14).
impl std::fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory, created_at, updated_at } = self;
        write!(f, "RecordRef({} bytes, {created_at}, {updated_at})", memory.len())
    }
}

impl<'a> RecordRef<'a> {
    /// The stored state, its checksum verified.
    #[must_use]
    pub fn new(memory: &'a str, created_at: Timestamp, updated_at: Timestamp) -> Self {
        Self { memory, created_at, updated_at }
    }

    /// The profile of `id` that this is.
    #[cfg(any(feature = "fjall", feature = "sqlite", feature = "sled", feature = "postgres"))]
    pub(crate) fn into_profile(self, id: ExternalUserId) -> Profile {
        Profile::new(id, Memory::from_stored(self.memory), self.created_at, self.updated_at)
    }

    /// The text of the memory.
    #[must_use]
    pub fn memory(&self) -> &'a str {
        self.memory
    }

    /// When the profile came to be.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When the memory last changed.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at
    }
}

/// The state to store for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The memory.
    pub memory: Memory,
    /// When the profile came to be.
    pub created_at: Timestamp,
    /// When the memory last changed.
    pub updated_at: Timestamp,
}

impl Record {
    /// A record as a backend has read it.
    #[must_use]
    pub fn new(memory: Memory, created_at: Timestamp, updated_at: Timestamp) -> Self {
        Self { memory, created_at, updated_at }
    }
}

impl<'a> From<&'a Record> for RecordRef<'a> {
    fn from(record: &'a Record) -> Self {
        Self::new(record.memory.as_str(), record.created_at, record.updated_at)
    }
}
