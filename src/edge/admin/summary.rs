//! Everything that answers "is anything wrong?" and "can this be trusted?" in one document.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Admin, Counts, duration};
use crate::detect::finding::{ProfileId, Seconds, Status};
use crate::detect::profile::{Anchor, Profile};
use crate::detect::time::Timestamp;
use crate::detect::verdict::{Severity, Verdict};
use crate::metrics::history::{Counts as Verdicts, STEP};
use crate::metrics::snapshot::{Named, Snapshot};

/// A summary, of this moment.
#[derive(Serialize)]
pub(super) struct SummaryJson<'a> {
    version: &'a str,
    now: Seconds,
    observation_start: Seconds,
    uptime_s: Seconds,
    socket: &'a str,
    token_display: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<&'a str>,
    severities: [SeverityJson; Severity::ALL.len()],
    verdicts: Vec<VerdictJson>,
    history: HistoryJson,
    profiles: Vec<ProfileJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_open: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event: Option<Seconds>,
    clients_connected: u64,
    streams: usize,
    events: Map,
    rejected: Map,
    dropped: Map,
    gaps: Map,
    removed: Map,
    refused: Map,
    clock_suspect: u64,
    traceparent_malformed: u64,
}

#[derive(Serialize)]
struct SeverityJson {
    severity: &'static str,
    /// Since the start.
    total: u64,
    /// In the time of the history.
    recent: u64,
}

#[derive(Serialize)]
struct VerdictJson {
    verdict: &'static str,
    severity: &'static str,
    summary: &'static str,
    total: u64,
    recent: u64,
    /// By API as the metrics label them, without those that have none.
    apis: BTreeMap<Box<str>, u64>,
}

/// Verdicts by interval, oldest first; the last interval is running at `now`. Verdicts without any
/// are left out.
#[derive(Serialize)]
struct HistoryJson {
    step_s: u64,
    steps: usize,
    verdicts: BTreeMap<&'static str, Vec<u64>>,
}

#[derive(Serialize)]
struct ProfileJson {
    api: Box<str>,
    active: bool,
    window_s: Seconds,
    window_anchor: &'static str,
    lease_s: Seconds,
    capacity: usize,
    tokens: Counts,
    /// Until then verdicts are lower bounds: what came before the start is not known.
    lower_bound_until: Seconds,
}

/// Counts by name.
struct Map(Named);

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl Admin {
    /// Reads counters and, for a moment, the detector.
    pub(super) fn summary(&self, now: Timestamp) -> SummaryJson<'_> {
        let parts = &self.parts;
        let snapshot = parts.metrics.snapshot();
        let recent = parts.metrics.recent(now);
        let (profiles, oldest_open) = parts.pipeline.inspect(|detector| {
            let all = detector.profiles().iter().enumerate();
            let of = |(id, profile): (usize, &Profile)| {
                self.profile(profile, detector.counts(ProfileId(id)))
            };
            (all.map(of).collect(), detector.oldest_open())
        });
        let verdicts: Vec<_> = Verdict::ALL
            .iter()
            .map(|&verdict| verdict_json(verdict, &snapshot, &recent))
            .collect();
        SummaryJson {
            version: &parts.version,
            now: Seconds(now),
            observation_start: Seconds(parts.observation_start),
            uptime_s: duration(now.since(parts.observation_start)),
            socket: &parts.socket,
            token_display: parts.display.name(),
            trace_url: parts.trace_url.as_deref(),
            severities: Severity::ALL.map(|severity| severity_json(severity, &verdicts)),
            verdicts,
            history: history_json(&recent),
            profiles,
            oldest_open: oldest_open.map(Seconds),
            last_event: snapshot.last_event.map(Seconds),
            clients_connected: snapshot.clients_connected,
            streams: self.open_streams(),
            events: Map(snapshot.events),
            rejected: Map(snapshot.rejected),
            dropped: Map(snapshot.dropped),
            gaps: Map(snapshot.gaps),
            removed: Map(snapshot.removed),
            refused: Map(snapshot.refused),
            clock_suspect: snapshot.clock_suspect,
            traceparent_malformed: snapshot.traceparent_malformed,
        }
    }

    fn profile(&self, profile: &Profile, tokens: [usize; Status::ALL.len()]) -> ProfileJson {
        let parts = &self.parts;
        ProfileJson {
            api: profile.name.clone(),
            active: parts.active.iter().any(|name| **name == *profile.name),
            window_s: duration(profile.window),
            window_anchor: anchor(profile.window_anchor),
            lease_s: duration(profile.lease),
            capacity: profile.capacity,
            tokens: Counts(tokens),
            lower_bound_until: Seconds(parts.observation_start + profile.window),
        }
    }
}

/// The anchor as profiles name it.
pub(super) fn anchor(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::FirstCompleted => "first_completed",
        Anchor::FirstStart => "first_start",
    }
}

fn verdict_json(verdict: Verdict, snapshot: &Snapshot, recent: &[Verdicts]) -> VerdictJson {
    let by_api = snapshot.verdicts.iter();
    let by_api = by_api.map(|(api, counts)| (api.clone(), counts[verdict as usize]));
    let apis: BTreeMap<_, _> = by_api.filter(|(_, count)| *count > 0).collect();
    VerdictJson {
        verdict: verdict.as_str(),
        severity: verdict.severity().as_str(),
        summary: verdict.summary(),
        total: apis.values().sum(),
        recent: recent.iter().map(|counts| counts[verdict as usize]).sum(),
        apis,
    }
}

fn severity_json(severity: Severity, verdicts: &[VerdictJson]) -> SeverityJson {
    let of = |verdict: &&VerdictJson| verdict.severity == severity.as_str();
    let of = || verdicts.iter().filter(of);
    SeverityJson {
        severity: severity.as_str(),
        total: of().map(|verdict| verdict.total).sum(),
        recent: of().map(|verdict| verdict.recent).sum(),
    }
}

fn history_json(recent: &[Verdicts]) -> HistoryJson {
    let line = |verdict: Verdict| -> Vec<u64> {
        recent
            .iter()
            .map(|counts| counts[verdict as usize])
            .collect()
    };
    let lines = Verdict::ALL.map(|verdict| (verdict.as_str(), line(verdict)));
    let is_some = |(_, line): &(_, Vec<u64>)| line.iter().any(|count| *count > 0);
    HistoryJson {
        step_s: STEP.as_secs(),
        steps: recent.len(),
        verdicts: lines.into_iter().filter(is_some).collect(),
    }
}
