//! Hashing ids to find those that stand twice in a batch.

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// XXH3 under a seed that nobody outside knows: a third of SipHash's cost on ids of usual length.
#[derive(Clone, Debug)]
pub(crate) struct IdHashes {
    seed: u64,
}

impl Default for IdHashes {
    fn default() -> Self {
        // Every `RandomState` has keys of its own.
        Self { seed: RandomState::new().hash_one(()) }
    }
}

impl BuildHasher for IdHashes {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { hash: self.seed }
    }
}

#[derive(Debug)]
pub(crate) struct IdHasher {
    hash: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
    }

    /// The byte behind every string, which keeps strings in a sequence apart; an id stands alone.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}
