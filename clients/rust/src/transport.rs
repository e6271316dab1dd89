//! The bounded queue between the application's threads and the sender, one for each process.
//!
//! Everything here is built at compile time and claimed by one atomic exchange: in a forked child, a lock or a
//! half-made value of the parent's other threads would stay as it is for ever.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::event::Event;
use crate::sender::Sender;
use crate::settings::Settings;

pub(crate) const EVENTS_MAX: usize = 1000;
pub(crate) const BYTES_MAX: usize = 256 * 1024;
/// Room that must remain after a start, so that its attempt's ends hardly ever lack it.
const ENDS_EVENTS: usize = 2;
/// A process, its child, the child's child: so deep a line of forks is served, each with its own connection.
const GENERATIONS: usize = 8;

static TRANSPORTS: [Transport; GENERATIONS] =
    [const { Transport::new(Pace::DEFAULT) }; GENERATIONS];

/// Durations that tests shorten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long nothing is tried after nobody was there.
    pub(crate) off: Duration,
    /// A connection lost sooner counts as nobody there, or an accept-and-close loop would be hammered.
    pub(crate) lived: Duration,
    /// How often it is looked whether another socket lies at the path.
    pub(crate) replaced: Duration,
}

impl Pace {
    const DEFAULT: Self = Self {
        off: Duration::from_secs(5),
        lived: Duration::from_secs(1),
        replaced: Duration::from_secs(1),
    };
}

/// Events not yet written: those waiting, and those that the sender has taken.
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<Event>,
    pub(crate) waiting_bytes: usize,
    pub(crate) taken: usize,
    pub(crate) taken_bytes: usize,
    /// The sender sleeps until it is woken.
    pub(crate) asleep: bool,
    /// Somebody waits in [`Transport::flush`]: do not nap.
    pub(crate) hurry: bool,
}

pub(crate) struct Transport {
    /// Process id, 0 while nobody's.
    owner: AtomicU32,
    started: AtomicBool,
    /// Nobody is there: events are dropped at the cost of this comparison.
    pub(crate) off: AtomicBool,
    /// A start was refused since the sender last made room.
    pub(crate) full: AtomicBool,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) work: Condvar,
    /// Held by the sender for system calls that do not wait, so that a forked child can hardly find it locked.
    pub(crate) connection: Mutex<Option<UnixStream>>,
    pub(crate) connected: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// A random part of the calls' ids, 0 until the first one.
    salt: AtomicU64,
    pub(crate) settings: OnceLock<Settings>,
    pub(crate) pace: Pace,
}

/// Counts of this process, see [`stats`](crate::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Whether a connection to the sidecar is open.
    pub connected: bool,
    /// Events written to the sidecar's socket.
    pub sent: u64,
    /// Events waiting to be written.
    pub pending: u64,
    /// Events dropped because nobody was there, the buffer was full, or the body had no token.
    pub dropped: u64,
    /// Errors inside this library.
    pub failures: u64,
}

/// This process' transport; `None` after more than 8 forks in a line.
pub(crate) fn current() -> Option<&'static Transport> {
    let own = process::id();
    for (index, transport) in TRANSPORTS.iter().enumerate() {
        let mut owner = transport.owner.load(Ordering::Acquire);
        if owner == 0 {
            owner =
                match transport
                    .owner
                    .compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire)
                {
                    Ok(_) => {
                        TRANSPORTS
                            .iter()
                            .take(index)
                            .for_each(Transport::close_inherited);
                        own
                    }
                    Err(faster) => faster,
                };
        }
        if owner == own {
            return Some(transport);
        }
    }
    None
}

/// The lock's value even if a thread panicked with it: every update leaves it usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    pub(crate) const fn new(pace: Pace) -> Self {
        Self {
            owner: AtomicU32::new(0),
            started: AtomicBool::new(false),
            off: AtomicBool::new(false),
            full: AtomicBool::new(false),
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                taken: 0,
                taken_bytes: 0,
                asleep: false,
                hurry: false,
            }),
            work: Condvar::new(),
            connection: Mutex::new(None),
            connected: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            salt: AtomicU64::new(0),
            settings: OnceLock::new(),
            pace,
        }
    }

    /// One for a test, with its own settings and pace.
    #[cfg(test)]
    pub(crate) fn leaked(settings: Settings, pace: Pace) -> &'static Self {
        let transport = Box::leak(Box::new(Self::new(pace)));
        transport.owner.store(process::id(), Ordering::Release);
        let _ = transport.settings.set(settings);
        transport
    }

    /// Or the sidecar would not notice the parent's end while this child lives.
    fn close_inherited(&self) {
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    /// Whether this process is the one that the transport was claimed by, and not its forked child.
    pub(crate) fn is_own(&self) -> bool {
        self.owner.load(Ordering::Acquire) == process::id()
    }

    /// False while a new attempt would only be dropped: nothing needs to be computed for it.
    pub(crate) fn accepts(&self) -> bool {
        !self.off.load(Ordering::Relaxed) && !self.full.load(Ordering::Relaxed)
    }

    /// Queues a start; false if it was dropped (and counted), and its ends should be as well.
    pub(crate) fn send_start(&'static self, event: Event) -> bool {
        let spare_bytes = ENDS_EVENTS * event.end_size_max();
        self.send(event, ENDS_EVENTS, spare_bytes)
    }

    /// Queues an end, or counts it as dropped.
    pub(crate) fn send_end(&'static self, event: Event) {
        self.send(event, 0, 0);
    }

    fn send(&'static self, event: Event, spare_events: usize, spare_bytes: usize) -> bool {
        let size = event.size();
        let Some(mut queue) = self.own_queue() else {
            return false;
        };
        let events = queue.waiting.len() + queue.taken + 1 + spare_events;
        let bytes = queue.waiting_bytes + queue.taken_bytes + size + spare_bytes;
        let room = events <= EVENTS_MAX && bytes <= BYTES_MAX;
        if !room || self.off.load(Ordering::Relaxed) {
            // Set under the lock, or a release of the sender could come between and leave it set for ever. A body that
            // is large by itself says nothing about the next attempt.
            if !room && (queue.taken > 0 || !queue.waiting.is_empty()) {
                self.full.store(true, Ordering::Relaxed);
            }
            drop(queue);
            self.skip();
            return false;
        }
        queue.waiting.push_back(event);
        queue.waiting_bytes += size;
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.work.notify_one();
        } else if !self.started.load(Ordering::Relaxed) {
            self.start();
        }
        true
    }

    /// The queue; `None` if another thread holds it and this is a forked child, where that thread may not exist.
    ///
    /// Asking who we are costs a system call, so a free queue is taken without. What a child puts there stays there:
    /// this is its copy of its parent's queue, bounded like any, with no thread to send from it.
    fn own_queue(&self) -> Option<MutexGuard<'_, Queue>> {
        match self.queue.try_lock() {
            Ok(queue) => Some(queue),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => self.is_own().then(|| lock(&self.queue)),
        }
    }

    /// Differs from process to process. Not a `OnceLock`, which a fork can leave half-made for ever.
    pub(crate) fn salt(&self) -> u64 {
        let made = self.salt.load(Ordering::Relaxed);
        if made != 0 {
            return made;
        }
        let new = RandomState::new().hash_one(SystemTime::now()) | 1;
        self.salt
            .compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|faster| faster, |_| new)
    }

    /// Counts an event that was not made or not taken.
    pub(crate) fn skip(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn start(&'static self) {
        // A forked child must not send what its parent began.
        if !self.is_own() || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let thread = thread::Builder::new().name("oncewatch".to_owned());
        if thread.spawn(move || Sender::new(self).run()).is_err() {
            // A process that cannot have one more thread stays off: trying again would cost it time.
            self.count_failure();
            self.discard();
        }
    }

    /// Turns off, drops and counts what waits: later, the sidecar would judge it by the wrong time.
    pub(crate) fn discard(&self) {
        let mut queue = lock(&self.queue);
        self.off.store(true, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut queue.waiting);
        queue.waiting_bytes = 0;
        drop(queue);
        self.dropped
            .fetch_add(waiting.len() as u64, Ordering::Relaxed);
    }

    /// Waits until everything queued is written, for at most `timeout`; true if it is.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let mut queue = lock(&self.queue);
            if queue.waiting.is_empty() && queue.taken == 0 {
                return true;
            }
            queue.hurry = true;
            drop(queue);
            self.work.notify_one();
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let queue = lock(&self.queue);
        let pending = queue.waiting.len() + queue.taken;
        drop(queue);
        Stats {
            connected: self.connected.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            pending: pending as u64,
            dropped: self.dropped.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
