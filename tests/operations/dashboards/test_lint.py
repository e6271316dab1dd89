"""All rules hold with no exclusion, and each rule sees the fault that it is there for."""

import subprocess
import sys

import pytest

import boards
import linter


@pytest.mark.parametrize("name", boards.FILES)
def test_a_dashboard_has_no_lint(dashboards, name):
    assert linter.lint(dashboards[name]) == []


def test_the_files_are_what_their_source_makes():
    command = [sys.executable, "-B", boards.FOLDER / "source" / "build.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def of(board, kind):
    return next(panel for panel in boards.panels(board) if panel["type"] == kind)


def change_expr(kind, old, new):
    def change(board):
        target = of(board, kind)["targets"][0]
        assert old in target["expr"]
        target["expr"] = target["expr"].replace(old, new)
    return change


def change_variable(variable, **values):
    return lambda board: boards.variables(board)[variable].update(values)


def remove_variable(name):
    def change(board):
        board["templating"]["list"] = [one for one in board["templating"]["list"] if one["name"] != name]
    return change


def defaults(board, kind):
    return of(board, kind)["fieldConfig"]["defaults"]


def unborn(board):
    """The count of a young series without the other half that proves it to be young."""
    of(board, "stat")["targets"][0]["expr"] = "sum(max_over_time(a_total[$__range])) or vector(0)"


FAULTS = {
    "template-datasource-rule": change_variable("prometheus_datasource", name="ds"),
    "template-job-rule": change_variable("job", allValue=".*"),
    "template-instance-rule": remove_variable("instance"),
    "template-label-promql-rule": lambda board: boards.variables(board)["job"]["query"].update(query="label_value(up, job)"),
    "template-on-time-change-reload-rule": change_variable("namespace", refresh=1),
    "panel-datasource-rule": lambda board: of(board, "timeseries")["datasource"].update(uid="prod"),
    "panel-title-description-rule": lambda board: of(board, "heatmap").pop("description"),
    "panel-units-rule": lambda board: defaults(board, "table").pop("unit"),
    "panel-no-targets-rule": lambda board: of(board, "stat").update(targets=[]),
    "target-promql-rule": change_expr("timeseries", "sum", "sum sum"),
    "target-rate-interval-rule": change_expr("timeseries", "[$__rate_interval]", "[5m]"),
    "target-job-rule": change_expr("timeseries", 'job=~"$job", ', ""),
    "target-instance-rule": change_expr("stat", 'instance=~"$instance"', 'instance="$instance"'),
    "target-counter-agg-rule": unborn,
    "uneditable-dashboard-rule": lambda board: board.update(editable=True),
    "template-unused-rule": lambda board: board["templating"]["list"].append(
        {**boards.variables(board)["job"], "name": "zone"}),
    "house-variables": change_expr("timeseries", '"$namespace"', '"$namespce"'),
    "house-thresholds": lambda board: defaults(board, "stat").pop("thresholds"),
    "house-descriptions": lambda board: of(board, "stat").update(description="Double executions."),
    "house-zero": change_expr("stat", " or vector(0)", ""),
    "house-exemplars": lambda board: of(board, "heatmap")["targets"][0].pop("exemplar"),
    "house-links": lambda board: board["links"][0].update(keepTime=False),
    "house-frame": lambda board: board["panels"][0]["gridPos"].update(w=20),
}


def test_every_rule_has_a_fault():
    assert set(FAULTS) == set(linter.RULES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_sees_its_fault(dashboards, name):
    board = boards.copy_of(dashboards["investigate.json"])
    FAULTS[name](board)
    assert name in {found for found, _ in linter.lint(board)}
