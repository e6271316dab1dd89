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
        let (date_time, rest) = text.as_bytes().split_first_chunk::<19>()?;
        let [
            y0,
            y1,
            y2,
            y3,
            b'-',
            m0,
            m1,
            b'-',
            d0,
            d1,
            b'T' | b't' | b' ',
            clock @ ..,
        ] = date_time
        else {
            return None;
        };
        let [h0, h1, b':', min0, min1, b':', s0, s1] = clock else {
            return None;
        };
        let century = two_digits(*y0, *y1)?;
        let year = i16::from(century) * 100 + i16::from(two_digits(*y2, *y3)?);
        let second = two_digits(*s0, *s1)?;
        let (nanosecond, offset) = fraction(rest)?;
        let local = jiff::civil::DateTime::new(
            year,
            two_digits(*m0, *m1)?,
            two_digits(*d0, *d1)?,
            two_digits(*h0, *h1)?,
            two_digits(*min0, *min1)?,
            if second == 60 { 59 } else { second },
            nanosecond,
        );
        let offset = jiff::tz::Offset::from_seconds(offset_seconds(offset)?).ok()?;
        let instant = offset.to_timestamp(local.ok()?).ok()?;
        let micros = instant.as_nanosecond().checked_add(500)?.div_euclid(1000);
        let leap = if second == 60 { 1_000_000 } else { 0 };
        let micros = i64::try_from(micros).ok()? + leap;
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

fn two_digits(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0') as i8);
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// The nanoseconds of a fraction of any length, if there is one, and what follows it.
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let [b'.', rest @ ..] = text else {
        return Some((0, text));
    };
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = rest.split_at_checked(digits).filter(|_| digits > 0)?;
    let zeros = std::iter::repeat(&b'0');
    let nanoseconds = digits.iter().chain(zeros).take(9);
    let number = nanoseconds.fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    Some((number, rest))
}

fn offset_seconds(text: &[u8]) -> Option<i32> {
    if let b"Z" | b"z" = text {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] = text else {
        return None;
    };
    let (hours, minutes) = (two_digits(*h0, *h1)?, two_digits(*m0, *m1)?);
    (hours <= 23 && minutes <= 59).then_some(())?;
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    Some(if *sign == b'-' { -seconds } else { seconds })
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

    /// jiff's parser, to which a leap second is only its minute's last.
    fn parsed(text: &str) -> Option<Timestamp> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        let micros = (parsed.as_nanosecond() + 500).div_euclid(1000);
        let seconds = micros.div_euclid(1_000_000) as f64;
        let usable = Timestamp::SECONDS.contains(&seconds);
        usable.then_some(Timestamp(i64::try_from(micros).unwrap()))
    }

    #[test]
    fn rfc3339_is_read_as_jiff_reads_it() {
        let (mut state, mut read) = (1_u64, 0);
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % bound
        };
        for _ in 0..50_000 {
            let year = [0, 1, 1969, 2000, 2023, 2024, 9999][below(7) as usize];
            let fraction = &".123456789987654321"[..[0, 2, 4, 7, 10, 14][below(6) as usize]];
            let offset = ["Z", "+00:00", "-23:59", "+05:30"][below(4) as usize];
            let (month, day, hour) = (below(14), below(33), below(26));
            let (minute, second) = (below(62), below(60));
            let text = format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}"
            );
            // More digits than nanoseconds are cut here and an error there.
            let cut = if fraction.len() > 10 {
                &fraction[..10]
            } else {
                fraction
            };
            let wanted = parsed(&text.replace(fraction, cut));
            assert_eq!(Timestamp::from_rfc3339(&text), wanted, "{text}");
            read += u32::from(wanted.is_some());
        }
        assert!(read > 10_000, "{read}");
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
            "2023-02-29T22:13:20Z",
            "2023-11-14T24:13:20Z",
            "2023-11-14T22:60:20Z",
            "2023-11-14T22:13:61Z",
            "2023-11-14T22:13:20+01:60",
            "2023-11-14T22:13:2éZ",
        ] {
            assert_eq!(Timestamp::from_rfc3339(bad), None, "{bad}");
        }
    }
}
