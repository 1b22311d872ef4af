//! Moments, as profiles keep them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::text::as_text;

/// A moment in UTC, in whole microseconds since 1970.
///
/// `Display` is RFC 3339 with six decimals: `2026-01-09T00:25:57.000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that RFC 3339 can write: the end of the year 9999.
    const MAX_MICROS: i64 = 253_402_300_799_999_999;

    /// The last moment that can be written. No later change shows by its time.
    pub(crate) const LAST: Self = Self(Self::MAX_MICROS);

    /// A moment from microseconds since 1970, clamped to the years
    /// 1970 to 9999.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, Self::MAX_MICROS))
    }

    /// A moment from microseconds since 1970; `None` outside 1970 to 9999.
    ///
    /// ```
    /// use profile_store::Timestamp;
    ///
    /// assert_eq!(Timestamp::checked_from_micros(7), Some(Timestamp::from_micros(7)));
    /// assert_eq!(Timestamp::checked_from_micros(-1), None);
    /// assert_eq!(Timestamp::checked_from_micros(i64::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_from_micros(micros: i64) -> Option<Self> {
        (0..=Self::MAX_MICROS).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment one microsecond later; the last one stays.
    pub(crate) fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(timestamp.0.unsigned_abs())
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339 in UTC (`Z`); what is finer than a microsecond is cut.
    fn from_str(text: &str) -> Result<Self> {
        let time = humantime::parse_rfc3339(text);
        time.map(Self::from).map_err(|_| Error::new(ErrorKind::InvalidInput, "not a time of RFC 3339 in UTC"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros((*self).into()).fmt(f)
    }
}

as_text!(Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_between_1970_and_9999() {
        assert_eq!(Timestamp::from_micros(1_767_907_557_000_001).to_string(), "2026-01-08T21:25:57.000001Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(
            "2026-01-08T21:25:57.000001Z".parse::<Timestamp>().unwrap().as_micros(),
            1_767_907_557_000_001
        );
        assert!("2026-01-08".parse::<Timestamp>().is_err());
        let now = Timestamp::from(SystemTime::now());
        assert_eq!(Timestamp::from(SystemTime::from(now)), now);
    }
}
