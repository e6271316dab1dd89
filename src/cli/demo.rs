//! `oncewatch demo`: the sidecar with a scripted workload that goes through its real socket, and an
//! honest look at whether every verdict came out of it.

mod screen;
mod script;
mod stage;
mod story;
mod table;
mod tally;
mod workload;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Environment, Failure};
use crate::config::Settings;
use crate::daemon::{self, Daemon};
use crate::detect::time::Timestamp;
use crate::detect::verdict::{Severity, Verdict};
use crate::edge::clock;
use crate::edge::signal::Termination;
use crate::edge::spans::SpanSettings;
use crate::edge::telemetry;
use screen::Screen;
use script::CHECKOUT;
use stage::Stage;
use table::{Hint, View};
use tally::Tally;
use workload::{Trouble, Workload};

pub const HELP: &str = "\
The demo has a socket of its own, and takes free ports if 9464 and 9465 are taken; what you set is
used as it is. The sidecar's log is shown if --log-level or --log-format is given.

Examples:
  oncewatch demo
  oncewatch demo --duration 40s
  oncewatch demo --metrics-addr 0.0.0.0:9464 --log-level info

Exit code 1: a verdict did not appear within 30 seconds, or within --duration; it is named.";

/// By when every verdict must have appeared (SPEC §6).
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at the counts, each with a new frame.
const TICK: Duration = Duration::from_millis(250);
/// Findings that the tallest terminal shows.
const LATEST_MAX: usize = 40;

/// Runs the demo for `duration`, or until Ctrl-C.
///
/// # Errors
/// What kept the sidecar from starting or running, or the verdicts that did not appear in time.
pub fn run(
    settings: Settings,
    spans: Option<SpanSettings>,
    duration: Option<Duration>,
    environment: &Environment<'_>,
) -> Result<(), Failure> {
    let key = daemon::table_key().map_err(|error| failed(error.into()))?;
    let seed = key
        .iter()
        .fold(0, |seed: u64, byte| (seed << 8) | u64::from(*byte));
    let stage = Stage::prepare(settings, environment, &format!("{:08x}", seed as u32))?;
    if stage.logs {
        let settings = &stage.settings;
        telemetry::init(settings.log_format, settings.log_level)
            .map_err(|error| failed(error.into()))?;
    }
    let runtime = daemon::runtime().map_err(|error| failed(error.into()))?;
    runtime.block_on(perform(&stage, spans, duration, environment, seed))
}

/// From the first bind to the last line.
async fn perform(
    stage: &Stage,
    spans: Option<SpanSettings>,
    duration: Option<Duration>,
    environment: &Environment<'_>,
    seed: u64,
) -> Result<(), Failure> {
    let mut termination = Termination::listen().map_err(|error| failed(error.into()))?;
    let mut daemon = Daemon::start(&stage.settings, spans)
        .await
        .map_err(failed)?;
    let hints = hints(&daemon);
    let outcome = match Screen::open(environment, stage.logs, &hints) {
        Err(error) => Err(error.into()),
        Ok(screen) => {
            let begun = clock::now();
            let trouble = Trouble::default();
            let mut pods = JoinSet::new();
            let socket = daemon.socket.clone();
            pods.spawn(Workload::new(socket, seed, begun, trouble.clone()).play());
            let mut show = Show {
                screen,
                hints,
                begun,
                tally: Tally::default(),
            };
            let end = show.watch(&mut daemon, &mut termination, duration).await;
            show.conclude(end, &trouble)
        }
    };
    tokio::select! {
        stopped = daemon.stop() => outcome.and(stopped.map_err(failed)),
        _ = termination.wait() => outcome,
    }
}

/// Why the show is over.
enum End {
    /// Ctrl-C or SIGTERM.
    Signal,
    /// `--duration`, or the limit with verdicts missing.
    Time,
    /// The sidecar, or the output.
    Failure(Failure),
}

/// What the user sees of the demo.
struct Show {
    screen: Screen,
    hints: Vec<Hint>,
    begun: Timestamp,
    tally: Tally,
}

impl Show {
    /// Shows how things go until they end.
    async fn watch(
        &mut self,
        daemon: &mut Daemon,
        termination: &mut Termination,
        duration: Option<Duration>,
    ) -> End {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                _ = termination.wait() => Some(End::Signal),
                error = daemon.failure() => Some(End::Failure(failed(error))),
                _ = ticks.tick() => None,
            };
            let elapsed = clock::now().since(self.begun);
            self.tally.update(daemon.metrics.verdict_counts(), elapsed);
            let shown = self.show(daemon, elapsed);
            if let Some(end) = end {
                return end;
            }
            if let Err(error) = shown {
                return End::Failure(error.into());
            }
            let late = elapsed >= LIMIT && self.tally.complete().is_none();
            if late || duration.is_some_and(|duration| elapsed >= duration) {
                return End::Time;
            }
        }
    }

    fn show(&mut self, daemon: &Daemon, elapsed: Duration) -> std::io::Result<()> {
        let in_round = elapsed.as_millis() % story::ROUND.as_millis();
        let scene = story::scene_at(Duration::from_millis(in_round as u64));
        let latest = daemon.findings.list(|_| true, LATEST_MAX);
        let view = View {
            tally: &self.tally,
            begun: self.begun,
            elapsed,
            hints: &self.hints,
            scene: scene.map_or("orders and bills go their way", |scene| scene.tells),
            latest: &latest,
        };
        self.screen.show(&view, &daemon.findings)
    }

    /// Leaves the final table, and says whether the demo has shown what it promises.
    fn conclude(self, end: End, trouble: &Trouble) -> Result<(), Failure> {
        let elapsed = clock::now().since(self.begun).as_secs_f64();
        let (seen, all) = (self.tally.seen(), Verdict::ALL.len());
        let complete = match self.tally.complete() {
            Some(at) => format!(", the last one after {:.1} s", at.as_secs_f64()),
            None => String::new(),
        };
        let last = format!("{seen} of {all} verdicts seen{complete}; ended after {elapsed:.1} s");
        self.screen.close(&self.tally, &last)?;
        match end {
            End::Failure(failure) => Err(failure),
            End::Time if seen < all => Err(incomplete(&self.tally, elapsed, trouble)),
            End::Time | End::Signal => Ok(()),
        }
    }
}

/// Names the verdicts that are missing, and what may be the reason.
fn incomplete(tally: &Tally, elapsed: f64, trouble: &Trouble) -> Failure {
    let name = |verdict: Verdict| match story::scene_of(verdict) {
        Some(scene) => format!("{verdict} ({})", scene.tells),
        None => verdict.to_string(),
    };
    let missing: Vec<_> = tally.missing().into_iter().map(name).collect();
    let reason = trouble.last().map_or(String::new(), |error| {
        format!("; the demo's pods had trouble with the socket: {error}")
    });
    Failure::Failed(format!(
        "{} of {} verdicts did not appear within {elapsed:.0} s: {}{reason}",
        missing.len(),
        Verdict::ALL.len(),
        missing.join("; ")
    ))
}

/// Where to look, the most telling first.
fn hints(daemon: &Daemon) -> Vec<Hint> {
    let (metrics, admin) = (reachable(daemon.metrics_addr), reachable(daemon.admin_addr));
    let worst = Verdict::ALL
        .into_iter()
        .find(|verdict| verdict.severity() == Severity::Critical);
    let hint = |label, text| Hint { label, text };
    vec![
        hint(
            "metrics",
            format!("curl -s http://{metrics}/metrics | grep verdicts_total"),
        ),
        hint(
            "findings",
            format!("curl -s 'http://{admin}/api/v1/findings?limit=3'"),
        ),
        hint("page", format!("http://{admin}/")),
        hint(
            "meaning",
            format!("oncewatch explain {}", worst.map_or("", Verdict::as_str)),
        ),
        hint(
            "join in",
            format!(
                "oncewatch send --socket {} --type attempt_start --api {CHECKOUT} --token t1 --hold 1s",
                daemon.socket.display()
            ),
        ),
    ]
}

/// An address as a client on this machine uses it.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::Failed(format!("{error:#}"))
}
