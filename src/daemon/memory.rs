//! What the sidecar knows before its first event.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::DEADLINE_FAR;
use crate::config::Settings;
use crate::detect::finding::Finding;
use crate::detect::journal::SessionPosition;
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Detector, Options};
use crate::edge::state::{Found, Place, State};
use crate::edge::{clock, signal};
use crate::metrics::Metrics;
use crate::pipeline::sessions::{Position, Session};
use crate::pipeline::{Chore, Pipeline};

/// Between two steps of writing the state anew.
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// By how much the clock may have been set back between two processes without a word.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// After a restart, for clients to come back and send again what nobody read, before deadlines that
/// passed meanwhile are judged. A client with acknowledged delivery tries every tenth of a second; the
/// rest is for a node on which all starts at once.
const RESEND: Duration = Duration::from_secs(2);

/// What is known at the start: nothing, or what an earlier process left in the state directory.
pub struct Memory {
    pub detector: Detector,
    pub state: Option<State>,
    pub observation_start: Timestamp,
    pub findings: Vec<Finding>,
    /// How far clients' sessions were read.
    pub positions: Vec<Position>,
    /// The number of the last stream connection so far.
    pub connections: u64,
}

impl Memory {
    /// Reads the state directory, if there is to be one.
    ///
    /// # Errors
    /// Another process uses it.
    pub fn open(settings: &Settings, options: Options, metrics: &Metrics) -> anyhow::Result<Self> {
        let (now, profiles) = (clock::now(), settings.profiles.clone());
        let Some(directory) = settings.state_dir.clone() else {
            return Ok(Self {
                detector: Detector::new(profiles, options),
                state: None,
                observation_start: now,
                findings: Vec::new(),
                positions: Vec::new(),
                connections: 0,
            });
        };
        signal::survive_file_limit()?;
        let place = Place {
            directory,
            bytes_max: settings.state_max_bytes as u64,
        };
        let Found {
            mut state,
            mut detector,
            restored,
        } = State::open(place, profiles, options, metrics, now)?;
        let known = restored.is_some();
        let (mut connections, mut findings, mut positions) = (0, Vec::new(), Vec::new());
        if let Some(restored) = restored {
            let ahead = clock::continue_from(restored.now);
            if ahead > CLOCK_TOLERANCE {
                tracing::warn!(
                    seconds = ahead.as_secs(),
                    "the wall clock was set back since the state was written; times are ahead of it until the state is removed"
                );
            }
            tracing::info!(
                tokens = restored.tokens,
                findings = restored.findings.len(),
                observation_start = restored.observation_start.as_seconds(),
                "known from before the restart"
            );
            (connections, findings) = (restored.connection, restored.findings);
            positions.extend(restored.positions.iter().filter_map(position));
        }
        state.begin(&mut detector, connections, clock::now());
        if known {
            detector.hold_deadlines(clock::now() + RESEND);
        }
        Ok(Self {
            detector,
            observation_start: state.observation_start(),
            state: Some(state),
            findings,
            positions,
            connections,
        })
    }
}

/// A position as it was kept; `None` if it names no session.
fn position(kept: &SessionPosition) -> Option<Position> {
    Some(Position {
        session: Session::read(&kept.session)?,
        read: kept.read,
        connection: ConnectionId(kept.connection),
    })
}

/// Tidies the state whenever there is something to tidy, until `stop`. Off the path of events: each step
/// takes the lock for a moment.
///
/// # Errors
/// When a step panicked.
pub async fn tidy(
    pipeline: Arc<Pipeline>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let now = clock::now();
        let step = pipeline.clone();
        // It writes, and the disk may take its time.
        let chore = tokio::task::spawn_blocking(move || step.tidy(now)).await?;
        let wait = match chore {
            Chore::More => STEP_PAUSE,
            Chore::Outside(work) => {
                tokio::task::spawn_blocking(work).await?;
                continue;
            }
            Chore::None(until) => until.map_or(DEADLINE_FAR, |until| until.since(now)),
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = wake.notified() => {}
            () = sleep(wait) => {}
        }
    }
}
