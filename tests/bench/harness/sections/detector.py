"""The detector alone, by kind of event and size of the table."""


def run(bench) -> None:
    cases = ["first", "retry", "replay", "evict"]
    sizes = bench.pick([10_000, 1_000_000], [10_000, 200_000])
    results = {(case, size): [] for size in sizes for case in cases}
    for _ in range(bench.repetitions):
        for case, size in results:
            calls = min(size, bench.pick(200_000, 20_000))
            # A table of ten thousand is through in milliseconds: the best of a few is less noise.
            runs = [
                bench.call("detector", case, f"--tokens={size}", f"--calls={calls}")["ns_per_event"]
                for _ in range(5 if size <= 10_000 else 1)
            ]
            results[case, size].append(min(runs))
    for (case, size), values in results.items():
        bench.report.add("detector", f"{case}, {size} tokens", values, "ns/event")
