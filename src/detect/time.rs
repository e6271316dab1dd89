//! Points in time as the detector sees them: whole microseconds, handed in by the caller.

use std::fmt;
use std::ops::{Add, RangeInclusive, Sub};
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
    /// Earliest and latest `at` that an event may carry, in seconds: the years 1 to 9999, as RFC 3339
    /// can write them.
    const SECONDS: RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

    /// From whole microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// From Unix seconds, rounded to the microsecond; `None` outside the years 1 to 9999.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let usable = Self::SECONDS.contains(&seconds);
        usable.then(|| Self((seconds * 1e6).round() as i64))
    }

    /// From an RFC 3339 date and time with offset, cut to the nanosecond and rounded to the
    /// microsecond; `None` if it is not one. A leap second counts as the second after it.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let (local, offset) = text.split_at_checked(19)?;
        let (fraction, offset) = match offset.strip_prefix('.') {
            None => ("0", offset),
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let numbers: Vec<&str> = local.split(['-', 'T', 't', ' ', ':']).collect();
        let shape = numbers
            .iter()
            .map(|number| number.len())
            .eq([4, 2, 2, 2, 2, 2]);
        let separators = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
        let separated = separators
            .iter()
            .all(|&(at, mark)| local[at..].starts_with(mark));
        if !(shape && separated && numbers.iter().all(|number| digits(number)))
            || fraction.is_empty()
        {
            return None;
        }
        let offset = match offset {
            "Z" | "z" => "Z".to_owned(),
            _ => {
                let (hours, minutes) = offset.get(1..)?.split_once(':')?;
                let sized = hours.len() == 2 && minutes.len() == 2;
                let signed = offset.starts_with(['+', '-']) && digits(hours) && digits(minutes);
                if !(sized && signed && hours <= "23" && minutes <= "59") {
                    return None;
                }
                offset.to_owned()
            }
        };
        let leap = numbers[5] == "60";
        let second = if leap { "59" } else { numbers[5] };
        let fraction = &fraction[..fraction.len().min(9)];
        let text = format!(
            "{}T{}:{second}.{fraction}{offset}",
            &local[..10],
            &local[11..16]
        );
        let parsed: jiff::Timestamp = text.parse().ok()?;
        let micros = parsed.as_nanosecond().checked_add(500)?.div_euclid(1000);
        let micros = i64::try_from(micros).ok()? + if leap { 1_000_000 } else { 0 };
        let seconds = micros.div_euclid(1_000_000) as f64;
        Self::SECONDS.contains(&seconds).then_some(Self(micros))
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
        assert_eq!(Timestamp::from_seconds(-0.5).unwrap().to_string(), "-0.500");
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
        for (text, seconds) in [
            ("2023-11-14t22:13:20z", "1700000000.000"),
            ("2023-11-14 22:13:20.1234567890123Z", "1700000000.123"),
            ("2016-12-31T23:59:60Z", "1483228800.000"),
            ("1969-12-31T23:59:59.5-00:00", "-0.500"),
        ] {
            let read = Timestamp::from_rfc3339(text).map(|at| at.to_string());
            assert_eq!(read.as_deref(), Some(seconds), "{text}");
        }
        for bad in [
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20,5Z",
            "2023-11-14T22:13:20+0100",
            "2023-11-14T22:13:20+01",
            "2023-11-14T22:13:20+24:30",
            "2023-11-14T22:13:20+01:00:30",
            "2023-11-14T22:13:20+01:00[Europe/Paris]",
            "2023-11-14",
            "20231114T221320Z",
            "2023-11-14T22:13:20é",
            "+023-11-14T22:13:20Z",
            "",
            "now",
            "2023-13-14T22:13:20Z",
        ] {
            assert_eq!(Timestamp::from_rfc3339(bad), None, "{bad}");
        }
    }
}
