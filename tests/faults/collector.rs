//! The OTLP collector refuses, hangs, is slow, or gives nonsense. Events are judged meanwhile as if
//! it were not there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::sidecar::{Sidecar, start, wait_for};
use super::{TRANSACT, assert_heard, says};

const EXPORTED: &str = "oncewatch_spans_total{outcome=\"exported\"}";
const FAILED: &str = "oncewatch_spans_total{outcome=\"failed\"}";
const DROPPED: &str = "oncewatch_spans_total{outcome=\"dropped\"}";
/// Lifecycles with a finding.
const COUNT: usize = 3000;

fn sidecar_with(collector: SocketAddr) -> Sidecar {
    Sidecar::start_in_with(
        std::sync::Arc::new(tempfile::tempdir().unwrap()),
        &[],
        |mut command| {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
            command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "500");
            command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
            command.env("OTEL_BSP_MAX_QUEUE_SIZE", "512");
            command
        },
    )
}

/// Makes lifecycles that are settled and have a finding: one request under two tokens each.
fn misuse(sidecar: &Sidecar) {
    let mut client = sidecar.connect();
    for n in 0..COUNT {
        let line = start(TRANSACT, &"x".repeat(37 + n % 400), "");
        let call = |name: &str, fp: &str| {
            let more = format!(",\"call\":\"{name}\",\"fp\":\"{fp}\"");
            let begun = start(TRANSACT, &format!("t{n}"), &more);
            begun
                + &super::sidecar::end(
                    TRANSACT,
                    &format!("t{n}"),
                    &format!("{more},\"outcome\":\"ok\""),
                )
        };
        let all = line + &call("a", "1") + &call("b", "2");
        client.write_all(all.as_bytes()).unwrap();
    }
    wait_for("all verdicts", || {
        let said = sidecar.metric(&format!(
            "oncewatch_verdicts_total{{api=\"{TRANSACT}\",severity=\"error\",verdict=\"parameter_mismatch\"}}"
        ));
        (said == COUNT as f64).then_some(())
    });
}

fn accounted(sidecar: &Sidecar) -> f64 {
    [EXPORTED, FAILED, DROPPED]
        .iter()
        .map(|series| sidecar.metric(series))
        .sum()
}

/// Answers each request on a connection by `answer`, until the peer goes.
fn collector(answer: fn(&mut TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || answer(&mut stream));
        }
    });
    address
}

/// Reads one request; false at the end.
fn read_request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: u64 = length.map_or(0, |text| text.parse().unwrap());
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).is_ok_and(|read| read == length)
}

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

fn assert_unharmed(sidecar: Sidecar) {
    assert_heard(&sidecar, &sidecar.connect(), "after");
    assert_eq!(sidecar.sum("oncewatch_events_rejected_total"), 0.0);
    assert!(accounted(&sidecar) > 0.0);
    let stopped = sidecar.terminate();
    assert!(stopped.status.success(), "{:?}", stopped.log);
    assert!(stopped.took < Duration::from_secs(2), "{:?}", stopped.took);
}

#[test]
fn a_collector_that_refuses_costs_its_spans_and_nothing_else() {
    // Nobody listens there any more.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let sidecar = sidecar_with(free);
    misuse(&sidecar);
    wait_for("failures", || (sidecar.metric(FAILED) > 0.0).then_some(()));
    assert_eq!(sidecar.metric(EXPORTED), 0.0);
    wait_for("the log", || {
        says(&sidecar, "the collector does not take spans").then_some(())
    });
    assert_unharmed(sidecar);
}

#[test]
fn a_collector_that_hangs_costs_its_spans_and_nothing_else() {
    let sidecar = sidecar_with(collector(|stream| {
        let _ = read_request(stream);
        std::thread::sleep(Duration::from_secs(3600));
    }));
    misuse(&sidecar);
    wait_for("failures", || (sidecar.metric(FAILED) > 0.0).then_some(()));
    wait_for("drops", || (sidecar.metric(DROPPED) > 0.0).then_some(()));
    assert_eq!(sidecar.metric(EXPORTED), 0.0);
    assert_unharmed(sidecar);
}

#[test]
fn a_collector_that_is_slow_gets_what_the_queue_holds() {
    let sidecar = sidecar_with(collector(|stream| {
        while read_request(stream) {
            std::thread::sleep(Duration::from_millis(200));
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    }));
    misuse(&sidecar);
    wait_for("spans", || (sidecar.metric(EXPORTED) > 0.0).then_some(()));
    wait_for("drops", || (sidecar.metric(DROPPED) > 0.0).then_some(()));
    assert_eq!(sidecar.metric(FAILED), 0.0);
    assert_unharmed(sidecar);
}

#[test]
fn a_collector_that_answers_nonsense_is_a_failure_like_any_other() {
    let sidecar = sidecar_with(collector(|stream| {
        let _ = read_request(stream);
        // A body without an end, after a head that promises one.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"10000\r\n").is_ok() {
            if stream.write_all(&vec![b'x'; 0x10000]).is_err() || stream.write_all(b"\r\n").is_err()
            {
                return;
            }
        }
    }));
    let (before, _) = sidecar.memory_bytes();
    misuse(&sidecar);
    wait_for("failures", || (sidecar.metric(FAILED) > 0.0).then_some(()));
    let (_, most) = sidecar.memory_bytes();
    assert!(most < before + (64 << 20), "{before} grew to {most}");
    assert_unharmed(sidecar);
}
