"""What every section is given."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .report import Report
from .sidecar import Collector


class Bench:
    """Programs, directories, and how thorough to be."""

    def __init__(self, report: Report, arguments):
        self.report = report
        self.arguments = arguments
        self.quick = arguments.quick
        self.repetitions = arguments.repetitions or (1 if self.quick else 5)
        self.binary = os.environ["ONCEWATCH_BIN"]
        self.measure = os.environ["BENCH_MEASURE"]
        self.target = Path(os.environ["BENCH_TARGET"])
        self.target.mkdir(parents=True, exist_ok=True)
        # Socket paths must be short, so not below the target directory.
        self.work = Path(tempfile.mkdtemp(prefix="oncewatch-bench-"))
        self.collector = Collector()
        self._directories = 0

    def close(self) -> None:
        """Removes what the processes left."""
        shutil.rmtree(self.work, ignore_errors=True)

    def pick(self, full, quick):
        """The first, or with --quick the second."""
        return quick if self.quick else full

    def fresh_directory(self) -> Path:
        """An empty directory for a process of its own."""
        self._directories += 1
        directory = self.work / str(self._directories)
        directory.mkdir()
        return directory

    def call(self, *arguments) -> dict:
        """One of the benchmark's own programs, and the JSON that it prints."""
        command = [self.measure, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
        return json.loads(result.stdout)

    def check(self, name: str, losses: str | None) -> None:
        """Nothing may be lost without being counted."""
        if losses:
            self.report.fail(f"{name}: {losses}")
