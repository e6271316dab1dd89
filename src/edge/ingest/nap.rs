//! When a reader thread sleeps before it looks at its sockets again.
//!
//! Below saturation, being woken costs both sides more than the events do: each send to a reader
//! that waits for readiness wakes it. A reader that sleeps on a timer costs its senders nothing.
//! So each thread that reads events runs a runtime of its own, and sleeps in that runtime's hook
//! for "nothing left to do". Sleeping in a task instead would not help: the runtime would still
//! wait for readiness underneath, and still be woken by every send.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Clock;
use crate::detect::time::Timestamp;

/// Decides how long to sleep. Pure.
///
/// The nap is as long as [`Nap::LONGEST`] allows while no socket is expected to be more than a
/// third full at its end; too short a nap is none. It is none, too, if fewer than two messages are
/// expected meanwhile, so a lone event costs no timer and an idle reader sleeps until it is woken.
#[derive(Debug, Default)]
pub struct Nap {
    messages_per_s: f64,
    /// Growth of the fullest socket, in sockets full a second.
    fills_per_s: f64,
}

impl Nap {
    /// Bounds what a nap adds to the delay of an event: 8 ms from the write to the verdict are
    /// promised, and a late timer needs some of them. At low rates the cost of an event is that of
    /// waking up, divided by the events of a nap.
    pub const LONGEST: Duration = Duration::from_micros(6500);
    /// Timer slack and the wake-up itself cost about as much as a shorter nap would save.
    const SHORTEST: Duration = Duration::from_micros(300);
    /// A timer costs about as much as being woken once.
    const MESSAGES_WORTH: f64 = 2.0;
    /// Fullest that a socket is meant to get; the rest is for bursts and late wake-ups.
    const FILL_WANTED: f64 = 1.0 / 3.0;
    /// From here on a sender may have waited, and its true rate is unknown.
    const FILL_SUSPECT: f64 = 0.9;
    /// Silence after which former rates say nothing.
    const MEMORY: Duration = Duration::from_millis(50);

    /// The nap after everything was read. `elapsed` is the time since the last call; `messages`
    /// came in it, and the fullest socket was `fill` full (0 to 1).
    pub fn next(&mut self, elapsed: Duration, messages: usize, fill: f64) -> Duration {
        let seconds = elapsed.as_secs_f64().max(1e-6);
        // A rate that rises counts at once, one that falls by halves: a nap that is too long
        // makes senders wait, one that is too short only costs a little.
        let kept = if elapsed < Self::MEMORY { 0.5 } else { 0.0 };
        let full = if fill >= Self::FILL_SUSPECT { 8.0 } else { 1.0 };
        self.messages_per_s = (messages as f64 / seconds).max(self.messages_per_s * kept);
        self.fills_per_s = (full * fill / seconds).max(self.fills_per_s * kept);
        let safe = Self::FILL_WANTED / self.fills_per_s.max(1e-6);
        let nap = Duration::from_secs_f64(safe.min(Self::LONGEST.as_secs_f64()));
        let worth = self.messages_per_s * nap.as_secs_f64() >= Self::MESSAGES_WORTH;
        if worth && nap >= Self::SHORTEST {
            nap
        } else {
            Duration::ZERO
        }
    }
}

/// Collects what the sockets of one thread brought, and naps for all of them at once.
pub(super) struct Pacer {
    clock: Clock,
    messages: AtomicUsize,
    /// Of the fullest socket, in millionths.
    fill: AtomicU64,
    state: Mutex<(Nap, Timestamp)>,
}

impl Pacer {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            messages: AtomicUsize::new(0),
            fill: AtomicU64::new(0),
            state: Mutex::new((Nap::default(), clock())),
        }
    }

    /// A read found `messages` in a socket that holds `capacity` of them.
    pub(super) fn note(&self, messages: usize, capacity: usize) {
        self.messages.fetch_add(messages, Relaxed);
        let fill = messages.saturating_mul(1_000_000) / capacity.max(1);
        self.fill.fetch_max(fill.min(1_000_000) as u64, Relaxed);
    }

    /// To be called when the thread has nothing left to do: blocks it for the nap.
    pub(super) fn park(&self) {
        let messages = self.messages.swap(0, Relaxed);
        if messages == 0 {
            return;
        }
        let fill = self.fill.swap(0, Relaxed) as f64 / 1e6;
        let now = (self.clock)();
        let nap = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let elapsed = now.since(state.1);
            state.1 = now;
            state.0.next(elapsed, messages, fill)
        };
        if !nap.is_zero() {
            std::thread::sleep(nap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a sender of `rate` messages a second into a socket of `capacity` against the nap;
    /// returns wake-ups a second and the fullest the socket got after the first tenth of a second.
    fn simulate(rate: f64, capacity: f64) -> (f64, f64) {
        let (mut nap, mut now, mut wakes, mut fullest) = (Nap::default(), 0.0_f64, 0.0, 0.0_f64);
        let mut read_at = -1.0;
        while now < 1.0 {
            let queued = ((now - read_at) * rate).clamp(1.0, capacity).floor();
            if now > 0.1 {
                fullest = fullest.max(queued / capacity);
            }
            let elapsed = Duration::from_secs_f64(now - read_at);
            read_at = now;
            wakes += 1.0;
            let length = nap.next(elapsed, queued as usize, queued / capacity);
            // Without a nap the next message wakes; with one it may be there already.
            now += length.as_secs_f64().max(1.0 / rate);
        }
        (wakes, fullest)
    }

    #[test]
    fn a_lone_event_costs_no_nap() {
        let mut nap = Nap::default();
        assert_eq!(nap.next(Duration::from_secs(9), 1, 0.01), Duration::ZERO);
        assert_eq!(nap.next(Duration::from_millis(20), 1, 0.01), Duration::ZERO);
    }

    #[test]
    fn the_second_event_of_a_run_brings_the_nap() {
        let mut nap = Nap::default();
        nap.next(Duration::from_secs(9), 1, 1.0 / 167.0);
        let length = nap.next(Duration::from_micros(150), 1, 1.0 / 167.0);
        assert_eq!(length, Nap::LONGEST);
    }

    #[test]
    fn wake_ups_stay_few_and_sockets_below_full() {
        for (rate, wakes_max) in [(1e3, 170.0), (1e4, 190.0), (3e4, 600.0), (1e5, 2000.0)] {
            let (wakes, fullest) = simulate(rate, 167.0);
            assert!(wakes <= wakes_max, "rate {rate}: {wakes} wake-ups");
            assert!(fullest <= 0.4, "rate {rate}: {fullest} full");
        }
        // A queue too small for a nap that pays: every message is read as it comes.
        let (wakes, fullest) = simulate(1e3, 5.0);
        assert!(wakes > 990.0 && fullest <= 0.2, "{wakes} {fullest}");
    }

    #[test]
    fn at_saturation_there_is_no_nap() {
        let mut nap = Nap::default();
        nap.next(Duration::from_secs(1), 1, 0.0);
        for _ in 0..20 {
            nap.next(Duration::from_micros(250), 167, 1.0);
            assert_eq!(nap.next(Duration::from_micros(5), 3, 0.02), Duration::ZERO);
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_jumps_does_no_harm() {
        let mut nap = Nap::default();
        assert!(nap.next(Duration::ZERO, 5, 0.03) <= Nap::LONGEST);
        assert!(nap.next(Duration::MAX, usize::MAX, 1.0) <= Nap::LONGEST);
        assert!(nap.next(Duration::ZERO, 0, 0.0) <= Nap::LONGEST);
    }

    #[test]
    fn after_a_burst_the_long_nap_returns() {
        let mut nap = Nap::default();
        assert_eq!(
            nap.next(Duration::from_micros(250), 167, 1.0),
            Duration::ZERO
        );
        let mut lengths = (0..20).map(|_| nap.next(Duration::from_millis(2), 10, 0.06));
        assert!(lengths.any(|length| length == Nap::LONGEST));
    }
}
