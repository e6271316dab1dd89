"""The dashboards follow Grafana 13's types to the letter; unknown keys are refused everywhere."""

import json
import subprocess
import sys

import jsonschema
import pytest

import boards
import schemas


def check(board, folder):
    """What check-jsonschema says of the dashboard; empty if nothing is wrong."""
    (folder / "schema.json").write_text(json.dumps(schemas.dashboard()))
    (folder / "board.json").write_text(json.dumps(board))
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", folder / "schema.json", folder / "board.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return "" if done.returncode == 0 else done.stdout + done.stderr


def problems(board):
    """What is wrong in the parts that the dashboard's type leaves open."""
    found = []
    for panel in boards.panels(board):
        parts = [(panel["options"], schemas.options(panel["type"])),
                 (panel["fieldConfig"]["defaults"].get("custom", {}), schemas.custom(panel["type"]))]
        parts += [(target, schemas.TARGET) for target in panel.get("targets", [])]
        for part, schema in parts:
            found += [f"{panel['title']}: {error.message}" for error in validator(schema).iter_errors(part)]
    return found


def validator(schema):
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("name", boards.FILES)
def test_a_dashboard_is_valid(dashboards, name, tmp_path):
    assert check(dashboards[name], tmp_path) == ""
    assert problems(dashboards[name]) == []


def first(board, kind):
    return next(panel for panel in boards.panels(board) if panel["type"] == kind)


FRAME_FAULTS = {
    "unknown key of the dashboard": lambda board: board.update(editabel=False),
    "unknown key of a panel": lambda board: first(board, "stat").update(descripton="x"),
    "wrong type of a grid": lambda board: first(board, "stat")["gridPos"].update(w="4"),
    "unknown key of field settings": lambda board: first(board, "table")["fieldConfig"]["defaults"].update(units="s"),
    "unknown colour mode": lambda board: first(board, "stat")["fieldConfig"]["defaults"]["color"].update(mode="treshold"),
    "unknown key of a variable": lambda board: board["templating"]["list"][3].update(allvalue=".+"),
    "unknown kind of variable": lambda board: board["templating"]["list"][3].update(type="qeury"),
    "unknown key of an annotation": lambda board: board["annotations"]["list"][1].update(expression="up"),
    "a link without its flags": lambda board: board["links"][0].pop("keepTime"),
}

PANEL_FAULTS = {
    "unknown option of a stat": lambda board: first(board, "stat")["options"].update(colourMode="value"),
    "unknown value of an option": lambda board: first(board, "stat")["options"].update(graphMode="sparkline"),
    "unknown option of a graph": lambda board: first(board, "timeseries")["options"]["legend"].update(show=True),
    "unknown custom setting": lambda board: first(board, "timeseries")["fieldConfig"]["defaults"]["custom"].update(fill=1),
    "unknown option of a table": lambda board: first(board, "table")["options"].update(sort=[]),
    "unknown key of a query": lambda board: first(board, "stat")["targets"][0].update(exp="up"),
    "unknown format of a query": lambda board: first(board, "stat")["targets"][0].update(format="tabel"),
}


@pytest.mark.parametrize("fault", FRAME_FAULTS)
def test_a_fault_in_the_frame_is_refused(dashboards, fault, tmp_path):
    board = boards.copy_of(dashboards["overview.json"])
    FRAME_FAULTS[fault](board)
    assert check(board, tmp_path) != ""


@pytest.mark.parametrize("fault", PANEL_FAULTS)
def test_a_fault_in_a_panel_is_refused(dashboards, fault):
    board = boards.copy_of(dashboards["overview.json"])
    PANEL_FAULTS[fault](board)
    assert problems(board) != []
