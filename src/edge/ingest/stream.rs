//! The stream socket: accepts connections and reads their events.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketFlags;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::nap::Pacer;
use super::presence::Presence;
use super::reader::{Peer, Reader};
use super::socket::Bound;
use super::{DRAIN, Shared};
use crate::metrics::Refused;

/// Pause after a failed accept, doubled up to the maximum while it fails: descriptors come back
/// when connections close, not by trying.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

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
    let peer = Peer { uid, number };
    let mut reader = Reader::new(stream, &shared, Some(&pacer), peer);
    let closed = tokio::select! {
        () = reader.run() => true,
        () = shutdown.cancelled() => false,
    };
    if closed || reader.drain().await {
        reader.closed();
    }
}
