//! A profile and the names it goes by.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_ID_BYTES;
use crate::memory::Memory;
use crate::text::Text;

/// The name of a tenant, a *guru*.
///
/// Rule (R4): 1 to 255 bytes of `A-Z a-z 0-9 - _`. Slugs are ordered and compared by bytes; no
/// case is folded. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuruSlug(Arc<str>);

impl GuruSlug {
    /// The most bytes a slug may have.
    pub const MAX_BYTES: usize = 255;

    /// A slug from text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] where the rule above does not hold.
    pub fn new(slug: &str) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
        if slug.is_empty() {
            return invalid("guru slug is empty".to_owned());
        }
        let foreign = |&(_, c): &(usize, char)| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if let Some((at, c)) = slug.char_indices().find(foreign) {
            return invalid(format!("guru slug has {c:?} at byte {at}, allowed are A-Z a-z 0-9 - _"));
        }
        if slug.len() > Self::MAX_BYTES {
            return invalid(format!("guru slug has {} bytes, the limit is {}", slug.len(), Self::MAX_BYTES));
        }
        Ok(Self(slug.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an end user within a guru.
///
/// Rules (A1): opaque, not empty, no NUL, at most 1,024 bytes of UTF-8. A store admits ids up to
/// its own, usually lower limit ([`Limits::id_bytes`](crate::Limits::id_bytes)). Ids are compared
/// and ordered by bytes: no trimming, no case folding, no normalisation. Cloning shares the text; so do
/// the ids of one request body, see [`Memory::detached`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalUserId(Text);

impl ExternalUserId {
    /// The most bytes an id may have in any store.
    pub const MAX_BYTES: usize = MAX_ID_BYTES;

    /// An id from text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] where the rules above do not hold.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self> {
        let id = id.into();
        let problem = if id.is_empty() {
            "external_user_id is empty".to_owned()
        } else if id.contains('\0') {
            "external_user_id contains NUL".to_owned()
        } else if id.len() > Self::MAX_BYTES {
            format!("external_user_id has {} bytes, the limit is {}", id.len(), Self::MAX_BYTES)
        } else {
            return Ok(Self(Text::from(id)));
        };
        Err(Error::new(ErrorKind::InvalidInput, problem))
    }

    /// An id that admission has judged already.
    pub(crate) fn admitted(id: Text) -> Self {
        let text = id.as_str();
        debug_assert!(!text.is_empty() && !text.contains('\0') && text.len() <= Self::MAX_BYTES);
        Self(id)
    }

    /// The same id, keeping nothing else alive, as [`Memory::detached`].
    #[must_use]
    pub fn detached(self) -> Self {
        Self(self.0.into_whole())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

macro_rules! name_traits {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

name_traits!(GuruSlug);
name_traits!(ExternalUserId);

/// A moment in UTC, in whole microseconds since 1970.
///
/// `Display` is RFC 3339 with six decimals: `2026-01-09T00:25:57.000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that RFC 3339 can write: the end of the year 9999.
    const MAX_MICROS: i64 = 253_402_300_799_999_999;

    /// A moment from microseconds since 1970; what lies outside 1970 to 9999 is taken as the
    /// nearer of the two ends.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, Self::MAX_MICROS))
    }

    /// A moment from microseconds since 1970; `None` for what lies outside 1970 to 9999.
    ///
    /// ```
    /// use profile_store::Timestamp;
    ///
    /// assert_eq!(Timestamp::checked_from_micros(7), Some(Timestamp::from_micros(7)));
    /// assert_eq!(Timestamp::checked_from_micros(-1), None);
    /// assert_eq!(Timestamp::checked_from_micros(i64::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_from_micros(micros: i64) -> Option<Self> {
        (0..=Self::MAX_MICROS).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment one microsecond later.
    pub(crate) fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(timestamp.0.unsigned_abs())
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339 in UTC (`Z`); what is finer than a microsecond is cut.
    fn from_str(text: &str) -> Result<Self> {
        let time = humantime::parse_rfc3339(text);
        time.map(Self::from).map_err(|_| Error::new(ErrorKind::InvalidInput, "not a time of RFC 3339 in UTC"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros((*self).into()).fmt(f)
    }
}

/// The version of a memory: a hash of its stored bytes (S7).
///
/// Equal memories have equal ETags, on every backend and in every version of this crate: it is
/// XXH3-128 of the text, written as 32 hexadecimal digits. It tells versions apart; it is no proof
/// against somebody who constructs collisions. In an HTTP header, put it in quotes (RFC 9110, 8.8.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag([u8; 16]);

impl ETag {
    pub(crate) fn of(memory: &str) -> Self {
        Self(xxh3_128(memory.as_bytes()).to_be_bytes())
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({self})")
    }
}

impl FromStr for ETag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(hash) if digits => Ok(Self(hash.to_be_bytes())),
            _ => Err(Error::new(ErrorKind::InvalidInput, "an ETag is 32 hexadecimal digits in lower case")),
        }
    }
}

/// One end user's record under a guru.
///
/// `Debug` does not show the memory's content (S14).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The end user, as the service names them.
    pub external_user_id: ExternalUserId,
    /// The JSON object, byte for byte as admitted (A3).
    pub memory: Memory,
    /// When the profile came to be; kept as long as it lives (S7).
    pub created_at: Timestamp,
    /// When the memory last changed (S7).
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
        format!(
            r#"{{"external_user_id":{},"memory":{},"etag":"{}","created_at":"{}","updated_at":"{}"}}"#,
            serde_json::Value::from(self.external_user_id.as_str()),
            self.memory.as_str(),
            self.etag(),
            self.created_at,
            self.updated_at,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R4.
    #[test]
    fn slugs_outside_the_alphabet_are_refused() {
        for good in ["a", "My-Guru_7", "-", "_", &"x".repeat(255)] {
            assert_eq!(GuruSlug::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "a/b", "a.b", "a\0", "é", "a%", "a'", &"x".repeat(256)] {
            assert_eq!(GuruSlug::new(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn timestamps_are_rfc_3339_between_1970_and_9999() {
        assert_eq!(Timestamp::from_micros(1_767_907_557_000_001).to_string(), "2026-01-08T21:25:57.000001Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(
            "2026-01-08T21:25:57.000001Z".parse::<Timestamp>().unwrap().as_micros(),
            1_767_907_557_000_001
        );
        assert!("2026-01-08".parse::<Timestamp>().is_err());
        let now = Timestamp::from(SystemTime::now());
        assert_eq!(Timestamp::from(SystemTime::from(now)), now);
    }

    /// S7: the hash is part of the format; it must never move.
    #[test]
    fn etags_are_frozen_and_round_trip() {
        let etag = Memory::from_json("{}").unwrap().etag();
        assert_eq!(etag.to_string(), "dc7048f8f8747f561349cde127705c16");
        assert_eq!(etag.to_string().parse::<ETag>().unwrap(), etag);
        for bad in [
            "",
            "DC7048F8F8747F561349CDE127705C16",
            "+c7048f8f8747f561349cde127705c16",
            "gc7048f8f8747f561349cde127705c16",
        ] {
            assert!(bad.parse::<ETag>().is_err(), "{bad}");
        }
    }
}
