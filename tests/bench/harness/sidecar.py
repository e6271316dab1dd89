"""The sidecar as a process, with everything switched on, and the same for its floor."""

import http.client
import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .process import Process, wait_for

# On a busy machine what was sent may be read late; what is later than this is lost.
LATE_S = 5.0
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)")


class Collector:
    """An OTLP receiver that takes everything and keeps nothing."""

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"


class Sidecar(Process):
    """`oncewatch run` on sockets of its own."""

    def __init__(self, bench, *flags: str, capacity: int = 100_000, collector: str | None = "", metrics_port: int = 0):
        directory = bench.fresh_directory()
        self.stream = f"unix:{directory}/events.sock"
        self.datagram = f"unixgram:{directory}/datagrams.sock"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ONCEWATCH_", "OTEL_"))}
        endpoint = bench.collector.endpoint if collector == "" else collector
        if endpoint:
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        command = [
            bench.binary,
            "run",
            "--log-format=json",
            f"--socket={directory}/events.sock",
            f"--datagram-socket={directory}/datagrams.sock",
            f"--metrics-addr=127.0.0.1:{metrics_port}",
            "--admin-addr=127.0.0.1:0",
            f"--capacity={capacity}",
            "--max-connections=4096",
            "--token-display=full",
            *flags,
        ]
        super().__init__(command, directory / "log", environment)
        ready = wait_for("the sidecar", self._ready)
        self.metrics_address, self.admin_address = ready["metrics"], ready["admin"]

    def _ready(self) -> dict | None:
        self.check_running()
        for line in self.log.read_text().splitlines():
            if '"ready"' in line and line.endswith("}"):
                return json.loads(line)
        return None

    def get(self, path: str) -> bytes:
        """The body that the metrics address answers."""
        return fetch(self.metrics_address, path)

    def counters(self) -> dict[tuple[str, str], float]:
        """All samples by name (without prefix) and labels."""
        samples = {}
        for line in self.get("/metrics").decode().splitlines():
            if match := SAMPLE.match(line):
                samples[match[1].removeprefix("oncewatch_"), match[2] or ""] = float(match[3])
        return samples

    def losses(self, account: dict) -> str | None:
        """What is wrong with "received + refused + dropped = sent", or nothing."""
        sent = account["sent"] + account["sent_warming"]
        deadline = time.monotonic() + LATE_S
        while True:
            accepted, rejected = self.total("events_total"), self.total("events_rejected_total")
            if accepted + rejected == sent or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        told = self.total("events_dropped_total", 'where="client"')
        if accepted + rejected != sent:
            return f"{sent} events were sent and {accepted + rejected} received"
        if told != account["refused"]:
            return f"{account['refused']} events were dropped by the client and {told} counted"
        return f"{rejected} events were rejected" if rejected else None

    def total(self, name: str, label: str = "") -> int:
        """Sum of a counter's series whose labels contain `label`."""
        samples = self.counters().items()
        return int(sum(value for (known, labels), value in samples if known == name and label in labels))


class Floor(Process):
    """The floor harness; `flags` are more of its own."""

    def __init__(self, bench, *flags: str, work: str = "full", datagram: bool = False, capacity: int = 100_000):
        directory = bench.fresh_directory()
        kind = "unixgram" if datagram else "unix"
        self.stream = self.datagram = f"{kind}:{directory}/floor.sock"
        command = [bench.measure, "floor", f"{directory}/floor.sock", "--work", work, f"--until={1 << 62}"]
        command += [f"--capacity={capacity}", *["--datagram"] * datagram, *flags]
        super().__init__(command, directory / "log")
        wait_for("the floor", lambda: b"ready" in self.log.read_bytes())

    def losses(self, account: dict) -> None:
        """It reads a blocking socket to its end and has nothing to lose."""
        return None


def fetch(address: str, path: str) -> bytes:
    """The body of an answer with status 200."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status}")
        return body
    finally:
        connection.close()
