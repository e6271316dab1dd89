"""The programs that oncewatch is compared with, each as a process on sockets of its own."""

import os
import re
import socket
import subprocess
import time
from pathlib import Path

from .process import Process, wait_for
from .sidecar import fetch

COUNTED = re.compile(r"^attempts_(?:started|ended)(?:_total)?\{.*\} (\S+)", re.MULTILINE)
HAND_OVER_S = 6.0
HERE = Path(__file__).parent.parent
COLLECTOR = """
receivers:
  statsd:
    endpoint: {endpoint}
    transport: {transport}
    aggregation_interval: 2s
    is_monotonic_counter: true
    timer_histogram_mapping:
      - {{statsd_type: timing, observer_type: histogram, histogram: {{max_size: 50}}}}
exporters:
  prometheus:
    endpoint: {web}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    metrics: {{receivers: [statsd], exporters: [prometheus]}}
"""


def install() -> dict[str, list[str]]:
    """Installs them by tests/bench/peers: version, file and what else that printed, by name."""
    result = subprocess.run([HERE / "peers"], stdout=subprocess.PIPE, text=True, check=True)
    return {name: rest for name, *rest in (line.split(" ") for line in result.stdout.splitlines())}


class StatsdExporter(Process):
    """Prometheus' statsd_exporter: sums counters, keeps quantiles of timers."""

    def __init__(self, bench, programs: dict[str, list[str]], datagram: bool):
        directory, web = bench.fresh_directory(), free_address()
        tcp = free_address()
        self.to = f"unixgram:{directory}/statsd.sock" if datagram else f"tcp:{tcp}"
        listen = [f"--statsd.listen-unixgram={directory}/statsd.sock", "--statsd.listen-tcp="]
        if not datagram:
            listen = [f"--statsd.listen-tcp={tcp}"]
        command = [programs["statsd_exporter"][1], "--statsd.listen-udp=", f"--web.listen-address={web}", *listen]
        super().__init__(command, directory / "log")
        self.web = web
        wait_for("statsd_exporter", lambda: answers(self, web, "/metrics"))

    def losses(self, account: dict) -> str | None:
        return missing(account, self.web)


class OtelCollector(Process):
    """The OpenTelemetry Collector: statsd in, Prometheus out."""

    def __init__(self, bench, programs: dict[str, list[str]], datagram: bool):
        directory, web, tcp = bench.fresh_directory(), free_address(), free_address()
        path = directory / "statsd.sock"
        self.to = f"unixgram:{path}" if datagram else f"tcp:{tcp}"
        endpoint, transport = (path, "unixgram") if datagram else (tcp, "tcp")
        config = directory / "config.yaml"
        config.write_text(COLLECTOR.format(endpoint=endpoint, transport=transport, web=web))
        super().__init__([programs["otelcol"][1], f"--config={config}"], directory / "log")
        self.web = web
        wait_for("the OpenTelemetry Collector", lambda: answers(self, web, "/metrics"))
        wait_for("its statsd receiver", lambda: path.exists() if datagram else connects(tcp))

    def losses(self, account: dict) -> str | None:
        return missing(account, self.web)


class Redis(Process):
    """Redis without persistence, over its Unix socket."""

    def __init__(self, bench, programs: dict[str, list[str]]):
        directory = bench.fresh_directory()
        path = directory / "redis.sock"
        self.to = f"unix:{path}"
        _, program, libraries = programs["redis"]
        command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        super().__init__(command, directory / "log", {**os.environ, "LD_LIBRARY_PATH": libraries}, cwd=directory)
        wait_for("redis", lambda: self.check_running() or path.exists())

    def losses(self, account: dict) -> None:
        """The client has waited for each answer."""
        return None


def missing(account: dict, web: str) -> str | None:
    """What of the sent events is not in the counters; both programs hand over what they summed every now and then."""
    sent, counted = account["sent"] + account["sent_warming"], 0
    deadline = time.monotonic() + HAND_OVER_S
    while counted < sent and time.monotonic() < deadline:
        time.sleep(0.2)
        page = fetch(web, "/metrics").decode()
        counted = round(sum(float(value) for value in COUNTED.findall(page)))
    return None if counted == sent else f"{sent - counted} of {sent}"


def answers(process: Process, address: str, path: str) -> bool:
    process.check_running()
    try:
        fetch(address, path)
    except OSError:
        return False
    return True


def connects(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def free_address() -> str:
    """An address on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
