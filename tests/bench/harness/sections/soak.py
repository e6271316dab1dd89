"""A long run at a fraction of saturation: memory, losses and latency must stay what they are."""

from ..load import load
from ..report import Goal
from ..sidecar import Sidecar
from .latency import probe

WINDOWS = 10


def run(bench) -> None:
    minutes = bench.pick(bench.arguments.soak_minutes, 0.2)
    with Sidecar(bench) as sidecar:
        saturation = load(bench, sidecar, sidecar.stream, warm_up=260_000, events=bench.pick(3_000_000, 200_000))
    rate = saturation.events_per_s * bench.arguments.soak_fraction
    bench.report.add("soak", "saturation", saturation.events_per_s, "events/s")
    bench.report.add("soak", "rate", rate, "events/s")
    windows = []
    with Sidecar(bench) as sidecar:
        load(bench, sidecar, sidecar.stream, events=300_000)
        before = received(sidecar)
        for number in range(WINDOWS):
            window = probe(bench, sidecar, rate, 64, minutes * 60 / WINDOWS)
            sidecar.settle()
            window |= {"rss": sidecar.rss_bytes() / 1e6}
            windows.append(window)
            p99, rss = window["p99_ns"] / 1e6, window["rss"]
            print(f"soak {number + 1}/{WINDOWS}: p99 {p99:.2f} ms, RSS {rss:.1f} MB", flush=True)
        sent = sum(window["events"] for window in windows)
        lost = before + sent - received(sidecar)
        dropped = sidecar.total("events_dropped_total")
    if lost or dropped:
        bench.report.fail(f"soak: {lost} events lost, {dropped} dropped")
    add = bench.report.add
    add("soak", "events", sent, "")
    add("soak", "lost or dropped", lost + dropped, "", Goal(at_most=0))
    first, last = windows[0], windows[-1]
    for key, name, scale, unit in (
        ("p50_ns", "latency p50", 1e6, "ms"),
        ("p99_ns", "latency p99", 1e6, "ms"),
        ("rss", "RSS", 1, "MB"),
    ):
        for window, which in ((first, "first tenth"), (last, "last tenth")):
            add("soak", f"{name}, {which}", window[key] / scale, unit)
    add("soak", "RSS, last against first", last["rss"] / first["rss"], "×", Goal(at_most=1.03))
    halves = [sorted(w["p99_ns"] for w in part)[len(part) // 2] for part in (windows[:5], windows[5:])]
    add("soak", "latency p99, second half against first", halves[1] / halves[0], "×", Goal(at_most=1.25))


def received(sidecar: Sidecar) -> int:
    return sidecar.total("events_total") + sidecar.total("events_rejected_total")
