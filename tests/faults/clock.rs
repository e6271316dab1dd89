//! The wall clock is set while the sidecar runs, by a library that comes between it and the system:
//! `CLOCK_REALTIME` is shifted by as much as a file says, every other clock is true.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::TRANSACT;
use super::sidecar::{Sidecar, end, start};

const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = syscall(SYS_clock_gettime, clock, time);
  if (!failed && clock == CLOCK_REALTIME) {
    FILE *file = fopen(getenv("CLOCK_SHIFT"), "r");
    long seconds = 0;
    if (file && fscanf(file, "%ld", &seconds) == 1) time->tv_sec += seconds;
    if (file) fclose(file);
  }
  return failed;
}
"#;

#[test]
fn a_wall_clock_that_is_set_back_and_forth_changes_no_verdict() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    fs::write(path("shifted.c"), SHIFTED).unwrap();
    // Rust links with it, so it is there.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]);
    compiler.arg(path("shifted.so")).arg(path("shifted.c"));
    let built = compiler.status().unwrap();
    assert!(built.success());
    let shift = |seconds: i64| fs::write(path("shift"), seconds.to_string()).unwrap();
    let hour_ahead = 3600;
    shift(hour_ahead);
    let config = path("short.toml");
    fs::write(
        &config,
        "[profiles.\"dynamodb.TransactWriteItems\"]\nlease = \"30s\"\n",
    )
    .unwrap();
    let flag = format!("--config={}", config.display());
    let sidecar = Sidecar::start_in_with(directory.clone(), &[&flag], |mut command| {
        command.env("LD_PRELOAD", path("shifted.so"));
        command.env("CLOCK_SHIFT", path("shift"));
        command
    });
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let began = sidecar.metric("oncewatch_observation_start_timestamp_seconds");
    assert!(
        (began - now - hour_ahead as f64).abs() < 20.0,
        "the shift works: {began} at {now}"
    );
    let mut client = sidecar.connect();
    let mut say = |line: String| client.write_all(line.as_bytes()).unwrap();
    let call = ",\"call\":\"c\",\"client\":\"a\",\"fp\":\"f\"";
    say(start(TRANSACT, "done", call));
    say(end(TRANSACT, "done", &format!("{call},\"outcome\":\"ok\"")));
    say(start(TRANSACT, "open", call));
    // A day ahead, then a year back: beyond every lease and window, both ways.
    for (step, seconds) in [86_400, -31_536_000, 0].into_iter().enumerate() {
        shift(seconds);
        std::thread::sleep(Duration::from_millis(200));
        say(start(
            TRANSACT,
            "done",
            &format!(",\"call\":\"r{step}\",\"client\":\"a\",\"fp\":\"f\""),
        ));
    }
    let verdict = |name: &str, severity: &str| {
        sidecar.metric(&format!(
            "oncewatch_verdicts_total{{api=\"{TRANSACT}\",severity=\"{severity}\",verdict=\"{name}\"}}"
        ))
    };
    super::sidecar::wait_for("three replays", || {
        (verdict("replay", "info") == 3.0).then_some(())
    });
    assert_eq!(verdict("stuck_in_flight", "warning"), 0.0);
    assert_eq!(verdict("reuse_after_window", "critical"), 0.0);
    // A client whose clock is right is now an hour behind ours: said, and nothing else follows.
    assert_eq!(sidecar.metric("oncewatch_clock_suspect_total"), 0.0);
    let at = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    say(start(TRANSACT, "right", &format!(",\"at\":{at}")));
    sidecar.wait_for_metric("oncewatch_clock_suspect_total", 1.0);
    let last = sidecar.metric("oncewatch_last_event_timestamp_seconds");
    assert!(
        last > began && last < began + 60.0,
        "{last}: time went on as it does"
    );
}
