//! What the counters say at one moment, for those who show it to people.

use super::history::Counts;
use super::{Lost, Metrics, Refused};
use crate::detect::event::{Kind, Reason};
use crate::detect::finding::{Gap, Removal};
use crate::detect::time::Timestamp;

/// Counts of one family by the value of its label; all values are there.
pub type Named = Vec<(&'static str, u64)>;

/// All counters that are not about a single API, and the verdicts of each.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Verdicts by value of the label `api`, [`super::OTHER`] included.
    pub verdicts: Vec<(Box<str>, Counts)>,
    /// `events_total`.
    pub events: Named,
    /// `events_rejected_total`.
    pub rejected: Named,
    /// `events_dropped_total`.
    pub dropped: Named,
    /// `tracking_gaps_total`.
    pub gaps: Named,
    /// `tokens_removed_total`, over all APIs.
    pub removed: Named,
    /// `connections_refused_total`.
    pub refused: Named,
    /// `clients_connected`.
    pub clients_connected: u64,
    /// `clock_suspect_total`.
    pub clock_suspect: u64,
    /// `traceparent_malformed_total`.
    pub traceparent_malformed: u64,
    /// Arrival of the last usable event.
    pub last_event: Option<Timestamp>,
}

impl Metrics {
    /// Reads the counters; they go on meanwhile.
    pub fn snapshot(&self) -> Snapshot {
        let removed = |removal: Removal| {
            let by_api = self.apis.iter().map(|api| &api.removed[removal as usize]);
            by_api.map(prometheus::IntCounter::get).sum()
        };
        let verdicts = self
            .apis
            .iter()
            .map(|api| api.verdicts.each_ref().map(|c| c.get()));
        let last_event = Timestamp::from_seconds(self.last_event.get());
        Snapshot {
            verdicts: self.names.iter().cloned().zip(verdicts).collect(),
            events: named(Kind::ALL, Kind::as_str, |kind| {
                self.events[kind as usize].get()
            }),
            rejected: named(Reason::ALL, Reason::as_str, |reason| {
                self.rejected[reason as usize].get()
            }),
            dropped: named(Lost::ALL, Lost::as_str, |lost| {
                self.lost[lost as usize].get()
            }),
            gaps: named(Gap::ALL, Gap::as_str, |gap| self.gaps[gap as usize].get()),
            removed: named(Removal::ALL, Removal::as_str, removed),
            refused: named(Refused::ALL, Refused::as_str, |why| {
                self.refused[why as usize].get()
            }),
            clients_connected: u64::try_from(self.clients_connected.get()).unwrap_or(0),
            clock_suspect: self.clock_suspect.get(),
            traceparent_malformed: self.traceparent_malformed.get(),
            last_event: last_event.filter(|at| at.as_micros() > 0),
        }
    }

    /// Verdicts of the last [`super::history::STEPS`] intervals, the oldest first.
    pub fn recent(&self, now: Timestamp) -> Vec<Counts> {
        self.history.read(now, self.verdict_counts())
    }
}

fn named<T: Copy, const N: usize>(
    all: [T; N],
    as_str: impl Fn(T) -> &'static str,
    count: impl Fn(T) -> u64,
) -> Named {
    all.map(|member| (as_str(member), count(member))).into()
}
