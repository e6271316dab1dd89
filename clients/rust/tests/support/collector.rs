//! A sidecar's socket whose reader can be paused.

use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that any wait of a test takes.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Shared {
    paused: AtomicBool,
    closed: AtomicBool,
    /// What each connection sent, in order of connecting.
    streams: Mutex<Vec<Vec<u8>>>,
    connections: Mutex<Vec<UnixStream>>,
}

pub struct Collector {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Collector {
    pub fn new(path: &Path) -> Self {
        Self::start(path, false)
    }

    /// One that accepts and does not read until [`Self::resume`].
    pub fn paused(path: &Path) -> Self {
        Self::start(path, true)
    }

    fn start(path: &Path, paused: bool) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared::default());
        shared.paused.store(paused, Ordering::SeqCst);
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self {
            path: path.to_owned(),
            shared,
        }
    }

    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    pub fn streams(&self) -> Vec<Vec<u8>> {
        self.shared.streams.lock().unwrap().clone()
    }

    /// All events in order of connection and arrival; a line that is cut or no JSON is a panic.
    pub fn events(&self) -> Vec<Value> {
        let streams = self.streams();
        let whole = streams.iter().map(|stream| {
            let end = stream
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |newline| newline + 1);
            &stream[..end]
        });
        whole
            .flat_map(|stream| stream.split_inclusive(|byte| *byte == b'\n'))
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    pub fn of(&self, kind: &str) -> Vec<Value> {
        self.events()
            .into_iter()
            .filter(|event| event["type"] == kind)
            .collect()
    }

    /// The events once there are `count`.
    pub fn wait(&self, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} events"), || {
            let events = self.events();
            (events.len() >= count)
                .then_some(events)
                .ok_or_else(|| format!("{:?}", self.events()))
        })
    }

    /// Ends the listener and its connections; the socket file goes.
    pub fn close(self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        std::fs::remove_file(&self.path).unwrap();
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    while let Ok((connection, _)) = listener.accept() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        shared
            .connections
            .lock()
            .unwrap()
            .push(connection.try_clone().unwrap());
        let mut streams = shared.streams.lock().unwrap();
        streams.push(Vec::new());
        let index = streams.len() - 1;
        drop(streams);
        let shared = Arc::clone(shared);
        thread::spawn(move || read(connection, index, &shared));
    }
}

fn read(mut connection: UnixStream, index: usize, shared: &Shared) {
    let mut chunk = vec![0; 64 * 1024];
    connection
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    loop {
        if shared.paused.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        match connection.read(&mut chunk) {
            Ok(0) => return,
            Ok(bytes) => shared.streams.lock().unwrap()[index].extend_from_slice(&chunk[..bytes]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

/// Tries until `attempt` gives a value; a panic with what it said last after [`PATIENCE`].
pub fn wait_until<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => panic!("waited for {what}, have {seen}"),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}
