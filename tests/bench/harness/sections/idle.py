"""A sidecar that is sent nothing."""

import socket
import time

from ..report import Goal
from ..sidecar import Sidecar


def run(bench) -> None:
    seconds = bench.pick(10, 3)
    with Sidecar(bench, capacity=65_536) as sidecar:
        sidecar.settle()
        time.sleep(1)
        bench.report.add("idle", "RSS", sidecar.rss_bytes() / 1e6, "MB", Goal(at_most=6))
        add(bench, sidecar, "nothing connected", seconds)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(sidecar.stream.removeprefix("unix:"))
            time.sleep(0.5)
            add(bench, sidecar, "one silent client", seconds)


def add(bench, sidecar: Sidecar, name: str, seconds: float) -> None:
    """What it does in that time."""
    switches, cpu = sidecar.switches(), sidecar.cpu_ns()
    time.sleep(seconds)
    name = f"{name}, {seconds} s"
    bench.report.add("idle", f"{name}: wake-ups", sidecar.switches() - switches, "", Goal(at_most=0))
    bench.report.add("idle", f"{name}: CPU", (sidecar.cpu_ns() - cpu) / 1e6, "ms")
