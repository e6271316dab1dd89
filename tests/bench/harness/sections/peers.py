"""oncewatch and its peers in turn: the same calls, the same client, each told in its own protocol."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .. import peer
from ..load import Measured, load
from ..process import Process
from ..report import Goal, number
from ..sidecar import Floor, Sidecar

DOES = {
    "floor": "reads, decodes, remembers; judges and counts nothing",
    "oncewatch": "judges each use of a token, counts, times, keeps findings",
    "statsd_exporter": "sums counters, quantiles of timers; knows no token",
    "otelcol": "sums counters, histograms of timers; knows no token",
    "redis": "stores tokens; SET NX sees a second use and says no more",
    "redis script": "sees collisions and mismatches; no windows, outcomes, leases, metrics",
}


@dataclass(frozen=True)
class Case:
    """One program told in one way."""

    program: str
    protocol: str
    transport: str
    start: Callable[..., Process]
    per_write: int = 64
    rate: int | None = None
    mix: str = "mixed"

    def __str__(self) -> str:
        speed = f"{self.rate}/s" if self.rate else "saturated"
        what = {"statsd-counter": ", counter only", "statsd": ", counter + timer", "redis-set": ", SET NX PX"}
        new = ", new tokens" if self.mix == "open" else ""
        return f"{self.program}{what.get(self.protocol, '')}{new}, {self.transport}, {self.per_write} a write, {speed}"


def cases(programs: dict) -> list[Case]:
    """All of one comparison stand together, so that they are measured one after another."""

    def statsd(datagram):
        return lambda bench: peer.StatsdExporter(bench, programs, datagram)

    def otel(datagram):
        return lambda bench: peer.OtelCollector(bench, programs, datagram)

    def redis(bench):
        return peer.Redis(bench, programs)

    found = [
        Case("oncewatch", "oncewatch", "stream", Sidecar),
        Case("floor", "oncewatch", "stream", Floor),
        Case("statsd_exporter", "statsd", "TCP", statsd(False)),
        Case("statsd_exporter", "statsd-counter", "TCP", statsd(False)),
        Case("otelcol", "statsd", "TCP", otel(False)),
        Case("redis", "redis-set", "stream", redis),
        Case("redis", "redis-set", "stream", redis, mix="open"),
        Case("redis script", "redis-script", "stream", redis),
        Case("oncewatch", "oncewatch", "datagram", Sidecar, 1),
        Case("floor", "oncewatch", "datagram", lambda bench: Floor(bench, datagram=True), 1),
        Case("statsd_exporter", "statsd", "datagram", statsd(True), 1),
        Case("otelcol", "statsd", "datagram", otel(True), 1),
    ]
    for rate in (1_000, 10_000):
        found += [
            Case("oncewatch", "oncewatch", "stream", Sidecar, 1, rate),
            Case("statsd_exporter", "statsd", "datagram", statsd(True), 1, rate),
            Case("otelcol", "statsd", "datagram", otel(True), 1, rate),
            Case("redis", "redis-set", "stream", redis, 1, rate),
        ]
    return found


def run(bench) -> None:
    programs = peer.install()
    for name, (version, *_) in programs.items():
        print(f"{name} {version}", flush=True)
    results: dict[Case, list[Measured]] = {case: [] for case in cases(programs)}
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for case, runs in results.items():
            runs.append(measure(bench, case))
    for case, runs in results.items():
        add(bench, case, runs, results)
    table(results)


def measure(bench, case: Case) -> Measured:
    events = bench.pick(1_000_000, 100_000)
    if case.rate:
        events = case.rate * bench.pick(10, 2)
    elif case.program != "oncewatch" and case.per_write == 1:
        events //= 2
    with case.start(bench) as process:
        to = getattr(process, "to", None) or getattr(process, case.transport)
        flags = {"protocol": case.protocol, "mix": case.mix, "per_write": case.per_write, "rate": case.rate}
        measured = load(bench, process, to, events=events, warm_up=0 if case.rate else 50_000, **flags)
    if case.program == "oncewatch":
        bench.check(str(case), measured.losses)
    return measured


def own(case: Case, results: dict[Case, list[Measured]], program: str = "oncewatch") -> list[Measured] | None:
    """What it is compared with: the same rate, and datagrams with datagrams unless the rate decides."""
    kind = "datagram" if case.transport == "datagram" and not case.rate else "stream"
    wanted = [c for c in results if c.program == program and c.rate == case.rate and c.transport == kind]
    return results[wanted[0]] if wanted else None


def add(bench, case: Case, runs: list[Measured], results: dict[Case, list[Measured]]) -> None:
    bench.report.add("peers", f"{case}: CPU", [m.cpu_us for m in runs], "µs/event")
    bench.report.add("peers", f"{case}: rate", [m.events_per_s for m in runs], "events/s")
    bench.report.add("peers", f"{case}: RSS", [m.rss_bytes / 1e6 for m in runs], "MB")
    if case.rate:
        bench.report.add("peers", f"{case}: send p50", [m.send_us("p50") for m in runs], "µs")
    if case.program == "oncewatch":
        return
    ratios = times(runs, own(case, results))
    floor = own(case, results, "floor")
    floors = floor and times(runs, floor)
    bench.report.add("peers", f"{case}: CPU, times oncewatch's", ratios, "×", goal(case), floors)


def times(runs: list[Measured], others: list[Measured]) -> list[float]:
    """How many times the CPU of others each run took."""
    return [run.cpu_us / other.cpu_us for run, other in zip(runs, others)]


def goal(case: Case) -> Goal | None:
    """PERFORMANCE.md's, each as a multiple of oncewatch's CPU per event."""
    if case.program == "statsd_exporter" and case.protocol == "statsd":
        if case.rate == 10_000 or case.transport == "TCP":
            return Goal(at_least=6)
        return None if case.rate else Goal(at_least=4)
    if case.program == "otelcol" and not case.rate:
        return Goal(at_least=8)
    if case.program == "redis" and case.mix == "open":
        return Goal(at_least=1 / 0.45)
    return None


def table(results: dict[Case, list[Measured]]) -> None:
    """The same as one line a case, in Markdown."""
    print("\n| | what it does | CPU µs/event | events/s | RSS MB | × oncewatch | lost |\n|---|---|---|---|---|---|---|")
    for case, runs in results.items():
        cpu = statistics.median(m.cpu_us for m in runs)
        rate = statistics.median(m.events_per_s for m in runs)
        rss = statistics.median(m.rss_bytes for m in runs) / 1e6
        ratio = statistics.median(times(runs, own(case, results)))
        lost = next((m.losses for m in runs if m.losses), "0")
        cells = [str(case), DOES[case.program], number(cpu), number(rate), number(rss), number(ratio), lost]
        print(f"| {' | '.join(cells)} |")
