"""A real Prometheus that scrapes one target every second."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .process import Service, free_port, wait_until

CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: oncewatch
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """Queries go through Prometheus' own HTTP API, so they see what an operator would."""

    def __init__(self, binary: str, directory: Path, target: str):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = directory / "prometheus.yml"
        config.write_text(CONFIG.format(target=target))
        command = [binary, f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn"]
        # Its console files are looked up relative to the working directory and are not needed.
        self.service = Service("prometheus", command, directory / "prometheus.log")
        self.service.wait_ready(self._is_ready, timeout_s=30)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as reply:
                return reply.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _get(self, path: str, **parameters: object) -> object:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=5) as reply:
            document = json.load(reply)
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """An instant query: value by sorted labels (without name, job and instance)."""
        result = self._get("query", query=expression)["result"]
        hidden = ("__name__", "job", "instance")
        key = lambda labels: tuple(sorted((k, v) for k, v in labels.items() if k not in hidden))  # noqa: E731
        return {key(sample["metric"]): float(sample["value"][1]) for sample in result}

    def number(self, expression: str) -> float:
        """The single value of an instant query."""
        result = self.query(expression)
        assert len(result) == 1, f"{expression} gave {result}"
        return next(iter(result.values()))

    def wait_scraped_after(self, moment: float) -> None:
        """Until a scrape that began after the Unix time `moment` is stored and was good."""
        expression = "timestamp(up{job='oncewatch'}) * up{job='oncewatch'}"
        wait_until(lambda: any(v > moment for v in self.query(expression).values()), "a later scrape", 10, 0.1)

    def exemplars(self, expression: str) -> list[dict]:
        """Stored exemplars: series labels with labels, value and timestamp of each exemplar."""
        now = time.time()
        return self._get("query_exemplars", query=expression, start=now - 600, end=now + 60)

    def target(self) -> dict:
        """What Prometheus says of the one target it scrapes."""
        (target,) = self._get("targets", state="active")["activeTargets"]
        return target
