//! The last quarter of an hour in verdicts, so that a page has a past when it is opened.
//!
//! Nothing ticks: the totals are noted when the first verdicts of a new interval are counted, so an
//! idle process is never woken, and a busy one pays for one comparison a read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::detect::time::Timestamp;
use crate::detect::verdict::Verdict;

/// Length of one interval.
pub const STEP: Duration = Duration::from_secs(10);
/// Intervals remembered, the running one included.
pub const STEPS: usize = 90;

/// Verdicts by kind, in the order of [`Verdict::ALL`].
pub type Counts = [u64; Verdict::ALL.len()];

/// Totals at the beginning of each interval in which something was counted.
#[derive(Debug)]
pub struct History {
    /// The interval that was noted last.
    step: AtomicI64,
    notes: Mutex<VecDeque<(i64, Counts)>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            step: AtomicI64::new(i64::MIN),
            notes: Mutex::default(),
        }
    }
}

impl History {
    /// To be called before something is counted at `now`; `totals` is called if that begins a new
    /// interval.
    pub fn turn(&self, now: Timestamp, totals: impl FnOnce() -> Counts) {
        let step = step_of(now);
        if step <= self.step.load(Ordering::Relaxed) {
            return;
        }
        let mut notes = self.lock();
        if step <= self.step.load(Ordering::Relaxed) {
            return;
        }
        notes.push_back((step, totals()));
        if notes.len() > STEPS {
            notes.pop_front();
        }
        self.step.store(step, Ordering::Relaxed);
    }

    /// What was counted in each of the last [`STEPS`] intervals, the oldest first; the last one is
    /// running at `now`. `totals` are those of now.
    pub fn read(&self, now: Timestamp, totals: Counts) -> Vec<Counts> {
        let last = step_of(now);
        let mut read = vec![[0; Verdict::ALL.len()]; STEPS];
        let mut after = totals;
        for (step, before) in self.lock().iter().rev() {
            // Events are counted by the time at which their batch was read, which another thread
            // may have overtaken.
            let ago = usize::try_from((last - step).max(0)).unwrap_or(STEPS);
            if ago >= STEPS {
                break;
            }
            let counts = &mut read[STEPS - 1 - ago];
            for (i, count) in counts.iter_mut().enumerate() {
                *count += after[i].saturating_sub(before[i]);
            }
            after = *before;
        }
        read
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(i64, Counts)>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn step_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(STEP.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    fn counts(n: u64) -> Counts {
        let mut counts = [0; Verdict::ALL.len()];
        counts[3] = n;
        counts
    }

    /// Counts by how many intervals ago, where there are any.
    fn read(history: &History, now: i64, total: u64) -> Vec<(usize, u64)> {
        let read = history.read(at(now), counts(total));
        assert_eq!(read.len(), STEPS);
        let ago = read.iter().rev().map(|counts| counts[3]).enumerate();
        ago.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn each_interval_has_what_was_counted_in_it() {
        let history = History::default();
        assert_eq!(read(&history, 0, 0), []);
        history.turn(at(0), || counts(0));
        assert_eq!(read(&history, 0, 5), [(0, 5)]);
        history.turn(at(9), || unreachable!("the interval is noted"));
        history.turn(at(10), || counts(5));
        assert_eq!(read(&history, 19, 7), [(0, 2), (1, 5)]);
        // Nothing happened for a minute, and an older batch comes late.
        history.turn(at(70), || counts(7));
        history.turn(at(69), || unreachable!("time does not go back"));
        assert_eq!(read(&history, 70, 10), [(0, 3), (6, 2), (7, 5)]);
        assert_eq!(read(&history, 895, 10), [(82, 3), (88, 2), (89, 5)]);
        assert_eq!(read(&history, 900, 10), [(83, 3), (89, 2)]);
        assert_eq!(read(&history, 5000, 10), []);
    }

    #[test]
    fn it_does_not_grow() {
        let history = History::default();
        for step in 0..1000 {
            history.turn(at(step * 10), || counts(step as u64));
        }
        assert_eq!(history.lock().len(), STEPS);
        let read = read(&history, 9990, 1000);
        assert_eq!(read.len(), STEPS);
        assert!(read.iter().all(|(_, count)| *count == 1));
    }
}
