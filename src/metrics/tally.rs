//! What the events of one read count, added up before it reaches the series that scrapes see.

use prometheus::IntCounter;
use prometheus::local::LocalHistogram;

use super::Metrics;
use super::api::ApiSeries;
use crate::detect::event::Kind;
use crate::detect::finding::{CallOutcome, Gap, Removal};
use crate::detect::profile::Class;
use crate::detect::verdict::Verdict;

/// The counts that every event moves, as plain numbers, whoever judges has them alone.
///
/// A shared counter is an atomic addition, which waits for every store before it, and after an event
/// those go to a table that is not in the cache. Five of them an event were a tenth of its time.
pub struct Tally {
    pub(super) events: [u64; Kind::ALL.len()],
    pub(super) gaps: [u64; Gap::ALL.len()],
    apis: Vec<ApiTally>,
}

/// The counts of one value of the label `api`.
pub(super) struct ApiTally {
    /// Whether anything was counted: nearly always for one value only.
    touched: bool,
    pub(super) attempts: [u64; Class::ALL.len()],
    pub(super) calls: [u64; CallOutcome::ALL.len()],
    pub(super) verdicts: [u64; Verdict::ALL.len()],
    pub(super) removed: [u64; Removal::ALL.len()],
    pub(super) attempt_duration: LocalHistogram,
}

impl Metrics {
    /// An empty tally of these series.
    pub fn tally(&self) -> Tally {
        Tally {
            events: Default::default(),
            gaps: Default::default(),
            apis: self.apis.iter().map(ApiTally::new).collect(),
        }
    }

    /// Adds a tally to the series and empties it.
    pub fn flush(&self, tally: &mut Tally) {
        add(&self.events, &mut tally.events);
        add(&self.gaps, &mut tally.gaps);
        for (series, tally) in self.apis.iter().zip(&mut tally.apis) {
            if std::mem::take(&mut tally.touched) {
                add(&series.attempts, &mut tally.attempts);
                add(&series.calls, &mut tally.calls);
                add(&series.verdicts, &mut tally.verdicts);
                add(&series.removed, &mut tally.removed);
                tally.attempt_duration.flush();
            }
        }
    }
}

impl Tally {
    /// The counts of a value of the label, about to be changed.
    pub(super) fn api(&mut self, slot: usize) -> &mut ApiTally {
        let api = &mut self.apis[slot];
        api.touched = true;
        api
    }
}

impl ApiTally {
    fn new(series: &ApiSeries) -> Self {
        Self {
            touched: false,
            attempts: Default::default(),
            calls: Default::default(),
            verdicts: Default::default(),
            removed: Default::default(),
            attempt_duration: series.attempt_duration.local(),
        }
    }
}

fn add<const N: usize>(counters: &[IntCounter; N], counts: &mut [u64; N]) {
    for (counter, count) in counters.iter().zip(counts) {
        if *count > 0 {
            counter.inc_by(std::mem::take(count));
        }
    }
}
