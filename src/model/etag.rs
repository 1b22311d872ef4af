//! The version of a memory.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::text::as_text;

/// The version of a memory: a hash of its stored bytes ([S7](crate::contract#s7)).
///
/// Equal memories have equal ETags, on every backend and in every version of this crate: it is
/// XXH3-128 of the text, written as 32 hexadecimal digits. It distinguishes versions; it is no proof
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

as_text!(ETag);

#[cfg(test)]
mod tests {
    use super::*;

    /// S7: the hash is part of the format; it must never move.
    #[test]
    fn etags_are_frozen_and_round_trip() {
        let etag = ETag::of("{}");
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
