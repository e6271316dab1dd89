"""Decoding alone, and the floor's decoding of the same lines."""


def run(bench) -> None:
    cases = ["start", "end", "mixed", "floor"]
    results = {case: [] for case in cases}
    for _ in range(bench.repetitions):
        for case in cases:
            results[case].append(bench.call("decode", case, f"--events={bench.pick(1_000_000, 100_000)}"))
    for case in cases:
        values = [result["ns_per_event"] for result in results[case]]
        bench.report.add("decode", "serde_json, borrowed" if case == "floor" else case, values, "ns/event")
    bench.report.add("decode", "length of a line", results["mixed"][0]["bytes_per_event"], "bytes")
    ratios = [a["ns_per_event"] / b["ns_per_event"] for a, b in zip(results["mixed"], results["floor"])]
    bench.report.add("decode", "mixed, against serde_json", ratios, "×")
