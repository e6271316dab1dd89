"""Runs the image the way a kubelet does, in a network and a root of its own, and reports as JSON.

usage: unshare --net python3 inside.py ROOT CONFIG.json

ROOT is the unpacked image; CONFIG.json is its OCI configuration. Entrypoint, arguments, user and
environment are the image's own. Beside it run, on the loopback of the new network: a name server that
knows one name, and an OpenTelemetry collector that takes spans.
"""

import fcntl
import http.server
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

COLLECTOR_NAME = "collector.observability.test"
APPLICATION_UID = 10001
DEADLINE_SECONDS = 10

CLIENT = """
import json, os, socket, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
events = socket.socket(socket.AF_UNIX)
events.connect(sys.argv[1])
for event in ({"type": "attempt_start"}, {"type": "attempt_end", "outcome": "ok", "duration_ms": 5}):
    event |= {"api": "dynamodb.TransactWriteItems", "token": "t-1", "call": "c-1", "attempt": 1, "client": "app/1"}
    events.sendall(json.dumps(event).encode() + b"\\n")
events.close()
"""


def raise_loopback() -> None:
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(handle, get_flags, request))[1]
        fcntl.ioctl(handle, set_flags, struct.pack("16sH14s", b"lo", flags | up, b""))


def wire_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def answer_names(server: socket.socket) -> None:
    """Answers A questions for the collector with 127.0.0.1, all others with "no such record"."""
    while True:
        query, sender = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        question, kind = query[12:end], query[end - 4 : end - 2]
        address = question[:-4] == wire_name(COLLECTOR_NAME) and kind == b"\0\1"
        header = query[:2] + b"\x85\x80" + b"\0\1" + (b"\0\1" if address else b"\0\0") + b"\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 60, 4) + bytes([127, 0, 0, 1])
        server.sendto(header + question + (record if address else b""), sender)


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(0.05)
    return None


def get(path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:9464{path}", timeout=2) as response:
        return response.read().decode()


def prepare(root: Path) -> None:
    """What the kubelet adds to an image: the volume, and the pod's resolver configuration."""
    shared = root / "run" / "oncewatch"
    shared.mkdir(parents=True, exist_ok=True)
    shared.chmod(0o777)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")


def start(root: Path, config: dict) -> subprocess.Popen:
    uid, gid = (int(part) for part in config["User"].split(":"))
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{COLLECTOR_NAME}:4318",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "ONCEWATCH_SPANS": "all",
    }

    def enter():
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)

    command = [*config["Entrypoint"], *config["Cmd"]]
    return subprocess.Popen(command, preexec_fn=enter, env=environment, stderr=subprocess.PIPE, text=True)


def main() -> None:
    root, config = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())["config"]
    raise_loopback()
    prepare(root)
    paths = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            paths.append(f"{self.headers['Host']}{self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    threading.Thread(target=answer_names, args=(names,), daemon=True).start()
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 4318), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()

    process = start(root, config)
    try:
        events = root / "run" / "oncewatch" / "events.sock"
        report = {"live": wait_until(lambda: get("/livez")), "socket": events.is_socket()}
        status = Path(f"/proc/{process.pid}/status").read_text()
        report["ids"] = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:"))]
        client = [sys.executable, "-c", CLIENT, str(events), str(APPLICATION_UID)]
        report["client"] = subprocess.run(client, timeout=10).returncode
        ended = 'oncewatch_events_total{type="attempt_end"} 1\n'
        report["metrics"] = wait_until(lambda: (page := get("/metrics")) and ended in page and page)
        report["spans"] = wait_until(lambda: list(paths))
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        report["exit"] = process.wait(timeout=10)
        report["exit_seconds"] = time.monotonic() - began
    finally:
        process.kill()
        report["log"] = process.stderr.read()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
