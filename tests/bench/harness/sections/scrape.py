"""What a scrape costs, and whether ingest notices it."""

import http.client
import statistics
import threading
import time

from ..load import load
from ..report import Goal
from ..sidecar import Sidecar, fetch

EVERY_S = 0.05


def run(bench) -> None:
    alone(bench)
    under_load(bench)


def alone(bench) -> None:
    """Of a full table, nothing else to do."""
    with Sidecar(bench, capacity=65_536) as sidecar:
        load(bench, sidecar, sidecar.stream, events=200_000)
        times, count = [], bench.pick(500, 50)
        connection = http.client.HTTPConnection(sidecar.metrics_address)
        cpu = sidecar.cpu_ns()
        for _ in range(count):
            began = time.perf_counter()
            connection.request("GET", "/metrics")
            body = connection.getresponse().read()
            times.append((time.perf_counter() - began) * 1000)
        sidecar.settle()
        bench.report.add("scrape", "CPU", (sidecar.cpu_ns() - cpu) / 1e6 / count, "ms", Goal(at_most=1))
        connection.close()
    bench.report.add("scrape", "time as the scraper sees it, p50", statistics.median(times), "ms")
    bench.report.add("scrape", "time as the scraper sees it, p99", sorted(times)[int(count * 0.99)], "ms")
    bench.report.add("scrape", "size", len(body) / 1000, "kB")


def under_load(bench) -> None:
    """Saturated, with a scrape each 50 ms and without, in turn."""
    runs = {True: [], False: []}
    for _ in range(bench.repetitions):
        for scraped in runs:
            with Sidecar(bench) as sidecar:
                stop = threading.Event()
                scraper = threading.Thread(target=scrape_until, args=(sidecar, stop))
                if scraped:
                    scraper.start()
                try:
                    flags = {"warm_up": 0, "events": bench.pick(2_000_000, 200_000)}
                    # Scrapes keep it from being idle: the client's side is what is compared.
                    runs[scraped].append(load(bench, sidecar, sidecar.stream, while_busy=scraped, **flags))
                finally:
                    stop.set()
                if scraped:
                    scraper.join()
    ratios = [with_.events_per_s / without.events_per_s for with_, without in zip(runs[True], runs[False])]
    bench.report.add("scrape", "events/s with 20 scrapes a second, against none", ratios, "×")
    for scraped, name in ((True, "with scrapes"), (False, "without")):
        values = [m.send_us("p999") / 1000 for m in runs[scraped]]
        bench.report.add("scrape", f"longest wait of a sender, p99.9, {name}", values, "ms", Goal(at_most=5) if scraped else None)


def scrape_until(sidecar: Sidecar, stop: threading.Event) -> None:
    while not stop.wait(EVERY_S):
        fetch(sidecar.metrics_address, "/metrics")
