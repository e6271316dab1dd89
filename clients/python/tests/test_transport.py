"""The way to the sidecar when the sidecar is absent, slow, gone, new, or the process forks and ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from peers import Collector, wait_until

import oncewatch
from oncewatch import _buffer, _transport


def report(token="t", **more):
    """Three events: start, end, call_end."""
    oncewatch.begin("default", token, **more).end()


def stats_are(transport, **expected):
    wait_until(
        lambda: transport.stats().items() >= expected.items(), 5, lambda: f"{expected}, have {transport.stats()}"
    )


def turn_off(transport):
    """Let the client find out that nothing is there."""
    report()
    wait_until(lambda: not transport.accepting, 5, lambda: "off")


def test_absent_socket_is_off_and_drops_are_reported_later(transport, socket_path, monkeypatch):
    turn_off(transport)
    for _ in range(10):
        report()
    stats_are(transport, dropped=33, sent=0, connected=False)
    collector = Collector(socket_path)
    report()
    assert transport.stats()["dropped"] == 36, "looked again before its time"
    monkeypatch.setattr(transport, "_off_until", time.monotonic())
    report("after")
    wait_until(lambda: len(collector.events) == 4, 5, lambda: f"{collector.events}")
    assert [e["token"] for e in collector.events if "token" in e] == ["after"] * 3
    assert [(e["dropped"], e["client"]) for e in collector.of("client_report")] == [(36, transport.client)]
    stats_are(transport, sent=3, connected=True)
    collector.close()


def test_off_looks_again_after_five_seconds(transport):
    before = time.monotonic()
    turn_off(transport)
    assert before + 5 <= transport._off_until <= time.monotonic() + 5


def test_no_socket_configured_and_none_at_the_defaults(transport, monkeypatch, tmp_path):
    monkeypatch.delenv("ONCEWATCH_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if os.path.exists("/run/oncewatch/events.sock"):
        pytest.fail("this machine runs a sidecar at the default path; the test cannot tell absence")
    assert _transport.socket_path() is None
    turn_off(transport)
    (tmp_path / "oncewatch").mkdir()
    (tmp_path / "oncewatch" / "events.sock").touch()
    assert _transport.socket_path() == str(tmp_path / "oncewatch" / "events.sock")


def test_a_shared_temporary_directory_is_trusted_only_if_private(monkeypatch, tmp_path):
    monkeypatch.delenv("ONCEWATCH_SOCKET", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private = tmp_path / f"oncewatch-{os.getuid()}"
    private.mkdir(mode=0o700)
    assert _transport.socket_path() == str(private / "events.sock")
    private.chmod(0o777)
    assert _transport.socket_path() is None


def test_server_that_never_reads_costs_drops_and_no_time(transport, collector):
    collector.paused.set()
    slowest = 0.0
    for index in range(5000):
        began = time.perf_counter()
        report(f"token-{index}")
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 1, f"the application waited {slowest:.3f} s"
    held = transport.stats()
    assert held["dropped"] > 5000 and held["pending"] <= _buffer.EVENTS_MAX
    assert transport._buffer._bytes <= _buffer.BYTES_MAX
    began = time.perf_counter()
    assert transport.flush() is False
    assert time.perf_counter() - began < 0.6
    collector.paused.clear()
    stats_are(transport, pending=0)
    dropped = transport.stats()["dropped"]

    def everything_is_accounted_for():
        events = collector.events
        reported = [e["dropped"] for e in events if e["type"] == "client_report"]
        return sum(reported) == dropped and len(events) - len(reported) + dropped == 15000

    wait_until(everything_is_accounted_for, 10, lambda: f"{len(collector.events)} events and {dropped} dropped")
    assert collector.events[0]["token"] == "token-0", "the newest are dropped, not the oldest"


class Sized:
    """An event of some size."""

    def __init__(self, size: int = 2) -> None:
        self.size = size


def test_buffer_limits():
    buffer = _buffer.Buffer()
    assert all(buffer.put(Sized()) for _ in range(1000))
    assert not buffer.put(Sized())
    buffer.take(64 * 1024)
    assert not buffer.put(Sized()), "a batch that is not written yet still occupies the buffer"
    buffer.release()
    assert buffer.put(Sized()) and buffer.dropped == 2
    wide = _buffer.Buffer()
    assert [wide.put(Sized(16 * 1024)) for _ in range(17)] == [True] * 16 + [False]
    assert len(wide.take(64 * 1024)) == 4
    assert not wide.put(Sized(16 * 1024))


@pytest.fixture
def small_socket_buffer(transport, monkeypatch):
    """Makes the kernel take parts of lines."""
    connect = transport._connect

    def connect_with_small_buffer():
        connected = connect()
        if connected:
            transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        return connected

    monkeypatch.setattr(transport, "_connect", connect_with_small_buffer)


def test_a_finalizer_inside_the_buffer_does_not_wait_for_its_own_thread():
    buffer = _buffer.Buffer()

    def interrupted():
        with buffer._lock:
            buffer.put(Sized())

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(2)
    assert not thread.is_alive()


def test_connection_closed_within_a_line(transport, socket_path, monkeypatch, small_socket_buffer):
    """The server takes few bytes and goes; the next one gets whole lines from the interrupted one on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(socket_path)
    listener.listen()
    monkeypatch.setattr(_transport, "_LIVED_S", 0.0)
    monkeypatch.setattr(_transport, "_WRITE_TIMEOUT_S", 0.05)
    for index in range(100):
        report(f"token-{index:03}")
    connection, _ = listener.accept()
    wait_until(lambda: transport._offset > 0, 5, lambda: "a partial write")
    first = connection.recv(1000)
    wait_until(lambda: transport._data[transport._offset - 1 : transport._offset] != b"\n", 5, lambda: "a cut line")
    listener.close()
    os.unlink(socket_path)
    collector = Collector(socket_path)
    connection.close()
    assert first.startswith(b'{"type":"attempt_start"')
    wait_until(lambda: transport.stats()["pending"] == 0, 5, lambda: "all written")
    wait_until(lambda: b"token-099" in collector.streams[0], 5, lambda: "the last event")
    tokens = [e["token"] for e in collector.events]
    assert collector.streams[0].startswith(b'{"type":') and collector.streams[0].endswith(b"}\n")
    assert tokens == sorted(tokens) and len(tokens) > 150
    assert transport.stats()["dropped"] == 0
    collector.close()


def test_slow_reader_gets_every_line_once(transport, socket_path, monkeypatch, small_socket_buffer):
    """Many partial writes of one batch."""
    monkeypatch.setattr(_transport, "_WRITE_TIMEOUT_S", 0.01)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(socket_path)
    listener.listen()
    for index in range(150):
        report(f"token-{index:03}" + "x" * 200)
    connection, _ = listener.accept()
    connection.settimeout(5)
    received = b""
    while received.count(b"\n") < 450:
        received += connection.recv(333)
    tokens = [json.loads(line)["token"][:9] for line in received.splitlines()]
    assert tokens == [f"token-{index:03}" for index in range(150) for _ in range(3)]
    connection.close()
    listener.close()


def test_sidecar_restart(transport, socket_path, monkeypatch):
    monkeypatch.setattr(_transport, "_LIVED_S", 0.0)
    first = Collector(socket_path)
    report("one")
    first.wait(3)
    first.close()
    second = Collector(socket_path)
    report("two")
    assert {e["token"] for e in second.wait(3)} == {"two"}
    second.close()


def test_socket_file_replaced_while_the_old_server_lives(transport, socket_path, monkeypatch):
    old = Collector(socket_path)
    report("one")
    old.wait(3)
    os.unlink(socket_path)
    new = Collector(socket_path)
    monkeypatch.setattr(transport, "_checked_at", 0.0)
    report("two")
    assert {e["token"] for e in new.wait(3)} == {"two"}
    assert len(old.events) == 3
    old.close(unlink=False)
    new.close()


def test_server_that_closes_at_once_is_not_hammered(transport, socket_path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(socket_path)
    listener.listen()
    accepted = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            accepted.append(1)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    for _ in range(100):
        report()
        time.sleep(0.005)
    assert len(accepted) <= 2
    assert transport.stats()["dropped"] > 0
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_many_threads(transport, collector):
    def work(number):
        for index in range(20):
            report(f"{number}/{index}")
            time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens = [e["token"] for e in collector.wait(960)]
    assert len(set(tokens)) == 320 and transport.stats()["dropped"] == 0


def test_reported_from_a_signal_handler(transport, collector):
    """The handler interrupts the same code, at any place, in the same thread."""
    handled = []

    def handler(*_):
        report("handler")
        handled.append(1)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for _ in range(200):
            report("main")
            time.sleep(0.001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(handled) > 20
    wait_until(lambda: transport.stats()["pending"] == 0, 5, lambda: "all written")
    collector.wait(3 * (200 + len(handled)) - transport.stats()["dropped"] + len(collector.of("client_report")))


def run_python(code: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "import oncewatch, os, signal, time\n" + code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_exit_flushes(collector):
    # As many as find room even if the sender did not get to run meanwhile.
    done = run_python("for i in range(250): oncewatch.begin('default', str(i)).end()")
    assert (done.returncode, done.stderr) == (0, "")
    assert [e["token"] for e in collector.wait(750)] == [str(i) for i in range(250) for _ in range(3)]


def test_exit_is_not_held_up_by_a_stalled_sidecar(collector):
    collector.paused.set()
    done = run_python(
        "for i in range(3000): oncewatch.begin('default', 'x' * 500).end()\n"
        "import atexit; began = time.monotonic()\n"
        "import threading; atexit.unregister(oncewatch.transport.flush)\n"
        "oncewatch.transport.flush(); print(time.monotonic() - began, oncewatch.stats()['pending'])"
    )
    waited, pending = done.stdout.split()
    assert int(pending) > 0, "nothing was stalled"
    assert 0.15 < float(waited) < 0.6


def test_dead_connection_does_not_kill_by_sigpipe(socket_path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(socket_path)
    listener.listen()
    accepting = threading.Thread(target=lambda: listener.accept()[0].close())
    accepting.start()
    done = run_python(
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "for _ in range(20): oncewatch.begin('default', 't').end(); time.sleep(0.01)\n"
        "print('alive')"
    )
    accepting.join()
    listener.close()
    assert done.stdout == "alive\n" and done.returncode == 0


def test_fork_speaks_for_itself(collector):
    done = run_python(
        "import warnings; warnings.simplefilter('ignore')\n"
        "parent = oncewatch.begin('default', 'before'); oncewatch.flush()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    parent.end()\n"
        "    oncewatch.begin('default', 'child').end(); oncewatch.flush(1); os._exit(0)\n"
        "os.waitpid(pid, 0); parent.end(error='E', outcome='error'); print(pid)"
    )
    assert done.stderr == ""
    events = collector.wait(6)
    by_token = {token: [e for e in events if e["token"] == token] for token in ("before", "child")}
    assert {e["client"].rpartition("/")[2] for e in by_token["child"]} == {done.stdout.strip()}
    assert [e.get("error") for e in by_token["before"]] == [None, "E", "E"]
    assert len({e["client"] for e in by_token["before"]}) == 1
    assert len(collector.streams) == 2, "the child shares the parent's connection"


def test_a_child_does_not_keep_the_parents_connection(collector):
    """Or the sidecar would not notice the parent's end. The sender is amid a write when the process forks."""
    collector.paused.set()
    done = run_python(
        "import stat, warnings; warnings.simplefilter('ignore')\n"
        "for _ in range(1500): oncewatch.begin('default', 't').end()\n"
        "time.sleep(0.1)\n"
        "def sockets():\n"
        "    found = 0\n"
        "    for fd in range(3, 256):\n"
        "        try: found += stat.S_ISSOCK(os.fstat(fd).st_mode)\n"
        "        except OSError: pass\n"
        "    return found\n"
        "print('parent', sockets(), flush=True)\n"
        "pid = os.fork()\n"
        "if pid == 0: print('child', sockets(), flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    assert done.stdout.splitlines() == ["parent 1", "child 0"]


def test_fork_while_another_thread_holds_the_lock(collector):
    done = run_python(
        "import threading, warnings; warnings.simplefilter('ignore')\n"
        "def spin():\n"
        "    while True: oncewatch.begin('default', 'busy').end()\n"
        "oncewatch.transport._buffer._lock.acquire()\n"
        "for _ in range(3): threading.Thread(target=spin, daemon=True).start()\n"
        "children = []\n"
        "for _ in range(20):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        signal.alarm(5); oncewatch.begin('default', 'child').end(); os._exit(0 if oncewatch.flush(2) else 9)\n"
        "    children.append(pid)\n"
        "print([os.waitpid(pid, 0)[1] for pid in children]); os._exit(0)\n"
    )
    assert done.stdout == f"{[0] * 20}\n", done.stderr
    wait_until(lambda: sum(e.get("token") == "child" for e in collector.events) == 60, 5, lambda: "20 children")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_multiprocessing_worker_flushes_although_it_skips_atexit(transport, collector):
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=report, args=("worker",))
    worker.start()
    worker.join(10)
    assert worker.exitcode == 0
    assert {e["client"].rpartition("/")[2] for e in collector.wait(3)} == {str(worker.pid)}


def test_no_thread_and_no_descriptor_before_the_first_event(transport):
    assert transport._thread is None and transport._sock is None
