"""Runs sections one after another."""

import argparse
import importlib
import sys
import time
from pathlib import Path

from . import machine
from .bench import Bench
from .report import Report

# In the order in which they run.
SECTIONS = [
    "detector",
    "decode",
    "floor",
    "sockets",
    "client",
    "paced",
    "idle",
    "memory",
    "capacity",
    "scrape",
    "latency",
    "lifecycle",
    "analyze",
    "growth",
    "peers",
]
# Only on demand.
LONG = ["soak"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Measures oncewatch.")
    parser.add_argument("sections", nargs="*", metavar="section", help=f"{' '.join(SECTIONS)} (default: all), and {LONG[0]}")
    parser.add_argument("--quick", action="store_true", help="a few seconds for each section, one repetition")
    parser.add_argument("--repetitions", type=int, help="of each measurement (default 5)")
    parser.add_argument("--output", type=Path, help="the JSON file (default below target/bench)")
    parser.add_argument("--soak-minutes", type=float, default=30.0)
    parser.add_argument("--soak-fraction", type=float, default=0.5, help="of the rate of saturation measured first")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in SECTIONS + LONG]
    if unknown:
        parser.error(f"no such section: {' '.join(unknown)}")
    report = Report(machine.describe(["tests/bench/run", *sys.argv[1:]]))
    print(machine.one_line(report.machine), flush=True)
    bench = Bench(report, arguments)
    try:
        for name in arguments.sections or SECTIONS:
            began = time.monotonic()
            importlib.import_module(f".sections.{name}", __package__).run(bench)
            report.show(name)
            print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        bench.close()
    output = arguments.output or bench.target / "bench.json"
    report.write(output)
    print(report.summary())
    print(f"written to {output}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
