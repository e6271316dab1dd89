//! Composition root: builds the parts, binds, owns tasks and the order of shutdown.
//!
//! Everything that can fail because of the configuration or the machine does so in
//! [`Daemon::start`]; from then on the daemon serves until it is told to stop or a part of it dies.

mod bound;
mod memory;
mod tasks;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::config::{self, Origin, Settings};
use crate::detect::verdict::Severity;
use crate::detect::{Options, Trace};
use crate::edge::admin::{Admin, Parameters};
use crate::edge::cgroup;
use crate::edge::clock;
use crate::edge::descriptors;
use crate::edge::display::{HashKey, TokenDisplay};
use crate::edge::findings::{CAPACITY_DEFAULT, Findings, collect};
use crate::edge::http::{Limits as HttpLimits, Listener, bind, serve};
use crate::edge::ingest::socket::Place;
use crate::edge::ingest::{Ingest, Limits, Sockets};
use crate::edge::probes::{Probes, Readiness, Reading};
use crate::edge::process::Process;
use crate::edge::signal::Termination;
use crate::edge::spans::{SpanExport, SpanSettings};
use crate::edge::state::State;
use crate::edge::telemetry::{self, FindingLog};
use crate::metrics::exposition::render;
use crate::metrics::{Metrics, Refused};
use crate::pipeline::spans::{SpanSink, Waiting};
use crate::pipeline::{Pipeline, Report, Sinks};
use memory::{Memory, tidy};
use tasks::Tasks;

/// Findings that wait for the store and the log; beyond it they are dropped and counted.
const FINDINGS_QUEUE: usize = 2048;
/// Lifecycles that wait for the exporter; beyond it they are dropped and counted.
const SPANS_QUEUE: usize = 2048;
/// Bytes of lifecycles that wait for the exporter or the collector.
const SPANS_BYTES: usize = 6 << 20;
/// Threads that read stream connections.
const READERS: NonZeroUsize = NonZeroUsize::MIN;
/// Shortest and longest wait for a deadline. The shortest bounds what a mass expiry costs the
/// others; a new deadline that comes before the one waited for ends the wait.
const DEADLINE_NEAR: Duration = Duration::from_millis(1);
const DEADLINE_FAR: Duration = Duration::from_secs(3600);
/// For the last spans; the whole shutdown stays below two seconds.
const SPANS_GRACE: Duration = Duration::from_millis(1200);

/// Version and revision, as `--version` prints them.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("ONCEWATCH_REVISION"),
    ")"
);

/// The sidecar, bound and running.
pub struct Daemon {
    /// Where events are read.
    pub socket: PathBuf,
    /// Where metrics are served, with the port that the system chose if 0 was asked for.
    pub metrics_addr: SocketAddr,
    /// Where page and API are served.
    pub admin_addr: SocketAddr,
    /// All series.
    pub metrics: Arc<Metrics>,
    /// The findings of late.
    pub findings: Arc<Findings>,
    pipeline: Arc<Pipeline>,
    /// Ends intake; everything that feeds the pipeline.
    intake: Tasks,
    /// Ends what takes findings from the pipeline, after the intake.
    collector: Tasks,
    /// Ends what shows and exports, last.
    outlets: Tasks,
}

/// Runs the sidecar until SIGTERM or SIGINT.
///
/// # Errors
/// What could not be bound, by setting; later, the part that failed.
pub fn run(settings: &Settings, spans: Option<SpanSettings>) -> anyhow::Result<()> {
    telemetry::init(settings.log_format, settings.log_level)?;
    let memory_bound_bytes = memory_bound(settings, spans.as_ref());
    runtime()?.block_on(async {
        let mut termination = Termination::listen()?;
        let mut daemon = Daemon::start(settings, spans).await?;
        tracing::info!(
            version = VERSION,
            socket = %daemon.socket.display(),
            metrics = %daemon.metrics_addr,
            admin = %daemon.admin_addr,
            memory_bound_bytes,
            "ready"
        );
        if let Some(memory_limit_bytes) = bound::short_limit(memory_bound_bytes, cgroup::ROOT.as_ref()) {
            tracing::warn!(
                memory_limit_bytes,
                memory_bound_bytes,
                "the container's memory limit is below what clients can make this take: raise the limit, or lower `capacity`"
            );
        }
        let outcome = tokio::select! {
            signal = termination.wait() => {
                tracing::info!(signal, "stopping");
                Ok(())
            }
            error = daemon.failure() => Err(error),
        };
        tokio::select! {
            stopped = daemon.stop() => outcome.and(stopped),
            signal = termination.wait() => outcome.and(Err(anyhow::anyhow!("a second {signal} came before all was sent"))),
        }
    })
}

/// Bytes of resident memory that nothing a client does can make the sidecar exceed.
pub fn memory_bound(settings: &Settings, spans: Option<&SpanSettings>) -> u64 {
    bound::memory(settings, spans)
}

/// The runtime of everything but reading events and telling findings, which have threads of their
/// own. It has none: the caller's does its work, so nothing is handed from one thread to another.
///
/// # Errors
/// When the system refuses descriptors.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

impl Daemon {
    /// Binds all addresses first, then starts the parts.
    ///
    /// # Errors
    /// The setting whose socket or address cannot be had, and why.
    pub async fn start(settings: &Settings, spans: Option<SpanSettings>) -> anyhow::Result<Self> {
        let http = 2 * HttpLimits::default().connections;
        descriptors::make_room(settings.max_connections, http);
        let stream = place(settings, "socket", &settings.socket);
        let datagram = settings.datagram_socket.as_deref();
        let datagram = datagram.map(|path| place(settings, "datagram-socket", path));
        let sockets = Sockets::bind(&stream, datagram.as_ref(), settings.socket_mode)?;
        let metrics_listener = listen("metrics-addr", settings.metrics_addr).await?;
        let admin_listener = listen("admin-addr", settings.admin_addr).await?;
        let metrics = Arc::new(Metrics::new(&settings.profiles, &settings.api));
        let trace = if spans.is_some() {
            settings.spans
        } else {
            Trace::Off
        };
        let options = Options {
            detail: Severity::Warning,
            trace,
            hash_key: table_key().context("no random bytes")?,
        };
        let memory = Memory::open(settings, options, &metrics)?;
        let observation_start = memory.observation_start;
        metrics.started(observation_start);
        let secret = memory.state.is_some().then(|| memory.detector.hash_key());
        let display = token_display(settings, secret).context("no random bytes")?;
        let (reports, reported) = mpsc::channel(FINDINGS_QUEUE);
        let (lifecycles, settled) = SpanSink::new(SPANS_QUEUE, SPANS_BYTES);
        let sinks = Sinks {
            findings: reports,
            spans: spans.is_some().then_some(lifecycles),
        };
        let pipeline = Pipeline::new(memory.detector, metrics.clone(), sinks);
        let wake = memory.state.as_ref().map(State::wake);
        let pipeline = Arc::new(match memory.state {
            Some(state) => pipeline.kept_by(Box::new(state), memory.connections),
            None => pipeline,
        });
        pipeline.go_on(memory.positions, clock::now());
        let findings = Arc::new(Findings::new(CAPACITY_DEFAULT));
        for finding in memory.findings {
            findings.report(Report::New(Arc::new(finding)));
        }
        let mut daemon = Self {
            socket: settings.socket.clone(),
            metrics_addr: metrics_listener.address(),
            admin_addr: admin_listener.address(),
            metrics,
            findings: findings.clone(),
            pipeline,
            intake: Tasks::new(),
            collector: Tasks::new(),
            outlets: Tasks::new(),
        };
        if let Some(spans) = spans {
            daemon.export_spans(spans, settled, display.clone())?;
        }
        daemon.collect_findings(findings.clone(), reported, display.clone());
        daemon.serve_metrics(daemon.counting(metrics_listener));
        let admin = Parameters {
            pipeline: daemon.pipeline.clone(),
            findings,
            metrics: daemon.metrics.clone(),
            display,
            trace_url: settings.trace_url.clone(),
            socket: settings.socket.to_string_lossy().into_owned(),
            version: VERSION.to_owned(),
            observation_start,
            active: settings.api.clone(),
            stop: daemon.outlets.stop.clone(),
        };
        daemon.serve_admin(daemon.counting(admin_listener), admin);
        daemon.watch_deadlines();
        if let Some(wake) = wake {
            let (pipeline, stop) = (daemon.pipeline.clone(), daemon.intake.stop.clone());
            daemon.intake.spawn("state", tidy(pipeline, wake, stop));
        }
        daemon.read_events(sockets, settings, memory.connections)?;
        Ok(daemon)
    }

    /// Resolves when a part dies, which must end the daemon: a sidecar that looks alive and sees
    /// nothing is worse than one that restarts.
    pub async fn failure(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.intake.failure() => error,
            error = self.collector.failure() => error,
            error = self.outlets.failure() => error,
        }
    }

    /// Stops: intake first, then what still waits is handed out and told, then the outlets.
    ///
    /// # Errors
    /// The first part that did not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        let intake = self.intake.finish().await;
        self.pipeline.shutdown(clock::now());
        let findings = self.collector.finish().await;
        intake.and(findings).and(self.outlets.finish().await)
    }

    fn export_spans(
        &mut self,
        spans: SpanSettings,
        settled: mpsc::Receiver<Waiting>,
        display: TokenDisplay,
    ) -> anyhow::Result<()> {
        let show = Arc::new(move |token: &str| display.show(token));
        let export = SpanExport::new(spans, self.metrics.spans(), show)?;
        let stop = self.outlets.stop.clone();
        self.outlets.spawn("span export", async move {
            export.run(settled, stop, SPANS_GRACE).await;
            Ok(())
        });
        Ok(())
    }

    /// On a thread of its own: it writes to the log, and a reader of the log that stands still must
    /// not hold up the probes.
    fn collect_findings(
        &mut self,
        findings: Arc<Findings>,
        reported: mpsc::Receiver<Report>,
        display: TokenDisplay,
    ) {
        let stop = self.collector.stop.clone();
        let mut log = FindingLog::new();
        let show = move |token: &str| display.show(token);
        self.collector.running.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.context("findings")?.block_on(collect(
                findings,
                reported,
                stop,
                move |finding| log.log(finding, clock::now(), &show),
            ));
            Ok(())
        });
    }

    /// The address, which counts the connections that it closes because there are too many.
    fn counting(&self, listener: Listener) -> Listener {
        let metrics = self.metrics.clone();
        listener.telling(Box::new(move || metrics.refuse(Refused::HttpLimit)))
    }

    fn serve_metrics(&mut self, listener: Listener) {
        let (metrics, pipeline) = (self.metrics.clone(), self.pipeline.clone());
        let process = Arc::new(Process::new());
        let exposition = move |accept: String| -> Reading {
            let (metrics, pipeline, process) = (metrics.clone(), pipeline.clone(), process.clone());
            Box::pin(async move {
                pipeline.free().await;
                pipeline.inspect(|detector| metrics.refresh(detector));
                render(&metrics, process.families(), &accept)
            })
        };
        let probes = Arc::new(Probes::new(Box::new(exposition), Readiness::default()));
        let stop = self.outlets.stop.clone();
        self.outlets.spawn("metrics address", async move {
            serve(
                listener,
                HttpLimits::default(),
                move |request| probes.clone().route(request),
                stop,
            )
            .await;
            Ok(())
        });
    }

    fn serve_admin(&mut self, listener: Listener, parameters: Parameters) {
        let stop = parameters.stop.clone();
        let admin = Arc::new(Admin::new(parameters));
        self.outlets.spawn("admin address", async move {
            serve(
                listener,
                HttpLimits::default(),
                move |request| admin.clone().route(request),
                stop,
            )
            .await;
            Ok(())
        });
    }

    fn watch_deadlines(&mut self) {
        let (pipeline, stop) = (self.pipeline.clone(), self.intake.stop.clone());
        self.intake.spawn("deadlines", async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = pipeline.free() => {}
                }
                let now = clock::now();
                let next = pipeline.timeout(now);
                let wait = next.map_or(DEADLINE_FAR, |next| next.since(now));
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = pipeline.sooner() => {}
                    () = sleep(wait.clamp(DEADLINE_NEAR, DEADLINE_FAR)) => {}
                }
            }
        });
    }

    fn read_events(
        &mut self,
        sockets: Sockets,
        settings: &Settings,
        connections: u64,
    ) -> anyhow::Result<()> {
        let positive = |n: usize| NonZeroUsize::new(n).context("a limit is zero");
        let limits = Limits {
            line_bytes_max: positive(settings.max_line_bytes)?,
            connections_max: positive(settings.max_connections)?,
            allowed_uids: settings.allow_uid.clone(),
        };
        let metrics = self.metrics.clone();
        let connected = Box::new(move || Box::new(metrics.connected()) as Box<dyn Send>);
        let ingest = Ingest::new(
            sockets,
            limits,
            READERS,
            self.pipeline.clone(),
            clock::now,
            connected,
        )
        .after(connections);
        let stop = self.intake.stop.clone();
        self.intake
            .spawn("event sockets", async move { Ok(ingest.run(stop).await?) });
        Ok(())
    }
}

/// The place of a socket; one that nobody chose and that is not the shared volume's is private.
fn place(settings: &Settings, setting: &'static str, path: &Path) -> Place {
    let volume = Path::new(config::SOCKET_DIRECTORY);
    let chosen = settings.origin(setting) != Origin::Default;
    Place {
        path: path.to_owned(),
        setting,
        private: !chosen && path.parent() != Some(volume),
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> anyhow::Result<Listener> {
    let listener = bind(address).await;
    listener.with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// How tokens are shown, with the shared key, or one that is made of what is kept over a restart, or
/// one for this process only.
///
/// # Errors
/// When the system gives no random bytes.
pub fn token_display(settings: &Settings, kept: Option<[u8; 16]>) -> std::io::Result<TokenDisplay> {
    let key = match (&settings.token_hash_key, kept) {
        (Some(secret), _) => HashKey::from_secret(secret.bytes()),
        (None, Some(secret)) => HashKey::from_secret(&secret),
        (None, None) => HashKey::random()?,
    };
    Ok(match settings.token_display {
        config::TokenDisplay::Hash => TokenDisplay::Hash(key),
        config::TokenDisplay::Prefix => TokenDisplay::Prefix(key),
        config::TokenDisplay::Full => TokenDisplay::Full,
    })
}

/// A secret for the table's hash; it never leaves the process.
///
/// # Errors
/// When the system gives no random bytes.
pub fn table_key() -> std::io::Result<[u8; 16]> {
    let mut key = [0; 16];
    let mut filled = 0;
    while filled < key.len() {
        filled +=
            rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(key)
}
