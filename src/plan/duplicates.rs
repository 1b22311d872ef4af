//! The places of ids in a batch, to find ids that stand there twice.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The places of ids in a list that has each of them once. The ids themselves stay in the list.
///
/// Hashed by XXH3 under a seed that nobody outside knows: a third of SipHash's cost on ids of usual
/// length.
#[derive(Debug)]
pub(crate) struct Duplicates {
    table: HashTable<usize>,
    seed: u64,
}

impl Duplicates {
    pub fn with_capacity(ids: usize) -> Self {
        // Every `RandomState` has keys of its own.
        Self { table: HashTable::with_capacity(ids), seed: RandomState::new().hash_one(()) }
    }

    /// Forgets all ids.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// The place of `id`, or `None` if it has none yet; from now on its place is `next`. `id_at` returns the
    /// id at a place.
    pub fn find_or_set<'i>(
        &mut self,
        id: &str,
        next: usize,
        id_at: impl Fn(usize) -> &'i str,
    ) -> Option<usize> {
        let seed = self.seed;
        let hash = |id: &str| xxh3_64_with_seed(id.as_bytes(), seed);
        let same = |place: &usize| id_at(*place) == id;
        match self.table.entry(hash(id), same, |place| hash(id_at(*place))) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(next);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_again_as_the_table_grows() {
        let ids: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
        let mut places = Duplicates::with_capacity(0);
        for (next, id) in ids.iter().enumerate() {
            assert_eq!(places.find_or_set(id, next, |at| &ids[at]), None);
            assert_eq!(places.find_or_set(&ids[next / 2], 1000, |at| &ids[at]), Some(next / 2));
        }
    }
}
