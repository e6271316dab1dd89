//! Series that others move: what is handed out to the part that knows when.

use prometheus::{IntCounter, IntGauge, Registry};

use super::family::Family;

/// What became of spans: the handles of `spans_total`.
#[derive(Clone, Debug)]
pub struct SpanCounters {
    /// Accepted by the collector.
    pub exported: IntCounter,
    /// Refused by the collector, or not answered in time.
    pub failed: IntCounter,
    /// Given up before they were sent.
    pub dropped: IntCounter,
}

impl SpanCounters {
    pub(super) fn new(registry: &Registry) -> Self {
        let family = Family::new(registry, "spans_total", "Spans by what became of them.");
        let [exported, failed, dropped] =
            family.counters("outcome", ["exported", "failed", "dropped"]);
        Self {
            exported,
            failed,
            dropped,
        }
    }
}

/// What becomes of the memory that survives a restart.
#[derive(Clone, Debug)]
pub struct StateSeries {
    /// Tokens that were known again at the start.
    pub replayed: IntCounter,
    /// Bytes of its files.
    pub bytes: IntGauge,
    /// Occasions on which it could not be written.
    pub failures: IntCounter,
}

impl StateSeries {
    pub(super) fn new(registry: &Registry) -> Self {
        let family = |name, help| Family::new(registry, name, help);
        Self {
            replayed: family(
                "state_replayed_total",
                "Tokens from before the restart that are known again.",
            )
            .counter(),
            bytes: family(
                "state_bytes",
                "Bytes of the files in the state directory; 0 without one.",
            )
            .int_gauge(),
            failures: family(
                "state_write_failures_total",
                "Occasions on which the state could not be written; it is tried again.",
            )
            .counter(),
        }
    }
}

/// Counts one connection in `clients_connected` until it is dropped, so that a panic cannot leak it.
#[derive(Debug)]
pub struct ConnectionGuard(pub(super) IntGauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
