"""Child processes, free ports and bounded waiting."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def free_port() -> int:
    """A loopback TCP port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 10.0, every_s: float = 0.05) -> T:
    """The first true value of `condition`; AssertionError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(every_s)


class Service:
    """A child process with its output in a file, so that a failing start can be explained."""

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str] | None = None):
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self.child = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=env)

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """Waits for `ready`; fails with the child's own output if it ends or stays silent."""

        def state() -> bool:
            code = self.child.poll()
            assert code is None, f"{self.name} ended with {code} before it was ready:\n{self.output()}"
            return ready()

        try:
            wait_until(state, f"{self.name} is ready", timeout_s)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.output()}") from None

    def output(self) -> str:
        """What the child has printed so far."""
        return self.log.read_text(errors="replace")

    def stop(self, timeout_s: float = 5.0) -> int:
        """SIGTERM, then SIGKILL after `timeout_s`; returns the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(timeout_s)
        return self.child.returncode
