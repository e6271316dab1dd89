"""From the write of an event to the finding in the stream of findings, at several rates."""

from ..report import Goal
from ..sidecar import Sidecar

# Events a second, and events in each write.
RATES = [(100, 1), (10_000, 1), (100_000, 16), (300_000, 64)]


def run(bench) -> None:
    results = {pair: [] for pair in RATES}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for rate, per_write in RATES:
            with Sidecar(bench) as sidecar:
                results[rate, per_write].append(probe(bench, sidecar, rate, per_write, bench.pick(20, 2)))
    for (rate, per_write), runs in results.items():
        name = f"{rate}/s, {per_write} a write"
        bench.report.add("latency", f"{name}: p50", [r["p50_ns"] / 1e6 for r in runs], "ms")
        bench.report.add("latency", f"{name}: p99", [r["p99_ns"] / 1e6 for r in runs], "ms", Goal(at_most=8))
        bench.report.add("latency", f"{name}: p99.9", [r["p999_ns"] / 1e6 for r in runs], "ms", Goal(at_most=15))


def probe(bench, sidecar: Sidecar, rate: float, per_write: int, seconds: float) -> dict:
    """Sends misuses among healthy events and times their findings."""
    flags = [f"--rate={rate}", f"--per-write={per_write}", f"--seconds={seconds}", "--probes-per-second=100"]
    return bench.call("latency", sidecar.stream, f"--admin={sidecar.admin_address}", *flags)
