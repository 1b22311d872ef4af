//! A record of the key-value engines is read as it was written or not at all (S12), and keys keep
//! names apart (S8). The source is the library's own, which does not export it.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use engine::key_value;
use profile_store::{Error, ErrorKind, ExternalUserId, GuruSlug, Memory, Record, Timestamp};

#[path = "../../src/engine"]
mod engine {
    pub mod checksum;
    #[allow(dead_code)]
    pub mod key_value;
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
        pub use profile_store::{Record, RecordRef};
    }
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    names: [(&'a str, &'a str); 2],
    memory: &'a str,
    created_at: i64,
    updated_at: i64,
    profiles: u64,
    at: u16,
    flip: u8,
    bytes: &'a [u8],
}

fn corrupt<T>(read: Result<T, Error>) {
    if let Err(error) = read {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

fuzz_target!(|input: Input<'_>| {
    let Input { names, memory, created_at, updated_at, profiles, at, flip, bytes } = input;
    let names = names.map(|(guru, id)| (GuruSlug::new(guru).ok(), ExternalUserId::new(id).ok()));
    // Whatever is found in a file is read, or called damaged.
    corrupt(key_value::guru_of(bytes));
    match key_value::names_of(bytes) {
        Ok((guru, id)) => assert_eq!(key_value::profile_key(&guru, &id), bytes),
        error => corrupt(error),
    }
    let [(Some(guru), Some(id)), (other_guru, other_id)] = names else { return };
    corrupt(key_value::decode_guru(&guru, bytes));
    corrupt(key_value::decode_profile(&guru, &id, bytes));
    corrupt(key_value::id_of(&guru, &key_value::profiles_of(&guru), bytes));
    // Names are kept apart, and in order.
    let key = key_value::profile_key(&guru, &id);
    assert_eq!(key_value::names_of(&key).unwrap(), (guru.clone(), id.clone()));
    if let (Some(other_guru), Some(other_id)) = (&other_guru, &other_id) {
        let other = key_value::profile_key(other_guru, other_id);
        assert_eq!(key == other, (&guru, &id) == (other_guru, other_id));
        assert_eq!(other.starts_with(&key_value::profiles_of(&guru)), guru == *other_guru);
        if guru == *other_guru {
            assert_eq!(key.cmp(&other), id.cmp(other_id));
        }
    }
    // What was written is read; changed in a byte, cut, or under another name, it is not.
    let (at, damaged) = (usize::from(at), |bytes: &[u8]| {
        let mut damaged = bytes.to_vec();
        let at = usize::from(at) % damaged.len();
        damaged[at] ^= flip;
        damaged
    });
    let written = key_value::encode_guru(&guru, profiles);
    assert_eq!(key_value::decode_guru(&guru, &written).unwrap(), profiles);
    assert_eq!(key_value::decode_guru(&guru, &damaged(&written)).is_ok(), flip == 0);
    let Ok(memory) = Memory::from_json(memory) else { return };
    let (created_at, updated_at) = (Timestamp::from_micros(created_at), Timestamp::from_micros(updated_at));
    let record = Record::new(memory, created_at, updated_at);
    let written = key_value::encode_profile(&guru, &id, &record);
    let read = key_value::decode_profile(&guru, &id, &written).unwrap();
    assert_eq!(read.memory(), record.memory.as_str());
    assert_eq!(key_value::decode_profile(&guru, &id, &damaged(&written)).is_ok(), flip == 0);
    assert!(key_value::decode_profile(&guru, &id, &written[..at % written.len()]).is_err());
    if let (Some(other_guru), Some(other_id)) = (&other_guru, &other_id) {
        let same = (&guru, &id) == (other_guru, other_id);
        assert_eq!(key_value::decode_profile(other_guru, other_id, &written).is_ok(), same);
    }
});
