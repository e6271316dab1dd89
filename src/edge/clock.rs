//! The only clock of the program.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::detect::time::Timestamp;

/// The time now: never earlier than an earlier answer.
///
/// The wall clock is read once, at the first call, and advanced by the monotonic clock from then
/// on. A step of the wall clock (NTP, an operator) would otherwise close every lease at once or
/// stretch a window, and each wrong verdict would look like misuse by the application. The price:
/// if the wall clock was wrong at the start, times shown stay wrong by as much until the process
/// restarts (`clock_suspect_total` then counts), and time in which the machine slept is missing.
#[expect(clippy::disallowed_methods, reason = "the clock itself")]
pub fn now() -> Timestamp {
    static ANCHOR: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    let (started, wall) = ANCHOR.get_or_init(|| (Instant::now(), wall_clock()));
    *wall + started.elapsed()
}

/// A wall clock set before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "the clock itself")]
fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_micros(0) + since_epoch.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_starts_at_the_wall_clock_and_never_goes_back() {
        let mut last = now();
        assert!(wall_clock().since(last) < Duration::from_secs(5));
        assert!(last.since(wall_clock()) < Duration::from_secs(5));
        let first = last;
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        std::thread::sleep(Duration::from_millis(5));
        assert!(now().since(first) >= Duration::from_millis(5));
    }
}
