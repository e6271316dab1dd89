//! The sidecar's memory over real deaths of the process: SIGKILL under load, a full disk, a directory that
//! cannot be used, another sidecar in it.

// The number of kills comes from the environment.
#![allow(clippy::disallowed_methods)]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oncewatch::detect::finding::Verdicts;
use oncewatch::detect::profile::profiles;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{Detector, Options, Source, Trace};
use oncewatch::edge::state::{Place, State};
use oncewatch::metrics::Metrics;
use oncewatch::pipeline::sessions::Position;
use oncewatch::pipeline::{Chore, Keeper, Pipeline, Sinks};
use serde_json::Value;
use sidecar::{Sidecar, command, wait_for};

const API: &str = "dynamodb.TransactWriteItems";
const GAPS: &str = "oncewatch_tracking_gaps_total{reason=\"restart\"}";

/// Of a detector in this process.
const OPTIONS: Options = Options {
    detail: Severity::Warning,
    trace: Trace::Off,
    hash_key: [7; 16],
};

/// A random number generator; the same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn state_flag(directory: &Path) -> String {
    format!("--state-dir={}", directory.join("state").display())
}

/// Whether everything that is known has been written.
/// Whether everything that is known is in a file, and none is being written to follow it.
fn is_whole(state: &Path) -> bool {
    let entries = std::fs::read_dir(state).into_iter().flatten();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    let any = |end| {
        names
            .iter()
            .any(|name| name.to_str().unwrap().ends_with(end))
    };
    any(".log") && !any(".part")
}

fn line(kind: &str, token: u64, call: &str, attempt: u64, more: &str) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"api\":\"{API}\",\"token\":\"t-{token}\",\"call\":\"{call}\",\"attempt\":{attempt}{more}}}\n"
    )
}

/// The lines of one token: healthy, or one of the ways to go wrong that need no time.
fn story(token: u64, random: &mut Random) -> Vec<String> {
    let of = |client: u64, fp: &str| {
        format!(",\"client\":\"orders-{client}/1\",\"fp\":\"{fp}-{token}\"")
    };
    let from = |client: u64| format!(",\"client\":\"orders-{client}/1\",");
    let ok = |client| format!("{}\"outcome\":\"ok\",\"write_units\":2", from(client));
    let lost = |client| format!("{}\"outcome\":\"no_response\"", from(client));
    let start =
        |call, attempt, client, fp| line("attempt_start", token, call, attempt, &of(client, fp));
    let end = |call, attempt, more: String| line("attempt_end", token, call, attempt, &more);
    match random.below(8) {
        // Retried by the SDK.
        0 => vec![
            start("a", 1, 1, "f"),
            end("a", 1, lost(1)),
            start("a", 2, 1, "f"),
            end("a", 2, ok(1)),
        ],
        // Two clients at a time.
        1 => vec![
            start("a", 1, 1, "f"),
            start("b", 1, 2, "f"),
            end("b", 1, ok(2)),
            end("a", 1, ok(1)),
        ],
        // Other parameters, and the server agrees.
        2 => vec![
            start("a", 1, 1, "f"),
            start("b", 1, 1, "g"),
            end(
                "b",
                1,
                format!(
                    "{}\"outcome\":\"error\",\"error\":\"IdempotentParameterMismatchException\"",
                    from(1)
                ),
            ),
            end("a", 1, ok(1)),
        ],
        // A fresh token while the outcome of this one is unknown.
        3 => vec![
            start("a", 1, 1, "f"),
            end("a", 1, lost(1)),
            start("a", 1, 1, "f").replace("\"t-", "\"fresh-"),
            end("a", 1, ok(1)).replace("\"t-", "\"fresh-"),
        ],
        _ => vec![start("a", 1, 1, "f"), end("a", 1, ok(1))],
    }
}

/// The stories of many tokens, told at the same time.
fn stream(tokens: u64, random: &mut Random) -> Vec<String> {
    let mut open: Vec<std::collections::VecDeque<String>> = Vec::new();
    let mut lines = Vec::new();
    for token in 0..tokens {
        open.push(story(token, random).into());
        for _ in 0..2 {
            let at = random.below(open.len() as u64) as usize;
            lines.extend(open[at].pop_front());
            if open[at].is_empty() {
                open.swap_remove(at);
            }
            if open.is_empty() {
                break;
            }
        }
    }
    lines.extend(open.into_iter().flatten());
    lines
}

/// What was found, in an order that does not depend on when.
fn told(sidecar: &Sidecar) -> Vec<String> {
    let list = sidecar.api("/api/v1/findings?limit=1000");
    let one = |finding: &Value| {
        let field = |name: &str| finding[name].to_string();
        ["verdict", "token", "client", "call", "attempt", "confirmed"]
            .map(field)
            .join(" ")
    };
    let mut told: Vec<_> = list["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect();
    told.sort();
    told
}

fn tokens(sidecar: &Sidecar) -> Vec<String> {
    let samples = sidecar::samples(&sidecar.page());
    let tokens = samples
        .into_iter()
        .filter(|(name, _)| name.starts_with("oncewatch_tokens{"));
    tokens
        .map(|(name, count)| format!("{name} {count}"))
        .collect()
}

/// Waits until all lines sent were used or counted as unusable.
fn settle(sidecar: &Sidecar, lines: usize) {
    wait_for("all lines to be read", || {
        (sidecar.lines_counted() >= lines as f64).then_some(())
    });
    // Findings take the way through a queue.
    let found = || {
        sidecar.api("/api/v1/findings?limit=1000")["findings"]
            .as_array()
            .unwrap()
            .len()
    };
    let mut last = usize::MAX;
    wait_for("the findings", || {
        let now = found();
        std::thread::sleep(Duration::from_millis(50));
        (std::mem::replace(&mut last, now) == now).then_some(())
    });
}

/// `KILLS=200` kills it more often. A client without acknowledgements sends everything again after a
/// restart; what was read before is recognised as a duplicate, by a sidecar that remembers it.
#[test]
fn killed_at_any_instant_it_says_what_it_would_have_said() {
    const SEED: u64 = 0x00c0_ffee;
    let kills = std::env::var("KILLS").map_or(25, |kills| kills.parse().unwrap());
    let mut random = Random(SEED);
    let lines = stream(1500, &mut random);
    let whole = Sidecar::start(&["--token-display=full"]);
    whole
        .connect()
        .write_all(lines.concat().as_bytes())
        .unwrap();
    settle(&whole, lines.len());
    let (expected, expected_tokens) = (told(&whole), tokens(&whole));
    assert!(
        expected.len() > 300 && expected.len() < 1000,
        "{}",
        expected.len()
    );
    drop(whole);

    let directory = Arc::new(tempfile::tempdir().unwrap());
    let state = state_flag(directory.path());
    let flags = ["--token-display=full", &state];
    let (mut reached, mut torn) = (0, 0.0);
    let mut after_first = 0.0;
    for kill in 0..kills {
        let sidecar = Sidecar::start_in(directory.clone(), &flags);
        let mut client = sidecar.connect();
        torn += sidecar.metric(GAPS);
        after_first += sidecar.metric("oncewatch_state_replayed_total").min(1.0);
        let pid = rustix::process::Pid::from_raw(sidecar.pid().cast_signed()).unwrap();
        let wait = Duration::from_micros(random.below(60_000));
        // Each life goes further than the one before, so that the kills are spread over the stream.
        let until = (lines.len() * (kill + 1)).div_ceil(kills);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(wait);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        for chunk in lines[..until].chunks(1 + random.below(40) as usize) {
            if client.write_all(chunk.concat().as_bytes()).is_err() {
                break;
            }
            reached += chunk.len();
        }
        killer.join().unwrap();
        sidecar.kill();
    }
    let sidecar = Sidecar::start_in(directory, &flags);
    let known = sidecar.metric("oncewatch_state_replayed_total");
    sidecar
        .connect()
        .write_all(lines.concat().as_bytes())
        .unwrap();
    settle(&sidecar, lines.len());
    assert_eq!(told(&sidecar), expected, "seed {SEED:#x}, {kills} kills");
    assert_eq!(tokens(&sidecar), expected_tokens);
    // It was killed at work, knew something each time, and knew most at the end.
    assert!(reached > lines.len() && known > 300.0, "{reached} {known}");
    assert!(after_first >= kills as f64 / 2.0, "{after_first}");
    // A frame that was cut off is said; it is rare.
    assert!(torn <= kills as f64 / 5.0, "{torn}");
}

#[test]
fn a_restart_goes_on_where_the_last_process_was() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let flags = [state_flag(directory.path())];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let first = Sidecar::start_in(directory.clone(), &flags);
    let began = first.metric("oncewatch_observation_start_timestamp_seconds");
    assert!(first.metric("oncewatch_state_bytes") > 0.0);
    let mut client = first.connect();
    // A client without a name: it is called after its connection.
    client
        .write_all(sidecar::start(API, "anonymous", "").as_bytes())
        .unwrap();
    client
        .write_all(line("attempt_start", 1, "a", 1, ",\"client\":\"orders-1/1\"").as_bytes())
        .unwrap();
    first.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 2.0);
    let shown = |sidecar: &Sidecar| {
        let found = sidecar.api(&format!("/api/v1/tokens/{API}/anonymous"));
        found["tokens"][0].clone()
    };
    let before = shown(&first);
    first.kill();
    let second = Sidecar::start_in(directory.clone(), &flags);
    assert_eq!(
        second.metric("oncewatch_observation_start_timestamp_seconds"),
        began
    );
    assert_eq!(second.metric("oncewatch_state_replayed_total"), 2.0);
    assert_eq!(second.metric(GAPS), 0.0);
    // Open as before, and called by the same hash: not orphaned by the sidecar's own end.
    let after = shown(&second);
    assert_eq!(after["token"], before["token"]);
    assert_eq!(after["status"], "in_flight");
    assert_eq!(after["attempts"], before["attempts"]);
    // Another connection is another client.
    let mut another = second.connect();
    another
        .write_all(sidecar::start(API, "anonymous", "").as_bytes())
        .unwrap();
    let findings = second.findings(1);
    assert_eq!(findings[0]["verdict"], "cross_client_collision");
    let stopped = second.terminate();
    assert_eq!(stopped.status.code(), Some(0));
    // Findings are listed again, and logged once.
    let third = Sidecar::start_in(directory, &flags);
    assert_eq!(third.findings(1).len(), 1);
    assert!(third.logged(|line| line["verdict"].is_string()).is_empty());
}

#[test]
fn without_a_state_directory_a_restart_begins_anew_and_is_no_gap() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let first = Sidecar::start_in(directory.clone(), &[]);
    let began = first.metric("oncewatch_observation_start_timestamp_seconds");
    first.kill();
    let second = Sidecar::start_in(directory, &[]);
    assert!(second.metric("oncewatch_observation_start_timestamp_seconds") > began);
    assert_eq!(
        (second.metric(GAPS), second.metric("oncewatch_state_bytes")),
        (0.0, 0.0)
    );
}

#[test]
fn a_second_sidecar_on_the_same_state_says_so() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let state = state_flag(directory.path());
    let mut first = Sidecar::start_in(directory.clone(), &[&state]);
    let mut second = command(&[
        "run",
        "--metrics-addr=127.0.0.1:0",
        "--admin-addr=127.0.0.1:0",
        &state,
    ]);
    second
        .arg("--socket")
        .arg(directory.path().join("other/events.sock"));
    let second = second.stdin(Stdio::null()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("state-dir: another process keeps its state in"),
        "{said}"
    );
    assert!(first.is_running());
}

#[test]
fn what_cannot_be_a_directory_is_said_and_events_are_judged() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("file"), "").unwrap();
    let flag = format!("--state-dir={}/file/state", directory.path().display());
    let sidecar = Sidecar::start_in(directory.clone(), &[&flag]);
    assert_eq!(sidecar.metric(GAPS), 1.0);
    assert!(sidecar.metric("oncewatch_state_write_failures_total") >= 1.0);
    assert!(
        !sidecar
            .logged(|line| line["message"]
                .as_str()
                .unwrap_or("")
                .contains("the state cannot be used"))
            .is_empty()
    );
    sidecar
        .connect()
        .write_all(sidecar::start(API, "t", "").as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);
    // Once the directory can be had, it is used, without being asked.
    std::fs::remove_file(directory.path().join("file")).unwrap();
    wait_for("a whole state", || {
        is_whole(&directory.path().join("file/state")).then_some(())
    });
    sidecar.kill();
    let sidecar = Sidecar::start_in(directory, &[&flag]);
    assert_eq!(sidecar.metric("oncewatch_state_replayed_total"), 1.0);
}

/// A limit of the size of files does to a write what a full disk does.
#[test]
fn a_full_disk_is_counted_and_outlived() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let flag = state_flag(directory.path());
    let sidecar = Sidecar::start_in(directory.clone(), &[&flag]);
    let limit = |bytes: Option<u64>| {
        let pid = rustix::process::Pid::from_raw(sidecar.pid().cast_signed());
        let limit = rustix::process::Rlimit {
            current: bytes,
            maximum: None,
        };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    };
    let mut client = sidecar.connect();
    let mut send = |tokens: std::ops::Range<u64>| {
        for token in tokens {
            let of = ",\"client\":\"orders-1/1\"";
            let lines = line("attempt_start", token, "a", 1, of);
            client.write_all(lines.as_bytes()).unwrap();
        }
    };
    let failures = || sidecar.metric("oncewatch_state_write_failures_total");
    send(0..10);
    assert_eq!(failures(), 0.0);
    limit(Some(20_000));
    send(10..1000);
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1000.0);
    assert!(failures() >= 1.0);
    let said = |line: &Value| {
        line["error"]
            .as_str()
            .is_some_and(|error| error.contains("large"))
    };
    assert!(!sidecar.logged(said).is_empty(), "{:?}", sidecar.log());
    limit(None);
    let state = directory.path().join("state");
    wait_for("a whole state", || {
        let written = sidecar.metric("oncewatch_state_bytes") > 60_000.0;
        (written && is_whole(&state)).then_some(())
    });
    sidecar.kill();
    let sidecar = Sidecar::start_in(directory, &[&flag]);
    assert_eq!(sidecar.metric("oncewatch_state_replayed_total"), 1000.0);
    assert_eq!(sidecar.metric(GAPS), 0.0);
}

/// A disk that stalls while somebody else has the lock.
struct Stalling {
    disk: Arc<Mutex<()>>,
    reached: Arc<AtomicBool>,
}

impl Keeper for Stalling {
    fn keep(&mut self, detector: &mut Detector, _: &Verdicts, _: u64) {
        detector.forget_changes();
        self.reached.store(true, Ordering::SeqCst);
        drop(self.disk.lock().unwrap());
    }

    fn position(&mut self, _: &Position) {}

    fn tidy(&mut self, _: &mut Detector, _: u64, _: Timestamp) -> Chore {
        Chore::None(None)
    }
}

/// Whoever answers probes on the same thread as the scrape must not stand still with the disk.
#[test]
fn a_disk_that_stalls_holds_up_no_thread_that_waits_for_the_lock() {
    let profiles = profiles(&toml::Table::new(), None).unwrap();
    let metrics = Arc::new(Metrics::new(&profiles, &[]));
    let (findings, _reports) = tokio::sync::mpsc::channel(1);
    let sinks = Sinks {
        findings,
        spans: None,
    };
    let (disk, reached) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
    let stalled = disk.lock().unwrap();
    let keeper = Box::new(Stalling {
        disk: disk.clone(),
        reached: reached.clone(),
    });
    let detector = Detector::new(profiles, OPTIONS);
    let pipeline = Arc::new(Pipeline::new(detector, metrics, sinks).kept_by(keeper, 0));
    let events = pipeline.clone();
    let reader = std::thread::spawn(move || {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let line = line("attempt_start", 1, "c", 1, "");
        let lines = std::iter::once(line.trim_end().as_bytes());
        events.process(lines, Source::default(), now, |error| panic!("{error:?}"));
    });
    wait_for("the disk", || reached.load(Ordering::SeqCst).then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(async {
        let mut free = std::pin::pin!(pipeline.free());
        let soon = tokio::time::timeout(Duration::from_millis(50), &mut free);
        assert!(soon.await.is_err(), "it is free while the disk stalls");
        drop(stalled);
        let later = tokio::time::timeout(Duration::from_secs(30), free);
        later.await.expect("it is never free again");
    });
    reader.join().unwrap();
}

/// While everything is written anew, nobody waits for long: the lock is held for a step at a time.
#[test]
fn writing_the_state_anew_takes_the_lock_for_moments() {
    const TOKENS: u64 = 30_000;
    let directory = tempfile::tempdir().unwrap();
    let profiles = profiles(&toml::Table::new(), None).unwrap();
    let metrics = Arc::new(Metrics::new(&profiles, &[]));
    let place = Place {
        directory: directory.path().to_owned(),
        bytes_max: 1 << 30,
    };
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let found = State::open(place, profiles, OPTIONS, &metrics, now).unwrap();
    let (mut state, mut detector) = (found.state, found.detector);
    detector.keep_journal();
    state.begin(&mut detector, 0, now);
    let (findings, _reports) = tokio::sync::mpsc::channel(1);
    let sinks = Sinks {
        findings,
        spans: None,
    };
    let pipeline = Pipeline::new(detector, metrics.clone(), sinks).kept_by(Box::new(state), 0);
    let (mut anew, mut longest, mut steps) = (0, Duration::ZERO, 0);
    let mut random = Random(0x5eed);
    let mut token = 0;
    while anew < 2 {
        // Until the files are so long that they are written anew, then a batch after each step.
        let lines: Vec<String> = (0..20)
            .map(|_| {
                token += 1;
                let of = format!(",\"client\":\"orders-{}/1\"", random.below(50));
                line(
                    "attempt_start",
                    token % TOKENS,
                    &format!("c{token}"),
                    1,
                    &of,
                )
            })
            .collect();
        let lines = lines.iter().map(|line| line.trim_end().as_bytes());
        pipeline.process(lines, Source::default(), now, |error| panic!("{error:?}"));
        let before = cpu();
        let chore = pipeline.tidy(now);
        let took = cpu() - before;
        match chore {
            Chore::None(_) => {}
            Chore::More => {
                steps += 1;
                longest = longest.max(took);
            }
            Chore::Outside(work) => {
                work();
                anew += u64::from(token > 5 * TOKENS);
            }
        }
    }
    assert!(steps > 30, "{steps}");
    // Without optimisation, and by this thread's own time: the machine may be busy.
    assert!(longest < Duration::from_millis(5), "{longest:?}");
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
