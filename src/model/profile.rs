//! A profile: one end user's record under a guru.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::model::etag::ETag;
use crate::model::memory::Memory;
use crate::model::name::ExternalUserId;
use crate::model::timestamp::Timestamp;

/// One end user's record under a guru.
///
/// `Debug` does not show the memory's content ([S14](crate::contract#s14)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The end user, as the service names them.
    pub external_user_id: ExternalUserId,
    /// The JSON object, byte for byte as admitted ([A3](crate::contract#a3)).
    pub memory: Memory,
    /// When the profile came to be; kept as long as it lives ([S7](crate::contract#s7)).
    pub created_at: Timestamp,
    /// When the memory last changed ([S7](crate::contract#s7)).
    pub updated_at: Timestamp,
}

impl Profile {
    /// A profile as a backend has read it.
    #[must_use]
    pub fn new(
        external_user_id: ExternalUserId,
        memory: Memory,
        created_at: Timestamp,
        updated_at: Timestamp,
    ) -> Self {
        Self { external_user_id, memory, created_at, updated_at }
    }

    /// The version of the memory.
    #[must_use]
    pub fn etag(&self) -> ETag {
        self.memory.etag()
    }

    /// One line of JSON: `{"external_user_id","memory","etag","created_at","updated_at"}`, the
    /// memory exactly as stored, the times in RFC 3339.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and a stored memory always serialise")
    }
}

/// As [`to_json`](Profile::to_json).
impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Profile", 5)?;
        out.serialize_field("external_user_id", &self.external_user_id)?;
        out.serialize_field("memory", &self.memory)?;
        out.serialize_field("etag", &self.etag())?;
        out.serialize_field("created_at", &self.created_at)?;
        out.serialize_field("updated_at", &self.updated_at)?;
        out.end()
    }
}
