"""The committed dashboards, and what the checks need from them."""

import copy
import json
import re
from pathlib import Path

import promql_parser as promql

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "dashboards"
FILES = ("overview.json", "investigate.json", "sidecar-health.json")

VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
# Stand-ins that parse as durations and that no dashboard uses otherwise.
RATE_INTERVAL = "7m"
RANGE = "11m"


def load():
    return {name: json.loads((FOLDER / name).read_text()) for name in FILES}


def copy_of(board):
    return copy.deepcopy(board)


def panels(board):
    """All panels but rows, those inside rows included."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def queries(board):
    """(panel, target) of every query."""
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield panel, target


def annotation_queries(board):
    return [one for one in board["annotations"]["list"] if "expr" in one]


def variables(board):
    return {one["name"]: one for one in board["templating"]["list"]}


def substitute(text, values):
    """Replaces every variable; an unknown one is an error, as Grafana would send it as it stands."""
    def value(match):
        name = match[1] or match[2]
        if name not in values:
            raise KeyError(f"${name} is no variable of this dashboard")
        return values[name]
    return VARIABLE.sub(value, text)


def parse(expr):
    """The syntax tree, with matchers still naming variables."""
    text = expr.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", RANGE)
    return promql.parse(text)


def walk(node, parents=()):
    """(node, its parents from the root) of every node."""
    yield node, parents
    for name in ("lhs", "rhs", "expr", "param", "args", "vector_selector"):
        child = getattr(node, name, None)
        if child is None:
            continue
        for one in child if isinstance(child, list) else [child]:
            yield from walk(one, (*parents, node))


def selectors(expr):
    """(metric name, matchers, parents) of every selector; a matcher is (label, operator, value)."""
    return selectors_of(parse(expr))


def selectors_of(tree):
    for node, parents in walk(tree):
        if isinstance(node, promql.VectorSelector):
            yield node.name, [matcher(one) for one in node.matchers.matchers], parents


OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def matcher(one):
    return one.name, OPERATORS[str(one.op).removeprefix("MatchOp.")], one.value
