//! The socket's file is deleted or replaced, or wanted by two.

use std::fs;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use super::sidecar::{Sidecar, command, start, wait_for};
use super::{STARTS, TRANSACT, assert_heard, says};

const BOUND: &str = "oncewatch_socket_rebinds_total{outcome=\"bound\"}";
const FAILED: &str = "oncewatch_socket_rebinds_total{outcome=\"failed\"}";

#[test]
fn a_deleted_socket_file_is_made_anew_and_nobody_is_cut_off() {
    let mut sidecar = Sidecar::start(&["--socket-mode=0640"]);
    let early = sidecar.connect();
    assert_heard(&sidecar, &early, "before");
    for round in 1..=3 {
        fs::remove_file(&sidecar.socket).unwrap();
        sidecar.wait_for_metric(BOUND, f64::from(round));
        let late = sidecar.connect();
        assert_heard(&sidecar, &late, "new");
        assert_heard(&sidecar, &early, "old");
    }
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(&sidecar.socket).unwrap().mode() & 0o777, 0o640);
    assert!(says(&sidecar, "bound anew"));
    assert_eq!(sidecar.metric(FAILED), 0.0);
    assert!(sidecar.is_running());
    let socket = sidecar.socket.clone();
    assert!(sidecar.terminate().status.success());
    assert!(!socket.exists(), "the new file is removed like the first");
}

#[test]
fn who_waited_at_the_deleted_socket_is_still_served() {
    let sidecar = Sidecar::start(&[]);
    sidecar.signal(Signal::STOP);
    let waiting: Vec<_> = (0..20).map(|_| sidecar.connect()).collect();
    fs::remove_file(&sidecar.socket).unwrap();
    sidecar.signal(Signal::CONT);
    sidecar.wait_for_metric(BOUND, 1.0);
    for client in &waiting {
        assert_heard(&sidecar, client, "t");
    }
}

#[test]
fn a_replaced_socket_file_is_left_alone_and_taken_back_when_it_goes() {
    let sidecar = Sidecar::start(&[]);
    let early = sidecar.connect();
    // In one step, as a careful impostor would.
    let impostor = sidecar.file("impostor");
    fs::write(&impostor, "not a socket").unwrap();
    fs::rename(&impostor, &sidecar.socket).unwrap();
    sidecar.wait_for_metric(FAILED, 1.0);
    assert!(says(&sidecar, "is a file, not a socket"));
    assert_heard(&sidecar, &early, "meanwhile");
    assert_eq!(fs::read_to_string(&sidecar.socket).unwrap(), "not a socket");
    fs::remove_file(&sidecar.socket).unwrap();
    sidecar.wait_for_metric(BOUND, 1.0);
    assert_heard(&sidecar, &sidecar.connect(), "after");
}

#[test]
fn a_symbolic_link_in_place_of_the_socket_is_not_followed() {
    let sidecar = Sidecar::start(&[]);
    let victim = sidecar.file("victim");
    fs::write(&victim, "precious").unwrap();
    let link = sidecar.file("link");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    fs::rename(&link, &sidecar.socket).unwrap();
    sidecar.wait_for_metric(FAILED, 1.0);
    assert!(says(&sidecar, "is a symbolic link, not a socket"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    let directory = sidecar.directory();
    sidecar.terminate();
    // Nor is it at the start.
    let socket = directory.path().join("events.sock");
    let output = command(&["run", "--socket"]).arg(&socket).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("is a symbolic link, not a socket"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_socket_stolen_by_another_sidecar_is_taken_back_after_it() {
    let first = Sidecar::start(&[]);
    let client = first.connect();
    first.signal(Signal::STOP);
    fs::remove_file(&first.socket).unwrap();
    let second = Sidecar::start_in(first.directory(), &[]);
    first.signal(Signal::CONT);
    first.wait_for_metric(FAILED, 1.0);
    assert!(says(&first, "another process serves"));
    assert_heard(&first, &client, "own");
    assert_heard(&second, &second.connect(), "other");
    assert!(second.terminate().status.success());
    first.wait_for_metric(BOUND, 1.0);
    assert_heard(&first, &first.connect(), "again");
}

#[test]
fn a_second_sidecar_on_the_same_socket_gives_up_and_the_first_goes_on() {
    let first = Sidecar::start(&[]);
    let client = first.connect();
    let mut second = command(&[
        "run",
        "--metrics-addr=127.0.0.1:0",
        "--admin-addr=127.0.0.1:0",
    ]);
    let output = second.arg("--socket").arg(&first.socket).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("socket: another process serves"), "{error}");
    assert_heard(&first, &client, "old");
    assert_heard(&first, &first.connect(), "new");
    assert_eq!(first.metric(BOUND) + first.metric(FAILED), 0.0);
}

#[test]
fn a_deleted_datagram_socket_is_made_anew() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let socket = directory.path().join("datagrams.sock");
    let flag = format!("--datagram-socket={}", socket.display());
    let sidecar = Sidecar::start_in(directory, &[&flag]);
    let old = UnixDatagram::unbound().unwrap();
    old.connect(&socket).unwrap();
    fs::remove_file(&socket).unwrap();
    sidecar.wait_for_metric(BOUND, 1.0);
    let new = UnixDatagram::unbound().unwrap();
    let sent = wait_for("the new socket", || {
        let line = start(TRANSACT, "t", "");
        new.send_to(line.as_bytes(), &socket).ok()
    });
    assert!(sent > 0);
    sidecar.wait_for_metric(STARTS, 1.0);
}
