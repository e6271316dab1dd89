"""Compares every name in a dashboard with what the binary exports."""

import re
from urllib.parse import unquote

import promql_parser as promql

from boards import annotation_queries, panels, parse, queries, selectors, walk
from inventory import PROMETHEUS_OWN, SCRAPED

LEGEND = re.compile(r"\{\{(\w+)\}\}")


def unknown(board, exported):
    """Everything that is named and not exported."""
    known = {**exported, **PROMETHEUS_OWN}
    for where, expr in expressions(board):
        for name, matchers, _ in selectors(expr):
            if name not in known:
                yield f"{where}: metric {name}"
                continue
            for label, operator, value in matchers:
                yield from (f"{where}: {problem}" for problem in unknown_matcher(known[name], label, operator, value))
        yield from (f"{where}: grouped by {label}" for label in sorted(grouped(expr) - labels_of(expr, known)))
    yield from unknown_in_panels(board, known)


def expressions(board):
    for panel, target in queries(board):
        yield panel["title"], target["expr"]
    for one in annotation_queries(board):
        yield one["name"], one["expr"]


def unknown_matcher(labels, label, operator, value):
    if label in SCRAPED:
        return
    if label not in labels:
        yield f"label {label}"
        return
    values = labels[label]
    if values is None or "$" in value:
        return
    patterns = value.split("|") if "~" in operator else [re.escape(value)]
    for pattern in patterns:
        if not any(re.fullmatch(pattern, one) for one in values):
            yield f"{label} {pattern}"


def grouped(expr):
    """Labels of by (…) and on (…)."""
    found = set()
    for node, _ in walk(parse(expr)):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql.AggregateExpr) and modifier is not None:
            found |= set(modifier.labels)
        if isinstance(node, promql.BinaryExpr) and modifier is not None and modifier.matching is not None:
            found |= set(modifier.matching.labels)
    return found


def labels_of(expr, known):
    return SCRAPED.union(*(known.get(name, {}) for name, _, _ in selectors(expr)))


def unknown_in_panels(board, known):
    """Legends, colours by the name of a series, and verdicts in trace searches."""
    verdicts = known["oncewatch_verdicts_total"]["verdict"]
    for panel in panels(board):
        shown = set()
        for target in panel.get("targets", []):
            legend = target["legendFormat"]
            labels = labels_of(target["expr"], known)
            yield from (f"{panel['title']}: legend {label}" for label in LEGEND.findall(legend) if label not in labels)
            shown |= {legend} | series_names(legend, target["expr"], known)
        if panel["type"] == "timeseries":
            colored = [one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]]
            yield from (f"{panel['title']}: colour of {name}" for name in colored if name not in shown)
        for search in re.findall(r'verdict =~ \\*"([\w|]+)\\*"', unquote(str(panel))):
            yield from (f"{panel['title']}: search for {one}" for one in search.split("|") if one not in verdicts)


def series_names(legend, expr, known):
    label = LEGEND.fullmatch(legend)
    if not label:
        return set()
    return set().union(*(known.get(name, {}).get(label[1]) or set() for name, _, _ in selectors(expr)))


def used(board):
    """Metric families that some query reads."""
    found = set()
    for _, expr in expressions(board):
        found |= {re.sub(r"_(bucket|sum|count)$", "", name) for name, _, _ in selectors(expr)}
    return found
