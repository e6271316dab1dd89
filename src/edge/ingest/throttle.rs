//! Log lines that clients could cause by the million: a few are written, the rest counted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::detect::time::Timestamp;

/// Lets one log line through at most every [`Throttle::PAUSE`].
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Timestamp>,
    suppressed: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(10);

    /// How many lines were held back since the last one, if one may be written now.
    pub(super) fn admit(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock set back must not silence the log until it has caught up.
        let soon = |last: Timestamp| last <= now && now.since(last) < Self::PAUSE;
        if state.last.is_some_and(soon) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_says_how_many_were_held_back() {
        let throttle = Throttle::default();
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        assert_eq!(throttle.admit(start), Some(0));
        for second in 1..10 {
            assert_eq!(throttle.admit(start + Duration::from_secs(second)), None);
        }
        assert_eq!(throttle.admit(start + Duration::from_secs(10)), Some(9));
        assert_eq!(throttle.admit(start), Some(0));
    }
}
