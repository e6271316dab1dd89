//! One connection of the stream socket: its lines in, and acknowledgements out to a client that
//! asked for them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::acks::Acks;
use super::framing::{Framer, Lines, TooLong};
use super::hello::{self, Hello};
use super::nap::Pacer;
use super::{DRAIN, Shared, TOO_LONG};
use crate::detect::event::{Event, Reason};
use crate::detect::{ConnectionId, Source};
use crate::pipeline::sessions::Thread;

/// Bytes of one read. The buffer is the thread's, not the connection's: it is empty again before
/// another connection is read.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Full reads after which the other connections of the thread get their turn.
const READS_PER_TURN: usize = 4;
/// Small writes that a stream socket holds with the usual send buffer of 208 KiB.
const WRITES_QUEUED_MAX: usize = 167;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) number: u64,
}

impl Peer {
    fn identity(self) -> String {
        format!("uid:{}/connection:{}", self.uid, self.number)
    }
}

/// Reads the events of one stream.
pub(super) struct Reader<'a, R> {
    stream: R,
    framer: Framer,
    shared: &'a Shared,
    pacer: Option<&'a Pacer>,
    peer: Peer,
    /// Name of a client that gives none itself.
    identity: String,
    talk: Talk,
}

/// How a client wants to be listened to; its first line decides.
enum Talk {
    Undecided,
    Plain,
    Acknowledged(Box<Dialogue>),
}

/// A session's lines in, acknowledgements out.
struct Dialogue {
    thread: Thread,
    /// Number of the next line.
    next: u64,
    acks: Acks,
}

impl<'a, R: AsyncRead + AsyncWrite + Unpin> Reader<'a, R> {
    pub(super) fn new(stream: R, shared: &'a Shared, pacer: Option<&'a Pacer>, peer: Peer) -> Self {
        Self {
            stream,
            framer: Framer::new(shared.limits.line_bytes_max.get()),
            shared,
            pacer,
            identity: peer.identity(),
            peer,
            talk: Talk::Undecided,
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
                self.acknowledge(cx);
                return Poll::Pending;
            };
            // A reset is an end like any other: the client is gone.
            let chunk = read.map_or(&[][..], |()| buffer.filled());
            let messages = self.take(chunk);
            self.acknowledge(cx);
            let open = !chunk.is_empty();
            if let Some(pacer) = self.pacer.filter(|_| open) {
                pacer.note(messages.max(1), WRITES_QUEUED_MAX);
            }
            Poll::Ready(open)
        })
    }

    /// Sends what is owed, as far as the client has room for it; if it has none, its reading wakes
    /// this connection.
    fn acknowledge(&mut self, cx: &mut Context<'_>) {
        let Self { stream, talk, .. } = self;
        if let Talk::Acknowledged(dialogue) = talk {
            dialogue.acks.send(|bytes| {
                let written = Pin::new(&mut *stream).poll_write(cx, bytes);
                match written {
                    Poll::Ready(written) => written,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
        }
    }

    /// Hands on the lines of one read; an empty one is the end of the stream. Returns how many
    /// there were.
    fn take(&mut self, chunk: &[u8]) -> usize {
        let Self {
            framer,
            shared,
            peer,
            identity,
            talk,
            ..
        } = self;
        let source = |identity| Source {
            connection: Some(ConnectionId(peer.number)),
            identity: Some(identity),
        };
        let ended = chunk.is_empty();
        let lines = if ended {
            Lines::whole(framer.finish().unwrap_or_default(), usize::MAX)
        } else {
            framer.feed(chunk)
        };
        match talk {
            Talk::Plain => shared.take(lines, source(identity)),
            Talk::Acknowledged(dialogue) => dialogue.take(lines, ended, shared, identity),
            Talk::Undecided => {
                let mut rest = lines.clone().each();
                let Some(first) = rest.next() else {
                    return shared.take(lines, source(identity));
                };
                let hello = first.ok().and_then(|line| hello::read(line, peer.uid));
                *talk = Talk::Plain;
                match hello {
                    None => shared.take(lines, source(identity)),
                    Some(Err(error)) => {
                        shared.reject(error, source(identity));
                        shared.take(rest.rest(), source(identity))
                    }
                    Some(Ok(hello)) => {
                        let mut dialogue = Dialogue::begin(&hello, *peer, shared);
                        let Thread { joined, .. } = dialogue.thread;
                        let number = joined.connection.0;
                        *identity = Peer { number, ..*peer }.identity();
                        let messages = dialogue.take(rest.rest(), ended, shared, identity);
                        *talk = Talk::Acknowledged(Box::new(dialogue));
                        1 + messages
                    }
                }
            }
        }
    }

    /// Tells that the client closed the stream.
    pub(super) fn closed(&self) {
        let now = (self.shared.clock)();
        match &self.talk {
            Talk::Acknowledged(dialogue) => self.shared.sink.part(&dialogue.thread, now),
            _ => {
                let connection = ConnectionId(self.peer.number);
                self.shared.sink.disconnect(connection, now);
            }
        }
    }
}

impl Dialogue {
    fn begin(hello: &Hello, peer: Peer, shared: &Shared) -> Self {
        let Hello { session, first } = *hello;
        let (own, now) = (ConnectionId(peer.number), (shared.clock)());
        let thread = shared.sink.join(session, first, own, now);
        let mut acks = Acks::default();
        acks.owe(thread.joined.read);
        Self {
            thread,
            next: first,
            acks,
        }
    }

    /// Numbers the lines, and owes their acknowledgement once they are judged.
    fn take(&mut self, lines: Lines<'_>, ended: bool, shared: &Shared, identity: &str) -> usize {
        let source = Source {
            connection: Some(self.thread.joined.connection),
            identity: Some(identity),
        };
        let first = self.next;
        let next = &mut self.next;
        let mut lines = lines
            .each()
            .map(|line| line.map_err(|TooLong| TOO_LONG))
            .peekable();
        // The beginning of a line has no number: the line will be sent again.
        let cut = |line: &[u8]| {
            let error = Event::decode(line).err()?;
            (ended && error.reason == Reason::Malformed).then_some(error)
        };
        match lines.peek() {
            None => return 0,
            Some(Ok(line)) if let Some(error) = cut(line) => {
                shared.reject(error, source);
                return 1;
            }
            Some(_) => {}
        }
        let numbered = lines.map(|line| {
            let number = *next;
            *next += 1;
            (number, line)
        });
        let read = shared.take_numbered(numbered, source, &self.thread);
        self.acks.owe(read);
        usize::try_from(self.next - first).unwrap_or(usize::MAX)
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
            let Self { stream, talk, .. } = self;
            if let Talk::Acknowledged(dialogue) = talk {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                dialogue
                    .acks
                    .send(|bytes| Ok(rustix::net::send(&*stream, bytes, flags)?));
            }
            Ok(length > 0)
        })
    }
}
