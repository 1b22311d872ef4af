//! What the writer has lately stored, or found stored, by digests: most of a retry needs no look into the file (S5).
//!
//! # Why it is right
//! - It is asked, and told, within a transaction that no other connection can write beside. Where one has
//!   written before, SQLite's `data_version` is another, and all is forgotten.
//! - It is told of every change of a profile as that is planned; where the group then fails, all is
//!   forgotten. So what it says of a profile is what the transaction would find.
//! - Profiles and memories are told apart by SipHash under a key that nobody outside knows: that a change is taken
//!   for a retry has a chance of 2^-64, whoever has made it up. Not by XXH3, for which one can make two texts that
//!   are the same under one in some hundred seeds. What is not remembered is looked up.
//!
//! A record that is damaged on the disk after it was remembered is not noticed by a retry, as it is not by
//! SQLite where it has the page in its cache. Every read verifies (S12).

use std::hash::{BuildHasher as _, DefaultHasher, Hasher as _, RandomState};

use crate::model::memory::Memory;
use crate::model::name::{ExternalUserId, GuruSlug};

/// A profile falls into one of the sets, each of which holds the last few that were put there.
const SETS: usize = 1 << 15;
const SET: usize = 4;

/// The hash of a profile's guru and id, and that of these with its memory: 2 MiB in all, for 131,072 profiles.
type Place = [u64; 2];

/// A profile with a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known(Place);

pub(super) struct Remembered {
    sets: Vec<[Place; SET]>,
    /// Another one after all was forgotten, so that nothing of before is found.
    key: RandomState,
    data_version: i64,
}

impl Remembered {
    pub fn new() -> Self {
        // The room is zeros, which take no memory until used.
        Self { sets: vec![[[0; 2]; SET]; SETS], key: RandomState::new(), data_version: 0 }
    }

    /// A transaction has begun, in which SQLite gives this `data_version`.
    pub fn begin(&mut self, data_version: i64) {
        if self.data_version != data_version {
            self.forget_all();
            self.data_version = data_version;
        }
    }

    pub fn forget_all(&mut self) {
        self.key = RandomState::new();
    }

    /// What the guru's profiles are hashed behind.
    pub fn guru(&self, guru: &GuruSlug) -> DefaultHasher {
        let mut hasher = self.key.build_hasher();
        write(&mut hasher, guru.as_str());
        hasher
    }

    /// The profile with this memory.
    pub fn known(guru: &DefaultHasher, id: &ExternalUserId, memory: &Memory) -> Known {
        let mut hasher = guru.clone();
        write(&mut hasher, id.as_str());
        let profile = hasher.finish();
        write(&mut hasher, memory.as_str());
        Known([profile, hasher.finish()])
    }

    /// Whether the profile is known to have this memory.
    pub fn has(&self, Known(place): Known) -> bool {
        self.sets[set_of(place[0])].contains(&place)
    }

    /// From now on the profile has this memory.
    pub fn put(&mut self, Known(place): Known) {
        let set = &mut self.sets[set_of(place[0])];
        match set.iter_mut().find(|other| other[0] == place[0]) {
            Some(other) => *other = place,
            None => {
                // The one that was put first gives way.
                set.rotate_right(1);
                set[0] = place;
            }
        }
    }

    /// It is not known any more what memory the profile has.
    pub fn forget(&mut self, guru: &DefaultHasher, id: &ExternalUserId) {
        let mut hasher = guru.clone();
        write(&mut hasher, id.as_str());
        let profile = hasher.finish();
        for place in &mut self.sets[set_of(profile)] {
            if place[0] == profile {
                *place = [0; 2];
            }
        }
    }
}

/// No part runs into the next: the byte is none of UTF-8.
fn write(hasher: &mut DefaultHasher, part: &str) {
    hasher.write(part.as_bytes());
    hasher.write_u8(0xFF);
}

fn set_of(profile: u64) -> usize {
    profile as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ExternalUserId {
        ExternalUserId::new(number.to_string()).unwrap()
    }

    fn memory(number: usize) -> Memory {
        Memory::from_json(&format!(r#"{{"n":{number}}}"#)).unwrap()
    }

    #[test]
    fn a_profile_has_the_memory_that_was_put_last() {
        let mut remembered = Remembered::new();
        let guru = remembered.guru(&GuruSlug::new("g").unwrap());
        let known = |n, of| Remembered::known(&guru, &id(n), &memory(of));
        assert!(!remembered.has(known(1, 1)));
        remembered.put(known(1, 1));
        remembered.put(known(2, 1));
        assert!(remembered.has(known(1, 1)) && remembered.has(known(2, 1)) && !remembered.has(known(1, 2)));
        remembered.put(known(1, 2));
        assert!(remembered.has(known(1, 2)) && !remembered.has(known(1, 1)));
        remembered.forget(&guru, &id(1));
        assert!(!remembered.has(known(1, 2)) && !remembered.has(known(1, 1)) && remembered.has(known(2, 1)));
        let other = remembered.guru(&GuruSlug::new("h").unwrap());
        assert!(!remembered.has(Remembered::known(&other, &id(2), &memory(1))));
    }

    /// Two memories of which XXH3 can't tell one from the other under about one in 700 seeds.
    #[test]
    fn nobody_can_make_memories_that_are_taken_for_one_another() {
        let memory = |first: &str, later: &str| {
            let text = format!(r#"{{"{first}":"{:376}{later}{:200}"}}"#, "", "");
            assert!(text[..5].ends_with(first) && text[384..].starts_with(later));
            Memory::from_json(&text).unwrap()
        };
        let (one, other) = (memory("abA", "{(H'a"), memory("aba", "{(H'A"));
        let remembered = Remembered::new();
        let guru = remembered.guru(&GuruSlug::new("g").unwrap());
        for n in 0..20_000 {
            assert_ne!(
                Remembered::known(&guru, &id(n), &one),
                Remembered::known(&guru, &id(n), &other),
                "{n}"
            );
        }
    }

    #[test]
    fn what_others_may_have_changed_is_forgotten() {
        let mut remembered = Remembered::new();
        let slug = GuruSlug::new("g").unwrap();
        let known = |remembered: &Remembered| Remembered::known(&remembered.guru(&slug), &id(1), &memory(1));
        remembered.begin(1);
        remembered.put(known(&remembered));
        remembered.begin(1);
        assert!(remembered.has(known(&remembered)));
        remembered.begin(2);
        assert!(!remembered.has(known(&remembered)));
    }

    #[test]
    fn the_oldest_give_way() {
        let mut remembered = Remembered::new();
        let guru = remembered.guru(&GuruSlug::new("g").unwrap());
        let profiles = SETS * SET;
        for n in 0..2 * profiles {
            remembered.put(Remembered::known(&guru, &id(n), &memory(n)));
        }
        let share = |of: std::ops::Range<usize>| {
            let has = |n: &usize| remembered.has(Remembered::known(&guru, &id(*n), &memory(*n)));
            of.clone().filter(has).count() * 100 / of.len()
        };
        // Profiles fall into sets by chance: not all sets are full when the first ones overflow.
        assert!(share(0..profiles / 2) < 20, "{} %", share(0..profiles / 2));
        assert!(share(profiles * 3 / 2..2 * profiles) > 85, "{} %", share(profiles * 3 / 2..2 * profiles));
    }
}
