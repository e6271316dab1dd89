"""Start, end, and the size of the binary."""

import signal
import socket
import time
from pathlib import Path

from ..load import load
from ..process import wait_for
from ..report import Goal
from ..sidecar import Sidecar, fetch


def run(bench) -> None:
    starts, live, refused, silent = [], [], [], []
    with socket.create_server(("127.0.0.1", 0)) as hole:
        # Accepted by the kernel, answered by nobody.
        dead = f"http://127.0.0.1:{hole.getsockname()[1]}"
        for _ in range(bench.pick(max(5, bench.repetitions), 2)):
            starts.append(start_ms(bench))
            live.append(stop_ms(bench, collector=""))
            refused.append(stop_ms(bench, collector=f"http://127.0.0.1:{free_port()}"))
            silent.append(stop_ms(bench, collector=dead))
    add = bench.report.add
    add("lifecycle", "start to ready", starts, "ms", Goal(at_most=20))
    add("lifecycle", "SIGTERM to exit, live collector", live, "ms", Goal(at_most=50))
    add("lifecycle", "SIGTERM to exit, no collector there", refused, "ms", Goal(at_most=2000))
    add("lifecycle", "SIGTERM to exit, silent collector", silent, "ms", Goal(at_most=2000))
    add("lifecycle", "size of the binary", Path(bench.binary).stat().st_size / 1e6, "MB", Goal(at_most=6))


def start_ms(bench) -> float:
    """From the start of the process to the first answer of /readyz."""
    port = free_port()
    ended = []

    def ready() -> bool:
        try:
            fetch(f"127.0.0.1:{port}", "/readyz")
        except (OSError, RuntimeError):
            return False
        ended.append(time.monotonic())
        return True

    sidecar = Sidecar.__new__(Sidecar)
    sidecar._ready = lambda: wait_for("readiness", ready, 0.0002) and Sidecar._ready(sidecar)
    with sidecar:
        Sidecar.__init__(sidecar, bench, metrics_port=port)
        return (ended[0] - sidecar.began) * 1000


def stop_ms(bench, collector: str) -> float:
    """From SIGTERM to the end, with spans that wait for the collector."""
    with Sidecar(bench, collector=collector) as sidecar:
        load(bench, sidecar, sidecar.stream, events=1000, mix="misused")
        return sidecar.end(signal.SIGTERM) * 1000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
