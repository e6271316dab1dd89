"""The rules of grafana/dashboard-linter, in our own words, and the house's own rules.

The tool itself cannot be installed as a Go module, so its rules are checked here under its names. Where the tool
looks at some panel types only, every panel with a query is looked at here.
"""

import re

import promql_parser as promql

from boards import (
    RATE_INTERVAL, VARIABLE, annotation_queries, panels, parse, queries, selectors, selectors_of, variables, walk,
)

RULES = {}
BUILT_IN = {"__rate_interval", "__range", "__url_time_range", "__from", "__to", "__data", "__all"}

# Those of Grafana's units that these dashboards use, and that the tool knows.
UNITS = {"none", "short", "percentunit", "s", "bytes", "cps", "ops", "reqps", "cpm", "dtdurations",
         "dateTimeAsLocalNoDateIfToday"}
PROMETHEUS = "${prometheus_datasource}"
COUNTED_AT_THE_START = {"oncewatch_state_replayed_total"}


def rule(name):
    def register(check):
        RULES[name] = check
        return check
    return register


def lint(board):
    """(rule, message) of everything that is wrong."""
    return [(name, message) for name, check in RULES.items() for message in check(board)]


def with_queries(board):
    return [panel for panel in panels(board) if panel["type"] not in ("text", "alertlist")]


def parses(expr):
    try:
        parse(expr)
    except ValueError:
        return False
    return True


def parsed(board):
    """Queries that parse; the others are another rule's."""
    return [(panel, target) for panel, target in queries(board) if parses(target["expr"])]


@rule("template-datasource-rule")
def template_datasource(board):
    sources = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    if not sources or sources[0]["query"] != "prometheus":
        yield "the first data source variable is not Prometheus"
    for one in sources:
        plugin = one["query"]
        names = {f"{plugin}_datasource"} | ({"datasource"} if len(sources) == 1 else set())
        labels = {f"{plugin.capitalize()} data source"} | ({"Data source"} if len(sources) == 1 else set())
        if one["name"] not in names:
            yield f"data source variable {one['name']} should be one of {names}"
        if one["label"] not in labels:
            yield f"data source variable labelled {one['label']} should be one of {labels}"


def template_of_label(board, name):
    one = variables(board).get(name)
    if one is None:
        yield f"no variable {name}"
        return
    if one["datasource"]["uid"] != PROMETHEUS:
        yield f"variable {name} uses data source {one['datasource']['uid']}"
    if one["type"] != "query" or not one["multi"] or not one["includeAll"]:
        yield f"variable {name} is not a query with several choices and All"
    if one["label"] != name.capitalize() or one["allValue"] != ".+":
        yield f"variable {name} has label {one['label']} and All {one['allValue']}"


@rule("template-job-rule")
def template_job(board):
    return template_of_label(board, "job")


@rule("template-instance-rule")
def template_instance(board):
    return template_of_label(board, "instance")


@rule("template-label-promql-rule")
def template_label_promql(board):
    for one in board["templating"]["list"]:
        if one["type"] != "query":
            continue
        call = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"])
        if not call or not parses(call[1]):
            yield f"variable {one['name']} has query {one['query']['query']}"


@rule("template-on-time-change-reload-rule")
def template_reload(board):
    for one in board["templating"]["list"]:
        if one["type"] == "query" and one["refresh"] != 2:
            yield f"variable {one['name']} is not reloaded when the time range changes"


@rule("panel-datasource-rule")
def panel_datasource(board):
    for panel in with_queries(board):
        for one in (panel, *panel.get("targets", [])):
            if one.get("datasource") != {"type": "prometheus", "uid": PROMETHEUS}:
                yield f"{panel['title']}: data source {one.get('datasource')}"


@rule("panel-title-description-rule")
def panel_title_description(board):
    for panel in panels(board):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel {panel['id']} has title {panel.get('title')!r} and description {panel.get('description')!r}"


@rule("panel-units-rule")
def panel_units(board):
    for panel in with_queries(board):
        config = panel["fieldConfig"]
        changed = [one["value"] for override in config["overrides"] for one in override["properties"] if one["id"] == "unit"]
        for unit in (config["defaults"].get("unit"), *changed):
            if unit not in UNITS:
                yield f"{panel['title']}: unit {unit!r}"


@rule("panel-no-targets-rule")
def panel_no_targets(board):
    for panel in with_queries(board):
        if not panel.get("targets"):
            yield f"{panel['title']} has no query"


@rule("target-promql-rule")
def target_promql(board):
    for panel, target in queries(board):
        if not parses(target["expr"]):
            yield f"{panel['title']}: not PromQL: {target['expr']}"
    for one in annotation_queries(board):
        if not parses(one["expr"]):
            yield f"annotation {one['name']}: not PromQL: {one['expr']}"


@rule("target-rate-interval-rule")
def target_rate_interval(board):
    for panel, target in parsed(board):
        for node, parents in walk(parse(target["expr"])):
            rate = isinstance(node, promql.MatrixSelector) and parents and getattr(parents[-1], "func", None)
            if rate and rate.name in ("rate", "irate") and node.range != promql.parse_duration(RATE_INTERVAL):
                yield f"{panel['title']}: {rate.name} without $__rate_interval: {target['expr']}"


def target_matcher(board, label):
    for panel, target in parsed(board):
        for name, matchers, _ in selectors(target["expr"]):
            if (label, "=~", f"${label}") not in matchers:
                yield f"{panel['title']}: {name} without {label}=~\"${label}\""


@rule("target-job-rule")
def target_job(board):
    return target_matcher(board, "job")


@rule("target-instance-rule")
def target_instance(board):
    return target_matcher(board, "instance")


@rule("target-counter-agg-rule")
def target_counter(board):
    """A counter stands under rate, irate or increase, but for what is counted once, at the start: full tables count
    the same at each start, in which a rate sees nothing. The one other form is the count of a series that was born
    within the range: `max_over_time(c[r]) unless c offset r`, both sides the same counter."""
    for panel, target in parsed(board):
        for name, matchers, parents in selectors(target["expr"]):
            if not name.endswith("_total") or name in COUNTED_AT_THE_START:
                continue
            call = parents[-2] if len(parents) > 1 and isinstance(parents[-1], promql.MatrixSelector) else None
            if call and getattr(call, "func", None) and call.func.name in ("rate", "irate", "increase"):
                continue
            if not any(is_birth(parent, name, matchers) for parent in parents):
                yield f"{panel['title']}: {name} without rate, irate or increase"


def is_birth(node, name, matchers):
    if not isinstance(node, promql.BinaryExpr) or str(node.op) != "unless":
        return False
    sides = [list(selectors_of(side)) for side in (node.lhs, node.rhs)]
    same = all([(one[0], one[1]) for one in side] == [(name, matchers)] for side in sides)
    return same and isinstance(node.lhs, promql.Call) and node.lhs.func.name == "max_over_time"


@rule("uneditable-dashboard-rule")
def uneditable(board):
    if board.get("editable") is not False:
        yield "the dashboard can be edited"


@rule("template-unused-rule")
def template_unused(board):
    used = " ".join(target["expr"] for _, target in queries(board))
    for name, one in variables(board).items():
        if one["type"] == "query" and not re.search(rf"\${name}\b", used):
            yield f"variable {name} is used by no query"


@rule("house-variables")
def house_variables(board):
    """Every $name is a variable; every query is limited by all that its metric has a label for."""
    known = set(variables(board)) | BUILT_IN
    for name in sorted({match[1] or match[2] for match in VARIABLE.finditer(all_text(board))} - known):
        yield f"${name} is no variable"
    wanted = [("cluster", "=~", "$cluster"), ("namespace", "=~", "$namespace"), ("service", "=~", "$service")]
    for panel, target in parsed(board):
        for name, matchers, _ in selectors(target["expr"]):
            missing = [one[0] for one in wanted if one not in matchers]
            if missing:
                yield f"{panel['title']}: {name} is not limited by {missing}"


def all_text(node):
    if isinstance(node, dict):
        return "\n".join(all_text(value) for value in node.values())
    if isinstance(node, list):
        return "\n".join(map(all_text, node))
    return node if isinstance(node, str) else ""


@rule("house-thresholds")
def house_thresholds(board):
    for panel in with_queries(board):
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        bounds = [step["value"] for step in steps]
        if not bounds or bounds[0] is not None or bounds[1:] != sorted(bounds[1:]):
            yield f"{panel['title']}: thresholds {bounds}"


@rule("house-descriptions")
def house_descriptions(board):
    """Long enough to hold what it means and what to do."""
    for panel in panels(board):
        if len(panel.get("description", "")) < 80 and panel["type"] != "text":
            yield f"{panel['title']}: the description does not say what it means and what to do"


@rule("house-zero")
def house_zero(board):
    """Grafana shows a number instead of "No data"."""
    for panel in with_queries(board):
        if panel["fieldConfig"]["defaults"].get("noValue") != "0":
            yield f"{panel['title']}: noValue is not 0"
        if panel["type"] == "stat" and not all("vector(0)" in target["expr"] for target in panel["targets"]):
            yield f"{panel['title']}: no 0 where there is nothing to count"


@rule("house-exemplars")
def house_exemplars(board):
    """Whoever sees a finding or a slow attempt gets to a trace with one click."""
    for panel, target in parsed(board):
        bucket = any(name.endswith("_bucket") for name, _, _ in selectors(target["expr"]))
        if panel["type"] == "heatmap" and not target.get("exemplar"):
            yield f"{panel['title']}: no exemplars"
        if bucket and not any(one.get("exemplar") for one in panel["targets"]):
            yield f"{panel['title']}: no exemplars"


@rule("house-links")
def house_links(board):
    kept = [one for one in board["links"]
            if one["type"] == "dashboards" and one["tags"] == ["oncewatch"] and one["includeVars"] and one["keepTime"]]
    if not kept or "oncewatch" not in board["tags"]:
        yield "no links to the other dashboards that keep time and variables"
    for panel in with_queries(board):
        if panel["type"] == "table" and '"links"' not in str(panel["fieldConfig"]["overrides"]).replace("'", '"'):
            yield f"{panel['title']}: a table without data links"
    for url in re.findall(r"/d/[^\s\"]+", all_text(board)):
        for name in variables(board):
            if "${__url_time_range}" not in url or f"${{{name}:queryparam}}" not in url and f"var-{name}=" not in url:
                yield f"a link loses the time range or ${name}: {url}"


@rule("house-frame")
def house_frame(board):
    """Crosshair shared; alerts, restarts and versions drawn in; panels neither overlap nor leave the grid."""
    if board["graphTooltip"] != 1:
        yield "the crosshair is not shared"
    if {"Alerts", "Restarts", "New versions"} - {one["name"] for one in annotation_queries(board) if one["enable"]}:
        yield "annotations are missing"
    taken = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        if cells & taken or grid["x"] + grid["w"] > 24:
            yield f"{panel['title']} overlaps another panel or leaves the grid"
        taken |= cells
    if len({panel["id"] for panel in board["panels"]}) != len(board["panels"]):
        yield "two panels have one id"
