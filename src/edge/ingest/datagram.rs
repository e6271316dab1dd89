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
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Bytes after which no other datagram is taken with those that are there.
const TOGETHER_BYTES: usize = 16 * 1024;
/// Datagrams that are taken together; after them the thread looks at its timers.
const DATAGRAMS_PER_TURN: usize = 64;
/// Datagrams that wait at most, from all senders together, unless the system says otherwise.
const QUEUE_USUAL: usize = 10;
/// Pause after a receive that failed for a reason of the system's.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of the room for datagrams that are taken together: for some usual ones, and the longest.
pub(super) fn bytes(line_bytes_max: usize) -> usize {
    TOGETHER_BYTES + line_bytes_max.max(DATAGRAM_BYTES) + 1
}

/// Receives until `shutdown`, and then what is there already.
pub(super) async fn receive(
    bound: Bound<UnixDatagram>,
    shared: Arc<Shared>,
    pacer: Arc<Pacer>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (socket, mut presence) = Presence::of(bound, Bound::datagram);
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    let mut receiver = Receiver {
        socket,
        batch: Batch::new(shared.limits.line_bytes_max.get()),
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
    batch: Batch,
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

    /// Takes what is there already. Asks the system itself: of what arrived last the runtime may
    /// not have heard yet.
    async fn drain(&mut self) {
        let rest = async {
            loop {
                let answer = self.batch.fill(&self.socket);
                if !matches!(self.judge(answer), Ok(true)) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::time::timeout(DRAIN, rest).await;
    }

    /// Takes what is there, if the runtime has heard of any; whether there may be more.
    fn turn(&mut self) -> io::Result<bool> {
        let Self { socket, batch, .. } = self;
        let answer = socket.try_io(Interest::READABLE, || batch.fill(socket));
        self.judge(answer)
    }

    /// Judges what a receive brought before it ended with `answer`; whether there may be more.
    fn judge(&mut self, answer: io::Result<()>) -> io::Result<bool> {
        let source = Source {
            connection: None,
            identity: Some("datagram"),
        };
        let batch = &mut self.batch;
        if batch.datagrams > 0 {
            let text = &batch.buffer[..batch.filled];
            let lines = Lines::whole(text, self.shared.limits.line_bytes_max.get());
            self.shared.take(lines, source);
            for _ in 0..batch.too_long {
                self.shared.reject(TOO_LONG, source);
            }
            self.pacer.note(batch.datagrams, self.queue_safe);
            batch.clear();
        }
        match answer {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The datagrams that waited together, to be judged together: the lock, the clock and the counters
/// are paid once for all of them.
struct Batch {
    buffer: Box<[u8]>,
    /// Longest datagram that is taken whole.
    datagram_bytes_max: usize,
    filled: usize,
    datagrams: usize,
    /// Of these, those that were longer.
    too_long: usize,
}

impl Batch {
    fn new(line_bytes_max: usize) -> Self {
        Self {
            buffer: vec![0; bytes(line_bytes_max)].into(),
            datagram_bytes_max: line_bytes_max.max(DATAGRAM_BYTES),
            filled: 0,
            datagrams: 0,
            too_long: 0,
        }
    }

    /// Receives until nothing waits, which is an error of the kind `WouldBlock`, or until the
    /// batch is full.
    fn fill(&mut self, socket: &impl AsFd) -> io::Result<()> {
        while self.datagrams < DATAGRAMS_PER_TURN
            && self.filled + self.datagram_bytes_max < self.buffer.len()
        {
            let room = &mut self.buffer[self.filled..][..self.datagram_bytes_max];
            let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            let (kept, sent) = rustix::net::recv(socket, room, flags)?;
            self.add(kept, sent);
        }
        Ok(())
    }

    /// Of a datagram that was too long, the lines that arrived whole still count.
    fn add(&mut self, kept: usize, sent: usize) {
        self.datagrams += 1;
        let text = &self.buffer[self.filled..][..kept];
        if sent > kept {
            self.too_long += 1;
            self.filled += memrchr(b'\n', text).map_or(0, |last| last + 1);
            return;
        }
        let ended = text.last().is_none_or(|last| *last == b'\n');
        self.filled += kept;
        if !ended {
            self.buffer[self.filled] = b'\n';
            self.filled += 1;
        }
    }

    fn clear(&mut self) {
        (self.filled, self.datagrams, self.too_long) = (0, 0, 0);
    }
}
