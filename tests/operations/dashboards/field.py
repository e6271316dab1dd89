"""A small fleet of sidecars under a real Prometheus: what the dashboards are tried and drawn on."""

import contextlib
import time

from live import Collector, Prometheus, Sidecar, free_port
from workload import CONFIG, SLOW_API, Client, Traffic, late

# Stands for the alerts of deploy/prometheus, with their labels and their way of losing job and instance.
RULES = {"groups": [{"name": "field", "rules": [{
    "alert": "OncewatchDoubleExecution",
    "expr": 'sum by (namespace, service, api) (increase(oncewatch_verdicts_total{verdict="double_execution"}[1m])) > 0',
    "labels": {"severity": "critical"},
}]}]}


class Field:
    """`prometheus`, and when the run began and ended in Unix seconds."""

    def __init__(self, prometheus, began):
        self.prometheus = prometheus
        self.began = began
        self.ended = time.time()


def labels(namespace, service, pod):
    return {"cluster": "here", "namespace": namespace, "service": service, "pod": pod}


@contextlib.contextmanager
def fleet(binary, folder, seconds, **traffic):
    """Runs traffic for `seconds`, and yields a `Field` while it goes on.

    Namespace `busy` sees all misuse (one pod's collector is dead and its state cannot be written, one pod dies on the
    way after its socket was deleted, and one goes on from the state of a former process), `quiet` sees nothing, and what there was to see in `born` happened before the first scrape.
    """
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(Collector())

        def sidecar(name, spans=None, state=None):
            settings = f'state-dir = "{state}"\n{CONFIG}' if state else CONFIG
            return stack.enter_context(Sidecar(binary, folder, name, settings, spans))

        state, no_directory = folder / "state", folder / "file"
        no_directory.touch()
        former = sidecar("former", state=state)
        known = Client(former.socket, "ledger/1")
        for number in range(50):
            known.start(f"known-{number}", f"call-{number}", api=SLOW_API)
        known.close()
        time.sleep(0.5)
        former.stop()
        ledger = sidecar("ledger", state=state)
        orders = sidecar("orders", collector.url)
        returns = sidecar("returns", f"http://127.0.0.1:{free_port()}", no_directory)
        mailer, idle, short = sidecar("mailer"), sidecar("idle"), sidecar("short")
        once = Client(short.socket, "short/1")
        late(once)
        once.close()
        prometheus = stack.enter_context(Prometheus(folder, [
            (orders.address, labels("busy", "orders", "orders-7f9c")),
            (returns.address, labels("busy", "returns", "returns-5d2a")),
            (mailer.address, labels("busy", "mailer", "mailer-0")),
            (ledger.address, labels("busy", "ledger", "ledger-0")),
            (idle.address, labels("quiet", "idle", "idle-0")),
            (short.address, labels("born", "short", "short-1")),
        ], RULES))
        began = time.time()
        time.sleep(2)
        with Traffic(orders.socket, **traffic), Traffic(returns.socket, **{**traffic, "flood": False, "pause": 1.5}):
            time.sleep(seconds / 4)
            mailer.socket.unlink()
            time.sleep(seconds / 4)
            mailer.stop()
            time.sleep(seconds / 2)
            yield Field(prometheus, began)
