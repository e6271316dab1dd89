//! The system gives no more: descriptors, memory.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::sidecar::{Sidecar, start, wait_for};
use super::{TRANSACT, assert_heard, says};

fn limit(sidecar: &Sidecar, resource: Resource, current: u64, maximum: u64) {
    let pid = Pid::from_raw(sidecar.pid().cast_signed()).unwrap();
    let limit = Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    prlimit(Some(pid), resource, limit).unwrap();
}

fn cpu_seconds(sidecar: &Sidecar) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", sidecar.pid())).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

#[test]
fn running_out_of_descriptors_is_counted_waited_out_and_costs_no_cpu() {
    let sidecar = Sidecar::start(&[]);
    let client = sidecar.connect();
    assert_heard(&sidecar, &client, "before");
    let open = std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid()))
        .unwrap()
        .count() as u64;
    limit(&sidecar, Resource::Nofile, open + 4, 4096);
    let crowd: Vec<_> = (0..20).map(|_| sidecar.connect()).collect();
    let before = cpu_seconds(&sidecar);
    std::thread::sleep(Duration::from_secs(1));
    let spent = cpu_seconds(&sidecar) - before;
    assert!(spent < 0.3, "{spent} s of CPU in a second of waiting");
    // Those inside are heard meanwhile; nobody can be told before a descriptor is free.
    (&client)
        .write_all(start(TRANSACT, "meanwhile", "").as_bytes())
        .unwrap();
    limit(&sidecar, Resource::Nofile, 4096, 4096);
    let failed = "oncewatch_connections_refused_total{reason=\"accept_failed\"}";
    wait_for("the count", || {
        (sidecar.metric(failed) >= 1.0).then_some(())
    });
    sidecar.wait_for_metric("oncewatch_clients_connected", 21.0);
    for late in &crowd {
        assert_heard(&sidecar, late, "after");
    }
    assert!(says(&sidecar, "cannot accept connections"));
}

#[test]
fn the_limit_of_descriptors_is_raised_to_what_the_settings_need() {
    // Inherited by the sidecar; the hard limit is far above it.
    let sidecar = {
        let before = rustix::process::getrlimit(Resource::Nofile);
        let sidecar = Sidecar::start_with(&["--max-connections=2000"], |command| {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "ulimit -S -n 256; exec \"$0\" \"$@\""]);
            shell.arg(command.get_program()).args(command.get_args());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            shell
        });
        assert!(before.maximum.is_none_or(|most| most >= 2500), "{before:?}");
        sidecar
    };
    let allowed = sidecar.metric("process_max_fds");
    assert!((2000.0..4096.0).contains(&allowed), "{allowed}");
    let sidecar = Sidecar::start_with(&["--max-connections=2000"], |command| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    });
    assert_eq!(sidecar.metric("process_max_fds"), 300.0);
    assert!(says(&sidecar, "max-connections"), "{:?}", sidecar.log());
}

#[test]
fn out_of_memory_it_dies_at_once_and_its_successor_takes_over() {
    let sidecar = Sidecar::start(&["--capacity=1000000"]);
    let mut client = sidecar.connect();
    assert_heard(&sidecar, &client, "before");
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .unwrap();
    let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    let most = (size + 16 * 1024) * 1024;
    limit(&sidecar, Resource::As, most, most);
    let begun = Instant::now();
    let mut sent = 0;
    // The client sees a broken pipe, as from any peer that died; it blocks for nobody.
    let error = loop {
        let lines: String = (0..100)
            .map(|n| start("default", &format!("{:0>400}", sent + n), ""))
            .collect();
        sent += 100;
        if let Err(error) = client.write_all(lines.as_bytes()) {
            break error;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{sent} tokens fit"
        );
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    let (directory, status, log) = sidecar.ended();
    assert_eq!(status.signal(), Some(6), "{log:?}");
    let successor = Sidecar::start_in(directory, &[]);
    assert_heard(&successor, &successor.connect(), "after");
    let since = successor.metric("oncewatch_observation_start_timestamp_seconds");
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs_f64();
    assert!(
        (now - since).abs() < 20.0,
        "it does not claim to know what it forgot"
    );
}
