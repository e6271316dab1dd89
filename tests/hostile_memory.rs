//! Clients that want to exhaust the sidecar: memory, connections, patience. What it said at its start
//! holds, and its probes are answered.

#![allow(clippy::disallowed_methods)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[path = "support/sidecar.rs"]
mod sidecar;

use sidecar::{PATIENCE, Sidecar, command, end, get, start, wait_for};

const MIB: u64 = 1 << 20;
const STARTS: &str = "oncewatch_events_total{type=\"attempt_start\"}";
const ENDS: &str = "oncewatch_events_total{type=\"attempt_end\"}";
const HTTP_LIMIT: &str = "oncewatch_connections_refused_total{reason=\"http_limit\"}";
const TRANSACT: &str = "dynamodb.TransactWriteItems";

/// What the sidecar said at its start that nothing can make it exceed.
fn bound(sidecar: &Sidecar) -> u64 {
    let ready = sidecar.logged(|line| line["message"] == "ready");
    ready[0]["memory_bound_bytes"].as_u64().unwrap()
}

/// The tables that there are, with the longest token of each.
const TABLES: [(&str, usize); 6] = [
    (TRANSACT, 36),
    ("dynamodb.ExecuteTransaction", 36),
    ("stripe", 255),
    ("sqs.SendMessage", 128),
    ("http", 255),
    ("default", 512),
];
const CAPACITY: usize = 150;
const ATTACKERS: usize = 4;
/// Tokens of a table after which names come again: so many that names do not decide which tokens go.
const NAMED: usize = 150;

/// Events that make tokens as large as they get, `count` in each table: every field as long as it may be
/// and told once, eight calls of eight attempts each, every one another's request.
fn largest_tokens(attacker: usize, count: usize) -> impl Iterator<Item = String> {
    let tokens = (0..count).filter(move |n| n % ATTACKERS == attacker);
    tokens.flat_map(|n| {
        TABLES.into_iter().flat_map(move |(api, longest)| {
            let token = format!("{n:0>longest$}");
            (0..8).flat_map(move |call| {
                let token = token.clone();
                (1..=8).map(move |attempt| {
                    let (client, scope) = (n % NAMED * 8 + call, n % NAMED);
                    let id = format!("{:0>64}", n * 8 + call);
                    start(
                        api,
                        &token,
                        &format!(
                            ",\"call\":\"{id}\",\"attempt\":{attempt},\"client\":\"{client:0>128}\",\
                             \"scope\":\"{scope:0>256}\",\"fp\":\"{id}\",\"fp_raw\":\"{id}\",\
                             \"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\""
                        ),
                    )
                })
            })
        })
    })
}

/// A process that sends these lines.
fn attack(sidecar: &Sidecar, lines: impl Iterator<Item = String> + Send + 'static) -> Child {
    let mut send = command(&["send", "--timeout=60s", "--socket"]);
    send.arg(&sidecar.socket).stdin(Stdio::piped());
    let mut child = send
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::spawn(move || {
        for line in lines {
            // It may have been refused.
            if input.write_all(line.as_bytes()).is_err() {
                return;
            }
        }
    });
    child
}

/// A request whose answer nobody reads.
fn ask_and_look_away(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    // It may be shown out at once.
    let _ = stream.write_all(request.as_bytes());
    stream
}

#[test]
fn whatever_clients_do_memory_stays_below_the_printed_bound() {
    let flags = [
        &format!("--capacity={CAPACITY}"),
        "--max-connections=100",
        "--max-line-bytes=64KiB",
    ];
    let mut sidecar = Sidecar::start(&flags);
    let bound = bound(&sidecar);
    let (idle, _) = sidecar.memory_bytes();
    assert!(bound < 512 * MIB, "{bound} says nothing with such settings");
    // Lines that never end, on all connections but a few.
    let mut endless: Vec<UnixStream> = (0..90).map(|_| sidecar.connect()).collect();
    for client in &mut endless {
        client.write_all(&vec![b'{'; 64 * 1024]).unwrap();
    }
    let mut attackers: Vec<_> = (0..ATTACKERS)
        .map(|attacker| attack(&sidecar, largest_tokens(attacker, CAPACITY)))
        .collect();
    let events = (CAPACITY * TABLES.len() * 64) as f64;
    let begun = Instant::now();
    let mut turned_away = Vec::new();
    while sidecar.metric(STARTS) < events {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{}",
            sidecar.page()
        );
        for target in [
            "/api/v1/findings?limit=1000",
            "/api/v1/tokens?limit=1000",
            "/api/v1/stream",
        ] {
            turned_away.push(ask_and_look_away(sidecar.admin, target));
        }
        turned_away.push(ask_and_look_away(sidecar.metrics, "/metrics"));
        turned_away.truncate(500);
        std::thread::sleep(Duration::from_millis(100));
    }
    for attacker in &mut attackers {
        assert!(attacker.wait().unwrap().success());
    }
    let answers: Vec<_> = (0..100)
        .map(|_| ask_and_look_away(sidecar.admin, "/api/v1/findings?limit=1000"))
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let (_, most) = sidecar.memory_bytes();
    eprintln!(
        "memory: {} MiB idle, {} at most, bound {}",
        idle / MIB,
        most / MIB,
        bound / MIB
    );
    assert!(most < bound, "{most} is more than the bound, {bound}");
    assert!(
        most > idle + 12 * MIB,
        "not much of an attack: {idle} to {most}"
    );
    drop((answers, turned_away, endless));
    assert!(sidecar.is_running());
    let mut client = sidecar.connect();
    client
        .write_all(start(TRANSACT, "after", "").as_bytes())
        .unwrap();
    sidecar.wait_for_metric(STARTS, events + 1.0);
}

/// Ends of eight calls each, of tokens that are written into cells then, `count` in each of three tables.
fn long_tokens(attacker: usize, count: usize) -> impl Iterator<Item = String> {
    let tokens = (0..count).filter(move |n| n % ATTACKERS == attacker);
    tokens.flat_map(|n| {
        [TRANSACT, "dynamodb.ExecuteTransaction", "http"]
            .into_iter()
            .flat_map(move |api| {
                (0..8).map(move |call| {
                    let id = format!("{:0>64}", n * 8 + call);
                    let more = format!(
                        ",\"call\":\"{id}\",\"client\":\"long\",\"fp\":\"{id}\",\
                         \"fp_raw\":\"{id}\",\"outcome\":\"ok\""
                    );
                    end(api, &format!("{n:l>36}"), &more)
                })
            })
    })
}

/// Tokens of an honest client, of the first API, with one attempt each.
const HONEST: usize = 500;
/// And with two.
const RETRIED: std::ops::Range<usize> = 1000..1100;

/// What all events of an honest token say.
fn honest(n: usize, client: &str, call: &str) -> (String, String) {
    let scope = n % 3;
    let more =
        format!(",\"client\":\"{client}\",\"call\":\"{call}\",\"fp\":\"f\",\"scope\":\"{scope}\"");
    (format!("honest-{n}"), more)
}

fn honest_start(n: usize, client: &str, call: &str) -> String {
    let (token, more) = honest(n, client, call);
    start(TRANSACT, &token, &more)
}

fn verdicts(sidecar: &Sidecar, verdict: &str) -> f64 {
    let of = format!("oncewatch_verdicts_total{{api=\"{TRANSACT}\",");
    let samples = sidecar::samples(&sidecar.page());
    let wanted = samples
        .iter()
        .filter(|(name, _)| name.starts_with(&of) && name.contains(&format!("\"{verdict}\"")));
    wanted.map(|(_, value)| value).sum()
}

/// All events of some honest tokens by these calls, each of which ends well.
fn use_honestly(client: &mut UnixStream, tokens: std::ops::Range<usize>, calls: &[&str]) {
    for n in tokens {
        for call in calls {
            let (token, more) = honest(n, "honest", call);
            let end = end(TRANSACT, &token, &(more + ",\"outcome\":\"ok\""));
            let both = honest_start(n, "honest", call) + &end;
            client.write_all(both.as_bytes()).unwrap();
        }
    }
}

fn attack_and_wait(sidecar: &Sidecar, lines: impl Fn(usize) -> Lines) {
    let attackers = (0..ATTACKERS).map(|attacker| attack(sidecar, lines(attacker)));
    let mut attackers: Vec<_> = attackers.collect();
    for attacker in &mut attackers {
        assert!(attacker.wait().unwrap().success());
    }
}

type Lines = Box<dyn Iterator<Item = String> + Send>;

/// Retried tokens are remembered while large ones come that take no cells, and not after as many that do.
/// Returns how many starts and replays there were by now.
fn outdo_retried(
    sidecar: &Sidecar,
    client: &mut UnixStream,
    mut starts: f64,
    mut replays: f64,
) -> (f64, f64) {
    const LONG: usize = 2000;
    let half = RETRIED.len() / 2;
    let middle = RETRIED.start + half;
    use_honestly(client, RETRIED.start..middle, &["3"]);
    starts += half as f64;
    replays += half as f64;
    sidecar.wait_for_metric(STARTS, starts);
    assert_eq!(verdicts(sidecar, "replay"), replays);
    let ends = HONEST + 2 * RETRIED.len() + half + LONG * 3 * 8;
    attack_and_wait(sidecar, |attacker| Box::new(long_tokens(attacker, LONG)));
    sidecar.wait_for_metric(ENDS, ends as f64);
    let first_uses = verdicts(sidecar, "first_use");
    use_honestly(client, middle..RETRIED.end, &["3"]);
    starts += half as f64;
    sidecar.wait_for_metric(STARTS, starts);
    assert_eq!(verdicts(sidecar, "first_use"), first_uses + half as f64);
    (starts, replays)
}

/// Far more and larger tokens than there is memory for, under as many names, in every table and with room
/// for them by number. They push out each other, and what is left is known again after a restart. So do
/// those that take cells, and with them older ones of honest clients that do, which are those retried.
#[test]
fn large_tokens_push_out_each_other_and_honest_ones_of_their_kind() {
    const LARGE: usize = 1600;
    let flags = |directory: &Path| {
        let state = directory.join("state");
        [
            "--capacity=3000".to_owned(),
            "--max-connections=20".to_owned(),
            "--max-line-bytes=4KiB".to_owned(),
            format!("--state-dir={}", state.display()),
        ]
    };
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let flags = flags(directory.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let sidecar = Sidecar::start_in(directory.clone(), &flags);
    let bound = bound(&sidecar);
    assert!(bound < 160 * MIB, "{bound}");
    let mut client = sidecar.connect();
    use_honestly(&mut client, 0..HONEST, &["1"]);
    use_honestly(&mut client, RETRIED, &["1", "2"]);
    let mut starts = (HONEST + 2 * RETRIED.len()) as f64;
    sidecar.wait_for_metric(STARTS, starts);
    attack_and_wait(&sidecar, |attacker| {
        Box::new(largest_tokens(attacker, LARGE))
    });
    starts += (LARGE * TABLES.len() * 64) as f64;
    sidecar.wait_for_metric(STARTS, starts);
    let (_, most) = sidecar.memory_bytes();
    eprintln!("memory: {} MiB at most, bound {}", most / MIB, bound / MIB);
    assert!(most < bound, "{most} is more than the bound, {bound}");
    let gone = sidecar.metric("oncewatch_tracking_gaps_total{reason=\"evicted\"}");
    let large = (LARGE * TABLES.len()) as f64;
    assert!(
        gone > large / 2.0 && gone <= large,
        "{gone} of {large} went"
    );
    let mut replays = RETRIED.len() as f64;
    (starts, replays) = outdo_retried(&sidecar, &mut client, starts, replays);
    // What else honest clients did is remembered, and what they do is judged.
    for n in 0..HONEST {
        let line = honest_start(n, "honest", "2");
        client.write_all(line.as_bytes()).unwrap();
    }
    for call in ["3", "4"] {
        let line = honest_start(HONEST, &format!("honest-{call}"), call);
        client.write_all(line.as_bytes()).unwrap();
    }
    replays += HONEST as f64;
    sidecar.wait_for_metric(STARTS, starts + (HONEST + 2) as f64);
    assert_eq!(verdicts(&sidecar, "replay"), replays);
    assert_eq!(verdicts(&sidecar, "cross_client_collision"), 1.0);
    drop(client);
    sidecar.kill();
    let after = Sidecar::start_in(directory, &flags);
    let (_, most) = after.memory_bytes();
    assert!(
        most < bound,
        "{most} after a restart is more than the bound, {bound}"
    );
    let mut client = after.connect();
    for n in 0..HONEST {
        let line = honest_start(n, "honest", "5");
        client.write_all(line.as_bytes()).unwrap();
    }
    after.wait_for_metric(STARTS, HONEST as f64);
    assert_eq!(verdicts(&after, "replay"), HONEST as f64);
}

/// One connection with as many open attempts as there may be, of tokens and scopes as long as they may be:
/// each is said to be orphaned when it ends, some three kilobytes.
#[test]
fn very_many_attempts_that_end_at_once_are_told_in_parts() {
    const OPEN: usize = 20_000;
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.connect();
    let wide = "w".repeat(128);
    for n in 0..OPEN {
        let more = format!(",\"client\":\"{wide}\",\"call\":\"a\",\"scope\":\"{wide}{wide}\"");
        let line = start(&wide, &format!("{n:x>512}"), &more);
        client.write_all(line.as_bytes()).unwrap();
    }
    sidecar.wait_for_metric(STARTS, OPEN as f64);
    let (before, _) = sidecar.memory_bytes();
    drop(client);
    let orphaned =
        "oncewatch_verdicts_total{api=\"other\",severity=\"warning\",verdict=\"orphaned\"}";
    sidecar.wait_for_metric(orphaned, OPEN as f64);
    let (_, most) = sidecar.memory_bytes();
    eprintln!(
        "memory: {} MiB before, {} at most",
        before / MIB,
        most / MIB
    );
    assert!(most < before + 20 * MIB, "{before} grew to {most}");
}

#[test]
fn probes_are_answered_while_both_addresses_are_besieged() {
    let mut sidecar = Sidecar::start(&[]);
    let beginnings = [
        "",
        "GET / HT",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nx: ",
    ];
    let mut siege = Vec::new();
    for round in 0..100 {
        for address in [sidecar.metrics, sidecar.admin] {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
            stream.write_all(beginnings[round % 3].as_bytes()).unwrap();
            siege.push(stream);
        }
    }
    let mut slowest = Duration::ZERO;
    for round in 0..50 {
        let begun = Instant::now();
        assert_eq!(get(sidecar.metrics, "/livez", &[]).status, 200);
        slowest = slowest.max(begun.elapsed());
        assert_eq!(get(sidecar.admin, "/api/v1/status", &[]).status, 200);
        // Those that were shown out come back, and drip.
        for stream in siege.iter_mut().skip(round % 7).step_by(7) {
            if stream.write_all(b"x").is_err() {
                let address = stream.peer_addr().unwrap_or(sidecar.metrics);
                *stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
            }
        }
    }
    // The kubelet gives up after a second.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(sidecar.metric(HTTP_LIMIT) >= 72.0);
    assert!(sidecar.is_running());
}

#[test]
fn streams_that_nobody_reads_hold_up_nothing() {
    let sidecar = Sidecar::start(&[]);
    let (before, _) = sidecar.memory_bytes();
    let streams: Vec<_> = (0..40)
        .map(|_| ask_and_look_away(sidecar.admin, "/api/v1/stream"))
        .collect();
    wait_for("the streams", || {
        (sidecar.api("/api/v1/status")["streams"] == 16).then_some(())
    });
    let mut client = sidecar.connect();
    // Findings of 2 KiB each, far more than sockets and backlogs hold.
    let wide = "w".repeat(128);
    for n in 0..20_000 {
        let line = start(
            "default",
            &format!("{n:x>512}"),
            &format!(",\"client\":\"{wide}\",\"call\":\"a\",\"fp\":\"1\""),
        );
        let other = start(
            "default",
            &format!("{n:x>512}"),
            &format!(",\"client\":\"{n}\",\"call\":\"b\",\"fp\":\"2\""),
        );
        client.write_all((line + &other).as_bytes()).unwrap();
    }
    sidecar.wait_for_metric(STARTS, 40_000.0);
    assert_eq!(get(sidecar.metrics, "/livez", &[]).status, 200);
    let (_, most) = sidecar.memory_bytes();
    assert!(most < before + 160 * MIB, "{before} grew to {most}");
    // One that reads after all is told how much it lost.
    let mut text = String::new();
    let mut reader = streams.into_iter().next().unwrap();
    reader
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut chunk = [0; 65536];
    while !text.contains("event: lagged") {
        match reader.read(&mut chunk) {
            Ok(0) => panic!("the stream ended"),
            Ok(read) => text += &String::from_utf8_lossy(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}: no word of what was lost"),
        }
    }
}
