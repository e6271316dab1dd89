"""Processes, and what the kernel says about them."""

import os
import signal
import subprocess
import time
from pathlib import Path

PATIENCE_S = 30.0
# A server counts as idle when it used less than this share of a CPU for this long.
IDLE_SHARE = 0.02
IDLE_S = 0.05


class Process:
    """A process of ours; ends with the `with` block."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None, **popen):
        self.log = log
        self.began = time.monotonic()
        with log.open("wb") as output:
            popen.setdefault("stdout", output)
            self.child = subprocess.Popen(command, stderr=output, env=environment, **popen)
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, number: int = signal.SIGKILL) -> float:
        """Ends it, and returns the seconds that took."""
        began = time.monotonic()
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise
        return time.monotonic() - began

    def cpu_ns(self) -> int:
        """CPU time of all its threads, by the scheduler's own account."""
        return sum(self._of_tasks("schedstat", lambda text: int(text.split()[0])))

    def switches(self) -> int:
        """Voluntary context switches of all its threads: each is a wake-up to come."""

        def voluntary(text: str) -> int:
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("voluntary"))

        return sum(self._of_tasks("status", voluntary))

    def _wants_cpu(self) -> bool:
        return "R" in self._of_tasks("stat", lambda text: text.rpartition(") ")[2][0])

    def _of_tasks(self, name: str, read):
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                yield read(Path(f"/proc/{self.pid}/task/{task}/{name}").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue

    def rss_bytes(self) -> int:
        """Resident memory."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))

    def settle(self) -> None:
        """Waits until it has worked off what it was sent: it uses no CPU, and not only because others have it."""
        deadline = time.monotonic() + PATIENCE_S
        used = self.cpu_ns()
        while time.monotonic() < deadline:
            time.sleep(IDLE_S)
            before, used = used, self.cpu_ns()
            if used - before < IDLE_S * 1e9 * IDLE_SHARE and not self._wants_cpu():
                return
        raise TimeoutError(f"process {self.pid} is still busy after {PATIENCE_S:.0f} s")

    def check_running(self) -> None:
        """Raises with its log if it has ended."""
        if self.child.poll() is not None:
            raise RuntimeError(f"it ended with {self.child.returncode}: {self.log.read_text()[-2000:]}")


def wait_for(what: str, ready, pause_s: float = 0.005):
    """Asks until `ready` gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = ready()
        if value:
            return value
        time.sleep(pause_s)
    raise TimeoutError(f"waited in vain for {what}")
