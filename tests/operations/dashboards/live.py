"""Real processes on loopback: sidecars, a span collector, Prometheus. Each ends its own process."""

import http.server
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

STARTUP_SECONDS = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.read().decode()


def wait_for(url):
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            return fetch(url)
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} did not answer within {STARTUP_SECONDS} s") from error
            time.sleep(0.1)


class Process:
    """A child that is ended with the block it is used in."""

    def __init__(self, command, log, environment=None):
        self._log = Path(log)
        with self._log.open("wb") as output:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                           env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._child.terminate()
        try:
            self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def await_ready(self, url):
        try:
            wait_for(url)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log:\n{self._log.read_text()[-2000:]}") from error


class Sidecar(Process):
    def __init__(self, binary, folder, name, profiles="", collector=None):
        folder = Path(folder) / name
        folder.mkdir()
        self.socket = folder / "events.sock"
        self.address = f"127.0.0.1:{free_port()}"
        config = folder / "oncewatch.toml"
        config.write_text(profiles)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("ONCEWATCH_", "OTEL_"))}
        if collector:
            environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        command = [str(binary), "run", "--config", str(config), "--socket", str(self.socket), "--metrics-addr",
                   self.address, "--admin-addr", f"127.0.0.1:{free_port()}"]
        super().__init__(command, folder / "log", environment)
        self.await_ready(f"http://{self.address}/readyz")

    def metrics(self):
        return fetch(f"http://{self.address}/metrics")


class Collector:
    """Takes spans and forgets them: what the sidecar counts as exported is what is of interest here."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class Prometheus(Process):
    """Scrapes each second; `targets` are (address, labels)."""

    def __init__(self, folder, targets, rules=None):
        folder = Path(folder) / "prometheus"
        folder.mkdir()
        scrapes = [{"targets": [address], "labels": labels} for address, labels in targets]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "oncewatch", "static_configs": scrapes}],
        }
        if rules:
            (folder / "rules.yaml").write_text(json.dumps(rules))
            config["rule_files"] = [str(folder / "rules.yaml")]
        # JSON is YAML.
        (folder / "prometheus.yaml").write_text(json.dumps(config))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
                   f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
        super().__init__(command, folder / "log")
        self.await_ready(f"{self.url}/-/ready")

    def get(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(fetch(url))["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def instant(self, expr, at):
        """(labels, value) of each series."""
        answer = self.get("query", query=expr, time=at)
        return [(one["metric"], float(one["value"][1])) for one in answer["result"]]

    def ranged(self, expr, start, end, step):
        """(labels, [(time, value)]) of each series."""
        answer = self.get("query_range", query=expr, start=start, end=end, step=step)
        return [(one["metric"], [(t, float(v)) for t, v in one["values"]]) for one in answer["result"]]

    def exemplars(self, expr, start, end):
        """(labels of the series, exemplars)."""
        answer = self.get("query_exemplars", query=expr, start=start, end=end)
        return [(one["seriesLabels"], one["exemplars"]) for one in answer]
