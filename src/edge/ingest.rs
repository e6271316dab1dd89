//! Events in: the stream and datagram sockets, read on threads of their own (SPEC §2).
//!
//! A reader takes all that a socket holds, hands the lines of each read to the pipeline with one
//! reading of the clock, and then naps ([`nap`]). It never waits for anything else, so a sender
//! waits for nobody but the nap, and that is shorter than what its socket buffer holds.

pub mod framing;
pub mod nap;
pub mod socket;

mod acks;
mod datagram;
mod hello;
mod presence;
mod reader;
mod stream;

#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroUsize;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::detect::event::{DecodeError, Reason};
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Source};
use crate::edge::telemetry::RejectedLog;
use crate::edge::throttle::SharedThrottle;
use crate::metrics::Refused;
use crate::pipeline::Pipeline;
use crate::pipeline::sessions::{Session, Thread};
use framing::Lines;
use nap::Pacer;
use socket::{BindError, Bound, Place};

/// Bytes of one read of a reader's thread.
pub const READ_BYTES: usize = reader::READ_BYTES;
/// Bytes of the datagrams that are taken together.
pub fn datagram_bytes(line_bytes_max: usize) -> usize {
    datagram::bytes(line_bytes_max)
}

/// Reads the time; the only source of it here.
pub type Clock = fn() -> Timestamp;

/// Makes the value that a connection holds while it is open, such as a gauge's guard.
pub type Connected = Box<dyn Fn() -> Box<dyn Send> + Send + Sync>;

/// How long, after the order to stop, what is still in the sockets may take to read.
const DRAIN: Duration = Duration::from_millis(200);
/// What is said of a line of which only the length was looked at.
const TOO_LONG: DecodeError = DecodeError {
    reason: Reason::TooLong,
    field: None,
};
/// Accepted connections that may wait for their reader.
const HANDOVER: usize = 64;

/// Bounds of what clients may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest line in bytes, without its newline. Memory for half-sent lines is at most twice
    /// this for each connection.
    pub line_bytes_max: NonZeroUsize,
    /// Stream connections at a time; more are closed at once.
    pub connections_max: NonZeroUsize,
    /// Users whose stream connections are served; empty: all. Datagrams name no user and are
    /// limited by the mode of their socket only.
    pub allowed_uids: Vec<u32>,
}

/// The bound sockets. Their files are removed when this, or the [`Ingest`] made of it, is gone.
#[derive(Debug)]
pub struct Sockets {
    stream: Bound<UnixListener>,
    datagram: Option<Bound<UnixDatagram>>,
}

impl Sockets {
    /// Binds the sockets with `mode` as their permissions. Blocks for up to a second if another
    /// process is starting in the same directory.
    pub fn bind(stream: &Place, datagram: Option<&Place>, mode: u32) -> Result<Self, BindError> {
        Ok(Self {
            stream: Bound::stream(stream, mode)?,
            datagram: datagram
                .map(|place| Bound::datagram(place, mode))
                .transpose()?,
        })
    }
}

/// Reads events from its sockets until told to stop.
pub struct Ingest {
    sockets: Sockets,
    readers: NonZeroUsize,
    shared: Arc<Shared>,
    connections_before: u64,
}

impl Ingest {
    /// `readers` is the number of threads that share the stream connections; one is enough for a
    /// million events a second.
    pub fn new(
        sockets: Sockets,
        limits: Limits,
        readers: NonZeroUsize,
        pipeline: Arc<Pipeline>,
        clock: Clock,
        connected: Connected,
    ) -> Self {
        Self::with_sink(
            sockets,
            limits,
            readers,
            Sink::Pipeline(pipeline),
            clock,
            connected,
        )
    }

    fn with_sink(
        sockets: Sockets,
        limits: Limits,
        readers: NonZeroUsize,
        sink: Sink,
        clock: Clock,
        connected: Connected,
    ) -> Self {
        let shared = Arc::new(Shared {
            sink,
            clock,
            connected,
            // A semaphore holds fewer permits than a usize could ask for.
            permits: Arc::new(Semaphore::new(
                limits.connections_max.get().min(Semaphore::MAX_PERMITS),
            )),
            limits,
            notices: Notices::default(),
        });
        Self {
            sockets,
            readers,
            shared,
            connections_before: 0,
        }
    }

    /// Numbers the stream connections after those of an earlier process: their numbers name
    /// clients that are still remembered.
    pub fn after(mut self, connections: u64) -> Self {
        self.connections_before = connections;
        self
    }

    /// Reads until `shutdown`; then accepts nothing new, reads what the sockets still hold for at
    /// most 200 ms, and returns. Connections that are open then are not reported as closed: the
    /// sidecar left, not they.
    ///
    /// An error is the system refusing a thread or a descriptor at the start, or a panic in a
    /// reader's thread. Dropping the future stops the threads, too.
    pub async fn run(self, shutdown: CancellationToken) -> io::Result<()> {
        let Self {
            sockets,
            readers,
            shared,
            connections_before,
        } = self;
        let shutdown = shutdown.child_token();
        let _stop = shutdown.clone().drop_guard();
        let mut threads = JoinSet::new();
        let mut handovers = Vec::with_capacity(readers.get());
        for _ in 0..readers.get() {
            let (sender, receiver) = mpsc::channel(HANDOVER);
            handovers.push(sender);
            let (shared, shutdown) = (shared.clone(), shutdown.clone());
            spawn(&mut threads, shared.clock, move |pacer| async move {
                stream::serve(receiver, shared, pacer, shutdown).await;
                Ok(())
            });
        }
        if let Some(bound) = sockets.datagram {
            let (shared, shutdown) = (shared.clone(), shutdown.clone());
            spawn(&mut threads, shared.clock, move |pacer| {
                datagram::receive(bound, shared, pacer, shutdown)
            });
        }
        threads.spawn(stream::accept(
            sockets.stream,
            handovers,
            shared,
            connections_before,
            shutdown.clone(),
        ));
        let mut result = Ok(());
        while let Some(ended) = threads.join_next().await {
            let ended = ended.map_err(io::Error::other).and_then(|inner| inner);
            if ended.is_err() && result.is_ok() {
                result = ended;
                shutdown.cancel();
            }
        }
        result
    }
}

/// Runs a task on a thread with a runtime of its own, so that its nap holds up nobody else.
fn spawn<T, F>(threads: &mut JoinSet<io::Result<()>>, clock: Clock, task: T)
where
    T: FnOnce(Arc<Pacer>) -> F + Send + 'static,
    F: Future<Output = io::Result<()>>,
{
    threads.spawn_blocking(move || {
        let pacer = Arc::new(Pacer::new(clock));
        let parking = pacer.clone();
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_park(move || parking.park())
            .build()?
            .block_on(task(pacer))
    });
}

/// What all readers use.
struct Shared {
    sink: Sink,
    clock: Clock,
    connected: Connected,
    permits: Arc<Semaphore>,
    limits: Limits,
    notices: Notices,
}

impl Shared {
    /// Hands on the lines of one read; returns how many there were.
    fn take(&self, mut lines: Lines<'_>, source: Source<'_>) -> usize {
        let now = (self.clock)();
        self.sink.process(&mut lines, source, now, |error| {
            self.rejected(error, source, now);
        });
        for _ in 0..lines.too_long() {
            self.reject(TOO_LONG, source);
        }
        lines.taken()
    }

    /// As [`Self::take`], for numbered lines; returns the number up to which all are read.
    fn take_numbered<'a>(
        &self,
        lines: impl Iterator<Item = (u64, Result<&'a [u8], DecodeError>)>,
        source: Source<'_>,
        thread: &Thread,
    ) -> u64 {
        let now = (self.clock)();
        self.sink
            .process_numbered(lines, source, thread, now, |error| {
                self.rejected(error, source, now);
            })
    }

    /// Counts and logs a line that the pipeline does not get.
    fn reject(&self, error: DecodeError, source: Source<'_>) {
        self.sink.reject(error.reason);
        self.rejected(error, source, (self.clock)());
    }

    /// Logs without the content: it may be anything.
    fn rejected(&self, error: DecodeError, source: Source<'_>, now: Timestamp) {
        let from = source.identity.unwrap_or_default();
        self.notices.rejected.log(error, from, now);
    }
}

/// One throttle for each kind of log line here.
#[derive(Debug, Default)]
struct Notices {
    rejected: RejectedLog,
    crowded: SharedThrottle,
    refused: SharedThrottle,
    failed: SharedThrottle,
    lost: SharedThrottle,
}

/// Where events go.
enum Sink {
    Pipeline(Arc<Pipeline>),
    #[cfg(test)]
    Record(Arc<tests::Record>),
}

impl Sink {
    fn process(
        &self,
        lines: &mut Lines<'_>,
        source: Source<'_>,
        now: Timestamp,
        rejected: impl FnMut(DecodeError),
    ) {
        match self {
            Self::Pipeline(pipeline) => pipeline.process(lines, source, now, rejected),
            #[cfg(test)]
            Self::Record(record) => record.process(lines, source, now, rejected),
        }
    }

    fn process_numbered<'a>(
        &self,
        lines: impl Iterator<Item = (u64, Result<&'a [u8], DecodeError>)>,
        source: Source<'_>,
        thread: &Thread,
        now: Timestamp,
        rejected: impl FnMut(DecodeError),
    ) -> u64 {
        match self {
            Self::Pipeline(pipeline) => {
                pipeline.process_numbered(lines, source, thread, now, rejected)
            }
            #[cfg(test)]
            Self::Record(record) => record.process_numbered(lines, source, thread, now, rejected),
        }
    }

    fn join(&self, session: Session, first: u64, own: ConnectionId, now: Timestamp) -> Thread {
        match self {
            Self::Pipeline(pipeline) => pipeline.join(session, first, own, now),
            #[cfg(test)]
            Self::Record(record) => record.join(session, first, own, now),
        }
    }

    fn part(&self, thread: &Thread, now: Timestamp) {
        match self {
            Self::Pipeline(pipeline) => pipeline.part(thread, now),
            #[cfg(test)]
            Self::Record(record) => record.part(thread, now),
        }
    }

    fn reject(&self, reason: Reason) {
        match self {
            Self::Pipeline(pipeline) => pipeline.reject(reason),
            #[cfg(test)]
            Self::Record(record) => record.reject(reason),
        }
    }

    fn refuse(&self, reason: Refused) {
        match self {
            Self::Pipeline(pipeline) => pipeline.refuse(reason),
            #[cfg(test)]
            Self::Record(record) => record.refuse(reason),
        }
    }

    fn rebound(&self, done: bool) {
        match self {
            Self::Pipeline(pipeline) => pipeline.rebound(done),
            #[cfg(test)]
            Self::Record(_) => {}
        }
    }

    fn disconnect(&self, connection: ConnectionId, now: Timestamp) {
        match self {
            Self::Pipeline(pipeline) => pipeline.disconnect(connection, now),
            #[cfg(test)]
            Self::Record(record) => record.disconnect(connection),
        }
    }
}
