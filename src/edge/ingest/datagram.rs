//! The datagram socket: one or more whole events a datagram.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use memchr::memrchr;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use super::framing::Lines;
use super::nap::Pacer;
use super::presence::Presence;
use super::socket::Bound;
use super::{DRAIN, Shared, TOO_LONG};
use crate::detect::Source;

/// Longest datagram that is taken whole, unless one line may be longer.
pub(super) const DATAGRAM_BYTES: usize = 64 * 1024;
/// Datagrams after which the thread looks at its timers.
const DATAGRAMS_PER_TURN: usize = 64;
/// Datagrams that wait at most, from all senders together, unless the system says otherwise.
const QUEUE_USUAL: usize = 10;
/// Pause after a receive that failed for a reason of the system's.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Receives until `shutdown`, and then what is there already.
pub(super) async fn receive(
    bound: Bound<UnixDatagram>,
    shared: Arc<Shared>,
    pacer: Arc<Pacer>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (socket, mut presence) = Presence::of(bound, Bound::datagram);
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    let bytes_max = shared.limits.line_bytes_max.get().max(DATAGRAM_BYTES);
    let mut receiver = Receiver {
        socket,
        buffer: vec![0; bytes_max].into(),
        queue_safe: queue_safe(),
        shared,
        pacer,
    };
    loop {
        tokio::select! {
            () = receiver.run() => {}
            () = presence.lost() => {}
            () = shutdown.cancelled() => break,
        }
        if let Some(socket) = presence.renew(&receiver.shared).await {
            receiver.drain().await;
            receiver.socket = tokio::net::UnixDatagram::from_std(socket)?;
        }
    }
    drop(presence);
    receiver.drain().await;
    Ok(())
}

/// Datagrams that may wait without danger. Half of what the kernel lets wait, because all senders
/// share it, and one that does not wait loses what finds no room. With the 10 that every pod
/// starts with this leaves no time for a nap.
fn queue_safe() -> usize {
    let setting = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen");
    let queue = setting.ok().and_then(|text| text.trim().parse().ok());
    (queue.unwrap_or(QUEUE_USUAL) / 2).max(1)
}

struct Receiver {
    socket: tokio::net::UnixDatagram,
    buffer: Box<[u8]>,
    queue_safe: usize,
    shared: Arc<Shared>,
    pacer: Arc<Pacer>,
}

impl Receiver {
    async fn run(&mut self) {
        loop {
            let ready = self.socket.readable().await;
            match ready.and_then(|()| self.turn()) {
                Ok(false) => {}
                Ok(true) => tokio::task::yield_now().await,
                Err(error) => {
                    if let Some(suppressed) =
                        self.shared.notices.failed.admit((self.shared.clock)())
                    {
                        tracing::warn!(%error, suppressed, "cannot receive datagrams, trying again");
                    }
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// Receives what is there already.
    async fn drain(&mut self) {
        let rest = async {
            while let Ok(Some(())) = self.receive_now() {
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::time::timeout(DRAIN, rest).await;
    }

    /// Receives a number of datagrams; whether there may be more.
    fn turn(&mut self) -> io::Result<bool> {
        for received in 0..DATAGRAMS_PER_TURN {
            if self.receive_ready()?.is_none() {
                if received > 0 {
                    self.pacer.note(received, self.queue_safe);
                }
                return Ok(false);
            }
        }
        self.pacer.note(DATAGRAMS_PER_TURN, self.queue_safe);
        Ok(true)
    }

    /// One datagram, if the runtime has heard of one.
    fn receive_ready(&mut self) -> io::Result<Option<()>> {
        let (socket, buffer) = (&self.socket, &mut self.buffer[..]);
        let answer = socket.try_io(Interest::READABLE, || receive_one(socket, buffer));
        self.judge(answer)
    }

    /// One datagram, if there is one: of what arrived last the runtime may not have heard yet.
    fn receive_now(&mut self) -> io::Result<Option<()>> {
        let answer = receive_one(&self.socket, &mut self.buffer);
        self.judge(answer)
    }

    fn judge(&self, answer: io::Result<(usize, usize)>) -> io::Result<Option<()>> {
        match answer {
            Ok((kept, sent)) => {
                self.take(kept, sent);
                Ok(Some(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of a datagram that was too long, the lines that arrived whole still count.
    fn take(&self, kept: usize, sent: usize) {
        let source = Source {
            connection: None,
            identity: Some("datagram"),
        };
        let mut text = &self.buffer[..kept];
        if sent > kept {
            text = &text[..memrchr(b'\n', text).map_or(0, |last| last + 1)];
            self.shared.reject(TOO_LONG, source);
        }
        let lines = Lines::whole(text, self.shared.limits.line_bytes_max.get());
        self.shared.take(lines, source);
    }
}

/// Bytes kept and bytes sent of one datagram.
fn receive_one(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    Ok(rustix::net::recv(socket, buffer, flags)?)
}
