//! The checksums of stored records (S12): XXH3-64, chained, so that every part has its place.

use xxhash_rust::xxh3::xxh3_64_with_seed;

#[cfg(any(feature = "sqlite", feature = "postgres", test))]
use crate::model::timestamp::Timestamp;

/// The sum of a profile: over guru, id, times and memory. Moving any of them elsewhere shows.
#[cfg(any(feature = "sqlite", feature = "postgres", test))]
pub(crate) fn of_profile(
    guru: &str,
    id: &str,
    memory: &str,
    created_at: Timestamp,
    updated_at: Timestamp,
) -> u64 {
    let mut times = [0; 16];
    times[..8].copy_from_slice(&created_at.as_micros().to_le_bytes());
    times[8..].copy_from_slice(&updated_at.as_micros().to_le_bytes());
    of_parts(&[guru.as_bytes(), id.as_bytes(), &times, memory.as_bytes()])
}

/// The sum of a guru: over its slug, the key that stands for it in its profiles' rows, and the number of its profiles.
#[cfg(any(feature = "sqlite", test))]
pub(crate) fn of_guru(slug: &str, key: i64, profiles: u64) -> u64 {
    of_parts(&[slug.as_bytes(), &key.to_le_bytes(), &profiles.to_le_bytes()])
}

/// The sum of a guru's key: over its slug and the key that stands for it in its profiles' rows.
#[cfg(any(feature = "sqlite", test))]
pub(crate) fn of_key(slug: &str, key: i64) -> u64 {
    of_parts(&[slug.as_bytes(), &key.to_le_bytes()])
}

/// The sum of the parts of a record.
pub(crate) fn of_parts(parts: &[&[u8]]) -> u64 {
    parts.iter().fold(0, |seed, part| xxh3_64_with_seed(part, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// The sums are part of the format: they must never move.
    #[test]
    fn the_sums_are_frozen() {
        assert_eq!(of_profile("g", "u", "{}", at(1), at(2)), 2_347_990_581_123_248_734);
        assert_eq!(of_guru("g", 7, 1), 8_067_678_485_539_774_700);
        assert_eq!(of_key("g", 7), 2_511_270_628_116_442_389);
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let sums = [
            of_profile("g", "u", "{}", at(1), at(2)),
            of_profile("gu", "", "{}", at(1), at(2)),
            of_profile("", "gu", "{}", at(1), at(2)),
            of_profile("u", "g", "{}", at(1), at(2)),
            of_profile("g", "u{", "}", at(1), at(2)),
            of_profile("g", "u", "{}", at(2), at(1)),
            of_profile("g", "u", "{}", at(1), at(3)),
            of_profile("g", "u", "[]", at(1), at(2)),
        ];
        for (n, sum) in sums.iter().enumerate() {
            assert!(!sums[..n].contains(sum), "sum {n} stands twice");
        }
    }
}
