//! Points in time as the detector sees them: whole microseconds, handed in by the caller.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time in microseconds since the Unix epoch.
///
/// Microseconds, because a decimal `at` such as `1700000000.1` is exact in them, so that
/// "now ≥ deadline" means the same here and in the file that was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Earlier than every time an event can carry.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every time an event can carry.
    pub const MAX: Self = Self(i64::MAX);
    /// Latest `at` an event may carry, in seconds: the end of the year 9999.
    const SECONDS_MAX: f64 = 253_402_300_799.0;

    /// From whole microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// From Unix seconds, rounded to the microsecond; `None` before 1970, after 9999 or not finite.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let usable = (0.0..=Self::SECONDS_MAX).contains(&seconds);
        usable.then(|| Self((seconds * 1e6).round() as i64))
    }

    /// From an RFC 3339 date and time with offset; `None` if it is not one or out of range.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let b = text.as_bytes();
        let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        let shaped = b.len() >= 20
            && matches!(b[10], b'T' | b't' | b' ')
            && separators.iter().all(|&(at, wanted)| b[at] == wanted)
            && !b.contains(&b'[');
        if !shaped {
            return None;
        }
        let parsed: jiff::Timestamp = text.parse().ok()?;
        let micros = parsed.as_nanosecond().checked_add(500)?.div_euclid(1000);
        let micros = i64::try_from(micros).ok()?;
        (0..=(Self::SECONDS_MAX as i64 * 1_000_000))
            .contains(&micros)
            .then_some(Self(micros))
    }

    /// Unix seconds; precise to the microsecond for this century.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(micros(rhs)))
    }
}

/// Unix seconds with three decimals, as findings print it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.saturating_add(500).div_euclid(1000);
        let sign = if millis < 0 { "-" } else { "" };
        let millis = millis.unsigned_abs();
        write!(f, "{sign}{}.{:03}", millis / 1000, millis % 1000)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_seconds_are_exact() {
        let at = Timestamp::from_seconds(1_700_000_000.1).unwrap();
        assert_eq!(at.as_micros(), 1_700_000_000_100_000);
        assert_eq!((at + Duration::from_secs(60)).to_string(), "1700000060.100");
        assert_eq!(Timestamp::from_seconds(f64::NAN), None);
        assert_eq!(Timestamp::from_seconds(-0.5), None);
        assert_eq!(Timestamp::from_seconds(1e300), None);
    }

    #[test]
    fn rfc3339_needs_an_offset() {
        let utc = Timestamp::from_rfc3339("2023-11-14T22:13:20.5Z").unwrap();
        assert_eq!(utc.to_string(), "1700000000.500");
        assert_eq!(
            Timestamp::from_rfc3339("2023-11-14T23:13:20.5+01:00"),
            Some(utc)
        );
        for bad in [
            "2023-11-14T22:13:20",
            "2023-11-14",
            "20231114T221320Z",
            "",
            "now",
            "2023-13-14T22:13:20Z",
        ] {
            assert_eq!(Timestamp::from_rfc3339(bad), None, "{bad}");
        }
    }
}
