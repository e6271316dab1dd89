"""What a send costs the application: a plain Rust client on the stream socket."""

from ..load import load
from ..sidecar import Sidecar


def run(bench) -> None:
    ways = [("saturated", 64, None), ("saturated", 16, None), ("saturated", 1, None), ("10000/s", 1, 10_000)]
    results = {way: [] for way in ways}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for way in ways:
            _, per_write, rate = way
            events = rate * bench.pick(10, 2) if rate else bench.pick(1_000_000, 100_000)
            with Sidecar(bench) as sidecar:
                results[way].append(load(bench, sidecar, sidecar.stream, events=events, per_write=per_write, rate=rate))
    for way, runs in results.items():
        name = f"{way[0]}, {way[1]} a write"
        bench.report.add("client", f"{name}: client CPU", [m.client_cpu_us for m in runs], "µs/event")
        bench.report.add("client", f"{name}: send p50", [m.send_us("p50") for m in runs], "µs/write")
        bench.report.add("client", f"{name}: send p99", [m.send_us("p99") for m in runs], "µs/write")
