//! What takes a process of its own: ends of processes, signals, forks, and the scenario driver.

#[path = "support/collector.rs"]
#[allow(dead_code, reason = "the unit tests use the rest")]
mod collector;
#[path = "support/stub.rs"]
#[allow(dead_code, reason = "the unit tests use the rest")]
mod stub;

use std::env;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use collector::{Collector, PATIENCE, wait_until};
use stub::{Reply, Stub};

/// Cargo builds the examples beside the tests.
fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let path = tests
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: build the examples as well",
        path.display()
    );
    path
}

/// Runs an example to its end, which must come in time.
fn run(name: &str, argument: Option<&str>, socket: &Path, input: &str) -> Output {
    let mut child = Command::new(example(name))
        .args(argument)
        .env("ONCEWATCH_SOCKET", socket)
        .env("HOSTNAME", "pod-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let deadline = Instant::now() + 3 * PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!(
                "{name} {argument:?} did not end: {:?}",
                child.wait_with_output()
            );
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The lines that the scene printed, after a clean end.
fn play(scene: &str, socket: &Path) -> Vec<String> {
    let done = run("stage", Some(scene), socket, "");
    assert!(done.status.success(), "{scene}: {done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{scene}");
    String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn socket() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.sock");
    (directory, path)
}

fn with_token(events: &[Value], token: &str) -> Vec<Value> {
    events
        .iter()
        .filter(|event| event["token"] == token)
        .cloned()
        .collect()
}

fn process_of(event: &Value) -> &str {
    event["client"]
        .as_str()
        .unwrap()
        .strip_prefix("pod-1/")
        .unwrap()
}

#[test]
fn the_end_of_main_flushes() {
    let (_directory, path) = socket();
    let collector = Collector::new(&path);
    play("exit", &path);
    let events = collector.wait(750);
    let tokens: Vec<_> = events
        .iter()
        .map(|event| event["token"].as_str().unwrap().parse::<i32>().unwrap())
        .collect();
    assert_eq!(
        tokens,
        (0..750).map(|index| index / 3).collect::<Vec<i32>>()
    );
}

#[test]
fn the_end_of_main_is_not_held_up_by_a_stalled_sidecar() {
    let (_directory, path) = socket();
    let _collector = Collector::paused(&path);
    let said = play("stalled-exit", &path);
    let (pending, before) = said[0].split_once(' ').unwrap();
    assert!(pending.parse::<u64>().unwrap() > 0, "nothing was stalled");
    let waited = said[1].parse::<u64>().unwrap() - before.parse::<u64>().unwrap();
    assert!((190..500).contains(&waited), "{waited} ms");
}

#[test]
fn a_dead_connection_does_not_kill_by_sigpipe() {
    let (_directory, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let accepting = thread::spawn(move || drop(listener.accept().unwrap()));
    assert_eq!(play("sigpipe", &path), ["alive"]);
    accepting.join().unwrap();
}

#[test]
fn every_forked_process_speaks_for_itself() {
    let (_directory, path) = socket();
    let collector = Collector::new(&path);
    let said = play("fork", &path);
    let events = collector.wait(9);
    let (before, child, grandchild) = (
        with_token(&events, "before"),
        with_token(&events, "child"),
        with_token(&events, "grandchild"),
    );
    assert_eq!((before.len(), child.len(), grandchild.len()), (3, 3, 3));
    assert!(child.iter().all(|event| process_of(event) == said[0]));
    assert_ne!(process_of(&before[0]), process_of(&child[0]));
    assert_ne!(process_of(&child[0]), process_of(&grandchild[0]));
    let errors: Vec<_> = before.iter().map(|event| event["error"].as_str()).collect();
    assert_eq!(
        errors,
        [None, Some("E"), Some("E")],
        "the child has no say in its parent's attempts"
    );
    assert_eq!(collector.streams().len(), 3, "each has its own connection");
}

#[test]
fn a_child_lets_go_of_its_parents_connection() {
    let (_directory, path) = socket();
    let _collector = Collector::paused(&path);
    let expected = [
        "parent 1",
        "child before its first event 1",
        "child after it 0",
    ];
    assert_eq!(play("fork-idle", &path), expected);
}

#[test]
fn a_fork_amid_other_threads_events_leaves_a_child_that_reports() {
    let (_directory, path) = socket();
    let collector = Collector::new(&path);
    assert_eq!(play("fork-busy", &path), ["[]"]);
    wait_until("30 children", || {
        let seen = with_token(&collector.events(), "child").len();
        (seen == 90)
            .then_some(())
            .ok_or_else(|| format!("{seen} events"))
    });
}

#[test]
fn the_driver_runs_its_jobs() {
    let (_directory, path) = socket();
    let collector = Collector::new(&path);
    let stub = Stub::scripted(&[
        Reply::error(400, "TransactionInProgressException"),
        Reply::ok("{}"),
        Reply::error(400, "TransactionCanceledException"),
        Reply::ok("{}"),
        Reply::Late(Duration::from_millis(300)),
    ]);
    let sdk = |id: &str, op: &str, token: Option<&str>| {
        json!({"id": id, "op": op, "endpoint": stub.endpoint(), "table": "counters", "amount": 1, "needs": "stock", "identity": "x", "token": token,
            "max_attempts": 2, "read_timeout_ms": 10000, "background": false, "return_consumed": true})
    };
    let mut hurried = sdk("4", "transact", Some("late"));
    (
        hurried["max_attempts"],
        hurried["read_timeout_ms"],
        hurried["background"],
    ) = (json!(1), json!(50), json!(true));
    let generic = json!({"id": "5", "op": "generic", "api": "stripe", "token": "key", "body": "{\"a\":1}", "attempt": 1, "call": null,
        "outcome": "error", "http_status": 409, "error": null, "token_field": null});
    let jobs = [
        sdk("1", "transact", None),
        sdk("2", "transact", Some("mine")),
        sdk("3", "execute", None),
        hurried,
        generic,
    ];
    let input: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    let done = run("driver", None, &path, &input);
    assert!(done.status.success(), "{done:?}");
    let said: Vec<Value> = String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&said[0]["ready"], &said[0]["language"]),
        (&json!(true), &json!("rust"))
    );
    assert!(
        said[0]["sdk"]
            .as_str()
            .unwrap()
            .starts_with("aws-sdk-dynamodb 1."),
        "{}",
        said[0]
    );
    let results: Vec<_> = said[1..]
        .iter()
        .map(|result| {
            (
                result["id"].as_str().unwrap(),
                result["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("1", "ok"),
        ("2", "TransactionCanceledException"),
        ("3", "ok"),
        ("5", "error"),
        ("4", "no_response"),
    ];
    assert_eq!(results, expected, "in order of finishing");
    let events = collector.wait(17);
    assert_eq!(events.len(), 17);
    let key = with_token(&events, "key");
    assert_eq!(
        (&key[1]["http_status"], &key[0]["api"]),
        (&json!(409), &json!("stripe"))
    );
    assert_eq!(with_token(&events, "late")[1]["outcome"], "no_response");
}
