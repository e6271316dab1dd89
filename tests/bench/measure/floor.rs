//! The floor: the least that any program must do that reads the same events from the same socket.
//!
//! One thread, no rules: read, split, decode with serde_json into borrowed fields, hash the token,
//! update one entry of an LRU table, count. One connection is read with blocking calls, several as
//! epoll says.

use std::borrow::Cow;
use std::hash::Hasher as _;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lru::LruCache;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use serde::Deserialize;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::load::wait;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    pub socket: PathBuf,
    /// Receive datagrams instead of a stream
    #[arg(long)]
    pub datagram: bool,
    /// Connections of the stream to wait for before any is read
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Milliseconds to sleep after each read of a single stream, so that no send wakes anybody
    #[arg(long, default_value_t = 0)]
    pub nap_ms: u64,
    #[arg(long, value_enum, default_value = "full")]
    pub work: Work,
    /// Tokens remembered
    #[arg(long, default_value_t = 100_000)]
    pub capacity: usize,
    /// Bytes after which the read-only floor, or events after which the others, are done
    #[arg(long)]
    pub until: u64,
}

/// How far the floor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Work {
    /// Read, and forget.
    Read,
    /// And split into lines.
    Split,
    /// And decode.
    Decode,
    /// And update an LRU table and counters.
    Full,
}

/// The fields that every implementation has to look at.
#[derive(Debug, Deserialize)]
pub struct Fields<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    api: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow, default)]
    call: Cow<'a, str>,
    #[serde(borrow, default)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    fp: Cow<'a, str>,
    #[serde(default)]
    attempt: u64,
    #[serde(borrow, default)]
    outcome: Cow<'a, str>,
    #[serde(default)]
    duration_ms: f64,
    #[serde(default)]
    at: f64,
}

/// Decodes one line; `None` if it is not one.
pub fn decode(line: &[u8]) -> Option<Fields<'_>> {
    serde_json::from_str(std::str::from_utf8(line).ok()?).ok()
}

/// What is kept of a token: 64 bytes.
struct Entry {
    first: f64,
    last: f64,
    seen: u64,
    attempt: u64,
    texts: [u64; 4],
}

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

pub fn run(options: &Options) -> io::Result<()> {
    let mut floor = Floor::new(options);
    if options.datagram {
        let socket = UnixDatagram::bind(&options.socket)?;
        println!("ready");
        let mut buffer = vec![0; READ_BYTES];
        while floor.done < options.until {
            let length = socket.recv(&mut buffer)?;
            floor.take(&buffer[..length]);
        }
    } else {
        let listener = UnixListener::bind(&options.socket)?;
        println!("ready");
        let mut streams = Vec::new();
        for _ in 0..options.connections {
            streams.push(Stream::new(listener.accept()?.0));
        }
        match &mut streams[..] {
            [stream] => {
                let nap = Duration::from_millis(options.nap_ms);
                while floor.done < options.until && stream.read(&mut floor)? {
                    if !nap.is_zero() {
                        std::thread::sleep(nap);
                    }
                }
            }
            streams => read_ready(streams, &mut floor, options.until)?,
        }
    }
    println!("{}", floor.done);
    wait()
}

/// Reads each stream as often as it has something, until they are done or one has ended.
fn read_ready(streams: &mut [Stream], floor: &mut Floor, until: u64) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, stream) in streams.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &stream.socket, data, epoll::EventFlags::IN)?;
    }
    let mut ready = Vec::with_capacity(1024);
    while floor.done < until {
        ready.clear();
        epoll::wait(&poll, spare_capacity(&mut ready), None)?;
        for event in &ready {
            if !streams[event.data.u64() as usize].read(floor)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A connection, and the begin of the line that a read cut in two.
struct Stream {
    socket: UnixStream,
    kept: Vec<u8>,
}

impl Stream {
    fn new(socket: UnixStream) -> Self {
        let kept = Vec::new();
        Self { socket, kept }
    }

    /// One read; false at the end of the stream.
    fn read(&mut self, floor: &mut Floor) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut floor.buffer);
        let kept = self.kept.len();
        buffer[..kept].copy_from_slice(&self.kept);
        let length = self.socket.read(&mut buffer[kept..])?;
        let used = floor.take(&buffer[..kept + length]);
        self.kept.clear();
        self.kept.extend_from_slice(&buffer[used..kept + length]);
        floor.buffer = buffer;
        Ok(length > 0)
    }
}

struct Floor {
    work: Work,
    table: LruCache<u128, Entry>,
    /// By type, by outcome, and those that could not be read.
    counters: [AtomicU64; 8],
    done: u64,
    buffer: Box<[u8]>,
}

impl Floor {
    fn new(options: &Options) -> Self {
        let capacity = NonZeroUsize::new(options.capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            work: options.work,
            table: LruCache::new(capacity),
            counters: Default::default(),
            done: 0,
            buffer: vec![0; READ_BYTES].into(),
        }
    }

    /// Works on whole lines; returns the bytes used.
    fn take(&mut self, bytes: &[u8]) -> usize {
        if self.work == Work::Read {
            std::hint::black_box(bytes);
            self.done += bytes.len() as u64;
            return bytes.len();
        }
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.line(&bytes[begin..end]);
            begin = end + 1;
        }
        begin
    }

    fn line(&mut self, line: &[u8]) {
        self.done += 1;
        if self.work == Work::Split {
            std::hint::black_box(line);
            return;
        }
        let Some(fields) = decode(line) else {
            self.counters[7].fetch_add(1, Relaxed);
            return;
        };
        if self.work == Work::Decode {
            std::hint::black_box(fields);
            return;
        }
        self.remember(&fields);
    }

    fn remember(&mut self, fields: &Fields<'_>) {
        let mut hasher = SipHasher13::new_with_keys(1, 2);
        hasher.write(fields.api.as_bytes());
        hasher.write(fields.token.as_bytes());
        let entry = self
            .table
            .get_or_insert_mut(hasher.finish128().as_u128(), || Entry {
                first: fields.at,
                last: 0.0,
                seen: 0,
                attempt: 0,
                texts: [0; 4],
            });
        entry.last = fields.at.max(entry.first) + fields.duration_ms;
        entry.seen += 1;
        entry.attempt = fields.attempt;
        let lengths = [&fields.call, &fields.client, &fields.fp, &fields.outcome];
        entry.texts = lengths.map(|text| text.len() as u64);
        std::hint::black_box(&entry.texts);
        self.counters[fields.r#type.len() % 4].fetch_add(1, Relaxed);
        self.counters[4 + fields.outcome.len() % 3].fetch_add(1, Relaxed);
    }
}
