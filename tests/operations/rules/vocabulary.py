"""What a sidecar exports, and what PromQL expressions take from it."""

import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import promql_parser as promql

# Labels that the scrape adds to every series.
TARGET_LABELS = {"namespace", "service", "pod", "container", "job", "instance"}
LINE = re.compile(r"^(\w+)(?:\{(.*)\})? \S+")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def exported():
    """Metric name -> label name -> values, from /metrics of a sidecar that was just started."""
    metrics, admin = free_ports(2)
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["--socket", f"{directory}/s", "--metrics-addr", f"127.0.0.1:{metrics}"]
        arguments += ["--admin-addr", f"127.0.0.1:{admin}"]
        sidecar = subprocess.Popen([os.environ["ONCEWATCH_BIN"], "run", *arguments], stderr=subprocess.DEVNULL)
        try:
            page = get(f"http://127.0.0.1:{metrics}/metrics")
        finally:
            sidecar.terminate()
            sidecar.wait(10)
    found = {}
    for line in page.splitlines():
        if match := LINE.match(line):
            labels = found.setdefault(match[1], {})
            for name, value in LABEL.findall(match[2] or ""):
                labels.setdefault(name, set()).add(value)
    return found


def get(url, seconds=10):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except ConnectionError as error:
            refused = error
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            refused = error
        if time.monotonic() > deadline:
            raise refused
        time.sleep(0.05)


def parts(expression):
    """All nodes of an expression."""
    children = ("expr", "lhs", "rhs", "args", "vector_selector", "vs", "param")
    yield expression
    for name in children:
        child = getattr(expression, name, None)
        for each in child if isinstance(child, list) else [child]:
            if each is not None and type(each).__module__ == type(expression).__module__:
                yield from parts(each)


def problems(text, metrics, recorded):
    """Names, labels and label values in `text` that neither `metrics` nor `recorded` (name ->
    labels) have."""
    wrong, available = [], set(TARGET_LABELS)
    grouping = set()
    selectors = 0
    for node in parts(promql.parse(text)):
        modifier = getattr(node, "modifier", None)
        matching = getattr(modifier, "matching", modifier)
        grouping |= set(getattr(matching, "labels", None) or [])
        if not isinstance(node, promql.VectorSelector):
            continue
        selectors += 1
        if node.name in recorded:
            labels = {name: None for name in recorded[node.name]}
        elif node.name == "up":
            labels = {}
        elif node.name in metrics:
            labels = metrics[node.name]
        else:
            wrong.append(f"no metric {node.name}")
            continue
        available |= set(labels)
        for matcher in node.matchers.matchers:
            if matcher.name in TARGET_LABELS:
                continue
            if matcher.name not in labels:
                wrong.append(f"{node.name} has no label {matcher.name}")
                continue
            values = labels[matcher.name] or set().union(*(each.get(matcher.name, set()) for each in metrics.values()))
            named = matcher.value.split("|") if "Re" in str(matcher.op) else [matcher.value]
            wrong += [f"{node.name} has no {matcher.name}={value}" for value in named if value not in values]
    if not selectors:
        wrong.append(f"no series in {text!r}")
    wrong += [f"no series has a label {name}" for name in sorted(grouping - available)]
    return wrong


def labels_out(expression, recorded):
    """The labels that every result of an expression surely has."""
    if isinstance(expression, promql.AggregateExpr):
        return set(expression.modifier.labels) if expression.modifier else set()
    if isinstance(expression, promql.BinaryExpr):
        left, right = (labels_out(side, recorded) for side in (expression.lhs, expression.rhs))
        if left is None or right is None:
            return right if left is None else left
        return left & right if str(expression.op) == "or" else left
    if isinstance(expression, promql.NumberLiteral):
        return None
    if isinstance(expression, promql.Call):
        return next((found for found in (labels_out(arg, recorded) for arg in expression.args) if found is not None), None)
    if isinstance(expression, promql.VectorSelector):
        return set(recorded[expression.name])
    inner = getattr(expression, "expr", None) or getattr(expression, "vector_selector", None)
    return labels_out(inner, recorded)
