//! Keys and records of the key-value engines.
//!
//! ```text
//! key    of a guru     01 slug
//!        of a profile  02 slug 00 external_user_id
//!        of the probe  03
//! record of a guru     version=01 checksum:u64 profiles:u64
//!        of a profile  version=01 checksum:u64 created_at:i64 updated_at:i64 memory…
//!        of the probe  empty
//! ```
//!
//! Integers are little-endian, times are microseconds. Keys are injective (S8): no slug holds a
//! zero byte, so the first one behind it ends it, whatever the id holds. They sort as the
//! contract lists: gurus by slug, a guru's profiles by id.

use crate::engine::checksum;
use crate::engine::record::StoredRecord;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::plan::record::{Record, RecordRef};

const GURU: u8 = 1;
const PROFILE: u8 = 2;
const PROBE: u8 = 3;
const SLUG_END: u8 = 0;
const VERSION: u8 = 1;

/// What the keys of all gurus start with.
pub(crate) const GURUS: [u8; 1] = [GURU];

/// What a probe of the store's health writes.
pub(crate) const PROBE_KEY: [u8; 1] = [PROBE];

/// Counts how often the store has been closed: the last thing written before it is.
pub(crate) const CLOSED_KEY: [u8; 2] = [PROBE, 1];

/// What a key belongs to.
pub(crate) enum Kind {
    Guru,
    Profile,
    Other,
}

pub(crate) fn kind(key: &[u8]) -> Kind {
    match key.first() {
        Some(&GURU) => Kind::Guru,
        Some(&PROFILE) => Kind::Profile,
        _ => Kind::Other,
    }
}

pub(crate) fn guru_key(guru: &GuruSlug) -> Vec<u8> {
    [&GURUS, guru.as_str().as_bytes()].concat()
}

/// The slug in a guru's key.
pub(crate) fn guru_of(key: &[u8]) -> Result<GuruSlug> {
    let slug = key.strip_prefix(&GURUS).and_then(|slug| std::str::from_utf8(slug).ok());
    slug.and_then(|slug| GuruSlug::new(slug).ok()).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("stored key {} names no guru", key.escape_ascii()))
    })
}

/// What the keys of a guru's profiles start with; behind it stands the id.
pub(crate) fn profiles_of(guru: &GuruSlug) -> Vec<u8> {
    [&[PROFILE], guru.as_str().as_bytes(), &[SLUG_END]].concat()
}

pub(crate) fn profile_key(guru: &GuruSlug, id: &ExternalUserId) -> Vec<u8> {
    let mut key = profiles_of(guru);
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// The id in a profile's key that starts with `prefix`, the guru's [`profiles_of`].
pub(crate) fn id_of(guru: &GuruSlug, prefix: &[u8], key: &[u8]) -> Result<ExternalUserId> {
    let id = key.strip_prefix(prefix).and_then(|id| std::str::from_utf8(id).ok());
    id.and_then(|id| ExternalUserId::new(id).ok()).ok_or_else(|| {
        Error::corrupt_record(guru.as_str(), &key.escape_ascii().to_string(), "its key holds no id")
    })
}

/// The names in a profile's key.
pub(crate) fn names_of(key: &[u8]) -> Result<(GuruSlug, ExternalUserId)> {
    let slug = key.strip_prefix(&[PROFILE]).and_then(|rest| rest.split(|byte| *byte == SLUG_END).next());
    let guru = slug.and_then(|slug| std::str::from_utf8(slug).ok()).and_then(|slug| GuruSlug::new(slug).ok());
    let guru = guru.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("stored key {} names no profile", key.escape_ascii()))
    })?;
    let id = id_of(&guru, &profiles_of(&guru), key)?;
    Ok((guru, id))
}

pub(crate) fn encode_profile(guru: &GuruSlug, id: &ExternalUserId, record: &Record) -> Vec<u8> {
    let Record { memory, created_at, updated_at, .. } = record;
    let sum = checksum::of_profile(guru.as_str(), id.as_str(), memory.as_str(), *created_at, *updated_at);
    let mut bytes = Vec::with_capacity(25 + memory.as_str().len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(&created_at.as_micros().to_le_bytes());
    bytes.extend_from_slice(&updated_at.as_micros().to_le_bytes());
    bytes.extend_from_slice(memory.as_str().as_bytes());
    bytes
}

/// The record of a profile, verified (S12).
pub(crate) fn decode_profile<'r>(
    guru: &GuruSlug,
    id: &ExternalUserId,
    bytes: &'r [u8],
) -> Result<RecordRef<'r>> {
    let corrupt = |what| Error::corrupt_record(guru.as_str(), id.as_str(), what);
    let (sum, rest) = open(bytes).map_err(corrupt)?;
    let (created, rest) = rest.split_first_chunk().ok_or_else(|| corrupt("it is cut short"))?;
    let (updated, memory) = rest.split_first_chunk().ok_or_else(|| corrupt("it is cut short"))?;
    let (created_at, updated_at) = (i64::from_le_bytes(*created), i64::from_le_bytes(*updated));
    StoredRecord { guru: guru.as_str(), id: id.as_str(), memory, created_at, updated_at }.verify(sum)
}

pub(crate) fn encode_guru(guru: &GuruSlug, profiles: u64) -> Vec<u8> {
    let sum = checksum::of_guru(guru.as_str(), 0, profiles);
    [&[VERSION], sum.to_le_bytes().as_slice(), &profiles.to_le_bytes()].concat()
}

/// The number of a guru's profiles, verified (S12).
pub(crate) fn decode_guru(guru: &GuruSlug, bytes: &[u8]) -> Result<u64> {
    let corrupt = |what| Error::corrupt_guru(guru.as_str(), what);
    let (sum, rest) = open(bytes).map_err(corrupt)?;
    let profiles = u64::from_le_bytes(rest.try_into().map_err(|_| corrupt("it has the wrong length"))?);
    if checksum::of_guru(guru.as_str(), 0, profiles) != sum {
        return Err(corrupt("its checksum does not match"));
    }
    Ok(profiles)
}

/// The checksum and what follows it.
fn open(bytes: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let (&version, rest) = bytes.split_first().ok_or("it is empty")?;
    if version != VERSION {
        return Err("its version is not known");
    }
    let (sum, rest) = rest.split_first_chunk().ok_or("it is cut short")?;
    Ok((u64::from_le_bytes(*sum), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::memory::Memory;
    use crate::model::timestamp::Timestamp;

    fn names(guru: &str, id: &str) -> (GuruSlug, ExternalUserId) {
        (GuruSlug::new(guru).unwrap(), ExternalUserId::new(id).unwrap())
    }

    fn record() -> Record {
        let memory = Memory::from_json(r#"{"plan":"pro"}"#).unwrap();
        Record::new(memory, Timestamp::from_micros(7), Timestamp::from_micros(9))
    }

    /// The bytes are the format: they must never move.
    #[test]
    fn the_bytes_are_frozen() {
        let (guru, id) = names("g", "u");
        assert_eq!(profile_key(&guru, &id), b"\x02g\0u");
        assert_eq!(guru_key(&guru), b"\x01g");
        let bytes = encode_profile(&guru, &id, &record());
        assert_eq!(bytes.len(), 25 + 14);
        assert_eq!(bytes[0], 1);
        assert_eq!(bytes[9..25], [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[25..], br#"{"plan":"pro"}"#);
    }

    /// S12: whatever single byte is changed, cut or added, the record is no longer accepted. Times at
    /// the ends of their range, too, where what lies beyond would be taken as the end.
    #[test]
    fn damage_anywhere_is_noticed() {
        let (guru, id) = names("g", "u");
        for (created_at, updated_at) in [(7, 9), (0, 0), (i64::MAX, i64::MAX)] {
            let (created_at, updated_at) =
                (Timestamp::from_micros(created_at), Timestamp::from_micros(updated_at));
            damage(&guru, &id, &Record { created_at, updated_at, ..record() });
        }
    }

    fn damage(guru: &GuruSlug, id: &ExternalUserId, record: &Record) {
        let whole = encode_profile(guru, id, record);
        assert!(decode_profile(guru, id, &whole).is_ok());
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let error = decode_profile(guru, id, &damaged).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit} of byte {at}");
            }
            assert!(decode_profile(guru, id, &whole[..at]).is_err(), "cut at {at}");
        }
        let (other_guru, other_id) = names("h", "v");
        assert!(decode_profile(&other_guru, id, &whole).is_err());
        assert!(decode_profile(guru, &other_id, &whole).is_err());
        let guru_record = encode_guru(guru, 3);
        assert_eq!(decode_guru(guru, &guru_record).unwrap(), 3);
        for at in 0..guru_record.len() {
            let mut damaged = guru_record.clone();
            damaged[at] ^= 1;
            assert!(decode_guru(guru, &damaged).is_err(), "byte {at}");
            assert!(decode_guru(guru, &guru_record[..at]).is_err(), "cut at {at}");
        }
    }

    /// S8.
    #[test]
    fn keys_are_injective_and_sorted() {
        let all =
            [("a", "b"), ("a", "b-c"), ("a", "\u{1}"), ("a-b", "c"), ("aa", "b"), ("b", "a"), ("a", "😀")];
        let mut keys: Vec<_> = all
            .map(|(guru, id)| {
                let (guru, id) = names(guru, id);
                let key = profile_key(&guru, &id);
                assert_eq!(names_of(&key).unwrap(), (guru.clone(), id.clone()));
                (key, (guru, id))
            })
            .to_vec();
        keys.sort();
        let names: Vec<_> = keys.iter().map(|(_, names)| names.clone()).collect();
        assert!(names.is_sorted());
        assert!(keys.windows(2).all(|pair| pair[0].0 != pair[1].0));
    }
}
