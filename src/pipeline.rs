//! One event through the detector and out to its effects; sole owner of the lock.

pub mod sessions;
pub mod spans;

mod acknowledged;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use crate::detect::event::{DecodeError, Event, Reason};
use crate::detect::finding::{Finding, Gap, Verdicts};
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Detector, Source};
use crate::metrics::{Metrics, Refused, Tally};
use sessions::{Position, Sessions};
use spans::SpanSink;

/// Open attempts that are closed at once, when a connection or the lease of very many ends. What is said of
/// each waits in memory until the lock is left.
pub const AT_ONCE_MAX: usize = 256;
/// Between two looks whether the lock is free.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// What leaves the pipeline besides counts. Both channels are bounded; a full one drops, counted.
pub struct Sinks {
    /// Findings, and the ids of those that came true.
    pub findings: Sender<Report>,
    /// Lifecycles to export as spans; `None` when no collector is configured.
    pub spans: Option<SpanSink>,
}

/// News about a finding.
#[derive(Clone, Debug)]
pub enum Report {
    /// It arose.
    New(Arc<Finding>),
    /// The finding with this id has come true.
    Confirmed(u64),
}

/// Keeps what the detector knows over a restart. Called under the lock, so that what is kept is in
/// the order in which it happened; the files are its own business, below [`crate::edge`].
pub trait Keeper: Send {
    /// Keeps what the detector changed and said since the last call, before anything of it leaves.
    /// What cannot be kept is the keeper's to tell. `connection` is the highest number of a stream
    /// connection so far.
    fn keep(&mut self, detector: &mut Detector, told: &Verdicts, connection: u64);

    /// Keeps, with the next call of [`Keeper::keep`], how far a client's session was read.
    fn position(&mut self, position: &Position);

    /// Does a little of what is not urgent.
    fn tidy(&mut self, detector: &mut Detector, connection: u64, now: Timestamp) -> Chore;
}

/// What is left to tidy.
pub enum Chore {
    /// Nothing, or nothing until then.
    None(Option<Timestamp>),
    /// Some more, after a moment for others.
    More,
    /// This, which takes long and needs no lock; then more.
    Outside(Box<dyn FnOnce() + Send>),
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
    /// A session's position that rose and is to be kept.
    advanced: Option<Position>,
    /// What it says; kept for its memory, so that a healthy event allocates none.
    out: Verdicts,
    /// What was said since the lock was taken.
    tally: Tally,
    keeper: Option<Box<dyn Keeper>>,
    /// The highest number of a stream connection that sent an event or joined a session.
    connection: u64,
}

impl Pipeline {
    /// Joins a detector to its effects.
    pub fn new(detector: Detector, metrics: Arc<Metrics>, sinks: Sinks) -> Self {
        Self {
            desk: Mutex::new(Desk {
                detector,
                sessions: Sessions::default(),
                advanced: None,
                out: Verdicts::default(),
                tally: metrics.tally(),
                keeper: None,
                connection: 0,
            }),
            metrics,
            sinks,
            awaited: AtomicI64::new(Timestamp::MAX.as_micros()),
            sooner: Notify::new(),
        }
    }

    /// Lets what is known be kept over a restart; `connection` is the highest number of a stream
    /// connection so far.
    pub fn kept_by(self, keeper: Box<dyn Keeper>, connection: u64) -> Self {
        {
            let mut desk = self.lock();
            desk.detector.keep_journal();
            desk.keeper = Some(keeper);
            desk.connection = connection;
        }
        self
    }

    /// Goes on with the sessions of an earlier process, the one heard of last at the end.
    pub fn go_on(&self, positions: impl IntoIterator<Item = Position>, now: Timestamp) {
        let mut desk = self.lock();
        for position in positions {
            if desk.sessions.restore(position, now) {
                self.metrics.gap(Gap::SessionsOverflow);
            }
        }
    }

    /// Lets the keeper tidy a little; to be called again as it says.
    pub fn tidy(&self, now: Timestamp) -> Chore {
        let mut desk = self.lock();
        let Desk {
            detector,
            keeper,
            connection,
            ..
        } = &mut *desk;
        match keeper {
            Some(keeper) => keeper.tidy(detector, *connection, now),
            None => Chore::None(None),
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
                    let desk = desk.get_or_insert_with(|| self.open_for(source, now));
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

    /// Counts a try to bind a socket anew whose file was lost.
    pub fn rebound(&self, done: bool) {
        self.metrics.rebound(done);
    }

    /// Tells the detector that a stream connection closed.
    pub fn disconnect(&self, connection: ConnectionId, now: Timestamp) {
        self.orphan(self.open(now), connection, now);
    }

    /// The attempts are those that are open now. Between two parts of them the connection's session may
    /// come back: what that starts is not among them, and what it ends is no longer open.
    fn orphan<'a>(
        &'a self,
        mut desk: MutexGuard<'a, Desk>,
        connection: ConnectionId,
        now: Timestamp,
    ) {
        let Desk { detector, out, .. } = &mut *desk;
        let mut orphans = detector.orphans(connection, now, out);
        loop {
            let Desk { detector, out, .. } = &mut *desk;
            let more = detector.handle_orphans(&mut orphans, AT_ONCE_MAX, out);
            self.deliver(desk);
            if !more {
                return;
            }
            desk = self.open(now);
        }
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

    /// Waits, without blocking the thread, until nobody has the lock. State on a disk that stalls is
    /// written under it, for as long as that takes, and the thread that answers probes must not stand
    /// still with it; only a stall that begins between this and taking the lock still does that.
    pub async fn free(&self) {
        while matches!(self.desk.try_lock(), Err(TryLockError::WouldBlock)) {
            tokio::time::sleep(BUSY_PAUSE).await;
        }
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

    /// Takes the lock for what happens at `now`. If very many deadlines passed before, most of them are
    /// handled here.
    fn open(&self, now: Timestamp) -> MutexGuard<'_, Desk> {
        loop {
            let mut desk = self.lock();
            self.metrics.turn(now);
            let Desk { detector, out, .. } = &mut *desk;
            if !detector.handle_overdue(now, AT_ONCE_MAX, out) {
                return desk;
            }
            self.deliver(desk);
        }
    }

    /// The same for events of `source`.
    fn open_for(&self, source: Source<'_>, now: Timestamp) -> MutexGuard<'_, Desk> {
        let mut desk = self.open(now);
        if let Some(connection) = source.connection {
            desk.saw_connection(connection);
        }
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

    /// Keeps and counts what is not yet, and passes on without ever waiting, and without the lock.
    fn deliver(&self, mut desk: MutexGuard<'_, Desk>) {
        desk.keep();
        let Desk { out, tally, .. } = &mut *desk;
        self.metrics.record(out, tally);
        self.metrics.flush(tally);
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
                if !spans.put(lifecycle) {
                    self.metrics.dropped_span();
                }
            }
        }
    }
}

impl Desk {
    /// Notes a number that names a client from now on.
    fn saw_connection(&mut self, connection: ConnectionId) {
        self.connection = self.connection.max(connection.0);
    }

    /// Judges an event, and counts what was said of it while it is in the cache.
    fn handle_event(
        &mut self,
        event: &Event<'_>,
        source: Source<'_>,
        now: Timestamp,
        metrics: &Metrics,
    ) {
        let Self {
            detector,
            out,
            tally,
            ..
        } = self;
        detector.handle_event(event, source, now, out);
        metrics.record(out, tally);
        out.observations.clear();
    }

    /// Keeps what changed, if that was asked for.
    fn keep(&mut self) {
        let Self {
            detector,
            out,
            advanced,
            keeper,
            connection,
            ..
        } = self;
        let advanced = advanced.take();
        let Some(keeper) = keeper else { return };
        if let Some(position) = advanced {
            keeper.position(&position);
        }
        keeper.keep(detector, out, *connection);
    }
}
