//! Exports one span a lifecycle over OTLP (SPEC §9), and counts what became of each.
//!
//! The spans are built and batched here, not by the SDK's batch processor: that one needs a thread
//! of its own, drops without a count, reads the environment, and its shutdown blocks. A collector
//! that is dead or hangs costs a bounded queue and counted losses, nothing else.

mod mapping;
mod settings;
mod transport;

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter as OtlpExporter, WithExportConfig,
    WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::SpanCounters;
use crate::pipeline::spans::{Room, Waiting};
pub use settings::SpanSettings;
use transport::Transport;

/// Renders a token as `--token-display` says.
pub type ShowToken = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// An export under way: how many spans, and what came of it.
type Sending = Pin<Box<dyn Future<Output = (usize, Result<(), String>)> + Send>>;

/// Turns lifecycles into spans and sends them to a collector.
pub struct SpanExport {
    exporter: Arc<OtlpExporter>,
    settings: SpanSettings,
    counters: SpanCounters,
    show: ShowToken,
    scope: InstrumentationScope,
    /// Spans that the collector refused in its last answer.
    rejected: Arc<AtomicU64>,
    queue: VecDeque<(SpanData, Room)>,
    sending: Option<Sending>,
    /// Spans in `sending`.
    sending_len: usize,
    /// Spans lost since the collector last took a batch; `None` while all is well.
    lost: Option<u64>,
}

impl SpanExport {
    /// Prepares the export; nothing is sent before [`Self::run`].
    ///
    /// # Errors
    ///
    /// When the exporter does not take the settings.
    pub fn new(
        settings: SpanSettings,
        counters: SpanCounters,
        show: ShowToken,
    ) -> Result<Self, ExporterBuildError> {
        let rejected = Arc::new(AtomicU64::new(0));
        let mut exporter = OtlpExporter::builder()
            .with_http()
            .with_http_client(Transport::new(settings.timeout, rejected.clone()))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.to_string())
            .with_headers(settings.headers.clone())
            .with_timeout(settings.timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let attributes = settings.resource.iter();
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(
                attributes.map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
            )
            .build();
        exporter.set_resource(&resource);
        Ok(Self {
            exporter: Arc::new(exporter),
            counters,
            show,
            scope: InstrumentationScope::builder("oncewatch")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            rejected,
            queue: VecDeque::new(),
            sending: None,
            sending_len: 0,
            lost: None,
            settings,
        })
    }

    /// Exports until `stop` is cancelled or all senders are gone; then sends what waits, for at most
    /// `grace`, and returns. What was not sent by then is counted as dropped, a request without
    /// an answer as failed.
    ///
    /// Cancel `stop` after the pipeline has handed out its last lifecycles.
    pub async fn run(
        mut self,
        mut lifecycles: Receiver<Waiting>,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let delay = self.settings.schedule_delay.max(Duration::from_millis(1));
        // Runs from the first span that waits: an idle process is never woken by it.
        let mut wait = pin!(sleep(delay));
        let mut is_waiting = false;
        let mut is_due = false;
        loop {
            if self.sending.is_none() && (is_due || self.queue.len() >= self.settings.batch_max) {
                self.start_batch();
                is_due = is_due && !self.queue.is_empty();
            }
            if !is_waiting && !is_due && !self.queue.is_empty() {
                wait.set(sleep(delay));
                is_waiting = true;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                done = answer(&mut self.sending) => self.settle(done),
                () = &mut wait, if is_waiting => (is_waiting, is_due) = (false, true),
                received = lifecycles.recv() => match received {
                    Some(waiting) => self.enqueue(waiting),
                    None => break,
                },
            }
        }
        lifecycles.close();
        while let Ok(waiting) = lifecycles.try_recv() {
            self.enqueue(waiting);
        }
        if timeout(grace, self.flush()).await.is_err() {
            self.counters.failed.inc_by(self.sending_len as u64);
            self.counters.dropped.inc_by(self.queue.len() as u64);
            let lost = self.sending_len + self.queue.len();
            warn!(lost, "the collector did not take the last spans in time");
        }
    }

    async fn flush(&mut self) {
        loop {
            if self.sending.is_none() {
                self.start_batch();
            }
            if self.sending.is_none() {
                return;
            }
            let done = answer(&mut self.sending).await;
            self.settle(done);
        }
    }

    /// A full queue refuses the newcomer: the older spans are nearer to being sent.
    fn enqueue(&mut self, Waiting { lifecycle, room }: Waiting) {
        if self.queue.len() >= self.settings.queue_max {
            self.counters.dropped.inc();
            return;
        }
        let span = mapping::span(&lifecycle, &self.scope, &*self.show);
        self.queue.push_back((span, room));
    }

    fn start_batch(&mut self) {
        let len = self.queue.len().min(self.settings.batch_max);
        if len == 0 {
            return;
        }
        let (batch, room): (Vec<_>, Vec<_>) = self.queue.drain(..len).unzip();
        let exporter = self.exporter.clone();
        let limit = self.settings.export_timeout;
        self.sending_len = len;
        self.sending = Some(Box::pin(async move {
            let result = match timeout(limit, exporter.export(batch)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            drop(room);
            (len, result)
        }));
    }

    /// Counts a batch by its answer. A collector that fails is logged when it begins to and when
    /// it is back, not for each batch.
    fn settle(&mut self, (len, result): (usize, Result<(), String>)) {
        self.sending = None;
        self.sending_len = 0;
        let len = len as u64;
        let rejected = self.rejected.swap(0, Ordering::Relaxed).min(len);
        match result {
            Ok(()) => {
                self.counters.exported.inc_by(len - rejected);
                self.counters.failed.inc_by(rejected);
                if let Some(lost) = self.lost.take() {
                    info!(lost, "the collector takes spans again");
                }
            }
            Err(error) => {
                self.counters.failed.inc_by(len);
                if self.lost.is_none() {
                    let collector = self.settings.endpoint.host();
                    warn!(collector, error, "the collector does not take spans");
                }
                self.lost = Some(self.lost.unwrap_or(0).saturating_add(len));
            }
        }
    }
}

/// The answer to the export under way; never, if there is none.
async fn answer(sending: &mut Option<Sending>) -> (usize, Result<(), String>) {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
