//! The stream socket: accepts connections and reads their events.

use std::cell::RefCell;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, SocketFlags};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::framing::{Framer, Lines};
use super::nap::Pacer;
use super::presence::Presence;
use super::socket::Bound;
use super::{DRAIN, Shared};
use crate::detect::{ConnectionId, Source};
use crate::metrics::Refused;

/// Bytes of one read. The buffer is the thread's, not the connection's: it is empty again before
/// another connection is read.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Full reads after which the other connections of the thread get their turn.
const READS_PER_TURN: usize = 4;
/// Small writes that a stream socket holds with the usual send buffer of 208 KiB.
const WRITES_QUEUED_MAX: usize = 167;
/// Pause after a failed accept, doubled up to the maximum while it fails: descriptors come back
/// when connections close, not by trying.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A connection on its way from the acceptor to its reader.
pub(super) struct Accepted {
    stream: UnixStream,
    uid: u32,
    number: u64,
    permit: OwnedSemaphorePermit,
}

/// Accepts connections until `shutdown`, and deals them out to the readers in turn. Those that
/// wait to be accepted at that moment are still dealt out: their events are already in. `accepted` is
/// the number of the last connection before.
pub(super) async fn accept(
    bound: Bound<UnixListener>,
    readers: Vec<mpsc::Sender<Accepted>>,
    shared: Arc<Shared>,
    accepted: u64,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (socket, presence) = Presence::of(bound, Bound::stream);
    let mut acceptor = Acceptor {
        listener: tokio::net::UnixListener::from_std(socket)?,
        readers,
        shared,
        accepted,
    };
    acceptor.run(presence, &shutdown).await?;
    // Nobody new finds the socket; those who found it before are waiting in the listener.
    // Past the deadline the rest see a closed connection.
    let _ = tokio::time::timeout(DRAIN, acceptor.drain()).await;
    Ok(())
}

struct Acceptor {
    listener: tokio::net::UnixListener,
    readers: Vec<mpsc::Sender<Accepted>>,
    shared: Arc<Shared>,
    accepted: u64,
}

impl Acceptor {
    /// Never gives up between accepting and dealing out: the connection would be lost.
    async fn run(
        &mut self,
        mut presence: Presence<UnixListener>,
        shutdown: &CancellationToken,
    ) -> io::Result<()> {
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = presence.lost() => {
                    if let Some(socket) = presence.renew(&self.shared).await {
                        self.move_to(socket).await?;
                    }
                    continue;
                }
                () = shutdown.cancelled() => return Ok(()),
            };
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => {
                    pause = ACCEPT_PAUSE;
                    self.deal(stream).await;
                }
                Err(error) => {
                    let notices = &self.shared.notices;
                    self.shared.sink.refuse(Refused::AcceptFailed);
                    if let Some(suppressed) = notices.failed.admit((self.shared.clock)()) {
                        tracing::warn!(%error, suppressed, "cannot accept connections, trying again");
                    }
                    let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    /// Goes on with another socket; who found the old one is still served.
    async fn move_to(&mut self, socket: UnixListener) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(socket)?;
        self.drain().await;
        self.listener = listener;
        Ok(())
    }

    /// Deals out what waits already. Asks the system itself, since the runtime may not have heard
    /// yet of what arrived last.
    async fn drain(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(stream) = rustix::net::accept_with(&self.listener, flags) {
            self.deal(stream.into()).await;
            tokio::task::yield_now().await;
        }
    }

    /// Gives a connection to the next reader, or closes it.
    async fn deal(&mut self, stream: UnixStream) {
        let Some((uid, permit)) = admit(&stream, &self.shared) else {
            return;
        };
        self.accepted += 1;
        let number = self.accepted;
        let reader = &self.readers[number as usize % self.readers.len()];
        let accepted = Accepted {
            stream,
            uid,
            number,
            permit,
        };
        // It fails only if the reader's thread has died, and then so does ingest.
        let _ = reader.send(accepted).await;
    }
}

/// The sender's user, and a place among the connections; `None` if it may not be served.
fn admit(stream: &UnixStream, shared: &Shared) -> Option<(u32, OwnedSemaphorePermit)> {
    let notices = &shared.notices;
    // A kernel that does not say who it is names nobody that could be allowed.
    let peer = rustix::net::sockopt::socket_peercred(stream);
    let uid = peer.map_or(u32::MAX, |peer| peer.uid.as_raw());
    let allowed = &shared.limits.allowed_uids;
    if !allowed.is_empty() && !allowed.contains(&uid) {
        shared.sink.refuse(Refused::Uid);
        if let Some(suppressed) = notices.refused.admit((shared.clock)()) {
            tracing::warn!(uid, suppressed, "connection refused: not in --allow-uid");
        }
        return None;
    }
    let Ok(permit) = shared.permits.clone().try_acquire_owned() else {
        shared.sink.refuse(Refused::Limit);
        if let Some(suppressed) = notices.crowded.admit((shared.clock)()) {
            let limit = shared.limits.connections_max;
            tracing::warn!(
                limit,
                suppressed,
                "connection refused: --max-connections reached"
            );
        }
        return None;
    };
    Some((uid, permit))
}

/// Reads the connections of one thread; ends when the acceptor and all connections have.
pub(super) async fn serve(
    mut accepted: mpsc::Receiver<Accepted>,
    shared: Arc<Shared>,
    pacer: Arc<Pacer>,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(accepted) = accepted.recv() => {
                let (shared, pacer) = (shared.clone(), pacer.clone());
                connections.spawn(connection(accepted, shared, pacer, shutdown.clone()));
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    // One connection is lost, not the others.
                    tracing::error!(%error, "a connection's reader failed");
                }
            }
            else => return,
        }
    }
}

async fn connection(
    accepted: Accepted,
    shared: Arc<Shared>,
    pacer: Arc<Pacer>,
    shutdown: CancellationToken,
) {
    let Accepted {
        stream,
        uid,
        number,
        permit: _permit,
    } = accepted;
    let _connected = (shared.connected)();
    let stream = match tokio::net::UnixStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "cannot read a connection");
            return;
        }
    };
    let id = ConnectionId(number);
    let identity = format!("uid:{uid}/connection:{number}");
    let source = Source {
        connection: Some(id),
        identity: Some(&identity),
    };
    let mut reader = Reader::new(stream, &shared, Some(&pacer), source);
    let closed = tokio::select! {
        () = reader.run() => true,
        () = shutdown.cancelled() => false,
    };
    if closed || reader.drain().await {
        shared.sink.disconnect(id, (shared.clock)());
    }
}

/// Reads the events of one stream.
pub(super) struct Reader<'a, R> {
    stream: R,
    framer: Framer,
    shared: &'a Shared,
    pacer: Option<&'a Pacer>,
    source: Source<'a>,
}

impl<'a, R: AsyncRead + Unpin> Reader<'a, R> {
    pub(super) fn new(
        stream: R,
        shared: &'a Shared,
        pacer: Option<&'a Pacer>,
        source: Source<'a>,
    ) -> Self {
        Self {
            stream,
            framer: Framer::new(shared.limits.line_bytes_max.get()),
            shared,
            pacer,
            source,
        }
    }

    /// Reads until the client closes the stream or breaks it off. May be dropped at any point
    /// without loss of what was read.
    pub(super) async fn run(&mut self) {
        let mut reads = 0;
        while std::future::poll_fn(|cx| self.poll_read(cx)).await {
            reads += 1;
            if reads % READS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One read; false at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            // Not a bare `read` call: this one knows that a short read has emptied the socket,
            // and saves the call that would find that out.
            let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) else {
                self.framer.shrink();
                return Poll::Pending;
            };
            // A reset is an end like any other: the client is gone.
            let chunk = read.map_or(&[][..], |()| buffer.filled());
            let messages = self.take(chunk);
            let open = !chunk.is_empty();
            if let Some(pacer) = self.pacer.filter(|_| open) {
                pacer.note(messages.max(1), WRITES_QUEUED_MAX);
            }
            Poll::Ready(open)
        })
    }

    /// Hands on the lines of one read; an empty one is the end of the stream.
    fn take(&mut self, chunk: &[u8]) -> usize {
        let lines = if chunk.is_empty() {
            Lines::whole(self.framer.finish().unwrap_or_default(), usize::MAX)
        } else {
            self.framer.feed(chunk)
        };
        self.shared.take(lines, self.source)
    }
}

impl Reader<'_, tokio::net::UnixStream> {
    /// Reads what is there already, until the deadline; whether the client has closed the stream.
    /// Half a line is dropped: the client may have sent the rest later.
    pub(super) async fn drain(&mut self) -> bool {
        let rest = async {
            loop {
                match self.read_now() {
                    Ok(true) => tokio::task::yield_now().await,
                    Ok(false) => return true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(_) => return true,
                }
            }
        };
        tokio::time::timeout(DRAIN, rest).await.unwrap_or(false)
    }

    /// One read; false at the end of the stream. Asks the system itself, since the runtime may not
    /// have heard yet of what arrived last.
    fn read_now(&mut self) -> io::Result<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let (length, _) =
                rustix::net::recv(&self.stream, &mut scratch[..], RecvFlags::DONTWAIT)?;
            self.take(&scratch[..length]);
            Ok(length > 0)
        })
    }
}
