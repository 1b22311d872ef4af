//! Records.
//!
//! ```text
//! of a guru             flags=00 checksum number [checksum profiles]
//! of a profile          flags=00 checksum created_at updated_at memory…
//! of a deleted guru     flags=00 checksum
//! of the next number    flags=00 checksum number
//! of a probe            empty
//! ```
//!
//! All but flags and memory are 8 bytes, little-endian; times are microseconds. A checksum covers the key's
//! names, the flags and whatever follows it, so that it can be held to a record of later flags too. A
//! guru's number of profiles has a checksum of its own; if that is missing, the number is unknown.

use crate::engine::checksum;
use crate::engine::key_value::keys::GuruNumber;
use crate::engine::record::StoredRecord;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::plan::record::{Record, RecordRef};

/// Reserved, for expiry and encryption to come.
const FLAGS: u8 = 0;

/// Flags and checksum.
const HEAD: usize = 9;

/// A guru's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuruRecord {
    pub number: GuruNumber,
    pub profiles: Profiles,
}

/// A guru's number of profiles. It can be counted, so that it decides nothing (S12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profiles {
    Known(u64),
    /// A write has found it wrong.
    Unknown,
    /// It does not match its checksum.
    Damaged,
}

impl Profiles {
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(profiles) => Some(profiles),
            Self::Unknown | Self::Damaged => None,
        }
    }
}

pub(crate) fn encode_profile(guru: &GuruSlug, id: &ExternalUserId, record: &Record) -> Vec<u8> {
    let Record { memory, created_at, updated_at, .. } = record;
    let mut bytes = Vec::with_capacity(HEAD + 16 + memory.as_str().len());
    bytes.extend_from_slice(&[FLAGS, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&created_at.as_micros().to_le_bytes());
    bytes.extend_from_slice(&updated_at.as_micros().to_le_bytes());
    bytes.extend_from_slice(memory.as_str().as_bytes());
    seal(&[guru.as_str().as_bytes(), id.as_str().as_bytes()], bytes)
}

/// The record of a profile, verified (S12).
pub(crate) fn decode_profile<'r>(
    guru: &GuruSlug,
    id: &ExternalUserId,
    bytes: &'r [u8],
) -> Result<RecordRef<'r>> {
    let corrupt = |what| Error::corrupt_record(guru.as_str(), id.as_str(), what);
    let newer = || of_later_flags("profile").with_guru(guru.as_str()).with_external_user_id(id.as_str());
    let rest = open(&[guru.as_str().as_bytes(), id.as_str().as_bytes()], bytes, &corrupt, newer)?;
    let (created_at, rest) = rest.split_first_chunk().ok_or_else(|| corrupt("it is cut short"))?;
    let (updated_at, memory) = rest.split_first_chunk().ok_or_else(|| corrupt("it is cut short"))?;
    let (created_at, updated_at) = (i64::from_le_bytes(*created_at), i64::from_le_bytes(*updated_at));
    let record = StoredRecord { guru: guru.as_str(), id: id.as_str(), memory, created_at, updated_at };
    // Its checksum was verified above, over all of it.
    record.verify_by(|_| true)
}

pub(crate) fn encode_guru(guru: &GuruSlug, number: GuruNumber, profiles: Option<u64>) -> Vec<u8> {
    let mut bytes = sealed(&[guru.as_str().as_bytes()], number.0);
    if let Some(profiles) = profiles {
        let sum = profiles_sum(guru, number, profiles);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&profiles.to_le_bytes());
    }
    bytes
}

/// The record of a guru, its number verified (S12).
pub(crate) fn decode_guru(guru: &GuruSlug, bytes: &[u8]) -> Result<GuruRecord> {
    let corrupt = |what| Error::corrupt_guru(guru.as_str(), what);
    let (head, counted) = bytes.split_at_checked(HEAD + 8).ok_or_else(|| corrupt("it is cut short"))?;
    let newer = || of_later_flags("guru").with_guru(guru.as_str());
    let rest = open(&[guru.as_str().as_bytes()], head, &corrupt, newer)?;
    let number = GuruNumber(u64::from_le_bytes(rest.try_into().map_err(|_| corrupt("it is cut short"))?));
    let profiles = if counted.is_empty() {
        Profiles::Unknown
    } else {
        let parts = counted.split_first_chunk().map(|(sum, profiles)| (sum, profiles.try_into()));
        match parts {
            Some((sum, Ok(profiles))) => {
                let profiles = u64::from_le_bytes(profiles);
                let sound = profiles_sum(guru, number, profiles) == u64::from_le_bytes(*sum);
                if sound { Profiles::Known(profiles) } else { Profiles::Damaged }
            }
            _ => Profiles::Damaged,
        }
    };
    Ok(GuruRecord { number, profiles })
}

fn profiles_sum(guru: &GuruSlug, number: GuruNumber, profiles: u64) -> u64 {
    checksum::of_parts(&[guru.as_str().as_bytes(), &number.0.to_le_bytes(), &profiles.to_le_bytes()])
}

pub(crate) fn encode_deleted(number: GuruNumber) -> Vec<u8> {
    seal(&[b"deleted", &number.0.to_le_bytes()], vec![FLAGS, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Whether the mark of a deleted guru is sound.
pub(crate) fn decode_deleted(number: GuruNumber, bytes: &[u8]) -> Result<()> {
    let corrupt = |what| damaged(&format!("mark of deleted guru {}", number.0), what);
    let rest = open(&[b"deleted", &number.0.to_le_bytes()], bytes, &corrupt, || of_later_flags("mark"))?;
    if rest.is_empty() { Ok(()) } else { Err(corrupt("it is too long")) }
}

pub(crate) fn encode_next_number(number: GuruNumber) -> Vec<u8> {
    sealed(&[b"next"], number.0)
}

/// The number that the next guru gets.
pub(crate) fn decode_next_number(bytes: &[u8]) -> Result<GuruNumber> {
    let corrupt = |what| damaged("number of the next guru", what);
    let rest = open(&[b"next"], bytes, &corrupt, || of_later_flags("number"))?;
    let number = rest.try_into().map_err(|_| corrupt("it has the wrong length"))?;
    Ok(GuruNumber(u64::from_le_bytes(number)))
}

fn sealed(names: &[&[u8]], number: u64) -> Vec<u8> {
    let mut bytes = vec![FLAGS, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&number.to_le_bytes());
    seal(names, bytes)
}

/// Writes the checksum into the place that was left for it.
fn seal(names: &[&[u8]], mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = sum(names, bytes[0], &bytes[HEAD..]);
    bytes[1..HEAD].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn sum(names: &[&[u8]], flags: u8, rest: &[u8]) -> u64 {
    checksum::of_parts(&[names, &[&[flags], rest]].concat())
}

/// The bytes after the checksum, if it matches. The checksum comes before the flags: a damaged record is not
/// taken for a newer one.
fn open<'r>(
    names: &[&[u8]],
    bytes: &'r [u8],
    corrupt: &impl Fn(&'static str) -> Error,
    newer: impl FnOnce() -> Error,
) -> Result<&'r [u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(|| corrupt("it is cut short"))?;
    let [flags, stored @ ..] = *head;
    if sum(names, flags, rest) != u64::from_le_bytes(stored) {
        return Err(corrupt("its checksum does not match"));
    }
    if flags == FLAGS { Ok(rest) } else { Err(newer()) }
}

fn of_later_flags(of: &str) -> Error {
    let message =
        format!("the stored record of a {of} has flags that a newer version of profile-store wrote");
    Error::new(ErrorKind::Incompatible, message)
}

fn damaged(of: &str, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the stored {of} is damaged: {what}"))
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

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are the format: they must never move.
    #[test]
    fn the_bytes_are_frozen() {
        let (guru, id) = names("g", "u");
        let profile = encode_profile(&guru, &id, &record());
        assert_eq!(&profile[25..], br#"{"plan":"pro"}"#);
        let written = [
            hex(&profile[..25]),
            hex(&encode_guru(&guru, GuruNumber(5), Some(3))),
            hex(&encode_guru(&guru, GuruNumber(5), None)),
            hex(&encode_deleted(GuruNumber(5))),
            hex(&encode_next_number(GuruNumber(6))),
        ];
        let frozen = [
            "0064b31310cedf6d4c07000000000000000900000000000000",
            "00a731f78416a3690705000000000000000900d1d208597dce0300000000000000",
            "00a731f78416a369070500000000000000",
            "00836921dd499e96ce",
            "00fbcd225a64bee4de0600000000000000",
        ];
        assert_eq!(written.as_slice(), frozen);
    }

    /// S12: whatever single bit is changed, or byte cut, the record is no longer accepted. Times at the ends
    /// of their range, too, as a time beyond would be clamped to the end.
    #[test]
    fn damage_anywhere_is_noticed() {
        let (guru, id) = names("g", "u");
        for (created_at, updated_at) in [(7, 9), (0, 0), (i64::MAX, i64::MAX)] {
            let (created_at, updated_at) =
                (Timestamp::from_micros(created_at), Timestamp::from_micros(updated_at));
            let whole = encode_profile(&guru, &id, &Record { created_at, updated_at, ..record() });
            damage(&whole, |bytes| decode_profile(&guru, &id, bytes).map(drop));
            let (other_guru, other_id) = names("h", "v");
            assert!(decode_profile(&other_guru, &id, &whole).is_err());
            assert!(decode_profile(&guru, &other_id, &whole).is_err());
        }
        damage(&encode_guru(&guru, GuruNumber(5), None), |bytes| decode_guru(&guru, bytes).map(drop));
        let (deleted, next) = (encode_deleted(GuruNumber(5)), encode_next_number(GuruNumber(5)));
        damage(&deleted, |bytes| decode_deleted(GuruNumber(5), bytes));
        assert!(decode_deleted(GuruNumber(6), &deleted).is_err());
        damage(&next, |bytes| decode_next_number(bytes).map(drop));
    }

    fn damage(whole: &[u8], decode: impl Fn(&[u8]) -> Result<()>) {
        decode(whole).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.to_vec();
                damaged[at] ^= 1 << bit;
                let error = decode(&damaged).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit} of byte {at}");
            }
            assert!(decode(&whole[..at]).is_err(), "cut at {at}");
        }
    }

    /// S12: damage to the number of profiles leaves the guru's number, and differs from a missing one.
    #[test]
    fn a_damaged_number_of_profiles_costs_nothing_else() {
        let (guru, _) = names("g", "u");
        let whole = encode_guru(&guru, GuruNumber(5), Some(3));
        assert_eq!(decode_guru(&guru, &whole).unwrap().profiles.known(), Some(3));
        for at in HEAD + 8..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let read = decode_guru(&guru, &damaged).unwrap();
            assert_eq!(read, GuruRecord { number: GuruNumber(5), profiles: Profiles::Damaged }, "byte {at}");
        }
        let unknown = decode_guru(&guru, &encode_guru(&guru, GuruNumber(5), None)).unwrap();
        assert_eq!(unknown.profiles, Profiles::Unknown);
    }

    /// A record of flags to come differs from a damaged one.
    #[test]
    fn flags_of_a_newer_version_are_no_damage() {
        let (guru, id) = names("g", "u");
        let mut bytes = encode_profile(&guru, &id, &record());
        bytes[0] = 4;
        assert_eq!(decode_profile(&guru, &id, &bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        let error = decode_profile(&guru, &id, &seal(&[b"g", b"u"], bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert_eq!((error.guru(), error.external_user_id()), (Some("g"), Some("u")));
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}
