//! Limits how often one kind of log line is written.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::detect::time::Timestamp;

/// Lines that may come at once after a quiet time.
const BURST: u32 = 10;
/// Time from line to line after the burst.
const PAUSE: Duration = Duration::from_secs(1);

/// Admits a burst of [`BURST`] and then one line each [`PAUSE`]; counts what it refuses.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// When the allowance is whole again: each line moves it on by one pause, time catches up.
    whole_at: Timestamp,
    refused: u64,
}

impl Throttle {
    /// An allowance that is whole.
    pub const fn new() -> Self {
        Self {
            whole_at: Timestamp::MIN,
            refused: 0,
        }
    }

    /// Whether a line may be written at `now`; if so, how many were refused since the last one.
    pub fn admit(&mut self, now: Timestamp) -> Option<u64> {
        if self.whole_at.since(now) > PAUSE * (BURST - 1) {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        self.whole_at = self.whole_at.max(now) + PAUSE;
        Some(std::mem::take(&mut self.refused))
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

/// A [`Throttle`] that several tasks share.
#[derive(Debug, Default)]
pub struct SharedThrottle(Mutex<Throttle>);

impl SharedThrottle {
    /// As [`Throttle::admit`].
    pub fn admit(&self, now: Timestamp) -> Option<u64> {
        let mut throttle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.admit(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second_and_nothing_uncounted() {
        let mut throttle = Throttle::new();
        let at = |ms: i64| Timestamp::from_micros(1_700_000_000_000_000 + ms * 1000);
        let mut admitted = Vec::new();
        for ms in (0..5000).step_by(100) {
            if let Some(refused) = throttle.admit(at(ms)) {
                admitted.push((ms, refused));
            }
        }
        let burst = (0..10).map(|i| (i * 100, 0));
        let paced = [(1000, 0), (2000, 9), (3000, 9), (4000, 9)];
        assert_eq!(admitted, burst.chain(paced).collect::<Vec<_>>());
    }

    #[test]
    fn quiet_time_restores_the_burst_and_no_more() {
        let mut throttle = Throttle::new();
        for s in [0, 3600] {
            let now = Timestamp::from_micros(s * 1_000_000);
            let passed = (0..100).filter(|_| throttle.admit(now).is_some()).count();
            assert_eq!(passed, 10, "at {s}");
        }
        assert_eq!(
            throttle.admit(Timestamp::from_micros(3_601_000_000)),
            Some(90)
        );
    }
}
