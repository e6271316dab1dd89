"""The floor harness alone: what reading, splitting, decoding and one table update cost."""

from ..load import load
from ..sidecar import Floor


def run(bench) -> None:
    works = ["read", "split", "decode", "full"]
    results = {work: [] for work in works}
    for _ in range(bench.repetitions):
        for work in works:
            with Floor(bench, work=work) as floor:
                events = bench.pick(2_000_000, 300_000)
                results[work].append(load(bench, floor, floor.stream, events=events, warm_up=events // 4))
    names = {"read": "read only", "split": "+ split", "decode": "+ serde_json", "full": "+ LRU table and counters"}
    for work in works:
        bench.report.add("floor", f"{names[work]}: CPU", [m.cpu_us for m in results[work]], "µs/event")
        bench.report.add("floor", f"{names[work]}: rate", [m.events_per_s for m in results[work]], "events/s")
