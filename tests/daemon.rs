//! The sidecar as a process, over real sockets: events in, findings, metrics, logs and exit codes
//! out.

#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "support/sidecar.rs"]
mod sidecar;

use sidecar::{PATIENCE, Sidecar, command, connect, end, get, samples, start, wait_for};

const TRANSACT: &str = "dynamodb.TransactWriteItems";

/// One client's `attempt_start` with the fields that the tests vary.
fn transact_start(token: &str, client: &str, call: &str, fp: &str) -> String {
    let more = format!(",\"client\":\"{client}\",\"call\":\"{call}\",\"fp\":\"{fp}\"");
    start(TRANSACT, token, &more)
}

fn transact_end(token: &str, client: &str, call: &str, more: &str) -> String {
    let more = format!(",\"client\":\"{client}\",\"call\":\"{call}\"{more}");
    end(TRANSACT, token, &more)
}

fn verdicts(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|finding| finding["verdict"].as_str().unwrap())
        .collect()
}

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn two_clients_on_two_connections_collide_and_the_prediction_comes_true() {
    let sidecar = Sidecar::start(&[]);
    let mut stream = SseReader::open(&sidecar);
    let (mut a, mut b) = (sidecar.connect(), sidecar.connect());
    a.write_all(transact_start("t-1", "orders-1/7", "a1", "f1").as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);
    sidecar.wait_for_metric("oncewatch_clients_connected", 2.0);
    b.write_all(transact_start("t-1", "orders-2/7", "b1", "f1").as_bytes())
        .unwrap();

    let live = stream.finding();
    assert_eq!(live["verdict"], "cross_client_collision");
    assert_eq!(live["severity"], "error");
    assert_eq!(live["client"], "orders-2/7");
    assert_eq!((&live["call"], &live["attempt"]), (&json!("b1"), &json!(1)));
    assert_eq!(live["holder"]["client"], "orders-1/7");
    assert_eq!(live["holder"]["call"], "a1");
    assert_eq!(live["confirmed"], false);
    let token = live["token"].as_str().unwrap();
    assert!(token.len() == 16 && token != "t-1", "{token}");

    let conflict =
        ",\"outcome\":\"error\",\"error\":\"TransactionInProgressException\",\"http_status\":400";
    b.write_all(transact_end("t-1", "orders-2/7", "b1", conflict).as_bytes())
        .unwrap();
    let confirmed = stream.finding();
    assert_eq!(confirmed["confirmed"], true);
    for key in keys(&live).into_iter().filter(|key| *key != "confirmed") {
        assert_eq!(confirmed[key], live[key], "{key}");
    }
    // It is the finding again, counted once; in_progress_exhausted is not due before the call's end.
    assert_eq!(sidecar.findings(1), [confirmed]);
    let series = "oncewatch_verdicts_total{api=\"dynamodb.TransactWriteItems\",severity=\"error\",verdict=\"cross_client_collision\"}";
    assert_eq!(sidecar.metric(series), 1.0);
}

#[test]
fn an_open_attempt_whose_connection_closes_is_orphaned_and_others_are_not() {
    let sidecar = Sidecar::start(&["--token-display=full"]);
    let (mut stays, mut leaves) = (sidecar.connect(), sidecar.connect());
    stays
        .write_all(transact_start("stays", "c/1", "a1", "f1").as_bytes())
        .unwrap();
    leaves
        .write_all(transact_start("leaves", "c/2", "b1", "f2").as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 2.0);
    drop(leaves);
    let findings = sidecar.findings(1);
    assert_eq!(verdicts(&findings), ["orphaned"]);
    assert_eq!(findings[0]["token"], "leaves");
    sidecar.wait_for_metric("oncewatch_clients_connected", 1.0);
    let status = |token: &str| {
        let found = sidecar.api(&format!("/api/v1/tokens/{TRANSACT}/{token}"));
        found["tokens"][0]["status"].clone()
    };
    assert_eq!(
        (status("leaves"), status("stays")),
        (json!("unknown"), json!("in_flight"))
    );

    // The late truth of an orphan, told over another connection.
    stays
        .write_all(transact_end("leaves", "c/2", "b1", ",\"outcome\":\"ok\"").as_bytes())
        .unwrap();
    wait_for("the late success", || {
        (status("leaves") == "succeeded").then_some(())
    });
    assert_eq!(verdicts(&sidecar.findings(1)), ["orphaned"]);
}

#[test]
fn the_admin_address_shows_tokens_by_text_and_by_hash() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.connect();
    let token = "order/17 ä";
    let lines = [
        start("http", token, ",\"client\":\"c/1\",\"call\":\"a1\""),
        end(
            "http",
            token,
            ",\"client\":\"c/1\",\"call\":\"a1\",\"outcome\":\"ok\"",
        ),
        transact_start("open", "c/1", "b1", "f2"),
    ];
    // The http profile takes printable ASCII only; stripe takes all.
    let lines = lines.concat().replace("\"http\"", "\"stripe\"");
    client.write_all(lines.as_bytes()).unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_end\"}", 1.0);

    let list = sidecar.api("/api/v1/tokens");
    assert_eq!(list["tokens"].as_array().unwrap().len(), 2);
    let of_status = sidecar.api("/api/v1/tokens?status=succeeded");
    let shown = &of_status["tokens"][0];
    assert_eq!(
        (&shown["api"], &shown["status"]),
        (&json!("stripe"), &json!("succeeded"))
    );
    assert!(!list.to_string().contains("order"), "{list}");
    let hash = shown["token"].as_str().unwrap();
    let by_hash = sidecar.api(&format!("/api/v1/tokens/stripe/{hash}"));
    let by_text = sidecar.api("/api/v1/tokens/stripe/order%2F17%20%C3%A4");
    assert_eq!(by_hash, by_text);
    let attempt = &by_hash["tokens"][0]["attempts"][0];
    assert_eq!(attempt["class"], "success");
    assert_eq!(attempt["verdict"], "first_use");
    let open = sidecar.api(&format!(
        "/api/v1/tokens?api={TRANSACT}&status=in_flight&limit=1"
    ));
    assert_eq!(open["tokens"].as_array().unwrap().len(), 1);

    for (target, status, word) in [
        ("/api/v1/tokens/stripe/unheard-of", 404, "unheard-of"),
        ("/api/v1/tokens?limit=1001", 400, "limit"),
        ("/api/v1/tokens?status=lost", 400, "in_flight"),
        ("/api/v1/tokens?sort=age", 400, "sort"),
        ("/api/v2", 404, "/"),
    ] {
        let answer = get(sidecar.admin, target, &[]);
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{target}: {error}");
    }
    let page = get(sidecar.admin, "/", &[]);
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
}

#[test]
fn the_admin_address_answers_its_own_machine_only() {
    let sidecar = Sidecar::start(&[]);
    for host in [
        "rebound.example.com",
        "10.0.0.7:9465",
        "localhost.example.com",
    ] {
        for path in ["/", "/api/v1/tokens", "/api/v1/findings", "/api/v1/stream"] {
            let answer = get(sidecar.admin, path, &[("Host", host)]);
            assert_eq!(answer.status, 403, "{host} {path}");
            assert!(answer.json()["error"].as_str().unwrap().contains("Host"));
        }
    }
    let foreign = [("Origin", "https://evil.example.com")];
    assert_eq!(get(sidecar.admin, "/api/v1/tokens", &foreign).status, 403);
    for host in ["localhost:1234", "127.0.0.1", "[::1]:9465"] {
        assert_eq!(
            get(sidecar.admin, "/api/v1/tokens", &[("Host", host)]).status,
            200
        );
    }
    // A pod's address is not this machine's: Prometheus must be answered all the same.
    assert_eq!(
        get(sidecar.metrics, "/metrics", &[("Host", "10.1.2.3:9464")]).status,
        200
    );
    let mut post = TcpStream::connect(sidecar.admin).unwrap();
    let request = "POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    post.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    post.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
}

#[test]
fn all_series_are_there_at_zero_before_the_first_event() {
    let sidecar = Sidecar::start(&[]);
    let page = sidecar.page();
    let samples = samples(&page);
    let ours: Vec<_> = samples
        .iter()
        .filter(|(name, _)| name.starts_with("oncewatch_"))
        .collect();
    let families = |name: &str| {
        ours.iter()
            .filter(|(series, _)| series.starts_with(name))
            .count()
    };
    let apis = 3;
    for (name, count) in [
        ("oncewatch_attempts_total{", 8 * apis),
        ("oncewatch_calls_total{", 4 * apis),
        ("oncewatch_verdicts_total{", 24 * apis),
        ("oncewatch_attempt_duration_seconds_count{", apis),
        ("oncewatch_retry_delay_seconds_count{", apis),
        ("oncewatch_reuse_age_seconds_count{", apis),
        ("oncewatch_tokens{", 5 * apis),
        ("oncewatch_tokens_capacity{", apis),
        ("oncewatch_window_seconds{", apis),
        ("oncewatch_tokens_removed_total{", 3 * apis),
        ("oncewatch_oldest_open_token_timestamp_seconds", 1),
        ("oncewatch_observation_start_timestamp_seconds", 1),
        ("oncewatch_last_event_timestamp_seconds", 1),
        ("oncewatch_events_total{", 4),
        ("oncewatch_events_rejected_total{", 7),
        ("oncewatch_events_dropped_total{", 3),
        ("oncewatch_clients_connected", 1),
        ("oncewatch_clock_suspect_total", 1),
        ("oncewatch_spans_total{", 3),
        ("oncewatch_build_info{", 1),
    ] {
        assert_eq!(families(name), count, "{name}\n{page}");
    }
    for reason in ["evicted", "open_attempts_overflow", "restart"] {
        sidecar.metric(&format!(
            "oncewatch_tracking_gaps_total{{reason=\"{reason}\"}}"
        ));
    }
    let told = [
        "capacity",
        "window_seconds",
        "observation_start",
        "build_info",
    ];
    for (name, value) in &ours {
        let is_zero = !told.iter().any(|part| name.contains(part));
        assert_eq!(*value == 0.0, is_zero, "{name} {value}");
    }
    for (series, value) in [
        (
            "oncewatch_window_seconds{api=\"dynamodb.TransactWriteItems\"}",
            600.0,
        ),
        (
            "oncewatch_tokens_capacity{api=\"dynamodb.TransactWriteItems\"}",
            65536.0,
        ),
    ] {
        assert_eq!(sidecar.metric(series), value);
    }
    assert!(page.contains("oncewatch_retry_delay_seconds_bucket{api=\"other\",le=\"5\"} 0"));
    assert!(page.contains("oncewatch_reuse_age_seconds_bucket{api=\"other\",le=\"600\"} 0"));
    assert!(page.contains("process_resident_memory_bytes"), "{page}");
    assert!(samples.len() <= 350, "{} series", samples.len());
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(sidecar.metrics, path, &[]).status, 200, "{path}");
    }
}

#[test]
fn openmetrics_carries_the_trace_of_a_finding() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.connect();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!(",\"traceparent\":\"00-{trace}-b7ad6b7169203331-01\"");
    let long = "x".repeat(37);
    let lines = [
        start(TRANSACT, &long, &parent),
        transact_start("t-1", "c/1", "a1", "f1"),
        transact_end(
            "t-1",
            "c/1",
            "a1",
            &format!(",\"outcome\":\"ok\",\"duration_ms\":30{parent}"),
        ),
    ];
    client.write_all(lines.concat().as_bytes()).unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_end\"}", 1.0);

    let classic = get(sidecar.metrics, "/metrics", &[]);
    assert!(
        classic
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(!classic.body.contains(trace) && !classic.body.contains("# EOF"));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let open = get(sidecar.metrics, "/metrics", &[("Accept", accept)]);
    assert!(
        open.header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    assert!(open.body.ends_with("# EOF\n"));
    assert!(open.body.contains("# TYPE oncewatch_verdicts counter"));
    let exemplar = format!(" # {{trace_id=\"{trace}\"}} ");
    let marked: Vec<_> = open
        .body
        .lines()
        .filter(|line| line.contains(&exemplar))
        .collect();
    let marked_of = |name: &str| marked.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(marked_of("oncewatch_verdicts_total"), 1, "{marked:#?}");
    assert_eq!(
        marked_of("oncewatch_attempt_duration_seconds_bucket"),
        1,
        "{marked:#?}"
    );
    assert_eq!(marked.len(), 2, "{marked:#?}");
    // Both formats say the same.
    let of = |page: &str| -> HashMap<String, f64> {
        let ours = samples(page)
            .into_iter()
            .filter(|(name, _)| name.starts_with("oncewatch_"));
        ours.collect()
    };
    assert_eq!(of(&classic.body), of(&open.body));
}

#[test]
fn what_was_sent_is_received_or_refused_and_nothing_else() {
    let sidecar = Sidecar::start(&[]);
    let mut sent = 0;
    let clients = (0..4).map(|client| {
        let mut stream = sidecar.connect();
        let mut lines = String::new();
        for n in 0..500 {
            let (token, name) = (format!("t-{client}-{n}"), format!("c/{client}"));
            lines += &transact_start(&token, &name, &token, "f1");
            lines += &transact_end(&token, &name, &token, ",\"outcome\":\"ok\"");
            match n % 5 {
                0 => lines += "not json\n",
                1 => lines += "{\"type\":\"attempt_start\"}\n",
                2 => lines += &transact_end(&token, &name, &token, ",\"outcome\":\"ok\""),
                3 => lines += "{\"type\":\"client_report\",\"dropped\":2}\n",
                _ => lines += "\n",
            }
        }
        sent += lines.lines().filter(|line| !line.is_empty()).count();
        std::thread::spawn(move || {
            // In pieces that break lines anywhere.
            for piece in lines.as_bytes().chunks(997) {
                stream.write_all(piece).unwrap();
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        client.join().unwrap();
    }
    wait_for("all lines", || {
        (sidecar.lines_counted() >= sent as f64).then_some(())
    });
    assert_eq!(sidecar.lines_counted(), sent as f64);
    for (series, value) in [
        ("oncewatch_events_total{type=\"attempt_start\"}", 2000.0),
        ("oncewatch_events_total{type=\"attempt_end\"}", 2000.0),
        ("oncewatch_events_total{type=\"client_report\"}", 400.0),
        (
            "oncewatch_events_rejected_total{reason=\"malformed\"}",
            400.0,
        ),
        (
            "oncewatch_events_rejected_total{reason=\"missing_field\"}",
            400.0,
        ),
        (
            "oncewatch_events_rejected_total{reason=\"duplicate\"}",
            400.0,
        ),
        ("oncewatch_events_dropped_total{where=\"client\"}", 800.0),
        (
            "oncewatch_calls_total{api=\"dynamodb.TransactWriteItems\",outcome=\"applied\"}",
            2000.0,
        ),
        (
            "oncewatch_tokens{api=\"dynamodb.TransactWriteItems\",status=\"succeeded\"}",
            2000.0,
        ),
    ] {
        assert_eq!(sidecar.metric(series), value, "{series}");
    }
    let first_use = "oncewatch_verdicts_total{api=\"dynamodb.TransactWriteItems\",severity=\"info\",verdict=\"first_use\"}";
    assert_eq!(
        sidecar.metric(first_use),
        sidecar.sum("oncewatch_verdicts_total")
    );
}

#[test]
fn a_datagram_holds_whole_events_and_closing_orphans_nothing() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let path = directory.path().join("datagrams.sock");
    let flag = format!("--datagram-socket={}", path.display());
    let sidecar = Sidecar::start_in(directory, &[&flag]);
    let sender = UnixDatagram::unbound().unwrap();
    let two = [start(TRANSACT, "t-1", ""), start(TRANSACT, "t-2", "")].concat();
    sender.send_to(two.as_bytes(), &path).unwrap();
    // The last line needs no newline; half a line is none.
    sender
        .send_to(start(TRANSACT, "t-3", "").trim_end().as_bytes(), &path)
        .unwrap();
    sender
        .send_to(b"{\"type\":\"attempt_start\",\"api\":", &path)
        .unwrap();
    drop(sender);
    sidecar.wait_for_metric("oncewatch_events_rejected_total{reason=\"malformed\"}", 1.0);
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 3.0);
    assert_eq!(sidecar.api("/api/v1/findings")["findings"], json!([]));
    let stopped = sidecar.terminate();
    assert_eq!(stopped.status.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn send_reaches_a_running_sidecar() {
    let sidecar = Sidecar::start(&["--token-display=full"]);
    let socket = sidecar.socket.to_str().unwrap();
    let run = |arguments: &[&str], input: &str| -> Output {
        let mut send = command(&["send", "--socket", socket]);
        let send = send.args(arguments).stdin(Stdio::piped());
        let mut child = send
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
        child.wait_with_output().unwrap()
    };
    let lines = [
        transact_start("t-1", "c/1", "a1", "f1"),
        transact_end("t-1", "c/1", "a1", ",\"outcome\":\"ok\""),
        transact_start("t-1", "c/1", "a2", "f2"),
        transact_end("t-1", "c/1", "a2", ",\"outcome\":\"ok\""),
    ];
    let output = run(&[], &lines.concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("sent 4 events"),
        "{}",
        text(&output.stderr)
    );
    let findings = sidecar.findings(1);
    assert_eq!(verdicts(&findings), ["parameter_mismatch"]);
    assert_eq!(findings[0]["holder"]["call"], "a1");

    let flags = [
        "--type=attempt_start",
        "--api=dynamodb.TransactWriteItems",
        "--token=t-2",
    ];
    assert_eq!(run(&flags, "").status.code(), Some(0));
    let findings = sidecar.findings(2);
    assert_eq!(verdicts(&findings), ["parameter_mismatch", "orphaned"]);
    assert_eq!(findings[1]["token"], "t-2");
    assert_eq!(sidecar.metric("oncewatch_clock_suspect_total"), 0.0);
}

/// The shape of SPEC §4 in API and log: which keys, and none that is unknown.
#[test]
fn a_finding_has_the_keys_of_the_specification_and_a_log_line() {
    let sidecar = Sidecar::start(&["--token-display=prefix"]);
    let mut client = sidecar.connect();
    let begun = std::time::SystemTime::now();
    let lines = [
        start(
            "http",
            "token-1",
            ",\"call\":\"a1\",\"scope\":\"s\",\"fp\":\"f1\",\"client\":\"c/1\"",
        ),
        start(
            "http",
            "token-1",
            ",\"call\":\"a2\",\"scope\":\"s\",\"fp\":\"f2\",\"client\":\"c/1\"",
        ),
        start("http", "", ""),
    ];
    client.write_all(lines.concat().as_bytes()).unwrap();
    let findings = sidecar.findings(2);
    let mut expected = vec![
        "at",
        "verdict",
        "severity",
        "api",
        "token",
        "scope",
        "client",
        "call",
        "attempt",
        "holder",
        "age_s",
        "confirmed",
        "message",
        "remedy",
    ];
    expected.sort_unstable();
    let mut found = keys(&findings[0]);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(keys(&findings[0]["holder"]), ["call", "client", "since"]);
    assert!(findings[0]["token"].as_str().unwrap().starts_with("toke…"));
    // The connection is the client of who does not name itself; nothing else is made up.
    for absent in ["call", "holder", "age_s"] {
        assert!(findings[1].get(absent).is_none(), "{}", findings[1]);
    }
    let at = findings[0]["at"].as_f64().unwrap();
    let begun = begun
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!(
        (begun - 1.0..begun + PATIENCE.as_secs_f64()).contains(&at),
        "{at} after {begun}"
    );

    let logged = wait_for("two log lines", || {
        let lines = sidecar.logged(|line| line.get("verdict").is_some());
        (lines.len() == 2).then_some(lines)
    });
    let line = &logged[0];
    assert_eq!(line["level"], "ERROR");
    for key in [
        "verdict", "severity", "api", "token", "scope", "client", "call", "attempt", "message",
        "remedy",
    ] {
        assert_eq!(line[key], findings[0][key], "{key}");
    }
    assert_eq!(line["holder_call"], "a1");
}

#[test]
fn events_written_just_before_sigterm_are_counted_and_the_end_is_clean() {
    let sidecar = Sidecar::start(&["--token-display=full"]);
    let (socket, metrics, admin) = (sidecar.socket.clone(), sidecar.metrics, sidecar.admin);
    let mut open = sidecar.connect();
    open.write_all(transact_start("open", "c/1", "o1", "f0").as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);
    let stream = SseReader::open(&sidecar);
    // Asleep, it finds all of this and the signal at once when it wakes up.
    sidecar.signal(rustix::process::Signal::STOP);
    // More than one read, on connections that are not accepted yet, and a finding only at the end.
    let mut last = connect(&socket);
    let mut lines = String::new();
    for n in 0..300 {
        lines += &transact_start(&format!("t-{n}"), "c/2", "a1", "f1");
        lines += &transact_end(&format!("t-{n}"), "c/2", "a1", ",\"outcome\":\"ok\"");
    }
    lines += &start(TRANSACT, &"x".repeat(37), "");
    assert!(
        lines.len() > 64 * 1024,
        "{} bytes are one read",
        lines.len()
    );
    last.write_all(lines.as_bytes()).unwrap();
    // Open to the end, so that nothing but the drain can bring their events.
    let waiting: Vec<_> = (0..150).map(|_| connect(&socket)).collect();
    for (n, mut client) in waiting.iter().enumerate() {
        let collides = transact_start("open", "c/3", &format!("u{n}"), "f0");
        client.write_all(collides.as_bytes()).unwrap();
    }
    let stopped = sidecar.terminate();
    assert_eq!(stopped.status.code(), Some(0), "{:#?}", stopped.log);
    assert!(stopped.took < Duration::from_secs(2), "{:?}", stopped.took);
    let found: Vec<_> = stopped
        .log
        .iter()
        .filter_map(|line| line["verdict"].as_str())
        .collect();
    assert!(found.contains(&"token_invalid"), "{:#?}", stopped.log);
    assert!(
        found.contains(&"cross_client_collision"),
        "{:#?}",
        stopped.log
    );
    assert!(
        !found.contains(&"orphaned"),
        "the sidecar left, not the client: {found:?}"
    );
    let messages: Vec<_> = stopped
        .log
        .iter()
        .filter_map(|line| line["message"].as_str())
        .collect();
    assert!(messages.contains(&"stopping"), "{messages:?}");
    assert!(!socket.exists());
    for address in [metrics, admin] {
        assert!(
            TcpStream::connect(address).is_err(),
            "{address} is still served"
        );
    }
    assert_eq!(
        stream.rest(),
        1 + waiting.len(),
        "findings that the stream told before its end"
    );
}

#[test]
fn sigint_ends_it_too() {
    let mut sidecar = Sidecar::start(&[]);
    sidecar.signal(rustix::process::Signal::INT);
    let socket = sidecar.socket.clone();
    wait_for("the end after SIGINT", || {
        (!sidecar.is_running()).then_some(())
    });
    assert!(!socket.exists());
}

#[test]
fn a_socket_file_left_by_sigkill_is_no_obstacle_and_a_living_one_is() {
    let first = Sidecar::start(&[]);
    let socket = first.socket.clone();
    let directory = first.kill();
    assert!(
        socket.exists(),
        "SIGKILL leaves the file, or this test tests nothing"
    );
    let second = Sidecar::start_in(directory, &[]);
    second
        .connect()
        .write_all(start(TRANSACT, "t", "").as_bytes())
        .unwrap();
    second.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);

    let output = refused(&["--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let sentence = text(&output.stderr).trim_end();
    assert!(
        sentence.contains("socket: another process serves"),
        "{sentence}"
    );
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    // The living one lost nothing by it.
    second
        .connect()
        .write_all(start(TRANSACT, "t-2", "").as_bytes())
        .unwrap();
    second.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 2.0);
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.sock");
    std::fs::write(&path, "precious").unwrap();
    let output = refused(&["--socket", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is a file, not a socket"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_busy_address_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["metrics-addr", "admin-addr"] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("events.sock");
        let other = ["metrics-addr", "admin-addr"]
            .into_iter()
            .find(|name| *name != setting);
        let flags = [
            format!("--socket={}", socket.display()),
            format!("--{setting}={address}"),
            format!("--{}=127.0.0.1:0", other.unwrap()),
        ];
        let output = refused(&flags.each_ref().map(String::as_str));
        assert_eq!(output.status.code(), Some(1));
        let sentence = text(&output.stderr).trim_end();
        let expected = format!("{setting}: cannot listen on {address}");
        assert!(sentence.contains(&expected), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
        assert!(!socket.exists(), "nothing is left behind");
    }
}

#[test]
fn every_problem_with_the_configuration_is_in_one_message() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncewatch.toml");
    let given =
        "capacity = 0\nsokcet = \"/x\"\n[profiles.pay]\nwindow = \"10\"\ntoken_charset = \"hex\"\n";
    std::fs::write(&file, given).unwrap();
    for subcommand in ["run", "check-config"] {
        let mut run = command(&[subcommand, "--config", file.to_str().unwrap()]);
        run.args([
            "--socket-mode=rw",
            "--admin-addr=0.0.0.0:9465",
            "--max-connections=many",
        ]);
        run.env("ONCEWATCH_LOG_LEVEL", "loud");
        let output = run.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
        let message = text(&output.stderr);
        let path = file.to_str().unwrap();
        for (setting, from) in [
            ("capacity", format!("{path}:1")),
            ("sokcet", format!("{path}:2")),
            ("window", format!("{path}:4")),
            ("token_charset", format!("{path}:5")),
            ("socket-mode", "--socket-mode".to_owned()),
            ("admin-addr", "--admin-addr".to_owned()),
            ("max-connections", "--max-connections".to_owned()),
            ("log-level", "ONCEWATCH_LOG_LEVEL".to_owned()),
        ] {
            let told = message
                .lines()
                .any(|line| line.contains(setting) && line.contains(&from));
            assert!(told, "{setting} from {from}\n--- in ---\n{message}");
        }
        assert!(message.contains("8 problems"), "{message}");
        assert!(message.contains("did you mean \"socket\"?"), "{message}");
    }
}

#[test]
fn bad_otel_variables_are_a_usage_error() {
    let mut run = command(&["run"]);
    run.env("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address");
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
}

#[test]
fn only_allowed_users_are_heard() {
    let own = rustix::process::geteuid().as_raw();
    let sidecar = Sidecar::start(&[&format!("--allow-uid={}", own + 1)]);
    let mut refused = sidecar.connect();
    // The refusal may come before or after the event is written.
    let _ = refused.write_all(start(TRANSACT, "t", "").as_bytes());
    let mut rest = Vec::new();
    let _ = refused.read_to_end(&mut rest);
    assert!(rest.is_empty());
    wait_for("a log line", || {
        sidecar.logged(|line| line["uid"] == own).pop()
    });
    assert_eq!(sidecar.sum("oncewatch_events_total"), 0.0);
    assert_eq!(sidecar.metric("oncewatch_clients_connected"), 0.0);

    let flags = [
        format!("--allow-uid={}", own + 1),
        format!("--allow-uid={own}"),
    ];
    let sidecar = Sidecar::start(&flags.each_ref().map(String::as_str));
    let mut heard = sidecar.connect();
    heard
        .write_all(start(TRANSACT, "t", "").as_bytes())
        .unwrap();
    sidecar.wait_for_metric("oncewatch_events_total{type=\"attempt_start\"}", 1.0);
}

#[test]
fn time_gives_verdicts_without_an_event() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let file = directory.path().join("oncewatch.toml");
    let profile =
        "[profiles.short]\nlease = \"300ms\"\nwindow = \"400ms\"\nretention = \"400ms\"\n";
    std::fs::write(&file, profile).unwrap();
    let flag = format!("--config={}", file.display());
    let sidecar = Sidecar::start_in(directory, &[&flag]);
    let mut client = sidecar.connect();
    client
        .write_all(start("short", "t-1", ",\"call\":\"a1\"").as_bytes())
        .unwrap();
    let findings = sidecar.findings(1);
    assert_eq!(verdicts(&findings), ["stuck_in_flight"]);
    assert_eq!(findings[0]["age_s"], json!(0.3));
    sidecar.wait_for_metric(
        "oncewatch_tokens_removed_total{api=\"short\",reason=\"expired\"}",
        1.0,
    );
    assert_eq!(sidecar.sum("oncewatch_tokens{api=\"short\""), 0.0);
}

/// Runs `oncewatch run` on free ports with flags that it is expected to refuse.
fn refused(flags: &[&str]) -> Output {
    let mut run = command(&["run", "--log-format=json"]);
    for name in ["metrics-addr", "admin-addr"] {
        if !flags.iter().any(|flag| flag.contains(name)) {
            run.arg(format!("--{name}=127.0.0.1:0"));
        }
    }
    let run = run.args(flags).stdin(Stdio::null());
    let mut child = run
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{flags:?} was not refused: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// Reads server-sent events, without the chunks of the transfer encoding.
struct SseReader {
    lines: std::io::Lines<BufReader<TcpStream>>,
}

impl SseReader {
    fn open(sidecar: &Sidecar) -> Self {
        let mut stream = TcpStream::connect(sidecar.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\n\r\n",
            sidecar.admin
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = Self {
            lines: BufReader::new(stream).lines(),
        };
        let head = reader.until("retry: ");
        assert!(
            head.contains(&"content-type: text/event-stream".to_owned()),
            "{head:?}"
        );
        reader
    }

    /// Lines up to one that begins so, which is the last.
    fn until(&mut self, beginning: &str) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            let line = self.lines.next().expect("the stream ended").unwrap();
            read.push(line.to_lowercase().trim_end().to_owned());
            if line.starts_with(beginning) {
                read.push(line);
                return read;
            }
        }
    }

    fn finding(&mut self) -> Value {
        let line = self.until("data: ").pop().unwrap();
        serde_json::from_str(line.trim_start_matches("data: ").trim_end()).unwrap()
    }

    /// How many events come before the end.
    fn rest(self) -> usize {
        let lines = self.lines.map_while(Result::ok);
        lines.filter(|line| line.starts_with("data: ")).count()
    }
}
