"""How cost grows with tokens, connections and rate, one plot each; and whether a growing table makes senders wait."""

import statistics

from ..chart import draw
from ..load import load
from ..report import Goal
from ..sidecar import Floor, Sidecar


def run(bench) -> None:
    tokens(bench)
    connections(bench)
    rates(bench)
    pauses(bench)


def tokens(bench) -> None:
    """CPU per event against the size of a full table."""
    sizes = bench.pick([10_000, 100_000, 1_000_000, 4_000_000], [10_000, 100_000])
    results = {(server, size): [] for size in sizes for server in (Sidecar, Floor)}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for server, size in results:
            with server(bench, capacity=size) as process:
                # 2.2 events for each call: afterwards each new token pushes an old one out.
                flags = {"warm_up": int(size * 2.3), "events": bench.pick(1_000_000, 100_000)}
                results[server, size].append(load(bench, process, process.stream, **flags))
    values = {key: [m.cpu_us for m in runs] for key, runs in results.items()}
    for size in sizes:
        bench.report.add("growth", f"{size} tokens: CPU", values[Sidecar, size], "µs/event")
        bench.report.add("growth", f"{size} tokens: rate", [m.events_per_s for m in results[Sidecar, size]], "events/s")
    ratios = [most / least for least, most in zip(values[Sidecar, sizes[0]], values[Sidecar, sizes[-1]])]
    bench.report.add("growth", f"{sizes[-1]} tokens against {sizes[0]}", ratios, "×", Goal(at_most=2))
    lines = {
        name: (sizes, [statistics.median(values[server, size]) for size in sizes])
        for name, server in (("oncewatch", Sidecar), ("floor", Floor))
    }
    plot(bench, "tokens", "CPU per event against tokens in a full table", "tokens", lines)


def connections(bench) -> None:
    """CPU per event against open connections that all send."""
    counts = bench.pick([1, 4, 16, 64, 250, 1000], [1, 16, 200])
    servers = {"oncewatch": lambda count: Sidecar(bench), "floor": lambda count: Floor(bench, f"--connections={count}")}
    results = {(per_write, count, server): [] for count in counts for per_write in (64, 1) for server in servers}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for per_write, count, server in results:
            with servers[server](count) as process:
                flags = {"warm_up": bench.pick(260_000, 50_000), "events": bench.pick(1_000_000, 100_000)}
                measured = load(bench, process, process.stream, connections=count, per_write=per_write, **flags)
            bench.check(f"{server}, {count} connections", measured.losses)
            results[per_write, count, server].append(measured.cpu_us)
    for (per_write, count, server), values in results.items():
        bench.report.add("growth", f"{server}, {count} connections, {per_write} a write: CPU", values, "µs/event")
    lines = {}
    for per_write in (64, 1):
        ratios = {}
        for server in servers:
            medians = [statistics.median(results[per_write, count, server]) for count in counts]
            lines[f"{server}, {per_write} a write"] = (counts, medians)
            ratios[server] = max(medians) / medians[0]
        name = f"most expensive number of connections against one, {per_write} a write"
        bench.report.add("growth", name, ratios["oncewatch"], "×", Goal(at_most=1.25), ratios["floor"])
    plot(bench, "connections", "CPU per event against connections, saturated", "connections", lines)


def rates(bench) -> None:
    """CPU per event against the rate, one event a write."""
    wanted = bench.pick([100, 1_000, 10_000, 50_000, 100_000, 200_000], [1_000, 10_000, 50_000])
    results = {(server, rate): [] for rate in wanted for server in (Sidecar, Floor)}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for server, rate in results:
            with server(bench) as process:
                events = int(rate * bench.pick(5, 1))
                results[server, rate].append(load(bench, process, process.stream, events=events, rate=rate, per_write=1))
    for rate in wanted:
        runs = results[Sidecar, rate]
        bench.report.add("growth", f"{rate}/s: CPU", [m.cpu_us for m in runs], "µs/event")
        bench.report.add("growth", f"{rate}/s: wake-ups", [m.switches for m in runs], "/event")
    lines = {
        name: (wanted, [statistics.median(m.cpu_us for m in results[server, rate]) for rate in wanted])
        for name, server in (("oncewatch", Sidecar), ("floor, woken by each event", Floor))
    }
    plot(bench, "rate", "CPU per event against the rate, one event a write", "events/s", lines)


def pauses(bench) -> None:
    """Fills an empty table. A stream holds some 800 events in writes of 64, which is 4 ms at this rate: a sender that
    waits longer has met a pause."""
    size = bench.pick(1_000_000, 50_000)
    waits = {Sidecar: [], Floor: []}
    for _ in range(bench.repetitions):
        for server, found in waits.items():
            with server(bench, capacity=size) as process:
                flags = {"events": int(size * 2.3), "rate": 200_000, "per_write": 64}
                found.append(load(bench, process, process.stream, **flags).send_us("max") / 1000)
    name = f"longest wait of a sender while {size} tokens come"
    bench.report.add("growth", name, waits[Sidecar], "ms", Goal(at_most=5), waits[Floor])


def plot(bench, name: str, title: str, x_label: str, lines: dict) -> None:
    draw(bench.target / "pictures" / f"{name}.svg", title, x_label, "CPU µs/event", lines)
