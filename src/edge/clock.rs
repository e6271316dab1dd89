//! The only clock of the program.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    *wall + started.elapsed() + Duration::from_micros(AHEAD_MICROS.load(Ordering::Relaxed))
}

/// Makes the clock go on from `latest`, which an earlier process read, if it is not there yet: the wall
/// clock was set back in between, and leases and windows would stand still until it has caught up.
/// Returns by how much this clock now is ahead of it.
pub fn continue_from(latest: Timestamp) -> Duration {
    let behind = latest.since(now());
    AHEAD_MICROS.fetch_add(behind.as_micros() as u64, Ordering::Relaxed);
    behind
}

/// By how much this clock is ahead of the wall clock.
static AHEAD_MICROS: AtomicU64 = AtomicU64::new(0);

/// A wall clock set before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "the clock itself")]
fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_micros(0) + since_epoch.unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
