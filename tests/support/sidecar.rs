//! A real sidecar process on sockets of its own, and what a test asks of it.
//!
//! Every wait has a limit; the process ends with its value.

// Each test crate uses a part of this.
#![allow(dead_code, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The program with nothing of this process's environment that it could read as a setting.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncewatch"));
    let settings = ["ONCEWATCH_", "OTEL_"];
    for (name, _) in std::env::vars() {
        if settings.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Asks until `ready` gives something.
///
/// # Panics
/// After [`PATIENCE`], with what was waited for.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An answer of one of the two HTTP addresses.
pub struct Answer {
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A request without a body, answered on a connection of its own. `Host` is the address unless
/// `headers` names one.
pub fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("{request}\r\n").as_bytes())
        .unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    };
    Answer {
        status: status.parse().unwrap(),
        headers: lines.map(header).collect(),
        body: body.to_owned(),
    }
}

/// All samples of a page of metrics: name with labels, and value; exemplars are cut off.
pub fn samples(page: &str) -> Vec<(String, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let line = line.split(" # ").next().unwrap();
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// A running sidecar, its directory, and what it has logged.
pub struct Sidecar {
    pub socket: PathBuf,
    pub metrics: SocketAddr,
    pub admin: SocketAddr,
    directory: Arc<TempDir>,
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

/// What is left of a sidecar that was told to stop.
pub struct Stopped {
    pub status: ExitStatus,
    pub took: Duration,
    pub log: Vec<Value>,
}

impl Sidecar {
    /// Starts one in a directory of its own, with further flags.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), flags)
    }

    /// Starts one in a directory that another one may have used.
    pub fn start_in(directory: Arc<TempDir>, flags: &[&str]) -> Self {
        Self::start_in_with(directory, flags, |command| command)
    }

    /// Starts one by another command than the plain one.
    pub fn start_with(flags: &[&str], by: impl FnOnce(Command) -> Command) -> Self {
        Self::start_in_with(Arc::new(tempfile::tempdir().unwrap()), flags, by)
    }

    /// Both of these.
    pub fn start_in_with(
        directory: Arc<TempDir>,
        flags: &[&str],
        by: impl FnOnce(Command) -> Command,
    ) -> Self {
        let socket = directory.path().join("events.sock");
        let mut run = command(&["run", "--log-format=json", "--socket"]);
        run.arg(&socket);
        run.args(["--metrics-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"]);
        run.args(flags);
        let mut run = by(run);
        run.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = run.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (written, stderr) = (log.clone(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                let parsed = serde_json::from_str(&line);
                written
                    .lock()
                    .unwrap()
                    .push(parsed.unwrap_or(Value::String(line)));
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sidecar = Self {
            socket,
            metrics: nowhere,
            admin: nowhere,
            directory,
            child,
            log,
            reader: Some(reader),
        };
        let ready = wait_for("the line that says ready", || {
            if let Some(status) = sidecar.child.try_wait().unwrap() {
                panic!("it ended with {status}: {:?}", sidecar.log());
            }
            sidecar.logged(|line| line["message"] == "ready").pop()
        });
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        (sidecar.metrics, sidecar.admin) = (address("metrics"), address("admin"));
        assert_eq!(ready["socket"], sidecar.socket.to_str().unwrap());
        sidecar
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> Arc<TempDir> {
        self.directory.clone()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    pub fn logged(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.log().into_iter().filter(wanted).collect()
    }

    /// A connection to the stream socket.
    pub fn connect(&self) -> UnixStream {
        connect(&self.socket)
    }

    /// The page of metrics in the classic format.
    pub fn page(&self) -> String {
        let answer = get(self.metrics, "/metrics", &[]);
        assert_eq!(answer.status, 200);
        answer.body
    }

    /// One sample of the page.
    ///
    /// # Panics
    /// If the series does not exist.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.page();
        let found = samples(&page).into_iter().find(|(name, _)| name == series);
        found
            .unwrap_or_else(|| panic!("no series {series} in\n{page}"))
            .1
    }

    /// The sum over the samples whose name begins so.
    pub fn sum(&self, prefix: &str) -> f64 {
        let samples = samples(&self.page());
        let wanted = samples.iter().filter(|(name, _)| name.starts_with(prefix));
        wanted.map(|(_, value)| value).sum()
    }

    pub fn wait_for_metric(&self, series: &str, value: f64) {
        let mut last = f64::NAN;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            last = self.metric(series);
            if last == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{series} is {last} and not {value}; log: {:#?}", self.log());
    }

    /// Lines that were used or counted as unusable: all that were sent, once they are through.
    pub fn lines_counted(&self) -> f64 {
        let page = samples(&self.page());
        let counted = |(name, _): &&(String, f64)| {
            name.starts_with("oncewatch_events_total")
                || name.starts_with("oncewatch_events_rejected_total")
        };
        page.iter().filter(counted).map(|(_, value)| value).sum()
    }

    /// A document of the admin address.
    pub fn api(&self, path: &str) -> Value {
        let answer = get(self.admin, path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Findings, oldest first, once there are so many.
    pub fn findings(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} findings"), || {
            let list = self.api("/api/v1/findings?limit=1000");
            let mut list = list["findings"].as_array().unwrap().clone();
            list.reverse();
            (list.len() >= count).then_some(list)
        })
    }

    /// Memory in use and its maximum so far, in bytes.
    pub fn memory_bytes(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = |key: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap();
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
            kib * 1024
        };
        (value("VmRSS:"), value("VmHWM:"))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sends SIGTERM, wakes it up if it was stopped, and waits for the end.
    pub fn terminate(mut self) -> Stopped {
        let begun = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        self.signal(rustix::process::Signal::CONT);
        let status = wait_for("the end after SIGTERM", || self.child.try_wait().unwrap());
        let took = begun.elapsed();
        self.reader.take().unwrap().join().unwrap();
        Stopped {
            status,
            took,
            log: self.log(),
        }
    }

    /// Waits for it to end by itself; its directory, how it ended, and what it logged.
    pub fn ended(mut self) -> (Arc<TempDir>, ExitStatus, Vec<Value>) {
        let status = wait_for("the end", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        (self.directory.clone(), status, self.log())
    }

    /// Ends it without a chance to clean up; returns its directory.
    pub fn kill(mut self) -> Arc<TempDir> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.directory.clone()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the sidecar's log: {:#?}", self.log());
        }
    }
}

pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A start, as a line, with further members such as `,"call":"c1"`.
pub fn start(api: &str, token: &str, more: &str) -> String {
    format!("{{\"type\":\"attempt_start\",\"api\":\"{api}\",\"token\":\"{token}\"{more}}}\n")
}

/// An end, as a line.
pub fn end(api: &str, token: &str, more: &str) -> String {
    format!("{{\"type\":\"attempt_end\",\"api\":\"{api}\",\"token\":\"{token}\"{more}}}\n")
}
