//! A stored row on its way out of an engine: the one place that verifies it (S12).
//! How an engine lays a row out belongs to its backend, or to [`key_value`](crate::engine::key_value).

use crate::model::error::{Error, Result};
use crate::model::timestamp::Timestamp;
use crate::plan::record::RecordRef;

/// A profile's row as it was found, not verified.
pub(crate) struct StoredRecord<'n, 'r> {
    pub guru: &'n str,
    pub id: &'n str,
    pub memory: &'r [u8],
    /// Microseconds.
    pub created_at: i64,
    /// Microseconds.
    pub updated_at: i64,
}

impl<'r> StoredRecord<'_, 'r> {
    /// The record, if it can be one and its checksum is `sum`.
    #[cfg(any(feature = "sqlite", feature = "postgres", test))]
    pub fn verify(self, sum: u64) -> Result<RecordRef<'r>> {
        let (guru, id) = (self.guru, self.id);
        self.verify_by(|record| {
            let (memory, created_at, updated_at) =
                (record.memory(), record.created_at(), record.updated_at());
            crate::engine::checksum::of_profile(guru, id, memory, created_at, updated_at) == sum
        })
    }

    /// The record, if it can be one and `is_sound` finds its checksums right.
    pub fn verify_by(self, is_sound: impl FnOnce(RecordRef<'r>) -> bool) -> Result<RecordRef<'r>> {
        let corrupt = |what| Error::corrupt_record(self.guru, self.id, what);
        let memory = std::str::from_utf8(self.memory).map_err(|_| corrupt("its memory is not UTF-8"))?;
        // A time beyond the range would be taken for the range's end, whose sum it may have.
        let time = |micros| {
            Timestamp::checked_from_micros(micros).ok_or_else(|| corrupt("a time of it is out of range"))
        };
        let record = RecordRef::new(memory, time(self.created_at)?, time(self.updated_at)?);
        if is_sound(record) { Ok(record) } else { Err(corrupt("its checksum does not match")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::checksum;
    use crate::model::error::ErrorKind;

    const SOUND: StoredRecord<'static, 'static> =
        StoredRecord { guru: "g", id: "u", memory: b"{}", created_at: 7, updated_at: 9 };

    fn sum() -> u64 {
        checksum::of_profile("g", "u", "{}", Timestamp::from_micros(7), Timestamp::from_micros(9))
    }

    /// S12: every part counts, and the error names guru and id.
    #[test]
    fn a_row_is_read_as_it_was_written_or_not_at_all() {
        assert_eq!(SOUND.verify(sum()).unwrap().memory(), "{}");
        let changed = [
            StoredRecord { guru: "h", ..SOUND },
            StoredRecord { id: "v", ..SOUND },
            StoredRecord { memory: b"[]", ..SOUND },
            StoredRecord { memory: b"{\xff", ..SOUND },
            StoredRecord { created_at: 8, ..SOUND },
            StoredRecord { updated_at: 8, ..SOUND },
            StoredRecord { created_at: i64::MAX, ..SOUND },
            StoredRecord { updated_at: i64::MIN, ..SOUND },
        ];
        for (n, row) in changed.into_iter().enumerate() {
            let names = [format!("{:?}", row.guru), format!("{:?}", row.id)];
            let error = row.verify(sum()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "change {n}");
            assert!(names.iter().all(|name| error.to_string().contains(name)), "{error}");
        }
        assert!(SOUND.verify(sum() ^ 1).is_err());
    }

    /// A time beyond the range has the sum of the range's end, and is damage anyway.
    #[test]
    fn a_time_out_of_range_is_damage_whatever_its_sum() {
        let end = Timestamp::from_micros(i64::MAX);
        let sum = checksum::of_profile("g", "u", "{}", end, end);
        let last = StoredRecord { created_at: end.as_micros(), updated_at: end.as_micros(), ..SOUND };
        assert!(last.verify(sum).is_ok());
        let beyond = StoredRecord { created_at: i64::MAX, updated_at: end.as_micros(), ..SOUND };
        assert!(beyond.verify(sum).is_err());
    }
}
