//! What is stored for an id: borrowed from an engine, and owned.

use crate::model::memory::Memory;
use crate::model::name::ExternalUserId;
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;

/// What a backend holds for an id, borrowed from wherever the engine keeps it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Current<'a> {
    memory: CurrentMemory<'a>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The text of a record, hidden from `Debug` (S14).
#[derive(Clone, Copy)]
struct CurrentMemory<'a>(&'a str);

impl std::fmt::Debug for CurrentMemory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a> Current<'a> {
    /// What is stored, its checksum verified.
    #[must_use]
    pub fn new(memory: &'a str, created_at: Timestamp, updated_at: Timestamp) -> Self {
        Self { memory: CurrentMemory(memory), created_at, updated_at }
    }

    /// The profile of `id` that this is.
    #[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
    pub(crate) fn into_profile(self, id: ExternalUserId) -> Profile {
        Profile::new(id, Memory::from_stored(self.memory.0), self.created_at, self.updated_at)
    }

    /// The text of the memory.
    #[must_use]
    pub fn memory(&self) -> &'a str {
        self.memory.0
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

/// What is to be stored for an id.
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

    /// The record as input to [`Plan::resolve`].
    #[must_use]
    pub fn current(&self) -> Current<'_> {
        Current::new(self.memory.as_str(), self.created_at, self.updated_at)
    }
}
