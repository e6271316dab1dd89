"""Resident memory for each token, and whether it stays what it is."""

from ..load import load
from ..report import Goal
from ..sidecar import Sidecar

# By kind of token: events that each takes, and the goal in bytes; for those of a fleet, most of them healthy, and not
# for those alone that were retried.
KINDS = {"healthy": (2, 128), "mixed": (2.2, 128), "retried": (4, None), "open": (1, 256)}
NAMES = {
    "healthy": "healthy, closed",
    "mixed": "90 % healthy, closed",
    "retried": "retried once, closed",
    "open": "open attempt",
}


def run(bench) -> None:
    tokens = bench.pick(1_000_000, 100_000)
    for mix, (events, limit) in KINDS.items():
        with Sidecar(bench, capacity=tokens) as sidecar:
            sidecar.settle()
            idle = sidecar.rss_bytes()
            measured = load(bench, sidecar, sidecar.stream, events=round(events * tokens), mix=mix)
            bench.check(mix, measured.losses)
            each = (measured.rss_bytes - idle) / tokens
            # With few tokens the buffers weigh more than they do.
            goal = Goal(at_most=limit) if limit and not bench.quick else None
            bench.report.add("memory", f"{NAMES[mix]}, {tokens} tokens", each, "bytes/token", goal)
    with Sidecar(bench, capacity=65_536) as sidecar:
        events = bench.pick(2_000_000, 300_000)
        first = load(bench, sidecar, sidecar.stream, events=events).rss_bytes
        second = load(bench, sidecar, sidecar.stream, events=3 * events, mix="mixed").rss_bytes
        bench.report.add("memory", f"after {events} events, 65536 tokens", first / 1e6, "MB")
        growth = 100 * (second - first) / first
        # With few events the list of findings still fills.
        goal = None if bench.quick else Goal(at_most=3)
        bench.report.add("memory", f"growth by {3 * events} more", growth, "%", goal)
