//! How often each verdict was given so far, and when for the first time.

use std::time::Duration;

use crate::detect::verdict::{Severity, Verdict};

/// The counts, by [`Verdict`].
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: [u64; Verdict::ALL.len()],
    first: [Option<Duration>; Verdict::ALL.len()],
}

impl Tally {
    /// Takes in the counts of now, `elapsed` after the begin.
    pub fn update(&mut self, counts: [u64; Verdict::ALL.len()], elapsed: Duration) {
        self.counts = counts;
        for (first, count) in self.first.iter_mut().zip(counts) {
            if count > 0 {
                first.get_or_insert(elapsed);
            }
        }
    }

    /// How often.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.counts[verdict as usize]
    }

    /// When for the first time; `None`: not yet.
    pub fn first(&self, verdict: Verdict) -> Option<Duration> {
        self.first[verdict as usize]
    }

    /// How many different ones have appeared.
    pub fn seen(&self) -> usize {
        self.first.iter().flatten().count()
    }

    /// When the last one appeared for the first time, if all have.
    pub fn complete(&self) -> Option<Duration> {
        let all: Option<Vec<_>> = self.first.iter().copied().collect();
        all?.into_iter().max()
    }

    /// Those that have not appeared.
    pub fn missing(&self) -> Vec<Verdict> {
        let missing = |verdict: &Verdict| self.first(*verdict).is_none();
        Verdict::ALL.into_iter().filter(missing).collect()
    }

    /// All verdicts of one severity.
    pub fn of_severity(&self, severity: Severity) -> u64 {
        let of = |verdict: &Verdict| verdict.severity() == severity;
        let counts = Verdict::ALL
            .into_iter()
            .filter(of)
            .map(|verdict| self.count(verdict));
        counts.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_when_each_came_first() {
        let mut tally = Tally::default();
        let mut counts = [0; Verdict::ALL.len()];
        counts[Verdict::Replay as usize] = 2;
        tally.update(counts, Duration::from_secs(1));
        counts[Verdict::Replay as usize] = 3;
        tally.update(counts, Duration::from_secs(2));
        assert_eq!(tally.first(Verdict::Replay), Some(Duration::from_secs(1)));
        assert_eq!((tally.seen(), tally.complete()), (1, None));
        assert_eq!(tally.missing().len(), Verdict::ALL.len() - 1);
        assert!(!tally.missing().contains(&Verdict::Replay));
        assert_eq!(tally.of_severity(Severity::Info), 3);
        tally.update([1; Verdict::ALL.len()], Duration::from_secs(9));
        assert_eq!(tally.complete(), Some(Duration::from_secs(9)));
        assert!(tally.missing().is_empty());
    }
}
