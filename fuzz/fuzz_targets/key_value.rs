//! A record of the key-value engines is read as it was written or not at all (S12), and keys keep
//! names apart (S8). The source is the library's own, which does not export it.

#![no_main]

use std::ops::RangeBounds as _;

use arbitrary::Arbitrary;
use engine::key_value::keys::{self, GuruNumber};
use engine::key_value::record::{self, Profiles};
use libfuzzer_sys::fuzz_target;
use profile_store::backend::Record;
use profile_store::{Error, ErrorKind, ExternalUserId, GuruSlug, Memory, Timestamp};

#[path = "../../src/engine"]
mod engine {
    pub mod checksum;
    #[allow(dead_code)]
    pub mod key_value {
        pub mod keys;
        pub mod record;
    }
    pub mod record;
}
mod model {
    pub mod error {
        pub use profile_store::{Error, ErrorKind, Result};
    }
    pub mod name {
        pub use profile_store::{ExternalUserId, GuruSlug};
    }
    pub mod timestamp {
        pub use profile_store::Timestamp;
    }
}
mod plan {
    pub mod record {
        pub use profile_store::backend::{Record, RecordRef};
    }
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    names: [(&'a str, u64, &'a str); 2],
    memory: &'a str,
    created_at: i64,
    updated_at: i64,
    profiles: Option<u64>,
    at: u16,
    flip: u8,
    bytes: &'a [u8],
}

fn corrupt<T>(read: Result<T, Error>) {
    if let Err(error) = read {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

/// A fuzzer that finds the checksum may bring flags that no version has written yet.
fn corrupt_or_newer<T>(read: Result<T, Error>) {
    if let Err(error) = read {
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible), "{error:?}");
    }
}

fuzz_target!(|input: Input<'_>| {
    let Input { names, memory, created_at, updated_at, profiles, at, flip, bytes } = input;
    let [(slug, number, id), (other_slug, other_number, other_id)] = names;
    // Whatever is found in a file is read, or called damaged.
    corrupt(keys::slug_of(bytes));
    corrupt(keys::deleted_of(bytes));
    corrupt_or_newer(record::decode_next_number(bytes));
    corrupt_or_newer(record::decode_deleted(GuruNumber(number), bytes));
    let (Ok(guru), Ok(id)) = (GuruSlug::new(slug), ExternalUserId::new(id)) else { return };
    corrupt_or_newer(record::decode_guru(&guru, bytes));
    corrupt_or_newer(record::decode_profile(&guru, &id, bytes));
    match keys::number_of(bytes).and_then(|number| Ok((number, keys::id_of(&guru, bytes)?))) {
        Ok((number, id)) => assert_eq!(keys::profile(number, &id), bytes),
        error => corrupt(error),
    }
    // Names are kept apart, and in order.
    let (number, other_number) = (GuruNumber(number), GuruNumber(other_number));
    let key = keys::profile(number, &id);
    assert_eq!((keys::number_of(&key).unwrap(), keys::id_of(&guru, &key).unwrap()), (number, id.clone()));
    let other_id = ExternalUserId::new(other_id).ok();
    if let Some(other_id) = &other_id {
        let other = keys::profile(other_number, other_id);
        assert_eq!(key.cmp(&other), (number, &id).cmp(&(other_number, other_id)));
        assert_eq!(keys::all_profiles(number).contains(&other), number == other_number);
    }
    // A written record is read. It is not if a byte is changed, it is cut, or it has another name.
    let (at, damaged) = (usize::from(at), |bytes: &[u8]| {
        let mut damaged = bytes.to_vec();
        let at = usize::from(at) % damaged.len();
        damaged[at] ^= flip;
        damaged
    });
    let written = record::encode_guru(&guru, number, profiles);
    let read = record::decode_guru(&guru, &written).unwrap();
    assert_eq!((read.number, read.profiles.known()), (number, profiles));
    match record::decode_guru(&guru, &damaged(&written)) {
        Ok(read) => assert!(read.number == number && (flip == 0 || read.profiles == Profiles::Damaged)),
        error => corrupt(error),
    }
    let Ok(memory) = Memory::from_json(memory) else { return };
    let (created_at, updated_at) = (Timestamp::from_micros(created_at), Timestamp::from_micros(updated_at));
    let record = Record::new(memory, created_at, updated_at);
    let written = record::encode_profile(&guru, &id, &record);
    let read = record::decode_profile(&guru, &id, &written).unwrap();
    assert_eq!(read.memory(), record.memory.as_str());
    assert_eq!(record::decode_profile(&guru, &id, &damaged(&written)).is_ok(), flip == 0);
    assert!(record::decode_profile(&guru, &id, &written[..at % written.len()]).is_err());
    if let (Ok(other_guru), Some(other_id)) = (GuruSlug::new(other_slug), &other_id) {
        let same = (&guru, &id) == (&other_guru, other_id);
        assert_eq!(record::decode_profile(&other_guru, other_id, &written).is_ok(), same);
    }
});
