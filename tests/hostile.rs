//! Hostile input against a running sidecar: each kind is counted under its reason, memory stays
//! bounded, and afterwards metrics are served and a fresh event is judged.

#![allow(clippy::disallowed_methods)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[path = "support/sidecar.rs"]
mod sidecar;

use sidecar::{Sidecar, end, start, wait_for};

const TRANSACT: &str = "dynamodb.TransactWriteItems";
const MIB: u64 = 1 << 20;

fn rejected(reason: &str) -> String {
    format!("oncewatch_events_rejected_total{{reason=\"{reason}\"}}")
}

/// Asserts that the sidecar serves and judges as on its first day.
fn assert_well(sidecar: &mut Sidecar) {
    assert!(sidecar.is_running());
    let (starts, invalid) = (
        "oncewatch_events_total{type=\"attempt_start\"}",
        "oncewatch_verdicts_total{api=\"dynamodb.TransactWriteItems\",severity=\"error\",verdict=\"token_invalid\"}",
    );
    let before = (sidecar.metric(starts), sidecar.metric(invalid));
    let mut client = sidecar.connect();
    let fresh = start(TRANSACT, &"x".repeat(37), "");
    client.write_all(fresh.as_bytes()).unwrap();
    sidecar.wait_for_metric(starts, before.0 + 1.0);
    sidecar.wait_for_metric(invalid, before.1 + 1.0);
    // The list is filled behind the counters' back.
    wait_for("the finding", || {
        let newest = sidecar.api("/api/v1/findings?limit=1&verdict=token_invalid");
        (newest["findings"].as_array()?.len() == 1).then_some(())
    });
}

/// Asserts that nothing but `reasons` was counted as unusable, and these so often.
fn assert_rejected(sidecar: &Sidecar, reasons: &[(&str, usize)]) {
    for (reason, count) in reasons {
        sidecar.wait_for_metric(&rejected(reason), *count as f64);
    }
    let total: usize = reasons.iter().map(|(_, count)| count).sum();
    let counted = sidecar.sum("oncewatch_events_rejected_total");
    assert_eq!(counted, total as f64, "{}", sidecar.page());
}

#[test]
fn lines_that_are_no_events_are_counted_by_reason() {
    let mut sidecar = Sidecar::start(&[]);
    let nested = format!("{}\n", "[".repeat(100_000));
    let nested_short = format!("{}\n", "[".repeat(16_000));
    let nested_member = start(TRANSACT, "t", &format!(",\"x\":{}", "[".repeat(10_000)));
    let long_17_kib = start(
        TRANSACT,
        "t",
        &format!(",\"x\":\"{}\"", "y".repeat(17 * 1024)),
    );
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("malformed", b"not json at all\n".into()),
        ("malformed", b"{\"type\":\"attempt_start\"\n".into()),
        ("malformed", b"[]\n".into()),
        ("malformed", b"42\n".into()),
        ("malformed", b"\"attempt_start\"\n".into()),
        ("malformed", b"{} {}\n".into()),
        ("malformed", b"{\"type\":NaN}\n".into()),
        ("malformed", b"\0\0\0\0\n".into()),
        ("malformed", b"{\"type\":\"attempt\0_start\"}\n".into()),
        ("malformed", b"\x80\xff\xfe\x00\x01binary\r\n".into()),
        (
            "malformed",
            b"{\"type\":\"attempt_start\",\"api\":\"a\",\"token\":\"\xff\xfe\"}\n".into(),
        ),
        (
            "malformed",
            b"{\"type\":\"attempt_start\",\"api\":\"a\",\"token\":\"\xed\xa0\x80\"}\n".into(),
        ),
        (
            "malformed",
            b"{\"type\":\"attempt_start\",\"api\":\"a\",\"token\":\"\\ud800\"}\n".into(),
        ),
        (
            "malformed",
            b"{\"type\":\"attempt_start\",\"api\":\"a\",\"token\":\"\\ud800\\u0041\"}\n".into(),
        ),
        ("malformed", nested_short.into()),
        ("malformed", nested_member.into()),
        // Beyond what the JSON reader takes for a number (RFC 8259 section 6 allows a limit).
        (
            "malformed",
            start(TRANSACT, "t", ",\"attempt\":1e400").into(),
        ),
        ("too_long", nested.into()),
        ("too_long", long_17_kib.into()),
        (
            "unsupported_version",
            start(TRANSACT, "t", ",\"v\":2").into(),
        ),
        ("unknown_type", b"{\"type\":\"attempt_pause\"}\n".into()),
        ("missing_field", b"{}\n".into()),
        (
            "missing_field",
            b"{\"type\":\"attempt_start\",\"api\":\"a\"}\n".into(),
        ),
        (
            "missing_field",
            b"{\"type\":\"attempt_start\",\"api\":\"\",\"token\":\"t\"}\n".into(),
        ),
        (
            "missing_field",
            b"{\"type\":\"attempt_end\",\"api\":\"a\",\"token\":\"t\"}\n".into(),
        ),
        (
            "missing_field",
            end(TRANSACT, "t", ",\"outcome\":\"error\"").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, &"t".repeat(513), "").into(),
        ),
        ("invalid_field", start(&"a".repeat(129), "t", "").into()),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"attempt\":0").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"attempt\":1.0").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"attempt\":-1").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"attempt\":99999999999999999999999999").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"at\":1e300").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"at\":\"yesterday\"").into(),
        ),
        (
            "invalid_field",
            start(TRANSACT, "t", ",\"client\":7").into(),
        ),
        (
            "invalid_field",
            end(TRANSACT, "t", ",\"outcome\":\"ok\",\"duration_ms\":-1").into(),
        ),
        (
            "invalid_field",
            b"{\"type\":\"client_report\",\"dropped\":-5}\n".into(),
        ),
        ("invalid_field", b"{\"type\":7}\n".into()),
    ];
    let mut client = sidecar.connect();
    let mut expected = std::collections::BTreeMap::<&str, usize>::new();
    for (reason, line) in &cases {
        *expected.entry(reason).or_default() += 1;
        let before = sidecar.metric(&rejected(reason));
        client.write_all(line).unwrap();
        let shown = String::from_utf8_lossy(&line[..line.len().min(100)]);
        let begun = Instant::now();
        while sidecar.metric(&rejected(reason)) != before + 1.0 {
            let page = sidecar.page();
            assert!(
                begun.elapsed().as_secs() < 5,
                "not {reason}: {shown}\n{page}"
            );
        }
    }
    let expected: Vec<_> = expected.into_iter().collect();
    assert_rejected(&sidecar, &expected);
    assert_eq!(sidecar.sum("oncewatch_events_total"), 0.0);
    // The connection has survived all of it.
    client
        .write_all(start(TRANSACT, "t", "").as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);
    let log = serde_json::to_string(&sidecar.log()).unwrap();
    assert!(
        log.contains("malformed") && !log.contains("not json at all"),
        "{log}"
    );
    assert_well(&mut sidecar);
}

#[test]
fn what_is_strange_but_allowed_is_used() {
    let mut sidecar = Sidecar::start(&[]);
    let long = |n| "t".repeat(n);
    let lines = [
        start("default", &long(512), ""),
        start(
            "stripe",
            "\\ud83d\\ude00",
            ",\"unknown\":{\"deep\":[[[[]]]]}",
        ),
        start("stripe", "a\\u0000b", ",\"call\":null,\"at\":0"),
        start("never.heard.of", "t", ",\"attempt\":9007199254740993"),
        start("stripe", "crlf", "").replace('\n', "\r\n"),
        "\n\r\n   \n".to_owned(),
        start("stripe", "trace", ",\"traceparent\":\"00-zz\""),
    ];
    sidecar
        .connect()
        .write_all(lines.concat().as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 6.0);
    assert_rejected(&sidecar, &[]);
    assert_eq!(sidecar.metric("oncewatch_clock_suspect_total"), 1.0);
    assert_well(&mut sidecar);
}

#[test]
fn a_line_of_ten_mebibytes_is_skipped_in_bounded_memory() {
    let mut sidecar = Sidecar::start(&[]);
    let mut clients: Vec<_> = (0..8).map(|_| sidecar.connect()).collect();
    let (before, _) = sidecar.memory_bytes();
    let piece = vec![b'{'; 64 * 1024];
    for _ in 0..160 {
        for client in &mut clients {
            client.write_all(&piece).unwrap();
        }
    }
    for client in &mut clients {
        client.write_all(b"\n").unwrap();
        client
            .write_all(start(TRANSACT, "after", "").as_bytes())
            .unwrap();
    }
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 8.0);
    assert_rejected(&sidecar, &[("too_long", 8)]);
    let (_, most) = sidecar.memory_bytes();
    // 80 MiB went through.
    assert!(most < before + 8 * MIB, "{before} grew to {most}");
    assert_well(&mut sidecar);
}

#[test]
fn half_lines_count_only_if_they_do_not_parse() {
    let mut sidecar = Sidecar::start(&[]);
    let whole = start(TRANSACT, "t-1", "");
    for line in [
        whole.trim_end(),
        "{\"type\":\"attempt_sta",
        &whole[..whole.len() - 3],
        "",
        "   ",
    ] {
        sidecar.connect().write_all(line.as_bytes()).unwrap();
    }
    let oversized = "x".repeat(20_000);
    sidecar.connect().write_all(oversized.as_bytes()).unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);
    assert_rejected(&sidecar, &[("malformed", 2), ("too_long", 1)]);
    sidecar.wait_for_metric("oncewatch_clients_connected", 0.0);
    assert_well(&mut sidecar);
}

#[test]
fn one_byte_at_a_time_holds_up_nobody() {
    let mut sidecar = Sidecar::start(&[]);
    let line = start(TRANSACT, "slow", "");
    let (mut slow, mut fast) = (sidecar.connect(), sidecar.connect());
    // Many more that say half a word and then nothing.
    let silent: Vec<_> = (0..200).map(|_| sidecar.connect()).collect();
    for mut client in &silent {
        client.write_all(b"{\"type\":").unwrap();
    }
    let mut longest = Duration::ZERO;
    for (n, byte) in line.bytes().enumerate() {
        slow.write_all(&[byte]).unwrap();
        if n % 10 == 0 {
            let begun = Instant::now();
            fast.write_all(start(TRANSACT, &format!("fast-{n}"), "").as_bytes())
                .unwrap();
            let starts = (n / 10 + 1) as f64;
            sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", starts);
            longest = longest.max(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let fast = line.len().div_ceil(10) as f64;
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", fast + 1.0);
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_rejected(&sidecar, &[]);
    drop(silent);
    assert_rejected(&sidecar, &[("malformed", 200)]);
    assert_well(&mut sidecar);
}

#[test]
fn a_flood_of_names_fills_no_more_than_the_tables() {
    const FLOOD: usize = 100_000;
    const MORE: usize = 25_000;
    let capacity = 4096;
    let mut sidecar = Sidecar::start(&[&format!("--capacity={capacity}")]);
    let mut client = sidecar.connect();
    let flood = |client: &mut UnixStream, count: usize, line: &dyn Fn(usize) -> String| {
        let mut batch = String::new();
        for n in 0..count {
            batch += &line(n);
            if batch.len() > 256 * 1024 || n + 1 == count {
                client.write_all(batch.as_bytes()).unwrap();
                batch.clear();
            }
        }
    };
    let settled = |sidecar: &Sidecar, lines: usize| {
        wait_for("the flood", || {
            (sidecar.lines_counted() >= lines as f64).then_some(())
        });
    };
    // Tables and names grow to what their bounds allow.
    let wide = |n: usize| format!("{n:0>120}");
    let open = |n: usize, scope: usize, client: usize| {
        let more = format!(
            ",\"scope\":\"{}\",\"client\":\"{}\",\"fp\":\"{n}\"",
            wide(scope),
            wide(client)
        );
        start("default", &format!("{n:0>512}"), &more)
    };
    flood(&mut client, FLOOD, &|n| open(n, n, n));
    settled(&sidecar, FLOOD);
    let (full, _) = sidecar.memory_bytes();
    // The same flood with other names finds no more room.
    flood(&mut client, MORE, &|n| {
        open(FLOOD + n, FLOOD + n, FLOOD + n)
    });
    // An API of each event's own, all judged by one profile; one token with ever new calls.
    flood(&mut client, MORE, &|n| start(&wide(n), "t", ""));
    flood(&mut client, MORE, &|n| {
        start("stripe", "t", &format!(",\"call\":\"{n}\",\"fp\":\"{n}\""))
    });
    settled(&sidecar, FLOOD + 3 * MORE);
    let (after, most) = sidecar.memory_bytes();
    assert_eq!(
        sidecar.metric("oncewatch_events_total{type=\"attempt_start\"}"),
        (FLOOD + 3 * MORE) as f64
    );
    assert_rejected(&sidecar, &[]);
    let tokens = sidecar.sum("oncewatch_tokens{api=\"other\"");
    assert!(tokens <= 1.0 + capacity as f64, "{tokens} tokens");
    let evicted = "oncewatch_tokens_removed_total{api=\"other\",reason=\"evicted_in_window\"}";
    let evicted = sidecar.metric(evicted);
    // Each came as one token, but for the last that was the same one all the time. Some went when the table
    // was full, some with their names.
    assert_eq!(
        evicted + tokens,
        (FLOOD + 2 * MORE + 1) as f64,
        "each lost detection is counted"
    );
    assert_eq!(
        sidecar.metric("oncewatch_tracking_gaps_total{reason=\"evicted\"}"),
        evicted
    );
    // At most 8 of the one token's attempts are open.
    let overflow = "oncewatch_tracking_gaps_total{reason=\"open_attempts_overflow\"}";
    assert_eq!(sidecar.metric(overflow), MORE as f64 - 8.0);
    let labels = sidecar
        .page()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    assert!(labels <= 350, "{labels} series");
    eprintln!("memory: {full} when full, {after} after, {most} at most");
    assert!(after < full + 12 * MIB, "{full} grew to {after}");
    assert!(most < 48 * MIB, "{most} bytes at most");
    assert_well(&mut sidecar);
}

#[test]
fn long_tokens_that_the_profile_refuses_are_not_remembered() {
    const COUNT: usize = 20_000;
    let mut sidecar = Sidecar::start(&[]);
    let (before, _) = sidecar.memory_bytes();
    let mut client = sidecar.connect();
    let lines: Vec<_> = (0..COUNT)
        .map(|n| start(TRANSACT, &format!("{n:0>512}"), ""))
        .collect();
    client.write_all(lines.concat().as_bytes()).unwrap();
    sidecar.wait_for_metric(
        "oncewatch_events_total{type=\"attempt_start\"}",
        COUNT as f64,
    );
    assert_eq!(sidecar.sum("oncewatch_tokens{"), 0.0);
    let series = "oncewatch_verdicts_total{api=\"dynamodb.TransactWriteItems\",severity=\"error\",verdict=\"token_invalid\"}";
    assert_eq!(sidecar.metric(series), COUNT as f64);
    // Findings are kept up to a bound; what the queue refused is counted, not lost in silence.
    let status = || sidecar.api("/api/v1/status")["findings"].clone();
    let accounted = || {
        let dropped = sidecar.metric("oncewatch_events_dropped_total{where=\"findings_queue\"}");
        status()["seen"].as_f64().unwrap() + dropped == COUNT as f64
    };
    wait_for("each finding to be kept or counted", || {
        accounted().then_some(())
    });
    assert!(status()["kept"].as_u64().unwrap() <= 1000, "{}", status());
    let logged = sidecar
        .logged(|line| line["verdict"] == "token_invalid")
        .len();
    assert!(logged < 100, "{logged} log lines");
    let (after, _) = sidecar.memory_bytes();
    assert!(after < before + 32 * MIB, "{before} grew to {after}");
    assert_well(&mut sidecar);
}

#[test]
fn ten_thousand_connections_are_served_or_refused() {
    const CONNECTIONS: usize = 10_000;
    const SERVED: usize = 100;
    let mut sidecar = Sidecar::start(&[&format!("--max-connections={SERVED}")]);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // The other tests of this process need descriptors, too.
    let batch = limit
        .map_or(2000, |limit| (limit as usize / 4).min(2000))
        .max(SERVED + 1);
    let kept: Vec<_> = (0..SERVED).map(|_| sidecar.connect()).collect();
    sidecar.wait_for_metric("oncewatch_clients_connected", SERVED as f64);
    let (before, _) = sidecar.memory_bytes();
    let mut tried = 0;
    while tried < CONNECTIONS {
        let more = (0..batch.min(CONNECTIONS - tried)).map(|_| sidecar.connect());
        let more: Vec<_> = more.collect();
        tried += more.len();
        for mut client in more {
            let refused = match client.read(&mut [0]) {
                Ok(0) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
                Ok(_) => false,
            };
            assert!(refused, "a connection beyond {SERVED} is served");
        }
    }
    assert_eq!(sidecar.metric("oncewatch_clients_connected"), SERVED as f64);
    assert_eq!(
        sidecar.metric("oncewatch_connections_refused_total{reason=\"limit\"}"),
        CONNECTIONS as f64
    );
    let (_, most) = sidecar.memory_bytes();
    assert!(most < before + 16 * MIB, "{before} grew to {most}");
    let crowded = sidecar.logged(|line| line.to_string().contains("max-connections"));
    assert!((1..20).contains(&crowded.len()), "{crowded:#?}");
    // Those inside are still heard, and a place that is left is given to the next.
    for mut client in &kept {
        client
            .write_all(start(TRANSACT, "t", "").as_bytes())
            .unwrap();
    }
    sidecar.wait_for_metric(
        "oncewatch_events_total{type=\"attempt_start\"}",
        SERVED as f64,
    );
    drop(kept);
    sidecar.wait_for_metric("oncewatch_clients_connected", 0.0);
    assert_well(&mut sidecar);
}
