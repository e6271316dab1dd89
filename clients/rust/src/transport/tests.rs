//! The way to the sidecar when the sidecar is absent, slow, gone or new.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::{BYTES_MAX, EVENTS_MAX, Pace, Transport, lock};
use crate::attempt::{Options, begin_with};
use crate::event::Outcome;
use crate::testing::collector::{Collector, PATIENCE, wait_until};
use crate::testing::{Bench, QUICK, settings};

/// Three events: start, end, call_end.
fn report(transport: &'static Transport, token: &str) {
    begin_with(Some(transport), "default", token, Options::default())
        .end(Outcome::Ok, crate::Answer::default());
}

fn tokens(events: &[serde_json::Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["token"].as_str())
        .collect()
}

#[test]
fn an_absent_sidecar_turns_it_off_and_drops_are_reported_later() {
    let bench = Bench::new(QUICK);
    report(bench.transport, "lost");
    wait_until("off", || {
        (!bench.transport.accepts())
            .then_some(())
            .ok_or_else(String::new)
    });
    for _ in 0..10 {
        report(bench.transport, "lost");
    }
    let stats = bench.wait_for("33 drops", |stats| stats.dropped == 33);
    assert!(
        !stats.connected && stats.sent == 0 && stats.pending == 0,
        "{stats:?}"
    );
    let collector = Collector::new(&bench.socket());
    report(bench.transport, "still off");
    assert_eq!(
        bench.transport.stats().dropped,
        36,
        "looked again before its time"
    );
    wait_until("on again", || {
        bench
            .transport
            .accepts()
            .then_some(())
            .ok_or_else(String::new)
    });
    report(bench.transport, "after");
    let events = collector.wait(4);
    assert_eq!(tokens(&events), ["after"; 3]);
    let reports = collector.of("client_report");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["dropped"], 36);
    assert_eq!(reports[0]["client"], format!("host/{}", std::process::id()));
    bench.wait_for("3 sent", |stats| stats.connected && stats.sent == 3);
}

#[test]
fn it_looks_again_after_five_seconds() {
    assert_eq!(Pace::DEFAULT.off, Duration::from_secs(5));
    let bench = Bench::new(QUICK);
    let began = Instant::now();
    report(bench.transport, "lost");
    wait_until("off", || {
        (!bench.transport.accepts())
            .then_some(())
            .ok_or_else(String::new)
    });
    wait_until("on", || {
        bench
            .transport
            .accepts()
            .then_some(())
            .ok_or_else(String::new)
    });
    assert!(began.elapsed() >= QUICK.off);
}

#[test]
fn default_paths() {
    assert!(
        !fs::exists("/run/oncewatch/events.sock").unwrap(),
        "a sidecar runs here; absence cannot be tested"
    );
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(None, directory.path());
    assert_eq!(settings.socket_path(), None);
    let private = directory
        .path()
        .join(format!("oncewatch-{}", nix::unistd::geteuid()));
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(private.join("events.sock"), "").unwrap();
    assert_eq!(settings.socket_path(), Some(private.join("events.sock")));
    fs::set_permissions(&private, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(settings.socket_path(), None, "another user can write there");
    fs::create_dir(directory.path().join("oncewatch")).unwrap();
    fs::write(directory.path().join("oncewatch/events.sock"), "").unwrap();
    assert_eq!(
        settings.socket_path(),
        Some(directory.path().join("oncewatch/events.sock"))
    );
}

#[test]
fn a_reader_that_stalls_costs_drops_and_no_time() {
    let bench = Bench::new(QUICK);
    let collector = Collector::paused(&bench.socket());
    let filler = "x".repeat(200);
    let mut slowest = Duration::ZERO;
    for index in 0..5000 {
        let began = Instant::now();
        report(bench.transport, &format!("token-{index}{filler}"));
        slowest = slowest.max(began.elapsed());
        // Pauses let the sender fill the kernel's buffer, too.
        thread::sleep(Duration::from_millis(u64::from(index % 100 == 0)));
    }
    assert!(
        slowest < Duration::from_secs(1),
        "the application waited {slowest:?}"
    );
    let held = bench.transport.stats();
    assert!(
        held.dropped > 5000 && held.pending <= EVENTS_MAX as u64,
        "{held:?}"
    );
    let queue = lock(&bench.transport.queue);
    assert!(queue.waiting_bytes + queue.taken_bytes <= BYTES_MAX);
    drop(queue);
    let began = Instant::now();
    assert!(!bench.transport.flush(Duration::from_millis(200)));
    assert!(began.elapsed() < Duration::from_millis(600));
    collector.resume();
    let dropped = bench
        .wait_for("all written", |stats| stats.pending == 0)
        .dropped;
    wait_until("everything accounted for", || {
        let events = collector.events();
        let reports = collector.of("client_report");
        let reported: u64 = reports
            .iter()
            .filter_map(|event| event["dropped"].as_u64())
            .sum();
        let told = (events.len() - reports.len()) as u64;
        let all = reported == dropped && told + dropped == 15000;
        all.then_some(())
            .ok_or_else(|| format!("{told} events, {dropped} dropped, {reported} reported"))
    });
    assert_eq!(
        collector.events()[0]["token"],
        format!("token-0{filler}"),
        "the newest are dropped, not the oldest"
    );
}

#[test]
fn the_buffer_is_bounded_by_bytes_as_well() {
    let bench = Bench::new(QUICK);
    let _collector = Collector::paused(&bench.socket());
    let body = vec![b'x'; 60 * 1024];
    let options = Options {
        body: Some(&body),
        ..Options::default()
    };
    let attempts: Vec<_> = (0..100)
        .map(|_| begin_with(Some(bench.transport), "default", "t", options))
        .collect();
    let queue = lock(&bench.transport.queue);
    assert!(
        queue.waiting_bytes + queue.taken_bytes <= BYTES_MAX,
        "{}",
        queue.waiting_bytes
    );
    drop(queue);
    assert!(
        bench.transport.stats().dropped >= 90,
        "{:?}",
        bench.transport.stats()
    );
    drop(attempts);
}

#[test]
fn no_more_events_wait_than_allowed() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    let begin = || {
        begin_with(
            Some(bench.transport),
            "default",
            "t",
            Options {
                call: Some("c"),
                ..Options::default()
            },
        )
    };
    let mut attempts = Vec::new();
    for _ in 0..11 {
        attempts.extend((0..100).map(|_| begin()));
        collector.wait(attempts.len());
    }
    let held = lock(&bench.transport.connection);
    // Ends are the smallest events: only so many of them stay below the limit of bytes.
    for attempt in &mut attempts {
        attempt.end(Outcome::Ok, crate::Answer::default());
    }
    let stats = bench.transport.stats();
    assert_eq!((stats.pending, stats.dropped), (EVENTS_MAX as u64, 100));
    drop(held);
    collector.wait(1100 + EVENTS_MAX + 1);
    bench.wait_for("2100 sent", |stats| {
        stats.sent == 2100 && stats.pending == 0
    });
}

#[test]
fn every_event_is_counted_when_the_sidecar_goes_while_many_wait() {
    let bench = Bench::new(Pace {
        off: PATIENCE,
        ..QUICK
    });
    let collector = Collector::paused(&bench.socket());
    let filler = "x".repeat(400);
    let mut reported = 0;
    wait_until("a full buffer", || {
        report(bench.transport, &filler);
        reported += 3;
        (bench.transport.stats().dropped > 0)
            .then_some(())
            .ok_or_else(|| format!("{reported} events"))
    });
    assert!(
        lock(&bench.transport.queue).waiting.len() > 10,
        "{:?}",
        bench.transport.stats()
    );
    collector.close();
    let stats = bench.wait_for("off", |stats| stats.pending == 0);
    assert!(!bench.transport.accepts());
    assert_eq!(stats.sent + stats.dropped, reported, "{stats:?}");
}

#[test]
fn a_connection_closed_within_a_line_is_followed_by_whole_lines() {
    let bench = Bench::new(QUICK);
    let listener = UnixListener::bind(bench.socket()).unwrap();
    report(bench.transport, "token-000");
    bench.wait_for("a connection", |stats| stats.sent == 3);
    // Makes the kernel take parts of lines.
    let connection = lock(&bench.transport.connection)
        .as_ref()
        .unwrap()
        .try_clone()
        .unwrap();
    setsockopt(&connection, sockopt::SndBuf, &4608).unwrap();
    drop(connection);
    for index in 1..100 {
        report(bench.transport, &format!("token-{index:03}"));
    }
    thread::sleep(Duration::from_millis(50));
    let (mut first, _) = listener.accept().unwrap();
    drop(listener);
    fs::remove_file(bench.socket()).unwrap();
    let collector = Collector::new(&bench.socket());
    bench.wait_for("all written", |stats| stats.sent == 300);
    let mut cut = Vec::new();
    first.read_to_end(&mut cut).unwrap();
    assert!(cut.len() > 1000 && !cut.ends_with(b"\n"), "no line was cut");
    let whole = cut.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    cut.truncate(whole);
    wait_until("all lines, none twice", || {
        let text = String::from_utf8([cut.clone(), collector.streams().concat()].concat()).unwrap();
        let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let events: Vec<_> = lines.map_while(Result::ok).collect();
        let expected: Vec<_> = (0..300)
            .map(|index| format!("token-{:03}", index / 3))
            .collect();
        (tokens(&events) == expected)
            .then_some(())
            .ok_or_else(|| format!("{} events", events.len()))
    });
    assert_eq!(bench.transport.stats().dropped, 0);
}

#[test]
fn a_slow_reader_gets_every_line_once() {
    let bench = Bench::new(QUICK);
    let listener = UnixListener::bind(bench.socket()).unwrap();
    for index in 0..130 {
        // In all more than the kernel takes, and no more than the buffer holds besides.
        report(
            bench.transport,
            &format!("token-{index:03}{}", "x".repeat(400)),
        );
        thread::sleep(Duration::from_millis(u64::from(index % 8 == 0)));
        assert_eq!(bench.transport.stats().dropped, 0);
    }
    assert!(
        bench.transport.stats().pending > 0,
        "the kernel took everything"
    );
    let (connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines = BufReader::with_capacity(333, connection).lines().take(390);
    let tokens: Vec<_> = lines
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            event["token"].as_str().unwrap()[..9].to_owned()
        })
        .collect();
    let expected: Vec<_> = (0..390)
        .map(|index| format!("token-{:03}", index / 3))
        .collect();
    assert_eq!(tokens, expected);
}

#[test]
fn a_restarted_sidecar_gets_the_next_events() {
    let bench = Bench::new(QUICK);
    let first = Collector::new(&bench.socket());
    report(bench.transport, "one");
    first.wait(3);
    first.close();
    let second = Collector::new(&bench.socket());
    report(bench.transport, "two");
    assert_eq!(tokens(&second.wait(3)), ["two"; 3]);
}

#[test]
fn a_replaced_socket_file_is_noticed_while_the_old_server_lives() {
    let bench = Bench::new(QUICK);
    let old = Collector::new(&bench.socket());
    report(bench.transport, "one");
    old.wait(3);
    fs::remove_file(bench.socket()).unwrap();
    let new = Collector::new(&bench.socket());
    report(bench.transport, "two");
    assert_eq!(tokens(&new.wait(3)), ["two"; 3]);
    assert_eq!(old.events().len(), 3);
}

#[test]
fn a_server_that_closes_at_once_is_not_hammered() {
    let bench = Bench::new(Pace {
        off: Duration::from_secs(60),
        ..Pace::DEFAULT
    });
    let listener = UnixListener::bind(bench.socket()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut accepted = 0;
    for _ in 0..100 {
        report(bench.transport, "t");
        thread::sleep(Duration::from_millis(2));
        accepted += usize::from(listener.accept().is_ok());
    }
    assert!((1..=2).contains(&accepted), "{accepted} connections");
    assert!(bench.transport.stats().dropped > 0);
}

#[test]
fn many_threads() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || {
                for index in 0..20 {
                    report(bench.transport, &format!("{number}/{index}"));
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    let events = collector.wait(960);
    for number in 0..16 {
        let own: Vec<_> = tokens(&events)
            .into_iter()
            .filter(|token| token.starts_with(&format!("{number}/")))
            .collect();
        let expected: Vec<_> = (0..60)
            .map(|index| format!("{number}/{}", index / 3))
            .collect();
        assert_eq!(own, expected, "a thread's events keep their order");
    }
    assert_eq!(bench.transport.stats().dropped, 0);
}

#[test]
fn a_sleeping_sender_is_woken() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    report(bench.transport, "one");
    collector.wait(3);
    wait_until("sleep", || {
        lock(&bench.transport.queue)
            .asleep
            .then_some(())
            .ok_or_else(String::new)
    });
    report(bench.transport, "two");
    collector.wait(6);
}

#[test]
fn a_lock_poisoned_by_a_panic_is_no_end() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    report(bench.transport, "one");
    collector.wait(3);
    // A poisoned lock is what another thread's panic would leave.
    let poisoning = thread::spawn(|| {
        let _held = lock(&bench.transport.queue);
        panic!("on purpose");
    });
    assert!(poisoning.join().is_err());
    report(bench.transport, "two");
    collector.wait(6);
}
