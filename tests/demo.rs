//! `oncewatch demo` as a newcomer runs it: the built program, its addresses, its end.

#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use oncewatch::detect::verdict::Verdict;
use rustix::process::{Pid, Signal, kill_process};

/// The demo, running; ended by its id if a test fails before it ends.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    temporary: tempfile::TempDir,
}

impl Demo {
    /// Starts it on ports of the system's choice, with a temporary directory of its own.
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncewatch"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONCEWATCH_")) {
            command.env_remove(name);
        }
        let ports = ["--metrics-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"];
        command.arg("demo").args(ports).args(arguments);
        command.env("TMPDIR", temporary.path());
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            temporary,
        }
    }

    /// The next line, which must come soon.
    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// The next line that contains `part`, and what stands after `part`.
    fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.line();
            if let Some((_, rest)) = line.split_once(part) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for the end; gives the exit code and standard error.
    fn end(&mut self, within: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "not ended within {within:?}");
            thread::sleep(Duration::from_millis(10));
        };
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (status.code(), errors)
    }

    fn left_behind(&self) -> usize {
        std::fs::read_dir(self.temporary.path()).unwrap().count()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The body of a page of `http://ADDRESS/…`.
fn get(url: &str) -> String {
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// How often a verdict was given, by the page of metrics.
fn counted(metrics: &str, verdict: Verdict) -> f64 {
    let label = format!("verdict=\"{verdict}\"");
    let lines = metrics.lines().filter(|line| line.contains(&label));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

#[test]
fn every_verdict_appears_and_can_be_scraped() {
    let mut demo = Demo::start(&["--duration", "25s"]);
    let metrics = demo.line_with("curl -s http://");
    let metrics = format!("http://{}", metrics.split_whitespace().next().unwrap());
    let findings = demo
        .line_with("curl -s '")
        .trim_end_matches('\'')
        .to_owned();
    let mut missing = Verdict::ALL.to_vec();
    while !missing.is_empty() {
        let line = demo.line();
        let name = line.split_whitespace().nth(2).unwrap_or_default();
        missing.retain(|verdict| verdict.as_str() != name);
        assert!(!line.contains('\u{1b}'), "{line:?}");
        assert!(
            !line.starts_with("verdict "),
            "the end came before {missing:?}"
        );
    }
    let page = get(&metrics);
    for verdict in Verdict::ALL {
        assert!(counted(&page, verdict) > 0.0, "{verdict}\n{page}");
    }
    assert!(page.contains(r#"api="demo.Checkout""#) && get(&findings).contains("remedy"));
    let rejected = |line: &&str| line.starts_with("oncewatch_events_rejected_total{");
    assert!(
        page.lines()
            .filter(rejected)
            .all(|line| line.ends_with(" 0")),
        "{page}"
    );
    demo.line_with("24 of 24 verdicts seen");
    assert_eq!(demo.end(Duration::from_secs(5)), (Some(0), String::new()));
    assert_eq!(demo.left_behind(), 0);
}

#[test]
fn an_interrupt_ends_it_within_two_seconds() {
    let mut demo = Demo::start(&[]);
    demo.line_with("first_use ");
    assert_eq!(demo.left_behind(), 1);
    let id = Pid::from_raw(i32::try_from(demo.child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    assert_eq!(demo.end(Duration::from_secs(2)), (Some(0), String::new()));
    demo.line_with(" of 24 verdicts seen");
    assert_eq!(demo.left_behind(), 0);
}

#[test]
fn it_says_so_if_it_could_not_show_all() {
    let mut demo = Demo::start(&["--duration", "1s"]);
    let (code, errors) = demo.end(Duration::from_secs(10));
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("verdicts did not appear within 1 s: "),
        "{errors}"
    );
    assert!(
        errors.contains("orphaned (shipping: the pod is killed"),
        "{errors}"
    );
    assert!(!errors.contains("first_use"), "{errors}");
}
