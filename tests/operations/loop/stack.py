"""The processes of the loop: sidecars, Prometheus, Alertmanager and a webhook receiver."""

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

import yaml
from compress import ALERTMANAGER, compress, unchanged

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
PROFILES = """
[profiles."loop.Brief"]
extends = "dynamodb.TransactWriteItems"
window = "1s"
lease = "1s"
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(what, condition, seconds):
    """Waits until `condition()` is true and returns what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from None


def answers(url):
    try:
        return bool(fetch(url) or True)
    except (OSError, AssertionError):
        return False


class Processes:
    """Children that are stopped by their id, whatever happens."""

    def __init__(self, directory):
        self.directory = directory
        self.children = {}

    def start(self, name, command, **environment):
        log = (self.directory / f"{name}.log").open("ab")
        self.children[name] = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=self.directory, env={**os.environ, **environment}
        )

    def stop(self, name):
        child = self.children.pop(name)
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def stop_all(self):
        for child in self.children.values():
            child.terminate()
        for name in list(self.children):
            self.stop(name)


class Sidecar:
    """One pod of one service."""

    def __init__(self, processes, service, pod, arguments=(), **environment):
        self.processes, self.service, self.pod = processes, service, pod
        self.metrics, self.admin = free_port(), free_port()
        self.socket = processes.directory / f"{pod}.sock"
        config = processes.directory / "oncewatch.toml"
        config.write_text(PROFILES)
        command = [os.environ["ONCEWATCH_BIN"], "run", "--config", config, "--socket", self.socket]
        command += ["--metrics-addr", f"127.0.0.1:{self.metrics}", "--admin-addr", f"127.0.0.1:{self.admin}"]
        processes.start(pod, [*command, *arguments], **environment)

    def connect(self):
        def attempt():
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.socket))
            except OSError:
                connection.close()
                return None
            return connection

        return wait_for(f"socket of {self.pod}", attempt, 20)

    def stop(self):
        self.processes.stop(self.pod)

    def target(self):
        """What Kubernetes discovery says of a native sidecar; the shipped relabelling does the rest."""
        meta = {
            "namespace": "shop",
            "pod_name": self.pod,
            "pod_container_name": "oncewatch",
            "pod_container_init": "true",
            "pod_container_port_name": "oncewatch",
            "pod_phase": "Running",
            "pod_label_app_kubernetes_io_name": self.service,
        }
        labels = {f"__meta_kubernetes_{name}": value for name, value in meta.items()}
        return {"targets": [f"127.0.0.1:{self.metrics}"], "labels": labels}


class Receiver:
    """Takes Alertmanager's webhooks and remembers each alert with the receiver it came to."""

    def __init__(self):
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    if alert["status"] == "firing":
                        received.append((self.path.strip("/"), alert["labels"], alert["annotations"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, receiver):
        return f"http://127.0.0.1:{self.server.server_address[1]}/{receiver}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def of(self, service):
        return [each for each in self.received if each[1].get("service") == service]


class Monitoring:
    """Prometheus and Alertmanager with the shipped files, an hour being a minute."""

    def __init__(self, processes, receiver, targets):
        self.processes = processes
        self.prometheus, self.alertmanager = free_port(), free_port()
        directory = processes.directory
        self.write_alertmanager(directory / "alertmanager.yaml", receiver)
        self.write_prometheus(directory, targets)
        local = "127.0.0.1:"
        processes.start(
            "alertmanager",
            ["prometheus-alertmanager", "--config.file=alertmanager.yaml", "--storage.path=alertmanager-data",
             f"--web.listen-address={local}{self.alertmanager}", "--cluster.listen-address="],
        )  # fmt: skip
        wait_for("Alertmanager", lambda: answers(f"http://{local}{self.alertmanager}/-/ready"), 30)
        processes.start(
            "prometheus",
            ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=prometheus-data",
             f"--web.listen-address={local}{self.prometheus}", "--query.lookback-delta=5s"],
        )  # fmt: skip
        wait_for("Prometheus", lambda: answers(f"http://{local}{self.prometheus}/-/ready"), 30)

    def write_alertmanager(self, path, receiver):
        shipped = (DEPLOY / "alertmanager/oncewatch.example.yaml").read_text()
        config = yaml.safe_load(compress(shipped, ALERTMANAGER))
        assert {"name": "null"} in config["receivers"]
        # What is routed to nobody must arrive here as well, to be looked at.
        names = [each["name"] for each in config["receivers"]]
        config["receivers"] = [{"name": name, "webhook_configs": [{"url": receiver.url(name)}]} for name in names]
        path.write_text(yaml.safe_dump(config))

    def write_prometheus(self, directory, targets):
        for name in ("rules.yaml", "alerts.yaml"):
            shipped = (DEPLOY / "prometheus" / name).read_text()
            compressed = compress(shipped)
            assert unchanged(compressed) == unchanged(shipped) and compressed != shipped, name
            (directory / name).write_text(compressed)
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.example.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{self.alertmanager}"]
        (job,) = config["scrape_configs"]
        del job["kubernetes_sd_configs"]
        job["file_sd_configs"] = [{"files": ["targets.json"]}]
        (directory / "targets.json").write_text(json.dumps(targets))
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def query(self, expression):
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query?query={urllib.parse.quote(expression)}"
        return json.loads(fetch(url))["data"]["result"]

    def alerts(self, service):
        """Alertmanager's own view: (name, severity, window) -> (inhibited, receivers)."""
        matcher = urllib.parse.quote(f'service="{service}"')
        found = {}
        for alert in json.loads(fetch(f"http://127.0.0.1:{self.alertmanager}/api/v2/alerts?filter={matcher}")):
            labels = alert["labels"]
            key = labels["alertname"], labels["severity"], labels.get("window")
            receivers = [receiver["name"] for receiver in alert["receivers"]]
            found[key] = bool(alert["status"]["inhibitedBy"]), receivers
        return found
