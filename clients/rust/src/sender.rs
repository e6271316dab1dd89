//! The one background thread: writes lines to the sidecar's socket, or counts them as dropped.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::event::{Event, write_report};
use crate::settings::Settings;
use crate::transport::{Transport, lock};

/// Events gather for so long before they are written.
const NAP: Duration = Duration::from_millis(2);
/// Naps without an event before the thread sleeps untimed. Waking it costs the application's thread more than all else
/// it does for an event, so a process that keeps sending should not pay it each time.
const IDLE_NAPS: u32 = 25;
const BATCH_BYTES: usize = 64 * 1024;
/// A connection that took longer to get is given up: what waited meanwhile is too old to be judged.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
const BACKOFF_MIN: Duration = Duration::from_millis(1);
const BACKOFF_MAX: Duration = Duration::from_millis(50);

pub(crate) struct Sender {
    transport: &'static Transport,
    settings: &'static Settings,
    taken: VecDeque<Event>,
    /// Lines of the batch that is being written, and how many of them are events.
    data: Vec<u8>,
    lines: u64,
    /// Position of the first byte that the connection has not taken.
    offset: usize,
    /// Events of the batch and their size in the queue's account.
    batch: usize,
    batch_bytes: usize,
    /// Dropped events that the batch reports, and those reported before.
    reporting: u64,
    reported: u64,
    /// Path, device and inode of the socket.
    identity: Option<(PathBuf, u64, u64)>,
    connected_at: Instant,
    checked_at: Instant,
    backoff: Duration,
}

impl Sender {
    pub(crate) fn new(transport: &'static Transport) -> Self {
        let now = Instant::now();
        Self {
            transport,
            settings: transport.settings.get_or_init(Settings::from_environment),
            taken: VecDeque::new(),
            data: Vec::new(),
            lines: 0,
            offset: 0,
            batch: 0,
            batch_bytes: 0,
            reporting: 0,
            reported: 0,
            identity: None,
            connected_at: now,
            checked_at: now,
            backoff: BACKOFF_MIN,
        }
    }

    pub(crate) fn run(mut self) {
        loop {
            self.wait_for_work();
            let on = catch_unwind(AssertUnwindSafe(|| self.pump())).unwrap_or_else(|_| {
                self.transport.count_failure();
                self.disconnect();
                false
            });
            if !on {
                self.stay_off();
            }
        }
    }

    /// Naps so that events gather. If none comes for a while it sleeps without a timer until one does.
    fn wait_for_work(&self) {
        for _ in 0..IDLE_NAPS {
            self.nap();
            if !lock(&self.transport.queue).waiting.is_empty() {
                return;
            }
        }
        let mut queue = lock(&self.transport.queue);
        queue.hurry = false;
        while queue.waiting.is_empty() {
            queue.asleep = true;
            queue = self
                .transport
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.asleep = false;
        drop(queue);
        self.nap();
    }

    fn nap(&self) {
        let queue = lock(&self.transport.queue);
        let waited = self
            .transport
            .work
            .wait_timeout_while(queue, NAP, |queue| !queue.hurry);
        waited.unwrap_or_else(PoisonError::into_inner).0.hurry = false;
    }

    /// Drops everything, then sleeps until it is time to look again.
    fn stay_off(&mut self) {
        let unwritten = self.data.get(self.offset..).unwrap_or_default();
        let lines = unwritten.iter().filter(|byte| **byte == b'\n').count() as u64;
        let lost = lines.saturating_sub(u64::from(self.reporting > 0));
        self.transport
            .sent
            .fetch_add(self.lines.saturating_sub(lost), Ordering::Relaxed);
        self.transport
            .dropped
            .fetch_add(lost + self.taken.len() as u64, Ordering::Relaxed);
        self.taken.clear();
        self.reporting = 0;
        self.transport.discard();
        self.finish_batch();
        let mut queue = lock(&self.transport.queue);
        (queue.taken, queue.taken_bytes) = (0, 0);
        drop(queue);
        thread::sleep(self.transport.pace.off);
        self.transport.off.store(false, Ordering::Relaxed);
    }

    /// Writes everything that is queued; false if nobody is there.
    fn pump(&mut self) -> bool {
        while self.offset < self.data.len() || self.load() {
            if self.is_replaced() {
                self.disconnect();
            }
            if self.identity.is_none() && !self.connect() {
                return false;
            }
            if !self.write() {
                return false;
            }
        }
        true
    }

    /// Makes the next batch; false if there is nothing to write.
    fn load(&mut self) -> bool {
        if self.taken.is_empty() {
            // Back to the front of its memory, which is then the part that is written to again.
            self.taken.clear();
            let mut queue = lock(&self.transport.queue);
            std::mem::swap(&mut queue.waiting, &mut self.taken);
            queue.taken += self.taken.len();
            queue.taken_bytes += std::mem::take(&mut queue.waiting_bytes);
        }
        while self.data.len() < BATCH_BYTES {
            let Some(event) = self.taken.pop_front() else {
                break;
            };
            self.batch += 1;
            self.batch_bytes += event.size();
            if event.write_line(&self.settings.client, &mut self.data) {
                self.lines += 1;
            } else {
                self.transport.skip();
            }
        }
        self.reporting = self
            .transport
            .dropped
            .load(Ordering::Relaxed)
            .saturating_sub(self.reported);
        if self.reporting > 0 {
            write_report(&self.settings.client, self.reporting, &mut self.data);
        }
        if self.data.is_empty() {
            // Events without a line: their room is free again.
            self.finish_batch();
        }
        !self.data.is_empty()
    }

    /// Gives the connection what it takes; false if it was lost at once.
    fn write(&mut self) -> bool {
        let unwritten = self.data.get(self.offset..).unwrap_or_default();
        let written = match lock(&self.transport.connection).as_mut() {
            Some(connection) => connection.write(unwritten),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match written {
            Ok(bytes) if bytes > 0 || unwritten.is_empty() => {
                self.offset += bytes;
                self.backoff = BACKOFF_MIN;
                if self.offset >= self.data.len() {
                    self.reported += self.reporting;
                    self.transport.sent.fetch_add(self.lines, Ordering::Relaxed);
                    self.finish_batch();
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The sidecar does not read; meanwhile the buffer fills and then drops.
                thread::sleep(self.backoff);
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                true
            }
            _ => {
                self.disconnect();
                self.connected_at.elapsed() >= self.transport.pace.lived
            }
        }
    }

    /// The batch is written or given up: its room is free.
    fn finish_batch(&mut self) {
        let mut queue = lock(&self.transport.queue);
        queue.taken = queue.taken.saturating_sub(self.batch);
        queue.taken_bytes = queue.taken_bytes.saturating_sub(self.batch_bytes);
        self.transport.full.store(false, Ordering::Relaxed);
        drop(queue);
        self.data.clear();
        (
            self.offset,
            self.lines,
            self.batch,
            self.batch_bytes,
            self.reporting,
        ) = (0, 0, 0, 0, 0);
    }

    fn connect(&mut self) -> bool {
        let began = Instant::now();
        let Some(path) = self.settings.socket_path() else {
            return false;
        };
        // The standard library cannot limit this: it waits while the sidecar's backlog is full.
        let Ok(connection) = UnixStream::connect(&path) else {
            return false;
        };
        if began.elapsed() > CONNECT_TIMEOUT || connection.set_nonblocking(true).is_err() {
            return false;
        }
        let Ok(found) = fs::metadata(&path) else {
            return false;
        };
        self.identity = Some((path, found.dev(), found.ino()));
        self.connected_at = Instant::now();
        self.checked_at = self.connected_at;
        *lock(&self.transport.connection) = Some(connection);
        self.transport.connected.store(true, Ordering::Relaxed);
        true
    }

    /// Whether another socket lies at the path.
    fn is_replaced(&mut self) -> bool {
        let Some((path, device, inode)) = &self.identity else {
            return false;
        };
        if self.checked_at.elapsed() < self.transport.pace.replaced {
            return false;
        }
        self.checked_at = Instant::now();
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) != (*device, *inode))
    }

    /// Closes, and goes back to the start of the line that was being written.
    fn disconnect(&mut self) {
        *lock(&self.transport.connection) = None;
        self.transport.connected.store(false, Ordering::Relaxed);
        self.identity = None;
        let taken = self.data.get(..self.offset).unwrap_or_default();
        self.offset = taken
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
    }
}
