//! What the detector hands out: verdicts to count, findings to show, lifecycles to trace.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::event::Kind;
use super::profile::Class;
use super::time::Timestamp;
use super::trace::TraceContext;
use super::verdict::{Severity, Verdict};

/// Index of a profile in the detector's list; label values of metrics are kept by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(pub usize);

/// Status of a token (SPEC §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// At least one attempt is open.
    InFlight,
    /// Applied.
    Succeeded,
    /// An attempt ended without telling whether it was applied.
    Unknown,
    /// Evaluated by the server and not applied.
    Cancelled,
    /// Not applied.
    Rejected,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 5] = [
        Self::InFlight,
        Self::Succeeded,
        Self::Unknown,
        Self::Cancelled,
        Self::Rejected,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Succeeded => "succeeded",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
        }
    }
}

/// How a call ended, as `calls_total` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The request took effect, now or before.
    Applied,
    /// It surely did not.
    NotApplied,
    /// The server was still working when the call gave up.
    InProgressExhausted,
    /// Nobody knows.
    Unknown,
}

impl CallOutcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [
        Self::Applied,
        Self::NotApplied,
        Self::InProgressExhausted,
        Self::Unknown,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NotApplied => "not_applied",
            Self::InProgressExhausted => "in_progress_exhausted",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Class> for CallOutcome {
    fn from(class: Class) -> Self {
        match class {
            Class::Success => Self::Applied,
            Class::Cancelled | Class::Throttled | Class::Rejected | Class::Mismatch => {
                Self::NotApplied
            }
            Class::InProgress => Self::InProgressExhausted,
            Class::NoResponse | Class::ServerError => Self::Unknown,
        }
    }
}

/// Why an entry left the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// Its time to live was over.
    Expired,
    /// Pushed out after its window: harmless.
    EvictedInRetention,
    /// Pushed out inside its window: a lost detection.
    EvictedInWindow,
}

impl Removal {
    /// All reasons.
    pub const ALL: [Self; 3] = [
        Self::Expired,
        Self::EvictedInRetention,
        Self::EvictedInWindow,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::EvictedInRetention => "evicted_in_retention",
            Self::EvictedInWindow => "evicted_in_window",
        }
    }
}

/// Knowledge that was given up; verdicts are lower bounds after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gap {
    /// A token was pushed out inside its window; or it is not found by its request, because so many
    /// others with one request are undecided.
    Evicted,
    /// More than [`super::OPEN_ATTEMPTS_MAX`] attempts of one token were open.
    OpenAttemptsOverflow,
    /// A closed call was forgotten because its token had [`super::CALLS_MAX`] newer ones.
    CallsOverflow,
    /// An acknowledged session was forgotten that may come back and send lines again that were judged:
    /// counted once for each session without a connection that made room for another one less than a
    /// minute after its last connection ended, if lines of it were read of which its client has not said
    /// that it knows. One with a connection is never forgotten.
    SessionsOverflow,
    /// The process restarted and could not keep what it knew.
    Restart,
}

impl Gap {
    /// All reasons.
    pub const ALL: [Self; 5] = [
        Self::Evicted,
        Self::OpenAttemptsOverflow,
        Self::CallsOverflow,
        Self::SessionsOverflow,
        Self::Restart,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::OpenAttemptsOverflow => "open_attempts_overflow",
            Self::CallsOverflow => "calls_overflow",
            Self::SessionsOverflow => "sessions_overflow",
            Self::Restart => "restart",
        }
    }
}

/// Something to count or observe, one series update each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// A usable event that was not a duplicate.
    Accepted(Kind),
    /// A start or end that had been reported before.
    Duplicate,
    /// Events a client says it dropped.
    DroppedByClient(u64),
    /// A `traceparent` that could not be read.
    TraceparentMalformed,
    /// A verdict was given.
    Verdict(ProfileId, Verdict, Option<TraceContext>),
    /// An attempt ended.
    Attempt(ProfileId, Class),
    /// How long an attempt took.
    AttemptDuration(ProfileId, Duration, Option<TraceContext>),
    /// From the first attempt to a later one, while undecided.
    RetryDelay(ProfileId, Duration, Option<TraceContext>),
    /// From completion to reuse.
    ReuseAge(ProfileId, Duration, Option<TraceContext>),
    /// A call ended.
    Call(ProfileId, CallOutcome),
    /// An entry left the table.
    Removed(ProfileId, Removal),
    /// Knowledge was given up.
    Gap(Gap),
}

/// Everything that one input made the detector say; reused from input to input.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// What to count, in the order in which it arose.
    pub observations: Vec<Observation>,
    /// Verdicts of at least the detector's level of detail, in order of time.
    pub findings: Vec<Finding>,
    /// Ids of earlier findings that have come true.
    pub confirmed: Vec<u64>,
    /// Lifecycles that are complete and worth a span.
    pub settled: Vec<Lifecycle>,
}

impl Verdicts {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.observations.clear();
        self.findings.clear();
        self.confirmed.clear();
        self.settled.clear();
    }

    /// Whether there is nothing in it, as after most events but for what is to be counted.
    pub fn is_empty(&self) -> bool {
        self.observations.is_empty()
            && self.findings.is_empty()
            && self.confirmed.is_empty()
            && self.settled.is_empty()
    }
}

/// The sender that a finding points at: who holds the token, or who used it first.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// Its client, if it named one.
    pub client: Option<Box<str>>,
    /// Its call, if it named one.
    pub call: Option<Box<str>>,
    /// Start of its attempt.
    pub since: Timestamp,
    /// Its token, where it is not the finding's own.
    pub token: Option<Box<str>>,
    /// Its trace.
    pub trace: Option<TraceContext>,
}

/// A verdict with its circumstances (SPEC §4).
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Unique within the process; the same when a finding is confirmed.
    pub id: u64,
    /// When it arose.
    pub at: Timestamp,
    /// The judgement.
    pub verdict: Verdict,
    /// API as the event named it.
    pub api: Box<str>,
    /// The token in full; who shows it decides how.
    pub token: Box<str>,
    /// Scope; may be empty.
    pub scope: Box<str>,
    /// Client, if it named itself.
    pub client: Option<Box<str>>,
    /// Call, if it was named.
    pub call: Option<Box<str>>,
    /// Number of the attempt within the call.
    pub attempt: u64,
    /// The other side.
    pub holder: Option<Holder>,
    /// Time since the lifecycle's first start or, for uses of a succeeded token, its success.
    pub age: Option<Duration>,
    /// Whether a prediction has come true.
    pub confirmed: bool,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
    /// What happened, with its numbers; never contains the token.
    pub message: String,
}

#[cfg(test)]
pub mod fixture;

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.verdict.severity()
    }

    /// The finding as SPEC §4 writes it, with tokens as `show` renders them. `live` adds what only
    /// the sidecar tells: `confirmed`, and the trace ids of callers that are traced.
    pub fn json(&self, show: &dyn Fn(&str) -> String, live: bool) -> String {
        let view = FindingView {
            finding: self,
            show,
            live,
        };
        serde_json::to_string(&view).unwrap_or_default()
    }
}

struct FindingView<'a> {
    finding: &'a Finding,
    show: &'a dyn Fn(&str) -> String,
    live: bool,
}

impl Serialize for FindingView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finding = self.finding;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &Seconds(finding.at))?;
        map.serialize_entry("verdict", finding.verdict.as_str())?;
        map.serialize_entry("severity", finding.severity().as_str())?;
        map.serialize_entry("api", &finding.api)?;
        map.serialize_entry("token", &(self.show)(&finding.token))?;
        map.serialize_entry("scope", &finding.scope)?;
        if let Some(client) = &finding.client {
            map.serialize_entry("client", client)?;
        }
        if let Some(call) = &finding.call {
            map.serialize_entry("call", call)?;
        }
        map.serialize_entry("attempt", &finding.attempt)?;
        if let Some(holder) = &finding.holder {
            map.serialize_entry(
                "holder",
                &HolderView {
                    holder,
                    show: self.show,
                    live: self.live,
                },
            )?;
        }
        if let Some(age) = finding.age {
            map.serialize_entry("age_s", &Seconds(Timestamp::from_micros(0) + age))?;
        }
        if self.live {
            map.serialize_entry("confirmed", &finding.confirmed)?;
        }
        if let Some(trace) = finding.trace.filter(|_| self.live) {
            map.serialize_entry("trace_id", &trace.trace_id_hex())?;
        }
        map.serialize_entry("message", &finding.message)?;
        map.serialize_entry("remedy", finding.verdict.remedy())?;
        map.end()
    }
}

struct HolderView<'a> {
    holder: &'a Holder,
    show: &'a dyn Fn(&str) -> String,
    live: bool,
}

impl Serialize for HolderView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(client) = &self.holder.client {
            map.serialize_entry("client", client)?;
        }
        if let Some(call) = &self.holder.call {
            map.serialize_entry("call", call)?;
        }
        map.serialize_entry("since", &Seconds(self.holder.since))?;
        if let Some(token) = &self.holder.token {
            map.serialize_entry("token", &(self.show)(token))?;
        }
        if let Some(trace) = self.holder.trace.filter(|_| self.live) {
            map.serialize_entry("trace_id", &trace.trace_id_hex())?;
        }
        map.end()
    }
}

/// A time as a JSON number with exactly three decimals.
pub struct Seconds(pub Timestamp);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = serde_json::value::RawValue::from_string(self.0.to_string());
        number
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

/// One attempt in a lifecycle's history.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// Client, if it named itself.
    pub client: Option<Box<str>>,
    /// Call, if it was named.
    pub call: Option<Box<str>>,
    /// Number within the call.
    pub number: u64,
    /// When it started.
    pub start: Timestamp,
    /// When and how it ended; `None` while it is open.
    pub end: Option<(Timestamp, Class)>,
    /// The verdict on its start.
    pub verdict: Option<Verdict>,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
}

/// A verdict in a lifecycle's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When it arose.
    pub at: Timestamp,
    /// The judgement.
    pub verdict: Verdict,
    /// The holder's trace.
    pub holder: Option<TraceContext>,
}

/// The history of one token from its first start to a definite outcome: the matter of one span.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifecycle {
    /// Whose rules judged it.
    pub profile: ProfileId,
    /// API as the events named it.
    pub api: Box<str>,
    /// The token in full; who shows it decides how.
    pub token: Box<str>,
    /// Scope; may be empty.
    pub scope: Box<str>,
    /// First start.
    pub start: Timestamp,
    /// Definite outcome, or expiry of the last lease.
    pub end: Timestamp,
    /// How it ended.
    pub status: Status,
    /// Class of the last end.
    pub last_class: Option<Class>,
    /// Error code of the last end that had one.
    pub last_error: Option<Box<str>>,
    /// Attempts still remembered, in order of their start.
    pub attempts: Vec<AttemptRecord>,
    /// Findings and verdicts on ends, in order. One on a start repeats the attempt's own verdict, to
    /// add the holder.
    pub marks: Vec<Mark>,
    /// Trace of the first attempt that had one: the span's parent.
    pub parent: Option<TraceContext>,
}
