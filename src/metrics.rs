//! Every Prometheus series: name, help, labels, buckets (SPEC §8).
//!
//! Label values come from closed lists only, and every series exists at 0 from the start. Children
//! are resolved once and kept in arrays, so that counting is an array look-up.

mod api;
mod exemplar;
pub mod exposition;
mod family;
mod handles;
pub mod history;
mod labels;
pub mod snapshot;
mod tally;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use crate::detect::Detector;
use crate::detect::event::{Kind, Reason};
use crate::detect::finding::{Gap, Observation, ProfileId, Status, Verdicts};
use crate::detect::profile::Profile;
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;
use api::{ApiSeries, describe, label_values};
use exemplar::{Exemplar, Exemplars, Kept};
use family::Family;
pub use handles::{ConnectionGuard, SpanCounters, StateSeries};
use history::History;
use labels::Lost;
pub use labels::Refused;
pub use tally::Tally;

/// Label value shared by the APIs whose profile is not active.
pub const OTHER: &str = "other";

/// Seconds. From a read of a few milliseconds up; the bounds above 1 lie just past the client
/// timeouts in use (1, 2, 10 and 60 s), so that attempts cut off by one fall together below it.
pub const ATTEMPT_DURATION_BUCKETS: [f64; 12] = [
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 2.5, 10.5, 60.5,
];

/// Seconds. An SDK's backoff lives below 1; exactly 5 is the age from which DynamoDB completes a
/// stuck transaction; the bounds above tell retries by a queue or by people apart.
pub const RETRY_DELAY_BUCKETS: [f64; 12] = [
    0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 2.5, 5.0, 7.5, 15.5, 60.5, 600.5,
];

/// Seconds. Exact where a server's window ends (SQS 300, DynamoDB 600, one day 86400), since
/// that bound parts a replay from a second execution; in between only the order of magnitude counts.
pub const REUSE_AGE_BUCKETS: [f64; 10] = [
    0.5, 2.5, 12.5, 60.5, 300.0, 600.0, 1200.5, 3600.5, 21600.5, 86400.0,
];

/// Difference between a client's clock and ours from which an `at` is suspect (SPEC §2).
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// All series of the sidecar, registered once.
pub struct Metrics {
    /// Where they are registered.
    pub registry: Registry,
    /// Position in `apis` by [`ProfileId`].
    slots: Vec<usize>,
    /// Values of the label `api`; the last one is [`OTHER`].
    names: Vec<Box<str>>,
    apis: Vec<ApiSeries>,
    gaps: [IntCounter; Gap::ALL.len()],
    events: [IntCounter; Kind::ALL.len()],
    rejected: [IntCounter; Reason::ALL.len()],
    lost: [IntCounter; Lost::ALL.len()],
    spans: SpanCounters,
    state: StateSeries,
    oldest_open: Gauge,
    observation_start: Gauge,
    last_event: Gauge,
    clients_connected: IntGauge,
    clock_suspect: IntCounter,
    traceparent_malformed: IntCounter,
    refused: [IntCounter; Refused::ALL.len()],
    /// Sockets bound anew, and tries that failed.
    rebinds: [IntCounter; 2],
    exemplars: Exemplars,
    /// Microseconds; the clock of exemplars.
    latest: AtomicI64,
    history: History,
}

impl Metrics {
    /// Registers every series at 0. `active` names the profiles that have a label value of their own;
    /// the others share `other`.
    ///
    /// # Panics
    ///
    /// Never: names and labels are constants of this module, and tests register them.
    pub fn new(profiles: &[Profile], active: &[String]) -> Self {
        let registry = Registry::new();
        let (names, slots) = label_values(profiles, active);
        describe(&registry, profiles, &names, &slots);
        let apis = api::register(&registry, &names);
        let family = |name, help| Family::new(&registry, name, help);
        let counter = |name, help| family(name, help).counter();
        let gauge = |name, help| family(name, help).gauge();
        Self {
            gaps: family(
                "tracking_gaps_total",
                "Occasions on which knowledge was given up; verdicts are lower bounds after one.",
            )
            .counters("reason", Gap::ALL.map(Gap::as_str)),
            events: family("events_total", "Usable events by type, without duplicates.")
                .counters("type", Kind::ALL.map(Kind::as_str)),
            rejected: family(
                "events_rejected_total",
                "Lines and events that could not be used.",
            )
            .counters("reason", Reason::ALL.map(Reason::as_str)),
            lost: family(
                "events_dropped_total",
                "Events, findings and lifecycles lost, by where.",
            )
            .counters("where", Lost::ALL.map(Lost::as_str)),
            spans: SpanCounters::new(&registry),
            state: StateSeries::new(&registry),
            oldest_open: gauge(
                "oldest_open_token_timestamp_seconds",
                "Start of the oldest open attempt in Unix seconds; 0 if none is open.",
            ),
            observation_start: gauge(
                "observation_start_timestamp_seconds",
                "When observation began in Unix seconds; verdicts are lower bounds until one window after it.",
            ),
            last_event: gauge(
                "last_event_timestamp_seconds",
                "Arrival of the last usable event in Unix seconds; 0 before the first.",
            ),
            clients_connected: family("clients_connected", "Open stream connections.").int_gauge(),
            clock_suspect: counter(
                "clock_suspect_total",
                "Events whose own time is more than 2 s from their arrival.",
            ),
            refused: Family::new(
                &registry,
                "connections_refused_total",
                "Connections that were not served: closed as soon as they came, to make room, or not accepted.",
            )
            .counters("reason", Refused::ALL.map(Refused::as_str)),
            rebinds: Family::new(
                &registry,
                "socket_rebinds_total",
                "Tries to bind an event socket anew whose file had been removed or replaced.",
            )
            .counters("outcome", ["bound", "failed"]),
            traceparent_malformed: counter(
                "traceparent_malformed_total",
                "Events whose traceparent could not be read; the rest of the event was used.",
            ),
            exemplars: Exemplars::new(apis.len()),
            latest: AtomicI64::new(0),
            history: History::default(),
            registry,
            slots,
            names,
            apis,
        }
    }

    /// To be called before what happens at `now` is counted: it can be the first of an interval of
    /// the history.
    pub fn turn(&self, now: Timestamp) {
        self.history.turn(now, || self.verdict_counts());
    }

    /// Counts what the detector said. Counts that nearly every event moves go into the tally, and
    /// show after [`Self::flush`].
    pub fn record(&self, out: &Verdicts, tally: &mut Tally) {
        if let Some(last) = out.findings.last() {
            self.latest
                .fetch_max(last.at.as_micros(), Ordering::Relaxed);
        }
        for observation in &out.observations {
            self.count(*observation, tally);
        }
    }

    fn count(&self, observation: Observation, tally: &mut Tally) {
        match observation {
            Observation::Accepted(kind) => tally.events[kind as usize] += 1,
            Observation::Duplicate => self.reject(Reason::Duplicate),
            Observation::DroppedByClient(events) => self.lost[Lost::Client as usize].inc_by(events),
            Observation::TraceparentMalformed => self.traceparent_malformed.inc(),
            Observation::Verdict(profile, verdict, trace) => {
                let slot = self.slot(profile);
                tally.api(slot).verdicts[verdict as usize] += 1;
                if verdict.is_finding() {
                    self.keep(slot, Kept::Verdict(verdict), 1.0, trace);
                }
            }
            Observation::Attempt(profile, class) => {
                tally.api(self.slot(profile)).attempts[class as usize] += 1;
            }
            Observation::AttemptDuration(profile, took, trace) => {
                let slot = self.slot(profile);
                tally.api(slot).attempt_duration.observe(took.as_secs_f64());
                self.keep(slot, Kept::AttemptDuration, took.as_secs_f64(), trace);
            }
            Observation::RetryDelay(profile, delay, trace) => {
                let slot = self.slot(profile);
                self.apis[slot].retry_delay.observe(delay.as_secs_f64());
                self.keep(slot, Kept::RetryDelay, delay.as_secs_f64(), trace);
            }
            Observation::ReuseAge(profile, age, trace) => {
                let slot = self.slot(profile);
                self.apis[slot].reuse_age.observe(age.as_secs_f64());
                self.keep(slot, Kept::ReuseAge, age.as_secs_f64(), trace);
            }
            Observation::Call(profile, outcome) => {
                tally.api(self.slot(profile)).calls[outcome as usize] += 1;
            }
            Observation::Removed(profile, removal) => {
                tally.api(self.slot(profile)).removed[removal as usize] += 1;
            }
            Observation::Gap(gap) => tally.gaps[gap as usize] += 1,
        }
    }

    /// Keeps an exemplar if the trace was sampled: the others lead nowhere.
    fn keep(&self, slot: usize, kept: Kept, value: f64, trace: Option<TraceContext>) {
        if let Some(trace) = trace.filter(|trace| trace.flags & 1 == 1) {
            let at = Timestamp::from_micros(self.latest.load(Ordering::Relaxed));
            let trace_id = trace.trace_id;
            self.exemplars.put(
                slot,
                kept,
                Exemplar {
                    trace_id,
                    value,
                    at,
                },
            );
        }
    }

    /// Counts a line that could not be used.
    pub fn reject(&self, reason: Reason) {
        self.rejected[reason as usize].inc();
    }

    /// Counts knowledge that something else than the detector gave up.
    pub fn gap(&self, gap: Gap) {
        self.gaps[gap as usize].inc();
    }

    /// Counts an event whose own clock is more than two seconds off.
    pub fn check_clock(&self, at: Option<Timestamp>, now: Timestamp) {
        if at.is_some_and(|at| at.since(now).max(now.since(at)) > CLOCK_TOLERANCE) {
            self.clock_suspect.inc();
        }
    }

    /// Remembers when the last usable event came.
    pub fn saw_event(&self, now: Timestamp) {
        self.last_event.set(now.as_seconds());
        self.latest.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    /// Remembers when observation began.
    pub fn started(&self, now: Timestamp) {
        self.observation_start.set(now.as_seconds());
    }

    /// Counts a finding that the full queue refused.
    pub fn dropped_finding(&self) {
        self.lost[Lost::FindingsQueue as usize].inc();
    }

    /// Counts a lifecycle that the full span queue refused: a loss of this process, and a span
    /// that will never be exported.
    pub fn dropped_span(&self) {
        self.lost[Lost::SpansQueue as usize].inc();
        self.spans.dropped.inc();
    }

    /// Counts a connection that was not served.
    pub fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].inc();
    }

    /// Counts a try to bind an event socket anew.
    pub fn rebound(&self, done: bool) {
        self.rebinds[usize::from(!done)].inc();
    }

    /// Counts a stream connection for as long as the guard lives.
    pub fn connected(&self) -> ConnectionGuard {
        self.clients_connected.inc();
        ConnectionGuard(self.clients_connected.clone())
    }

    /// The counters of `spans_total`, for whoever exports them.
    pub fn spans(&self) -> SpanCounters {
        self.spans.clone()
    }

    /// The series of the state, for whoever keeps it.
    pub fn state(&self) -> StateSeries {
        self.state.clone()
    }

    /// How often knowledge was given up for a reason.
    pub fn gap_count(&self, gap: Gap) -> u64 {
        self.gaps[gap as usize].get()
    }

    /// How often each verdict was given, over all APIs, in the order of [`Verdict::ALL`].
    pub fn verdict_counts(&self) -> [u64; Verdict::ALL.len()] {
        let sum = |verdict: Verdict| {
            self.apis
                .iter()
                .map(|api| api.verdicts[verdict as usize].get())
                .sum()
        };
        Verdict::ALL.map(sum)
    }

    /// Reads the gauges that describe the table; to be called before each exposition.
    pub fn refresh(&self, detector: &Detector) {
        self.set_tokens(|profile| detector.counts(profile));
        let oldest = detector.oldest_open().map_or(0.0, Timestamp::as_seconds);
        self.oldest_open.set(oldest);
    }

    fn set_tokens(&self, counts: impl Fn(ProfileId) -> [usize; Status::ALL.len()]) {
        let mut sums = vec![[0usize; Status::ALL.len()]; self.apis.len()];
        for (id, &slot) in self.slots.iter().enumerate() {
            for (sum, count) in sums[slot].iter_mut().zip(counts(ProfileId(id))) {
                *sum += count;
            }
        }
        for (api, sums) in self.apis.iter().zip(&sums) {
            for (gauge, &sum) in api.tokens.iter().zip(sums) {
                gauge.set(i64::try_from(sum).unwrap_or(i64::MAX));
            }
        }
    }

    /// A profile that this struct was not told of counts as `other`.
    fn slot(&self, profile: ProfileId) -> usize {
        let other = self.apis.len() - 1;
        self.slots.get(profile.0).copied().unwrap_or(other)
    }
}

#[cfg(test)]
mod tests;
