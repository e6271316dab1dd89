//! The last exemplar of each series that has them: a table of fixed size beside the registry,
//! because the `prometheus` crate knows none.

use std::sync::{Mutex, PoisonError};

use super::{ATTEMPT_DURATION_BUCKETS, RETRY_DELAY_BUCKETS, REUSE_AGE_BUCKETS};
use crate::detect::time::Timestamp;
use crate::detect::verdict::Verdict;

/// One observation that stands for many, with the trace that leads to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace_id: [u8; 16],
    /// The observed value; 1 for a counter.
    pub(super) value: f64,
    pub(super) at: Timestamp,
}

/// What an exemplar belongs to, within one value of the label `api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Verdict(Verdict),
    AttemptDuration,
    RetryDelay,
    ReuseAge,
}

/// The exemplars of one value of the label `api`. Histograms have one more bucket than bounds.
#[derive(Clone, Debug)]
struct Row {
    verdicts: [Option<Exemplar>; Verdict::ALL.len()],
    attempt_duration: [Option<Exemplar>; ATTEMPT_DURATION_BUCKETS.len() + 1],
    retry_delay: [Option<Exemplar>; RETRY_DELAY_BUCKETS.len() + 1],
    reuse_age: [Option<Exemplar>; REUSE_AGE_BUCKETS.len() + 1],
}

impl Row {
    const EMPTY: Self = Self {
        verdicts: [None; Verdict::ALL.len()],
        attempt_duration: [None; ATTEMPT_DURATION_BUCKETS.len() + 1],
        retry_delay: [None; RETRY_DELAY_BUCKETS.len() + 1],
        reuse_age: [None; REUSE_AGE_BUCKETS.len() + 1],
    };

    fn cell(&mut self, kept: Kept, value: f64) -> &mut Option<Exemplar> {
        match kept {
            Kept::Verdict(verdict) => &mut self.verdicts[verdict as usize],
            Kept::AttemptDuration => {
                &mut self.attempt_duration[bucket(&ATTEMPT_DURATION_BUCKETS, value)]
            }
            Kept::RetryDelay => &mut self.retry_delay[bucket(&RETRY_DELAY_BUCKETS, value)],
            Kept::ReuseAge => &mut self.reuse_age[bucket(&REUSE_AGE_BUCKETS, value)],
        }
    }
}

/// Position of the first bucket that holds `value`.
fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

/// The table of last exemplars, by position in the list of `api` values.
pub(super) struct Exemplars(Mutex<Vec<Row>>);

impl Exemplars {
    pub(super) fn new(apis: usize) -> Self {
        Self(Mutex::new(vec![Row::EMPTY; apis]))
    }

    /// Replaces the last exemplar of a series or bucket.
    pub(super) fn put(&self, slot: usize, kept: Kept, exemplar: Exemplar) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *rows[slot].cell(kept, exemplar.value) = Some(exemplar);
    }

    /// A copy that an encoder can search while ingest goes on.
    pub(super) fn snapshot(&self, names: &[Box<str>]) -> Snapshot {
        let rows = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Snapshot(names.iter().cloned().zip(rows).collect())
    }
}

/// The exemplars at one moment, found by what a series is called.
pub(super) struct Snapshot(Vec<(Box<str>, Row)>);

impl Snapshot {
    /// The exemplars of a series: one for a counter, one a bucket for a histogram, none otherwise.
    pub(super) fn of<'l>(
        &self,
        family: &str,
        label: impl Fn(&str) -> Option<&'l str>,
    ) -> &[Option<Exemplar>] {
        let api = label("api").unwrap_or_default();
        let Some((_, row)) = self.0.iter().find(|(name, _)| **name == *api) else {
            return &[];
        };
        match family {
            "oncewatch_attempt_duration_seconds" => &row.attempt_duration,
            "oncewatch_retry_delay_seconds" => &row.retry_delay,
            "oncewatch_reuse_age_seconds" => &row.reuse_age,
            "oncewatch_verdicts_total" => {
                let verdict = label("verdict").and_then(|name| name.parse::<Verdict>().ok());
                verdict.map_or(&[], |verdict| {
                    std::slice::from_ref(&row.verdicts[verdict as usize])
                })
            }
            _ => &[],
        }
    }
}
