//! Keys.
//!
//! ```text
//! 01 slug                       a guru
//! 02 number external_user_id    a profile of the guru with that number
//! 03                            a probe of the store's health
//! 03 01                         how often the store has been closed
//! 03 02                         the number that the next guru gets
//! 04 number                     a guru that was deleted, whose profiles are still there
//! ```
//!
//! Numbers are `u64`, big-endian, and never given again. So keys are injective (S8) and sort as the
//! contract lists: gurus by slug, a guru's profiles by id.

use std::ops::Bound;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};

const GURU: u8 = 1;
const PROFILE: u8 = 2;
const STORE: u8 = 3;
const DELETED: u8 = 4;

/// A probe of the store's health writes this key.
pub(crate) const PROBE: [u8; 1] = [STORE];

/// Counts how often the store has been closed: the last thing written before it is.
pub(crate) const CLOSED: [u8; 2] = [STORE, 1];

/// Holds the number that the next guru gets.
pub(crate) const NEXT_NUMBER: [u8; 2] = [STORE, 2];

/// A run of keys.
pub(crate) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Stands for a guru in the keys of its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GuruNumber(pub u64);

impl GuruNumber {
    /// The number that follows; `None` after the last one.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    fn key(self, kind: u8) -> Vec<u8> {
        [&[kind], self.0.to_be_bytes().as_slice()].concat()
    }

    fn of(kind: u8, key: &[u8]) -> Option<(Self, &[u8])> {
        let (number, rest) = key.strip_prefix(&[kind])?.split_first_chunk()?;
        Some((Self(u64::from_be_bytes(*number)), rest))
    }
}

pub(crate) fn guru(guru: &GuruSlug) -> Vec<u8> {
    [&[GURU], guru.as_str().as_bytes()].concat()
}

/// The gurus after one of them.
pub(crate) fn gurus(after: Option<&GuruSlug>) -> KeyRange {
    let start = after.map_or(Bound::Included(vec![GURU]), |after| Bound::Excluded(guru(after)));
    (start, Bound::Excluded(vec![GURU + 1]))
}

/// The slug in a guru's key.
pub(crate) fn slug_of(key: &[u8]) -> Result<GuruSlug> {
    let slug = std::str::from_utf8(name_of(key)).ok().and_then(|slug| GuruSlug::new(slug).ok());
    slug.ok_or_else(|| stray(key, "names no guru"))
}

/// The name in the key of a guru, which should be a slug.
pub(crate) fn name_of(key: &[u8]) -> &[u8] {
    key.strip_prefix(&[GURU]).unwrap_or_default()
}

pub(crate) fn profile(guru: GuruNumber, id: &ExternalUserId) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + id.as_str().len());
    key.push(PROFILE);
    key.extend_from_slice(&guru.0.to_be_bytes());
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// A guru's profiles whose ids are in a range.
pub(crate) fn profiles(guru: GuruNumber, ids: (Bound<&str>, Bound<&str>)) -> KeyRange {
    let at = |id: &str| [guru.key(PROFILE).as_slice(), id.as_bytes()].concat();
    let start = match ids.0 {
        Bound::Unbounded => Bound::Included(guru.key(PROFILE)),
        bound => bound.map(at),
    };
    let end = match ids.1 {
        Bound::Unbounded => Bound::Excluded(guru.next().map_or(vec![PROFILE + 1], |next| next.key(PROFILE))),
        bound => bound.map(at),
    };
    (start, end)
}

/// All of a guru's profiles.
pub(crate) fn all_profiles(guru: GuruNumber) -> KeyRange {
    profiles(guru, (Bound::Unbounded, Bound::Unbounded))
}

/// The profiles of all gurus.
pub(crate) fn every_profile() -> KeyRange {
    (Bound::Included(vec![PROFILE]), Bound::Excluded(vec![PROFILE + 1]))
}

/// The number in a profile's key.
pub(crate) fn number_of(key: &[u8]) -> Result<GuruNumber> {
    GuruNumber::of(PROFILE, key).map(|(number, _)| number).ok_or_else(|| stray(key, "names no profile"))
}

/// The id in the key of a profile of `guru`.
pub(crate) fn id_of(guru: &GuruSlug, key: &[u8]) -> Result<ExternalUserId> {
    let id = GuruNumber::of(PROFILE, key).and_then(|(_, id)| std::str::from_utf8(id).ok());
    id.and_then(|id| ExternalUserId::new(id).ok()).ok_or_else(|| {
        Error::corrupt_record(guru.as_str(), &key.escape_ascii().to_string(), "its key holds no id")
    })
}

pub(crate) fn deleted(guru: GuruNumber) -> Vec<u8> {
    guru.key(DELETED)
}

/// The gurus that were deleted and whose profiles are still there.
pub(crate) fn all_deleted() -> KeyRange {
    (Bound::Included(vec![DELETED]), Bound::Excluded(vec![DELETED + 1]))
}

/// The number in the key of a deleted guru.
pub(crate) fn deleted_of(key: &[u8]) -> Result<GuruNumber> {
    match GuruNumber::of(DELETED, key) {
        Some((number, [])) => Ok(number),
        _ => Err(stray(key, "names no deleted guru")),
    }
}

fn stray(key: &[u8], what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("stored key {} {what}", key.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> ExternalUserId {
        ExternalUserId::new(id).unwrap()
    }

    fn holds(range: &KeyRange, key: &[u8]) -> bool {
        std::ops::RangeBounds::contains(range, &key.to_vec())
    }

    /// The bytes are the format: they must never move.
    #[test]
    fn the_bytes_are_frozen() {
        let (slug, number) = (GuruSlug::new("g").unwrap(), GuruNumber(0x0102));
        assert_eq!(guru(&slug), b"\x01g");
        assert_eq!(profile(number, &id("u")), b"\x02\0\0\0\0\0\0\x01\x02u");
        assert_eq!(deleted(number), b"\x04\0\0\0\0\0\0\x01\x02");
        assert_eq!((PROBE.as_slice(), CLOSED, NEXT_NUMBER), (b"\x03".as_slice(), [3, 1], [3, 2]));
    }

    /// S8.
    #[test]
    fn keys_are_injective_and_sorted_and_a_range_holds_one_guru() {
        let numbers = [0, 1, 0xff, 0x100, u64::MAX - 1, u64::MAX].map(GuruNumber);
        let ids = ["\u{1}", "b", "b-c", "ba", "😀"];
        let keys: Vec<_> = numbers
            .iter()
            .flat_map(|number| ids.map(|text| (*number, text, profile(*number, &id(text)))))
            .collect();
        assert!(keys.windows(2).all(|pair| pair[0].2 < pair[1].2));
        let slug = GuruSlug::new("g").unwrap();
        for (number, text, key) in &keys {
            assert_eq!((number_of(key).unwrap(), id_of(&slug, key).unwrap()), (*number, id(text)));
            for other in numbers {
                assert_eq!(holds(&all_profiles(other), key), other == *number);
            }
            assert!(holds(&every_profile(), key));
            assert!(!holds(&gurus(None), key) && !holds(&all_deleted(), key));
            let from_b = profiles(*number, (Bound::Excluded("b"), Bound::Excluded("ba")));
            assert_eq!(holds(&from_b, key), *text == "b-c");
        }
        let [a, ab, b] = ["a", "a-b", "b"].map(|slug| GuruSlug::new(slug).unwrap());
        assert!(holds(&gurus(None), &guru(&a)) && holds(&gurus(Some(&a)), &guru(&ab)));
        assert!(!holds(&gurus(Some(&ab)), &guru(&ab)) && holds(&gurus(Some(&ab)), &guru(&b)));
        assert_eq!(slug_of(&guru(&ab)).unwrap(), ab);
        assert!(holds(&all_deleted(), &deleted(GuruNumber(u64::MAX))));
        assert_eq!(deleted_of(&deleted(GuruNumber(7))).unwrap(), GuruNumber(7));
    }

    #[test]
    fn a_key_of_something_else_is_damage() {
        let slug = GuruSlug::new("g").unwrap();
        for key in [b"".as_slice(), b"\x01no slug", b"\x02\0\0\0", b"\x02\0\0\0\0\0\0\0\x01", b"\x04\0"] {
            assert_eq!(slug_of(key).unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(id_of(&slug, key).unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(deleted_of(key).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
