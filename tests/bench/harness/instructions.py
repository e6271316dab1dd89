"""The regression gate: instructions per event, against a committed baseline."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

BASELINE = Path(__file__).parent.parent / "instructions.json"
# A case may be this much worse.
TOLERANCE = 0.05
CALLS, EVENTS = 2_000, 10_000
DETECTOR = {f"detector {case}": ["detector", case, "--tokens=2000", f"--calls={CALLS}"]
            for case in ("first", "retry", "replay", "evict")}
DECODE = {f"decode {case}": ["decode", case, f"--events={EVENTS}"] for case in ("start", "end", "mixed")}
CASES = DETECTOR | DECODE


def main() -> int:
    if platform.machine() != "x86_64":
        print(f"error: the baseline is for x86_64, this is {platform.machine()}", file=sys.stderr)
        return 1
    counts = {name: per_event(arguments) for name, arguments in CASES.items()}
    if sys.argv[1:] == ["--accept"]:
        BASELINE.write_text(json.dumps({"compiler": compiler(), "instructions_per_event": counts}, indent=1) + "\n")
        print(f"written to {BASELINE.name}")
        return 0
    return compare(counts, json.loads(BASELINE.read_text()))


def per_event(arguments: list[str]) -> int:
    """Instructions of one event: those of a run less those of the same run that only makes the events."""
    events = EVENTS if arguments[0] == "decode" else 2 * CALLS
    return round((count(arguments) - count([*arguments, "--idle"])) / events)


def count(arguments: list[str]) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [os.environ["BENCH_MEASURE"], *arguments, "--no-clock"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    collected = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode or not collected:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr[-2000:]}")
    return int(collected[1])


def compare(counts: dict[str, int], baseline: dict) -> int:
    known = baseline["instructions_per_event"]
    print(f"{'instructions per event':<24}{'baseline':>10}{'now':>10}{'change':>10}")
    worse = better = False
    for name, now in counts.items():
        change = now / known[name] - 1 if name in known else float("inf")
        worse |= change > TOLERANCE
        better |= change < -TOLERANCE
        print(f"{name:<24}{known.get(name, 0):>10}{now:>10}{change:>+10.1%}{'  WORSE' if change > TOLERANCE else ''}")
    if baseline["compiler"] != compiler():
        print(f"the baseline is of {baseline['compiler']}, this is {compiler()}")
    if worse:
        print(f"more than {TOLERANCE:.0%} worse; if that is meant: tests/bench/instructions --accept, and commit the file")
    elif better:
        print("better than the baseline; to hold it there: tests/bench/instructions --accept, and commit the file")
    return 1 if worse else 0


def compiler() -> str:
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split(" (")[0].strip()


if __name__ == "__main__":
    sys.exit(main())
