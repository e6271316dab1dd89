"""End to end over the real sockets, a separate client process, the floor beside it."""

from dataclasses import dataclass

from ..load import Measured, load
from ..report import Goal
from ..sidecar import Floor, Sidecar


@dataclass(frozen=True)
class Case:
    """One way to send the same events."""

    server: str
    kind: str
    per_write: int
    connections: int = 1
    nonblocking: bool = False

    def __str__(self) -> str:
        parts = [self.server, self.kind, f"{self.per_write} a write"]
        parts += [f"{self.connections} connections"] if self.connections > 1 else []
        return ", ".join(parts + ["never waiting"] * self.nonblocking)


def cases() -> list[Case]:
    """Compared cases stand side by side."""
    found = []
    for kind in ("stream", "datagram"):
        for per_write in (64, 16, 1):
            found.append(Case("oncewatch", kind, per_write))
            found.append(Case("floor", kind, per_write))
            found.append(Case("oncewatch", kind, per_write, connections=16))
        found.append(Case("oncewatch", kind, 16, nonblocking=True))
    return found


def run(bench) -> None:
    results = {case: [] for case in cases()}
    for _ in range(bench.repetitions):
        for case in results:
            results[case].append(measure(bench, case))
    for case, runs in results.items():
        add(bench, case, runs, results)


def measure(bench, case: Case) -> Measured:
    """One repetition with a server of its own."""
    events = bench.pick(2_000_000, 200_000) // (2 if case.per_write == 1 else 1)
    with start(bench, case) as server:
        measured = load(
            bench,
            server,
            server.datagram if case.kind == "datagram" else server.stream,
            events=events,
            # Fills the table, so that each new token pushes an old one out as in a process that runs for long.
            warm_up=bench.pick(260_000, 260_000),
            per_write=case.per_write,
            connections=case.connections,
            nonblocking=case.nonblocking or None,
        )
    bench.check(str(case), measured.losses)
    return measured


def start(bench, case: Case):
    if case.server == "floor":
        return Floor(bench, datagram=case.kind == "datagram")
    return Sidecar(bench)


def add(bench, case: Case, runs: list[Measured], results: dict[Case, list[Measured]]) -> None:
    """The figures of one case, with its ratio to the floor beside it."""
    headline = case.server == "oncewatch" and case.kind == "stream" and case.connections == 1 and not case.nonblocking
    cpu_goal = Goal(at_most=0.80) if headline and case.per_write == 64 else None
    rate_goal = Goal(at_least=1.2e6) if headline and case.per_write == 64 else None
    bench.report.add("sockets", f"{case}: CPU", [m.cpu_us for m in runs], "µs/event", cpu_goal)
    bench.report.add("sockets", f"{case}: rate", [m.events_per_s for m in runs], "events/s", rate_goal)
    bench.report.add("sockets", f"{case}: client CPU", [m.client_cpu_us for m in runs], "µs/event")
    if case.nonblocking:
        offered = [m.account["sent"] + m.account["refused"] for m in runs]
        shares = [100 * m.account["refused"] / all_ for m, all_ in zip(runs, offered)]
        bench.report.add("sockets", f"{case}: refused and counted", shares, "%")
    beside = results.get(Case("floor", case.kind, case.per_write))
    if case.server == "oncewatch" and case.connections == 1 and not case.nonblocking:
        limit = {64: 1.25, 1: 1.4}.get(case.per_write) if headline else None
        ratios = [own.cpu_us / floor.cpu_us for own, floor in zip(runs, beside)]
        bench.report.add("sockets", f"{case}: against the floor", ratios, "×", Goal(at_most=limit) if limit else None)
