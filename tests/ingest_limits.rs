//! Ingest where the process's own descriptors are the limit. Both tests change that limit, so
//! they have a process of their own and take turns.

// Tests measure.
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use oncewatch::detect::time::Timestamp;
use oncewatch::detect::{Detector, Options, Trace, profile, verdict::Severity};
use oncewatch::edge::ingest::socket::Place;
use oncewatch::edge::ingest::{Connected, Ingest, Limits, Sockets};
use oncewatch::metrics::Metrics;
use oncewatch::pipeline::{Pipeline, Sinks};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::{TempDir, tempdir};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

static TURN: Mutex<()> = Mutex::new(());

fn clock() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(since.as_micros().try_into().unwrap())
}

fn pipeline() -> Arc<Pipeline> {
    let profiles = profile::profiles(&toml::Table::new(), None).unwrap();
    let metrics = Arc::new(Metrics::new(&profiles, &[]));
    let options = Options {
        detail: Severity::Warning,
        trace: Trace::Off,
        hash_key: [7; 16],
    };
    let sinks = Sinks {
        findings: tokio::sync::mpsc::channel(1).0,
        spans: None,
    };
    Arc::new(Pipeline::new(
        Detector::new(profiles, options),
        metrics,
        sinks,
    ))
}

struct Running {
    runtime: Runtime,
    directory: TempDir,
    open: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Running {
    fn start(connections_max: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let directory = tempdir().unwrap();
        let place = Place::chosen("--socket", directory.path().join("s.sock"));
        let sockets = Sockets::bind(&place, None, 0o666).unwrap();
        let limits = Limits {
            line_bytes_max: NonZeroUsize::new(16 * 1024).unwrap(),
            connections_max: NonZeroUsize::new(connections_max).unwrap(),
            allowed_uids: Vec::new(),
        };
        let open = Arc::new(AtomicUsize::new(0));
        let gauge = open.clone();
        let connected: Connected = Box::new(move || {
            gauge.fetch_add(1, SeqCst);
            Box::new(Open(gauge.clone()))
        });
        let readers = NonZeroUsize::new(2).unwrap();
        let ingest = Ingest::new(sockets, limits, readers, pipeline(), clock, connected);
        let shutdown = CancellationToken::new();
        let task = runtime.spawn(ingest.run(shutdown.clone()));
        Self {
            runtime,
            directory,
            open,
            shutdown,
            task,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("s.sock")
    }

    fn until_open(&self, wanted: usize) {
        let began = Instant::now();
        while self.open.load(SeqCst) != wanted {
            let open = self.open.load(SeqCst);
            assert!(began.elapsed().as_secs() < 30, "{open} open, not {wanted}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(self) {
        self.shutdown.cancel();
        let stopped = async { tokio::time::timeout(Duration::from_secs(20), self.task).await };
        self.runtime.block_on(stopped).unwrap().unwrap().unwrap();
        assert_eq!(self.open.load(SeqCst), 0);
    }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Ten thousand, or as many as the limit on descriptors lets one process hold both ends of.
#[test]
fn ten_thousand_connections_are_served() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: Some(20_300),
        maximum: before.maximum.map(|maximum| maximum.max(20_300)),
    };
    let reached = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        setrlimit(Resource::Nofile, reached).unwrap();
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = 10_000.min((usize::try_from(limit).unwrap() - 300) / 2);
    println!("{count} connections with a limit of {limit} descriptors");

    let ingest = Running::start(count);
    let memory = resident_bytes();
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let batch = (count - clients.len()).min(500);
        for _ in 0..batch {
            let mut client = UnixStream::connect(ingest.path()).unwrap();
            // Half a line: what a connection may cost while it is idle.
            client.write_all(b"{\"type\":\"attempt_start\"").unwrap();
            clients.push(client);
        }
        ingest.until_open(clients.len());
    }
    let each = resident_bytes().saturating_sub(memory) / count;
    println!("{each} bytes of memory a connection");
    assert!(each < 4096, "{each} bytes of memory a connection");

    let mut one_more = UnixStream::connect(ingest.path()).unwrap();
    one_more
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(
        one_more.read(&mut [0]).unwrap(),
        0,
        "closed: above the limit"
    );
    clients.truncate(count - 100);
    ingest.until_open(count - 100);
    let _another = UnixStream::connect(ingest.path()).unwrap();
    ingest.until_open(count - 99);
    ingest.stop();
    setrlimit(Resource::Nofile, before).ok();
}

/// User and system time of this process, in clock ticks (a hundredth of a second).
fn cpu_ticks(stat: &mut File) -> u64 {
    let mut text = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut text).unwrap();
    let fields = text.rsplit(')').next().unwrap();
    let mut ticks = fields.split_whitespace().skip(11);
    let mut next = || ticks.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}

#[test]
fn running_out_of_descriptors_is_waited_out() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let ingest = Running::start(100);
    let first = UnixStream::connect(ingest.path()).unwrap();
    ingest.until_open(1);
    let mut stat = File::open("/proc/self/stat").unwrap();
    let address = SocketAddrUnix::new(ingest.path()).unwrap();
    let sockets: Vec<OwnedFd> = (0..20)
        .map(|_| {
            let flags = SocketFlags::CLOEXEC;
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
        })
        .collect();
    let before = getrlimit(Resource::Nofile);
    let lowest_free = rustix::io::dup(&first).unwrap().as_raw_fd();
    let none_left = Rlimit {
        current: Some(lowest_free.try_into().unwrap()),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, none_left).unwrap();
    for socket in &sockets {
        rustix::net::connect(socket, &address).unwrap();
    }
    let ticks = cpu_ticks(&mut stat);
    std::thread::sleep(Duration::from_millis(700));
    let spent = cpu_ticks(&mut stat) - ticks;
    let accepted = ingest.open.load(SeqCst);
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(accepted, 1, "there was no descriptor for more");
    assert!(spent <= 10, "{spent} hundredths of a second spent waiting");
    assert!(!ingest.task.is_finished());
    ingest.until_open(21);
    ingest.stop();
}
