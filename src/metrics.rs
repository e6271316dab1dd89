//! Every Prometheus series: name, help, labels, buckets.

use crate::detect::event::Reason;
use crate::detect::finding::Verdicts;
use crate::detect::profile::Profile;
use crate::detect::time::Timestamp;

/// All series of the sidecar, registered once.
pub struct Metrics {
    /// Where they are registered.
    pub registry: prometheus::Registry,
}

impl Metrics {
    /// Registers every series at 0. `active` names the profiles that have a label value of their own;
    /// the others share `other`.
    pub fn new(_profiles: &[Profile], _active: &[String]) -> Self {
        Self {
            registry: prometheus::Registry::new(),
        }
    }

    /// Counts what the detector said.
    pub fn record(&self, _out: &Verdicts) {}

    /// Counts a line that could not be used.
    pub fn reject(&self, _reason: Reason) {}

    /// Counts an event whose own clock is more than two seconds off.
    pub fn check_clock(&self, _at: Option<Timestamp>, _now: Timestamp) {}

    /// Remembers when the last usable event came.
    pub fn saw_event(&self, _now: Timestamp) {}

    /// Counts a finding that the full queue refused.
    pub fn dropped_finding(&self) {}

    /// Counts a lifecycle that the full span queue refused.
    pub fn dropped_span(&self) {}
}
