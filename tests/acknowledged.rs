//! Acknowledged delivery on the stream socket of a running sidecar: `hello`, `ack`, lines that are
//! sent again, and clients that do not play by the rules.

#![allow(clippy::disallowed_methods)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

#[path = "support/sidecar.rs"]
mod sidecar;

use sidecar::{PATIENCE, Sidecar, end, start, wait_for};

const API: &str = "stripe";
const STARTS: &str = "oncewatch_events_total{type=\"attempt_start\"}";
const DUPLICATES: &str = "oncewatch_events_rejected_total{reason=\"duplicate\"}";
const ORPHANED: &str =
    "oncewatch_verdicts_total{api=\"other\",severity=\"warning\",verdict=\"orphaned\"}";

/// A client that keeps the rules.
struct Client {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Client {
    fn new(sidecar: &Sidecar) -> Self {
        let stream = sidecar.connect();
        let answers = BufReader::new(stream.try_clone().unwrap());
        Self { stream, answers }
    }

    fn hello(sidecar: &Sidecar, session: &str, seq: u64) -> Self {
        let mut client = Self::new(sidecar);
        client.send(&hello(session, seq));
        client
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn ack(&mut self) -> u64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        seq_of(&line)
    }

    /// Reads acknowledgements up to `seq`; they must rise, and none may be beyond it.
    fn acked(&mut self, seq: u64) {
        let mut last = 0;
        while last != seq {
            let next = self.ack();
            assert!(last <= next && next <= seq, "{last}, then {next} of {seq}");
            last = next;
        }
    }

    /// Asserts that not a byte has come.
    fn heard_nothing(&mut self) {
        let short = Duration::from_millis(100);
        self.stream.set_read_timeout(Some(short)).unwrap();
        let heard = self.answers.fill_buf().map(<[u8]>::to_vec);
        assert!(
            matches!(&heard, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "{heard:?}"
        );
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

fn seq_of(line: &str) -> u64 {
    let answer: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(answer["type"], "ack", "{line}");
    assert_eq!(answer.as_object().unwrap().len(), 2, "{line}");
    answer["seq"].as_u64().unwrap()
}

fn hello(session: &str, seq: impl std::fmt::Display) -> String {
    format!("{{\"type\":\"hello\",\"session\":\"{session}\",\"seq\":{seq}}}\n")
}

/// Starts of different tokens, without `call`: the detector itself would judge each of them twice.
fn starts(numbers: std::ops::Range<u64>) -> String {
    numbers
        .map(|number| start(API, &format!("t{number}"), ""))
        .collect()
}

#[test]
fn lines_are_acknowledged_and_those_sent_again_are_left_out() {
    let sidecar = Sidecar::start(&[]);
    let mut client = Client::hello(&sidecar, "one", 1);
    assert_eq!(client.ack(), 0, "the hello is answered by itself");
    client.send(&starts(1..101));
    client.acked(100);
    sidecar.wait_for_metric(STARTS, 100.0);
    // Another one does not share its numbers.
    let mut other = Client::hello(&sidecar, "other", 1);
    other.send(&starts(1001..1011));
    other.acked(10);
    drop(client);
    // It has heard of 90.
    let mut client = Client::hello(&sidecar, "one", 91);
    assert_eq!(client.ack(), 100);
    client.send(&starts(91..121));
    client.acked(120);
    sidecar.wait_for_metric(DUPLICATES, 10.0);
    sidecar.wait_for_metric(STARTS, 130.0);
    // It gave up 30 lines.
    let mut client = Client::hello(&sidecar, "one", 151);
    assert_eq!(client.ack(), 150);
    client.send(&starts(151..152));
    client.acked(151);
    sidecar.wait_for_metric(STARTS, 131.0);
    assert_eq!(sidecar.metric(DUPLICATES), 10.0);
}

#[test]
fn a_line_that_cannot_be_used_has_its_number_and_is_counted_once() {
    let sidecar = Sidecar::start(&["--max-line-bytes=1KiB"]);
    let long = "x".repeat(1025);
    let text = format!(
        "nonsense\n{long}\n \n{{\"type\":\"hello\"}}\n{}",
        starts(4..5)
    );
    let mut client = Client::hello(&sidecar, "one", 1);
    client.send(&text);
    client.acked(4);
    let mut client = Client::hello(&sidecar, "one", 1);
    assert_eq!(client.ack(), 4);
    client.send(&text);
    client.acked(4);
    for (reason, count) in [
        ("malformed", 1.0),
        ("too_long", 1.0),
        ("unknown_type", 1.0),
        ("duplicate", 4.0),
    ] {
        let series = format!("oncewatch_events_rejected_total{{reason=\"{reason}\"}}");
        sidecar.wait_for_metric(&series, count);
    }
    assert_eq!(sidecar.metric(STARTS), 1.0);
}

#[test]
fn a_hello_that_is_no_first_line_or_malformed_is_rejected_and_never_answered() {
    let sidecar = Sidecar::start(&[]);
    let first_max = (1_u64 << 53) - 1;
    let cases = [
        ("unknown_type", format!("{}{}", starts(1..2), hello("s", 1))),
        (
            "unknown_type",
            format!("{}{}", hello("s", 0), hello("s", 1)),
        ),
        (
            "missing_field",
            "{\"type\":\"hello\",\"seq\":1}\n".to_owned(),
        ),
        (
            "missing_field",
            "{\"type\":\"hello\",\"session\":\"s\"}\n".to_owned(),
        ),
        ("missing_field", hello("", 1)),
        ("invalid_field", hello(&"s".repeat(65), 1)),
        ("invalid_field", hello("s", u64::MAX)),
        ("invalid_field", hello("s", first_max + 1)),
        ("invalid_field", hello("s", 0)),
        ("invalid_field", hello("s", -1)),
        ("invalid_field", hello("s", "1.0")),
        ("invalid_field", hello("s", "1e2")),
        ("invalid_field", hello("s", "\"1\"")),
        ("unsupported_version", hello("s", "1,\"v\":2")),
        ("malformed", hello("s", "NaN")),
        ("malformed", hello("s", "01")),
    ];
    for (reason, text) in cases {
        let series = format!("oncewatch_events_rejected_total{{reason=\"{reason}\"}}");
        let (rejected, started) = (sidecar.metric(&series), sidecar.metric(STARTS));
        let mut client = Client::new(&sidecar);
        client.send(&text);
        sidecar.wait_for_metric(&series, rejected + 1.0);
        // It goes on as any other client, and its lines have no numbers.
        let begun = sidecar.metric(STARTS) - started;
        client.send(&starts(2..3));
        client.send(&starts(2..3));
        sidecar.wait_for_metric(STARTS, started + begun + 2.0);
        client.heard_nothing();
    }
    // The largest number still counts on.
    let mut client = Client::hello(&sidecar, &"s".repeat(64), first_max);
    client.send(&starts(10..13));
    client.acked(first_max + 2);
}

#[test]
fn who_does_not_ask_hears_nothing() {
    let sidecar = Sidecar::start(&[]);
    let mut client = Client::new(&sidecar);
    client.send(&starts(1..1001));
    sidecar.wait_for_metric(STARTS, 1000.0);
    client.heard_nothing();
}

#[test]
fn a_client_that_never_reads_is_read_to_the_end_and_costs_nothing() {
    let mut sidecar = Sidecar::start(&[]);
    let (_, before) = sidecar.memory_bytes();
    let mut deaf = Client::hello(&sidecar, "deaf", 1);
    let report = "{\"type\":\"client_report\",\"dropped\":0}\n";
    let reports = "oncewatch_events_total{type=\"client_report\"}";
    let mut sent = 0_u64;
    // Line by line, each acknowledged by itself, until its socket holds no more of that.
    let unread = |deaf: &Client| rustix::io::ioctl_fionread(&deaf.stream).unwrap();
    let mut full = (0, 0);
    while full.1 < 20 {
        deaf.send(report);
        sent += 1;
        std::thread::sleep(Duration::from_millis(4));
        let bytes = unread(&deaf);
        full = if bytes == full.0 {
            (bytes, full.1 + 1)
        } else {
            (bytes, 0)
        };
        assert!(sent < 3000, "never full: {bytes} bytes");
    }
    // And a flood, which must not wait for it either.
    let batch = report.repeat(1000);
    for _ in 0..200 {
        deaf.send(&batch);
        sent += 1000;
    }
    sidecar.wait_for_metric(reports, sent as f64);
    let mut other = Client::hello(&sidecar, "other", 1);
    other.send(&starts(1..2));
    other.acked(1);
    assert_eq!(unread(&deaf), full.0, "it was not full");
    let (_, after) = sidecar.memory_bytes();
    assert!(after - before < 8 << 20, "grew from {before} to {after} B");
    assert!(sidecar.is_running());
    assert_eq!(sidecar.metric("oncewatch_clients_connected"), 2.0);
    // When it reads at last, it hears of everything: nothing more has to be sent for that.
    deaf.acked(sent);
}

#[test]
fn a_client_that_closes_its_reading_end_is_still_read() {
    let sidecar = Sidecar::start(&[]);
    let mut client = Client::hello(&sidecar, "one", 1);
    client.acked(0);
    client.stream.shutdown(std::net::Shutdown::Read).unwrap();
    for number in 1..101 {
        client.send(&starts(number..number + 1));
        std::thread::sleep(Duration::from_millis(1));
    }
    sidecar.wait_for_metric(STARTS, 100.0);
}

#[test]
fn two_connections_of_a_session_give_each_line_once() {
    let sidecar = Sidecar::start(&[]);
    let total = 20_000;
    let lines: Vec<String> = (1..=total).map(|n| starts(n..n + 1)).collect();
    std::thread::scope(|scope| {
        for piece in [1, 7, 300] {
            let (sidecar, lines) = (&sidecar, &lines);
            scope.spawn(move || {
                let mut client = Client::hello(sidecar, "one", 1);
                let mut answers = client.stream.try_clone().unwrap();
                let listener = std::thread::spawn(move || {
                    let mut text = String::new();
                    answers.read_to_string(&mut text).unwrap();
                    text.lines().map(seq_of).max()
                });
                for piece in lines.chunks(piece) {
                    client.send(&piece.concat());
                }
                client.stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(listener.join().unwrap(), Some(total));
            });
        }
    });
    sidecar.wait_for_metric(DUPLICATES, 2.0 * total as f64);
    assert_eq!(sidecar.metric(STARTS), total as f64);
}

#[test]
fn attempts_belong_to_the_session_s_newest_connection() {
    let sidecar = Sidecar::start(&[]);
    let mut first = Client::hello(&sidecar, "one", 1);
    first.send(&start(API, "open", ""));
    first.acked(1);
    let mut second = Client::hello(&sidecar, "one", 2);
    second.acked(1);
    drop(first);
    sidecar.wait_for_metric("oncewatch_clients_connected", 1.0);
    assert_eq!(
        sidecar.sum("oncewatch_verdicts_total{api=\"other\",severity=\"warning\""),
        0.0
    );
    // A client that gives no name is the same one still: this ends the attempt.
    second.send(&end(API, "open", ",\"outcome\":\"ok\""));
    second.send(&start(API, "open too", ""));
    second.acked(3);
    assert_eq!(sidecar.metric(ORPHANED), 0.0);
    drop(second);
    sidecar.wait_for_metric(ORPHANED, 1.0);
    let found = sidecar.findings(1);
    assert_eq!(found[0]["verdict"], "orphaned");
    // The truth may still come, on a third one.
    let mut third = Client::hello(&sidecar, "one", 4);
    third.send(&end(API, "open too", ",\"outcome\":\"ok\""));
    third.acked(4);
    wait_for("both tokens to succeed", || {
        let tokens = sidecar.api("/api/v1/tokens?status=succeeded");
        (tokens["tokens"].as_array()?.len() == 2).then_some(())
    });
}

#[test]
fn what_was_read_before_an_orderly_end_is_acknowledged() {
    let sidecar = Sidecar::start(&[]);
    let mut client = Client::hello(&sidecar, "one", 1);
    client.acked(0);
    sidecar.signal(rustix::process::Signal::STOP);
    client.send(&starts(1..301));
    client.send("{\"type\":\"attempt_sta");
    let stopped = sidecar.terminate();
    assert!(stopped.status.success(), "{:?}", stopped.log);
    let mut rest = String::new();
    client.answers.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.lines().map(seq_of).max(), Some(300), "{rest}");
}

#[test]
fn a_session_goes_on_after_a_kill_where_state_is_kept() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let state = format!("--state-dir={}", directory.path().join("state").display());
    let sidecar = Sidecar::start_in(directory, &[&state]);
    let mut client = Client::hello(&sidecar, "one", 1);
    client.send(&starts(1..101));
    client.acked(100);
    let sidecar = Sidecar::start_in(sidecar.kill(), &[&state]);
    // It has heard of 90.
    let mut client = Client::hello(&sidecar, "one", 91);
    assert_eq!(client.ack(), 100);
    client.send(&starts(91..121));
    client.acked(120);
    sidecar.wait_for_metric(STARTS, 20.0);
    assert_eq!(sidecar.metric(DUPLICATES), 10.0);
    // Attempts still belong to the session, and end with it.
    drop(client);
    sidecar.wait_for_metric(ORPHANED, 20.0);
}

#[test]
fn after_a_kill_no_other_connection_is_taken_for_a_session_s() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let state = format!("--state-dir={}", directory.path().join("state").display());
    let sidecar = Sidecar::start_in(directory, &[&state]);
    let mut client = Client::hello(&sidecar, "one", 1);
    client.send(&starts(1..2));
    client.acked(1);
    let sidecar = Sidecar::start_in(sidecar.kill(), &[&state]);
    let mut stranger = Client::new(&sidecar);
    stranger.send(&starts(100..101));
    sidecar.wait_for_metric(STARTS, 1.0);
    let mut client = Client::hello(&sidecar, "one", 2);
    client.send(&starts(2..3));
    client.acked(2);
    drop(stranger);
    sidecar.wait_for_metric(ORPHANED, 1.0);
    let names: HashSet<String> = ["t1", "t2", "t100"]
        .map(|token| {
            let token = sidecar.api(&format!("/api/v1/tokens/{API}/{token}"));
            token["tokens"][0]["attempts"][0]["client"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .into();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// Lines of which none can be used change nothing but how far the session was read, and that is kept.
#[test]
fn lines_that_cannot_be_used_are_not_counted_again_after_a_kill() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let state = format!("--state-dir={}", directory.path().join("state").display());
    let sidecar = Sidecar::start_in(directory, &[&state]);
    let malformed = "oncewatch_events_rejected_total{reason=\"malformed\"}";
    let mut client = Client::hello(&sidecar, "one", 1);
    client.send("nonsense\nmore nonsense\nand more\n");
    client.acked(3);
    sidecar.wait_for_metric(malformed, 3.0);
    let sidecar = Sidecar::start_in(sidecar.kill(), &[&state]);
    let mut client = Client::hello(&sidecar, "one", 1);
    assert_eq!(client.ack(), 3);
    client.send("nonsense\nmore nonsense\nand more\n");
    client.send(&starts(4..5));
    client.acked(4);
    sidecar.wait_for_metric(STARTS, 1.0);
    assert_eq!(sidecar.metric(malformed), 0.0);
    assert_eq!(sidecar.metric(DUPLICATES), 3.0);
}

#[test]
fn a_session_that_is_forgotten_although_it_may_send_again_is_counted() {
    let sidecar = Sidecar::start(&[]);
    let overflow = "oncewatch_tracking_gaps_total{reason=\"sessions_overflow\"}";
    let connected = "oncewatch_clients_connected";
    let mut stays = Client::hello(&sidecar, "stays", 1);
    stays.send(&starts(1..2));
    stays.acked(1);
    for number in 0..1025 {
        let mut client = Client::hello(&sidecar, &format!("s{number}"), 1);
        client.send("{\"type\":\"client_report\"}\n");
        client.acked(1);
    }
    sidecar.wait_for_metric(connected, 1.0);
    assert_eq!(sidecar.metric(overflow), 1.0);
    // The one that was heard of first has its connection still.
    let mut again = Client::hello(&sidecar, "stays", 1);
    assert_eq!(again.ack(), 1);
}

/// The sidecar is away for longer than a lease. What ended meanwhile is told when the client has
/// reconnected; only what did not end is stuck, as of its own time.
#[test]
fn an_attempt_that_ended_well_while_the_sidecar_was_away_is_not_stuck() {
    let unix = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs_f64()
    };
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let config = directory.path().join("oncewatch.toml");
    std::fs::write(&config, "[profiles.short]\nlease = \"2s\"\n").unwrap();
    let flags = [
        format!("--config={}", config.display()),
        format!("--state-dir={}", directory.path().join("state").display()),
        "--token-display=full".to_owned(),
    ];
    let flags = flags.each_ref().map(String::as_str);
    let sidecar = Sidecar::start_in(directory, &flags);
    let mut client = Client::hello(&sidecar, "one", 1);
    let begun = unix();
    client.send(&start("short", "ended", ",\"call\":\"c1\""));
    client.send(&start("short", "open", ",\"call\":\"c2\""));
    client.acked(2);
    let directory = sidecar.kill();
    std::thread::sleep(Duration::from_millis(2500));
    let sidecar = Sidecar::start_in(directory, &flags);
    let mut client = Client::hello(&sidecar, "one", 3);
    assert_eq!(client.ack(), 2);
    let more = format!(
        ",\"call\":\"c1\",\"outcome\":\"ok\",\"at\":{:.3}",
        begun + 1.0
    );
    client.send(&end("short", "ended", &more));
    let fresh = unix();
    client.send(&start("short", "fresh", ",\"call\":\"c3\""));
    client.acked(4);
    let found = sidecar.findings(2);
    let said: Vec<_> = found
        .iter()
        .map(|f| (f["verdict"].as_str().unwrap(), f["token"].as_str().unwrap()))
        .collect();
    let stuck = "stuck_in_flight";
    assert_eq!(said, [(stuck, "open"), (stuck, "fresh")], "{found:?}");
    let after = |finding: &serde_json::Value, start| finding["at"].as_f64().unwrap() - start;
    for (finding, start) in found.iter().zip([begun, fresh]) {
        let late = after(finding, start);
        assert!((1.99..2.3).contains(&late), "{late}: {finding}");
    }
    let tokens = sidecar.api("/api/v1/tokens?status=succeeded");
    assert_eq!(tokens["tokens"][0]["token"], "ended", "{tokens}");
}
