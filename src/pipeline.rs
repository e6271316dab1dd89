//! One event through the detector and out to its effects; sole owner of the lock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use crate::detect::event::{DecodeError, Event, Reason};
use crate::detect::finding::{Finding, Lifecycle, Verdicts};
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Detector, Source};
use crate::metrics::{Metrics, Refused};

/// What leaves the pipeline besides counts. Both channels are bounded; a full one drops, counted.
pub struct Sinks {
    /// Findings, and the ids of those that came true.
    pub findings: Sender<Report>,
    /// Lifecycles to export as spans; `None` when no collector is configured.
    pub spans: Option<Sender<Lifecycle>>,
}

/// News about a finding.
#[derive(Clone, Debug)]
pub enum Report {
    /// It arose.
    New(Arc<Finding>),
    /// The finding with this id has come true.
    Confirmed(u64),
}

/// The detector behind its lock, and where its words go.
pub struct Pipeline {
    detector: Mutex<Detector>,
    metrics: Arc<Metrics>,
    sinks: Sinks,
    /// The deadline that somebody waits for, in microseconds; the latest possible: none.
    awaited: AtomicI64,
    sooner: Notify,
}

impl Pipeline {
    /// Joins a detector to its effects.
    pub fn new(detector: Detector, metrics: Arc<Metrics>, sinks: Sinks) -> Self {
        Self {
            detector: Mutex::new(detector),
            metrics,
            sinks,
            awaited: AtomicI64::new(Timestamp::MAX.as_micros()),
            sooner: Notify::new(),
        }
    }

    /// Decodes and judges the lines that one read brought. A line that cannot be used is counted
    /// and handed to `rejected`; the others are judged under one lock.
    pub fn process<'a>(
        &self,
        lines: impl Iterator<Item = &'a [u8]>,
        source: Source<'_>,
        now: Timestamp,
        mut rejected: impl FnMut(DecodeError),
    ) {
        let mut events = Vec::new();
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            match Event::decode(line) {
                Ok(event) => events.push(event),
                Err(error) => {
                    self.metrics.reject(error.reason);
                    rejected(error);
                }
            }
        }
        if events.is_empty() {
            return;
        }
        let mut out = Verdicts::default();
        let mut detector = self.lock();
        for event in &events {
            self.metrics.check_clock(event.at, now);
            detector.handle_event(event, source, now, &mut out);
        }
        let next = detector.poll_timeout();
        drop(detector);
        if next.is_some_and(|next| next.as_micros() < self.awaited.load(Ordering::Relaxed)) {
            self.sooner.notify_one();
        }
        self.metrics.saw_event(now);
        self.deliver(&mut out);
    }

    /// Counts a line that ingest gave up before decoding.
    pub fn reject(&self, reason: Reason) {
        self.metrics.reject(reason);
    }

    /// Counts a stream connection that ingest did not serve.
    pub fn refuse(&self, reason: Refused) {
        self.metrics.refuse(reason);
    }

    /// Tells the detector that a stream connection closed.
    pub fn disconnect(&self, connection: ConnectionId, now: Timestamp) {
        let mut out = Verdicts::default();
        self.lock().handle_disconnect(connection, now, &mut out);
        self.deliver(&mut out);
    }

    /// Handles due deadlines; returns the next one. Whoever waits for it also waits for
    /// [`Self::sooner`].
    pub fn timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let mut out = Verdicts::default();
        let next = {
            let mut detector = self.lock();
            detector.handle_timeout(now, &mut out);
            let next = detector.poll_timeout();
            let awaited = next.unwrap_or(Timestamp::MAX).as_micros();
            self.awaited.store(awaited, Ordering::Relaxed);
            next
        };
        self.deliver(&mut out);
        next
    }

    /// Waits until an event brings a deadline before the one that [`Self::timeout`] returned last.
    pub async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// Hands out what still waits, once, at the end.
    pub fn shutdown(&self, now: Timestamp) {
        let mut out = Verdicts::default();
        self.lock().handle_shutdown(now, &mut out);
        self.deliver(&mut out);
    }

    /// Reads the detector's state; `read` must be short, ingest waits meanwhile.
    pub fn inspect<T>(&self, read: impl FnOnce(&Detector) -> T) -> T {
        read(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Detector> {
        self.detector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts, and passes on without ever waiting.
    fn deliver(&self, out: &mut Verdicts) {
        self.metrics.record(out);
        let new = out
            .findings
            .drain(..)
            .map(|finding| Report::New(Arc::new(finding)));
        for report in new.chain(out.confirmed.drain(..).map(Report::Confirmed)) {
            if self.sinks.findings.try_send(report).is_err() {
                self.metrics.dropped_finding();
            }
        }
        if let Some(spans) = &self.sinks.spans {
            for lifecycle in out.settled.drain(..) {
                if spans.try_send(lifecycle).is_err() {
                    self.metrics.dropped_span();
                }
            }
        }
    }
}
