//! What the writer has lately stored, or found stored, by digests: most of a retry needs no look into the file (S5).
//!
//! # Why it is right
//! - It is asked, and told, within a transaction that no other connection can write beside. Where one has
//!   written before, SQLite's `data_version` is another, and all is forgotten.
//! - It is told of every change of a profile as that is planned; where the group then fails, all is
//!   forgotten. So what it says of a profile is what the transaction would find.
//! - A digest is of 128 bits, under a seed that nobody outside knows: that a change is taken for a retry is less
//!   likely than that memory fails. What it does not remember is looked up.
//!
//! A record that is damaged on the disk after it was remembered is not noticed by a retry, as it is not by
//! SQLite where it has the page in its cache. Every read verifies (S12).

use std::hash::{BuildHasher as _, RandomState};

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::memory::Memory;
use crate::profile::{ExternalUserId, GuruSlug};

/// A profile falls into one of the sets, each of which holds the last few that were put there.
const SETS: usize = 1 << 15;
const SET: usize = 4;

/// What a profile is known by, and the digest of its memory: 3 MiB in all, for 131,072 profiles.
pub(super) type Known = [u64; 3];

pub(super) struct Remembered {
    sets: Vec<[Known; SET]>,
    /// Another one after all was forgotten, so that nothing of before is found.
    seed: u64,
    data_version: i64,
}

impl Remembered {
    pub fn new() -> Self {
        // Every `RandomState` has keys of its own. The room is zeros, which take no memory until used.
        Self { sets: vec![[[0; 3]; SET]; SETS], seed: RandomState::new().hash_one(()), data_version: 0 }
    }

    /// A transaction has begun, in which SQLite gives this `data_version`.
    pub fn begin(&mut self, data_version: i64) {
        if self.data_version != data_version {
            self.forget_all();
            self.data_version = data_version;
        }
    }

    pub fn forget_all(&mut self) {
        self.seed = RandomState::new().hash_one(self.seed);
    }

    /// What the guru's profiles are hashed under.
    pub fn guru(&self, guru: &GuruSlug) -> u64 {
        xxh3_64_with_seed(guru.as_str().as_bytes(), self.seed)
    }

    /// The profile with this memory.
    pub fn known(guru: u64, id: &ExternalUserId, memory: &Memory) -> Known {
        let profile = Self::profile(guru, id);
        let digest = xxh3_128_with_seed(memory.as_str().as_bytes(), profile);
        [profile, digest as u64, (digest >> 64) as u64]
    }

    fn profile(guru: u64, id: &ExternalUserId) -> u64 {
        xxh3_64_with_seed(id.as_str().as_bytes(), guru)
    }

    /// Whether the profile is known to have this memory.
    pub fn has(&self, known: Known) -> bool {
        self.sets[Self::set(known[0])].contains(&known)
    }

    /// From now on the profile has this memory.
    pub fn put(&mut self, known: Known) {
        let set = &mut self.sets[Self::set(known[0])];
        match set.iter_mut().find(|other| other[0] == known[0]) {
            Some(other) => *other = known,
            None => {
                // The one that was put first gives way.
                set.rotate_right(1);
                set[0] = known;
            }
        }
    }

    /// It is not known any more what memory the profile has.
    pub fn forget(&mut self, guru: u64, id: &ExternalUserId) {
        let profile = Self::profile(guru, id);
        for known in &mut self.sets[Self::set(profile)] {
            if known[0] == profile {
                *known = [0; 3];
            }
        }
    }

    fn set(profile: u64) -> usize {
        profile as usize % SETS
    }
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
        let known = |n, of| Remembered::known(guru, &id(n), &memory(of));
        assert!(!remembered.has(known(1, 1)));
        remembered.put(known(1, 1));
        remembered.put(known(2, 1));
        assert!(remembered.has(known(1, 1)) && remembered.has(known(2, 1)) && !remembered.has(known(1, 2)));
        remembered.put(known(1, 2));
        assert!(remembered.has(known(1, 2)) && !remembered.has(known(1, 1)));
        remembered.forget(guru, &id(1));
        assert!(!remembered.has(known(1, 2)) && !remembered.has(known(1, 1)) && remembered.has(known(2, 1)));
        let other = remembered.guru(&GuruSlug::new("h").unwrap());
        assert!(!remembered.has(Remembered::known(other, &id(2), &memory(1))));
    }

    #[test]
    fn what_others_may_have_changed_is_forgotten() {
        let mut remembered = Remembered::new();
        let slug = GuruSlug::new("g").unwrap();
        let known = |remembered: &Remembered| Remembered::known(remembered.guru(&slug), &id(1), &memory(1));
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
            remembered.put(Remembered::known(guru, &id(n), &memory(n)));
        }
        let share = |of: std::ops::Range<usize>| {
            let has = |n: &usize| remembered.has(Remembered::known(guru, &id(*n), &memory(*n)));
            of.clone().filter(has).count() * 100 / of.len()
        };
        // Profiles fall into sets by chance: not all sets are full when the first ones overflow.
        assert!(share(0..profiles / 2) < 20, "{} %", share(0..profiles / 2));
        assert!(share(profiles * 3 / 2..2 * profiles) > 85, "{} %", share(profiles * 3 / 2..2 * profiles));
    }
}
