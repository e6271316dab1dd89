"""Offline analysis of a recording: speed, and memory against the size of the file."""

import os
import subprocess
from pathlib import Path

from ..report import Goal


def run(bench) -> None:
    sizes = bench.pick([1_000_000, 2_000_000], [200_000, 400_000])
    speeds, peaks = {size: [] for size in sizes}, {size: [] for size in sizes}
    for size in sizes:
        file = bench.target / f"recording-{size}.ndjson"
        with file.open("wb") as output:
            subprocess.run([bench.measure, "record", f"--events={size}"], stdout=output, check=True)
    for _ in range(bench.pick(min(3, bench.repetitions), 1)):
        for size in sizes:
            speed, peak = analyze(bench, bench.target / f"recording-{size}.ndjson", size)
            speeds[size].append(speed)
            peaks[size].append(peak)
    largest = sizes[-1]
    for size in sizes:
        (bench.target / f"recording-{size}.ndjson").unlink()
        goal = Goal(at_least=1e6) if size == largest else None
        bench.report.add("analyze", f"{size} events: speed", speeds[size], "events/s of CPU time", goal)
        bench.report.add("analyze", f"{size} events: peak RSS", peaks[size], "MB")
    growth = [large / small for small, large in zip(peaks[sizes[0]], peaks[largest])]
    bench.report.add("analyze", "peak RSS, twice the file against once", growth, "×", Goal(at_most=1.1))


def analyze(bench, file: Path, events: int) -> tuple[float, float]:
    """Events for each second of CPU time, and the peak of the resident memory in MB."""
    errors = bench.fresh_directory() / "errors"
    with errors.open("wb") as output:
        command = [bench.binary, "analyze", str(file), "--format=json"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=output)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors.read_text()[-500:]}")
    return events / (used.ru_utime + used.ru_stime), used.ru_maxrss * 1024 / 1e6
