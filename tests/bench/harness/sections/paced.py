"""Rates that real pods have: single events, evenly spread."""

from ..load import load
from ..report import Goal
from ..sidecar import Floor, Sidecar

CPU_GOALS = {1_000: 10, 10_000: 4}


def run(bench) -> None:
    results = {(server, rate): [] for rate in (100, 1_000, 10_000) for server in ("oncewatch", "floor")}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for server, rate in results:
            with Sidecar(bench) if server == "oncewatch" else Floor(bench) as process:
                events = int(rate * bench.pick(10, 2))
                measured = load(bench, process, process.stream, events=events, rate=rate, per_write=1, mix="healthy")
            bench.check(f"{server} at {rate}/s", measured.losses)
            results[server, rate].append(measured)
    for (server, rate), runs in results.items():
        own = server == "oncewatch"
        name = f"{server}, {rate}/s"
        cpu_goal = Goal(at_most=CPU_GOALS[rate]) if own and rate in CPU_GOALS else None
        send = own and rate == 10_000
        add = bench.report.add
        add("paced", f"{name}: CPU", [m.cpu_us for m in runs], "µs/event", cpu_goal)
        add("paced", f"{name}: wake-ups", [m.switches for m in runs], "/event")
        add("paced", f"{name}: send p50", [m.send_us("p50") for m in runs], "µs", Goal(at_most=1.5) if send else None)
        add("paced", f"{name}: send p99", [m.send_us("p99") for m in runs], "µs", Goal(at_most=5) if send else None)
