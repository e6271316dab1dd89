"""A real `oncewatch run` with its own directory, socket and ports, and what it says about a scenario."""

import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from .exposition import Scrape
from .process import Service, free_port

# Verdicts that say the sidecar itself lost sight of something: no scenario here may cause one.
BLIND_SPOTS = (
    ("oncewatch_events_rejected_total", "reason"),
    ("oncewatch_events_dropped_total", "where"),
    ("oncewatch_clock_suspect_total", None),
)
SETTLED_S = 0.3


class Sidecar:
    """`with`-less handle: the fixture that makes one also ends it."""

    def __init__(self, binary: str, directory: Path, *flags: str, env: dict[str, str] | None = None):
        self.socket = directory / "events.sock"
        metrics_port, admin_port = free_port(), free_port()
        self.metrics_url = f"http://127.0.0.1:{metrics_port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.metrics_target = f"127.0.0.1:{metrics_port}"
        command = [binary, "run", "--socket", str(self.socket), "--metrics-addr", self.metrics_target]
        command += ["--admin-addr", f"127.0.0.1:{admin_port}", *flags]
        # The machine's own OTEL_*/ONCEWATCH_* settings must not reach the sidecar under test.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "ONCEWATCH_"))}
        self.service = Service("oncewatch", command, directory / "oncewatch.log", {**clean, **(env or {})})
        self.service.wait_ready(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.metrics_url}/readyz", timeout=1) as reply:
                return reply.status == 200 and self.socket.exists()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code and the seconds until the process was gone."""
        begun = time.monotonic()
        code = self.service.stop(timeout_s=10)
        return code, time.monotonic() - begun

    def scrape(self) -> Scrape:
        return Scrape.of(f"{self.metrics_url}/metrics")

    def get(self, path: str) -> object:
        """A JSON document of the admin API."""
        with urllib.request.urlopen(self.admin_url + path, timeout=5) as reply:
            return json.load(reply)

    def findings(self) -> list[dict]:
        """The findings of the admin API, oldest first."""
        return list(reversed(self.get("/api/v1/findings?limit=1000")["findings"]))

    def tokens(self) -> list[dict]:
        return self.get("/api/v1/tokens?limit=1000")["tokens"]

    def observed(self) -> dict[str, Counter]:
        """What the metrics say happened, as exact multisets."""
        scrape = self.scrape()
        return {
            "verdicts": scrape.count_by("oncewatch_verdicts_total", "verdict"),
            "attempts": scrape.count_by("oncewatch_attempts_total", "result"),
            "calls": scrape.count_by("oncewatch_calls_total", "outcome"),
        }

    def expect(self, timeout_s: float = 5.0, **expected: dict[str, int]) -> list[dict]:
        """Waits until the metrics equal the expected multisets and stay so, then checks the findings against them.

        `expected` is any of verdicts, attempts, calls. Returns the findings, oldest first. Nothing may be
        missing and nothing may be added: a verdict too many fails like one too few.
        """
        want = {kind: Counter(counts) for kind, counts in expected.items()}
        deadline = time.monotonic() + timeout_s
        equal_since = None
        while True:
            seen = {kind: self.observed()[kind] for kind in want}
            now = time.monotonic()
            equal_since = (equal_since or now) if seen == want else None
            if equal_since and now - equal_since >= SETTLED_S:
                break
            assert equal_since or now < deadline, (
                f"after {timeout_s} s the sidecar says {seen}, expected {want}; {self._blind_spots()}"
            )
            time.sleep(0.05)
        self._check_blind_spots()
        return self._check_findings()

    def _blind_spots(self) -> dict[str, object]:
        """What the sidecar did not get to judge, by metric; 0 or empty for nothing."""
        scrape = self.scrape()
        return {name: scrape.count_by(name, label) if label else scrape.value(name) for name, label in BLIND_SPOTS}

    def _check_blind_spots(self) -> None:
        scrape = self.scrape()
        for name, counted in self._blind_spots().items():
            assert not counted, f"{name} counts {counted}"
        for reason in ("evicted", "open_attempts_overflow"):
            assert scrape.value("oncewatch_tracking_gaps_total", reason=reason) == 0

    def _check_findings(self) -> list[dict]:
        """The admin API lists exactly the verdicts of severity warning or worse that the metrics count."""
        counted: Counter = Counter()
        for sample in self.scrape().named("oncewatch_verdicts_total"):
            if sample.value and sample.labels["severity"] != "info":
                counted[(sample.labels["api"], sample.labels["verdict"], sample.labels["severity"])] += int(
                    sample.value
                )
        findings = self.findings()
        listed = Counter((f["api"], f["verdict"], f["severity"]) for f in findings)
        assert listed == counted, f"the admin API lists {listed}, the metrics count {counted}"
        return findings
