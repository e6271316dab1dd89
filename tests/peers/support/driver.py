"""The program of one language that makes the calls of a scenario with that language's SDK and oncewatch client."""

import itertools
import json
import os
import subprocess
import threading
from pathlib import Path

from .process import wait_until

CLIENTS = Path(__file__).resolve().parents[3] / "clients"
ALL_LANGUAGES = ("python", "node", "go", "java", "rust")
START_LIMIT_S = 30.0
JOB_LIMIT_S = 30.0
EXIT_LIMIT_S = 10.0


def languages() -> tuple[str, ...]:
    """All five, or those that PEERS_LANGUAGES names (separated by commas or spaces)."""
    named = os.environ.get("PEERS_LANGUAGES", "").replace(",", " ").split()
    unknown = set(named) - set(ALL_LANGUAGES)
    if unknown:
        raise ValueError(f"PEERS_LANGUAGES names {sorted(unknown)}; there are {', '.join(ALL_LANGUAGES)}")
    return tuple(named) or ALL_LANGUAGES


class Driver:
    """A driver process; jobs go in as JSON lines, results come out in order of finishing."""

    def __init__(self, language: str, socket: Path, host: str):
        self.language = language
        command = CLIENTS / language / "tests" / "driver" / "run"
        assert command.is_file(), f"the {language} client has no driver: {command} is missing"
        environment = {**os.environ, "ONCEWATCH_SOCKET": str(socket), "HOSTNAME": host}
        self.child = subprocess.Popen(
            [str(command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        # The driver's start script must exec the program: its pid is the client's.
        self.client = f"{host}/{self.child.pid}"
        self._numbers = itertools.count(1)
        self._results: dict[str, str] = {}
        self._greeting: dict | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(self._has_started, f"the {language} driver has said that it is ready", START_LIMIT_S, 0.02)
        self.sdk = self._greeting["sdk"]

    def _read(self) -> None:
        for line in self.child.stdout:
            message = json.loads(line)
            if message.get("ready"):
                self._greeting = message
            else:
                self._results[message["id"]] = message["outcome"]

    def _has_started(self) -> bool:
        assert self._greeting or self.child.poll() is None, f"the {self.language} driver ended: {self.child.returncode}"
        return self._greeting is not None

    def start(self, **job: object) -> str:
        """Hand over one job; its id."""
        identity = str(next(self._numbers))
        self.child.stdin.write(json.dumps({"id": identity, **job}) + "\n")
        self.child.stdin.flush()
        return identity

    def result(self, identity: str) -> str:
        """The outcome of a job: `ok`, an error code, or `no_response`."""
        wait_until(lambda: identity in self._results, f"{self.language} job {identity} is done", JOB_LIMIT_S, 0.01)
        return self._results[identity]

    def run(self, **job: object) -> str:
        return self.result(self.start(**job))

    def finish(self) -> None:
        """The ordinary end: no more jobs, and an exit that flushes."""
        self.child.stdin.close()
        assert self.child.wait(EXIT_LIMIT_S) == 0, f"the {self.language} driver ended with {self.child.returncode}"
        self._reader.join(5)

    def kill(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(5)
        if not self.child.stdin.closed:
            try:
                self.child.stdin.close()
            except BrokenPipeError:
                pass
        self._reader.join(5)
        self.child.stdout.close()
