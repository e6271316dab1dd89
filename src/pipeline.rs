//! One event through the detector and out to its effects; sole owner of the lock.

pub mod sessions;

mod acknowledged;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use crate::detect::event::{DecodeError, Event, Reason};
use crate::detect::finding::{Finding, Lifecycle, Verdicts};
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Detector, Source};
use crate::metrics::{Metrics, Refused};
use sessions::Sessions;

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
    desk: Mutex<Desk>,
    metrics: Arc<Metrics>,
    sinks: Sinks,
    /// The deadline that somebody waits for, in microseconds; the latest possible: none.
    awaited: AtomicI64,
    sooner: Notify,
}

/// What the lock guards.
struct Desk {
    detector: Detector,
    sessions: Sessions,
    /// What it says; kept for its memory, so that a healthy event allocates none.
    out: Verdicts,
}

impl Pipeline {
    /// Joins a detector to its effects.
    pub fn new(detector: Detector, metrics: Arc<Metrics>, sinks: Sinks) -> Self {
        Self {
            desk: Mutex::new(Desk {
                detector,
                sessions: Sessions::default(),
                out: Verdicts::default(),
            }),
            metrics,
            sinks,
            awaited: AtomicI64::new(Timestamp::MAX.as_micros()),
            sooner: Notify::new(),
        }
    }

    /// Decodes and judges the lines that one read brought, one by one while they are in the cache,
    /// and under one lock. A line that cannot be used is counted and handed to `rejected`, without
    /// the lock: that may take its time.
    pub fn process<'a>(
        &self,
        lines: impl Iterator<Item = &'a [u8]>,
        source: Source<'_>,
        now: Timestamp,
        mut rejected: impl FnMut(DecodeError),
    ) {
        let mut desk: Option<MutexGuard<'_, Desk>> = None;
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            match Event::decode(line) {
                Ok(event) => {
                    self.metrics.check_clock(event.at, now);
                    let desk = desk.get_or_insert_with(|| self.open(now));
                    desk.handle_event(&event, source, now, &self.metrics);
                }
                Err(error) => {
                    self.leave(desk.take(), now);
                    self.metrics.reject(error.reason);
                    rejected(error);
                }
            }
        }
        self.leave(desk, now);
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
        self.orphan(self.open(now), connection, now);
    }

    fn orphan(&self, mut desk: MutexGuard<'_, Desk>, connection: ConnectionId, now: Timestamp) {
        let Desk { detector, out, .. } = &mut *desk;
        detector.handle_disconnect(connection, now, out);
        self.deliver(desk);
    }

    /// Handles due deadlines; returns the next one. Whoever waits for it also waits for
    /// [`Self::sooner`].
    pub fn timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let mut desk = self.open(now);
        let Desk { detector, out, .. } = &mut *desk;
        detector.handle_timeout(now, out);
        let next = detector.poll_timeout();
        let awaited = next.unwrap_or(Timestamp::MAX).as_micros();
        self.awaited.store(awaited, Ordering::Relaxed);
        self.deliver(desk);
        next
    }

    /// Waits until an event brings a deadline before the one that [`Self::timeout`] returned last.
    pub async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// Hands out what still waits, once, at the end.
    pub fn shutdown(&self, now: Timestamp) {
        let mut desk = self.open(now);
        let Desk { detector, out, .. } = &mut *desk;
        detector.handle_shutdown(now, out);
        self.deliver(desk);
    }

    /// Reads the detector's state; `read` must be short, ingest waits meanwhile.
    pub fn inspect<T>(&self, read: impl FnOnce(&Detector) -> T) -> T {
        read(&self.lock().detector)
    }

    /// Takes the lock for what happens at `now`.
    fn open(&self, now: Timestamp) -> MutexGuard<'_, Desk> {
        let desk = self.lock();
        self.metrics.turn(now);
        desk
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the judging of events, if there were any.
    fn leave(&self, desk: Option<MutexGuard<'_, Desk>>, now: Timestamp) {
        let Some(desk) = desk else { return };
        let next = desk.detector.poll_timeout();
        if next.is_some_and(|next| next.as_micros() < self.awaited.load(Ordering::Relaxed)) {
            self.sooner.notify_one();
        }
        self.metrics.saw_event(now);
        self.deliver(desk);
    }

    /// Counts what is not counted yet, and passes on without ever waiting, and without the lock.
    fn deliver(&self, mut desk: MutexGuard<'_, Desk>) {
        let out = &mut desk.out;
        self.metrics.record(out);
        out.observations.clear();
        if out.is_empty() {
            return;
        }
        let news = std::mem::take(out);
        drop(desk);
        let new = news
            .findings
            .into_iter()
            .map(|finding| Report::New(Arc::new(finding)));
        for report in new.chain(news.confirmed.into_iter().map(Report::Confirmed)) {
            if self.sinks.findings.try_send(report).is_err() {
                self.metrics.dropped_finding();
            }
        }
        if let Some(spans) = &self.sinks.spans {
            for lifecycle in news.settled {
                if spans.try_send(lifecycle).is_err() {
                    self.metrics.dropped_span();
                }
            }
        }
    }
}

impl Desk {
    /// Judges an event, and counts what was said of it while it is in the cache.
    fn handle_event(
        &mut self,
        event: &Event<'_>,
        source: Source<'_>,
        now: Timestamp,
        metrics: &Metrics,
    ) {
        let Self { detector, out, .. } = self;
        detector.handle_event(event, source, now, out);
        metrics.record(out);
        out.observations.clear();
    }
}
