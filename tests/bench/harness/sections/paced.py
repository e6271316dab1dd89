"""Rates that real pods have: single events, evenly spread."""

from ..load import load
from ..report import Goal
from ..sidecar import Floor, Sidecar

CPU_GOALS = {1_000: 10, 10_000: 4}
# It only reads, and sleeps in between: no send can be cheaper than one that wakes nobody.
ASLEEP = "floor that sleeps"
SERVERS = {
    "oncewatch": Sidecar,
    "floor": Floor,
    ASLEEP: lambda bench: Floor(bench, "--nap-ms=5", work="read"),
}


def run(bench) -> None:
    results = {(server, rate): [] for rate in (100, 1_000, 10_000) for server in SERVERS}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for server, rate in results:
            with SERVERS[server](bench) as process:
                events = int(rate * bench.pick(10, 2))
                measured = load(bench, process, process.stream, events=events, rate=rate, per_write=1, mix="healthy")
            bench.check(f"{server} at {rate}/s", measured.losses)
            results[server, rate].append(measured)
    for (server, rate), runs in results.items():
        own = server == "oncewatch"
        name = f"{server}, {rate}/s"
        cpu_goal = Goal(at_most=CPU_GOALS[rate]) if own and rate in CPU_GOALS else None
        goals = {"p50": Goal(at_most=1.5), "p99": Goal(at_most=5)} if own and rate == 10_000 else {}
        add = bench.report.add
        add("paced", f"{name}: CPU", [m.cpu_us for m in runs], "µs/event", cpu_goal)
        add("paced", f"{name}: wake-ups", [m.switches for m in runs], "/event")
        for quantile in ("p50", "p99"):
            floor = [m.send_us(quantile) for m in results[ASLEEP, rate]] if own else None
            values = [m.send_us(quantile) for m in runs]
            add("paced", f"{name}: send {quantile}", values, "µs", goals.get(quantile), floor)
