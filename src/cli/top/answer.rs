//! What the admin API answers, as far as it is shown. Unknown keys are ignored and missing ones
//! have a default: the sidecar may be older or newer than this program.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::text;

/// Text that a client chose. It can only be printed made harmless, see [`text::visible`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Foreign(String);

impl Foreign {
    /// As it came, to compare it and to ask for it.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// As it may be shown.
    pub fn shown(&self) -> Cow<'_, str> {
        text::visible(&self.0)
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown())
    }
}

/// Counts by name.
pub type Counts = BTreeMap<Foreign, u64>;

/// The sum of all counts.
pub fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// One of them, 0 if it is not there.
pub fn one(counts: &Counts, name: &str) -> u64 {
    counts.get(&name.into()).copied().unwrap_or(0)
}

/// `/api/v1/summary`. Times are Unix seconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub version: Foreign,
    pub now: f64,
    pub observation_start: f64,
    pub uptime_s: f64,
    pub socket: Foreign,
    pub token_display: Foreign,
    pub severities: Vec<SeverityCount>,
    pub verdicts: Vec<VerdictCount>,
    pub history: History,
    pub profiles: Vec<ProfileUse>,
    pub oldest_open: Option<f64>,
    pub last_event: Option<f64>,
    pub clients_connected: u64,
    pub streams: u64,
    pub events: Counts,
    pub rejected: Counts,
    pub dropped: Counts,
    pub gaps: Counts,
    pub refused: Counts,
    pub clock_suspect: u64,
    pub traceparent_malformed: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SeverityCount {
    pub severity: Foreign,
    pub total: u64,
    pub recent: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VerdictCount {
    pub verdict: Foreign,
    pub severity: Foreign,
    pub summary: Foreign,
    pub total: u64,
    pub recent: u64,
}

/// Counts by interval, oldest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct History {
    pub step_s: f64,
    pub steps: usize,
    pub verdicts: BTreeMap<String, Vec<u64>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProfileUse {
    pub api: Foreign,
    pub active: bool,
    pub window_s: f64,
    pub capacity: u64,
    pub tokens: Counts,
    pub lower_bound_until: f64,
}

/// `/api/v1/findings`, newest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FindingList {
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Finding {
    pub at: f64,
    pub verdict: Foreign,
    pub severity: Foreign,
    pub api: Foreign,
    pub token: Foreign,
    pub scope: Foreign,
    pub client: Option<Foreign>,
    pub call: Option<Foreign>,
    pub attempt: u64,
    pub holder: Option<Holder>,
    pub confirmed: bool,
    pub trace_id: Option<Foreign>,
    pub message: Foreign,
    pub remedy: Foreign,
}

impl Finding {
    /// Whether it is the same one, confirmed or not.
    pub fn is(&self, other: &Self) -> bool {
        let key = |f: &Self| (f.at.to_bits(), f.attempt);
        key(self) == key(other)
            && self.verdict == other.verdict
            && self.api == other.api
            && self.token == other.token
            && self.scope == other.scope
            && self.client == other.client
            && self.call == other.call
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Holder {
    pub client: Option<Foreign>,
    pub call: Option<Foreign>,
    pub since: f64,
    pub token: Option<Foreign>,
    pub trace_id: Option<Foreign>,
}

/// `/api/v1/tokens`: one page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TokenPage {
    pub tokens: Vec<Token>,
    pub total: usize,
    pub offset: usize,
    pub complete: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Token {
    pub api: Foreign,
    pub scope: Foreign,
    pub token: Foreign,
    pub status: Foreign,
    pub stuck: bool,
    pub first_start: f64,
    pub first_success: Option<f64>,
    pub last_seen: f64,
    pub expires: f64,
    pub lifecycle: u32,
    pub attempt_count: u64,
}

impl Token {
    /// Its status in words.
    pub fn status_words(&self) -> String {
        let status = match self.status.raw() {
            "in_flight" => "open".to_owned(),
            _ => text::words(&self.status.shown()),
        };
        match self.stuck {
            true => format!("{status}, stuck"),
            false => status,
        }
    }
}

/// `/api/v1/tokens/{api}/{token}`: one token in each scope that has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LifeList {
    pub tokens: Vec<Life>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Life {
    #[serde(flatten)]
    pub token: Token,
    pub window_s: f64,
    pub window_anchor: Foreign,
    pub lease_s: f64,
    pub attempts: Vec<Attempt>,
    pub findings: Vec<Finding>,
}

impl Life {
    /// When the server has surely forgotten the token; `None` while that cannot be said.
    pub fn window_end(&self) -> Option<f64> {
        let token = &self.token;
        let end = match self.window_anchor.raw() {
            "first_start" => token.first_start,
            _ => token.first_success?,
        };
        Some(end + self.window_s)
    }

    /// Windows of earlier lifecycles that ended in a success, as far as their attempts are
    /// remembered from the first one on: start and end.
    pub fn earlier_windows(&self) -> Vec<(f64, f64)> {
        const ANEW: [&str; 3] = ["first_use", "reuse_after_window", "token_recycled"];
        let mut lives: Vec<(f64, Option<f64>)> = Vec::new();
        for attempt in &self.attempts {
            let verdict = attempt.verdict.as_ref().map(Foreign::raw);
            if verdict.is_some_and(|verdict| ANEW.contains(&verdict)) {
                lives.push((attempt.start, None));
            }
            let succeeded = attempt.class.as_ref().map(Foreign::raw) == Some("success");
            if let (Some((_, success)), true, Some(end)) =
                (lives.last_mut(), succeeded, attempt.end)
            {
                *success = Some(success.map_or(end, |before| before.min(end)));
            }
        }
        let begun = self.token.first_start;
        let earlier = lives.into_iter().filter_map(|(start, success)| {
            let success = success.filter(|at| *at < begun)?;
            let from = match self.window_anchor.raw() {
                "first_start" => start,
                _ => success,
            };
            Some((start, from + self.window_s))
        });
        earlier.collect()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Attempt {
    pub client: Option<Foreign>,
    pub call: Option<Foreign>,
    pub number: u64,
    pub start: f64,
    pub end: Option<f64>,
    pub class: Option<Foreign>,
    pub verdict: Option<Foreign>,
}

/// `client call`, as far as known.
pub fn sender(client: Option<&Foreign>, call: Option<&Foreign>) -> String {
    let names: Vec<_> = [client, call]
        .into_iter()
        .flatten()
        .map(Foreign::shown)
        .collect();
    match names.is_empty() {
        true => "(unnamed)".to_owned(),
        false => names.join(" "),
    }
}
