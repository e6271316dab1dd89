//! The process stands still for a while: a frozen node, a debugger, a throttled container.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::sidecar::{Sidecar, get, start};
use super::{STARTS, assert_heard};

/// A minute in the long run (`ONCEWATCH_STOP_SECONDS=60`).
fn how_long() -> Duration {
    let given = std::env::var("ONCEWATCH_STOP_SECONDS");
    Duration::from_secs(given.map_or(3, |text| text.parse().unwrap()))
}

#[test]
fn a_process_that_stood_still_loses_nothing_and_blocks_nobody() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let config = directory.path().join("short.toml");
    std::fs::write(
        &config,
        "[profiles.\"dynamodb.TransactWriteItems\"]\nlease = \"1s\"\n",
    )
    .unwrap();
    let flag = format!("--config={}", config.display());
    let sidecar = Sidecar::start_in(directory, &[&flag]);
    let mut client = sidecar.connect();
    assert_heard(&sidecar, &client, "open");
    client.set_nonblocking(true).unwrap();
    sidecar.signal(Signal::STOP);
    let begun = Instant::now();
    let mut written = 0;
    let line = start("default", "while it stood still", "");
    while begun.elapsed() < how_long() {
        let one = Instant::now();
        match client.write(line.as_bytes()) {
            Ok(length) if length == line.len() => written += 1,
            Ok(length) => panic!("{length} bytes of a line"),
            // What a client does then is drop, and count: the buffer is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(
            one.elapsed() < Duration::from_millis(500),
            "a client was blocked"
        );
    }
    assert!(written > 50, "{written} lines fit into the buffer");
    sidecar.signal(Signal::CONT);
    sidecar.wait_for_metric(STARTS, f64::from(written + 1));
    // The lease went on meanwhile, and is said once.
    let stuck = "oncewatch_verdicts_total{api=\"dynamodb.TransactWriteItems\",severity=\"warning\",verdict=\"stuck_in_flight\"}";
    sidecar.wait_for_metric(stuck, 1.0);
    assert_eq!(get(sidecar.metrics, "/livez", &[]).status, 200);
    assert_heard(&sidecar, &sidecar.connect(), "after");
    assert_eq!(sidecar.metric(stuck), 1.0);
    assert_eq!(sidecar.sum("oncewatch_events_rejected_total"), 0.0);
}
