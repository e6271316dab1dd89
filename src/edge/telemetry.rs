//! Logs: one structured line a matter, on stderr.
//!
//! Two kinds of lines are caused by others and are therefore rate-limited: findings and rejected
//! events. No line carries a token in full unless the user asked for it, nor the content of an event.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Subscriber, error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::LogFormat;
use crate::detect::event::{DecodeError, Reason};
use crate::detect::finding::Finding;
use crate::detect::time::Timestamp;
use crate::detect::verdict::{Severity, Verdict};
use crate::edge::throttle::{SharedThrottle, Throttle};

/// Sends log lines of at least `level` to stderr, for the whole process, from now on.
///
/// # Errors
///
/// When a subscriber was installed before.
pub fn init(format: LogFormat, level: LevelFilter) -> Result<(), SetGlobalDefaultError> {
    let colours = std::io::stderr().is_terminal();
    let subscriber = subscriber(format, level, colours, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber)
}

/// The libraries below us speak only from warnings up. OpenTelemetry is silent: each batch that
/// fails would give a line, and the span exporter tells the same at a bounded rate.
fn subscriber<W>(format: LogFormat, level: LevelFilter, colours: bool, writer: W) -> impl Subscriber
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let targets = Targets::new()
        .with_target("oncewatch", level)
        .with_target("opentelemetry", LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN));
    // Otherwise a closed stderr would be reported on stderr, which panics.
    let layer = fmt::layer().log_internal_errors(false);
    let layer = match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => layer.with_ansi(colours).with_writer(writer).boxed(),
    };
    registry().with(layer.with_filter(targets))
}

/// Writes findings as log lines, at most a burst of 10 and then one a second for each verdict; the
/// next line of the verdict says how many were left out. Confirmations are not logged: their
/// finding was.
#[derive(Debug)]
pub struct FindingLog {
    throttles: [Throttle; Verdict::ALL.len()],
}

impl FindingLog {
    /// A log that has said nothing yet.
    pub const fn new() -> Self {
        Self {
            throttles: [Throttle::new(); Verdict::ALL.len()],
        }
    }

    /// Logs one finding, or leaves it out. `show` renders its tokens, as `--token-display` says.
    pub fn log(&mut self, finding: &Finding, now: Timestamp, show: &dyn Fn(&str) -> String) {
        let Some(suppressed) = self.throttles[finding.verdict as usize].admit(now) else {
            return;
        };
        let line = FindingLine::new(finding, show, suppressed);
        match finding.severity() {
            Severity::Info => line.info(),
            Severity::Warning => line.warn(),
            Severity::Error | Severity::Critical => line.error(),
        }
    }
}

impl Default for FindingLog {
    fn default() -> Self {
        Self::new()
    }
}

/// A finding's fields in the types that log fields have.
struct FindingLine<'a> {
    finding: &'a Finding,
    token: String,
    holder_token: Option<String>,
    trace_id: Option<String>,
    message: String,
    /// Absent when nothing was left out.
    suppressed: Option<u64>,
}

/// One severity's line; the level of a log line is fixed where it is written.
macro_rules! finding_line {
    ($level:ident) => {
        fn $level(&self) {
            let finding = self.finding;
            let holder = finding.holder.as_ref();
            $level!(
                verdict = finding.verdict.as_str(),
                severity = finding.severity().as_str(),
                api = &*finding.api,
                token = self.token.as_str(),
                scope = &*finding.scope,
                client = finding.client.as_deref(),
                call = finding.call.as_deref(),
                attempt = finding.attempt,
                holder_client = holder.and_then(|holder| holder.client.as_deref()),
                holder_call = holder.and_then(|holder| holder.call.as_deref()),
                holder_token = self.holder_token.as_deref(),
                age_s = finding.age.map(|age| age.as_secs_f64()),
                trace_id = self.trace_id.as_deref(),
                suppressed = self.suppressed,
                remedy = finding.verdict.remedy(),
                "{}",
                self.message
            );
        }
    };
}

impl<'a> FindingLine<'a> {
    fn new(finding: &'a Finding, show: &dyn Fn(&str) -> String, suppressed: u64) -> Self {
        let holder = finding.holder.as_ref();
        Self {
            finding,
            token: show(&finding.token),
            holder_token: holder.and_then(|holder| holder.token.as_deref()).map(show),
            trace_id: finding.trace.map(|trace| trace.trace_id_hex()),
            message: one_line(&finding.message),
            suppressed: (suppressed > 0).then_some(suppressed),
        }
    }

    finding_line!(info);
    finding_line!(warn);
    finding_line!(error);
}

/// A message may quote names that clients chose; the text format writes it as it is.
fn one_line(message: &str) -> String {
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Writes rejected lines as log lines, at most a burst of 10 and then one a second for each reason,
/// without their content. Shared by all connections.
#[derive(Debug, Default)]
pub struct RejectedLog {
    throttles: [SharedThrottle; Reason::ALL.len()],
}

impl RejectedLog {
    /// Logs one rejected line, or leaves it out. `from` identifies the connection or socket.
    pub fn log(&self, error: DecodeError, from: &str, now: Timestamp) {
        if let Some(suppressed) = self.throttles[error.reason as usize].admit(now) {
            warn!(
                reason = error.reason.as_str(),
                field = error.field,
                from,
                suppressed = (suppressed > 0).then_some(suppressed),
                "an event could not be used"
            );
        }
    }
}

#[cfg(test)]
mod tests;
