"""No empty panel: every query of every dashboard against a real Prometheus that scrapes real sidecars."""

import math
import re

import pytest

import boards
from field import fleet

TRAFFIC_SECONDS = 24


@pytest.fixture(scope="module")
def field(binary, tmp_path_factory):
    with fleet(binary, tmp_path_factory.mktemp("field"), TRAFFIC_SECONDS) as field:
        yield field


def values(namespace, field):
    """What Grafana would put in: all of one namespace. Four scrapes make a rate interval."""
    return {
        "prometheus_datasource": "", "tempo_datasource": "", "cluster": "here", "namespace": namespace, "service": ".*",
        "job": ".+", "instance": ".+", "api": ".+", "__rate_interval": "4s",
        "__range": f"{math.ceil(field.ended - field.began)}s",
    }


def ask(field, target, namespace):
    """All finite numbers that the panel would get."""
    expr = boards.substitute(target["expr"], values(namespace, field))
    if target["instant"]:
        found = [value for _, value in field.prometheus.instant(expr, field.ended)]
    else:
        answer = field.prometheus.ranged(expr, field.began, field.ended, 1)
        found = [value for _, points in answer for _, value in points]
    return [value for value in found if math.isfinite(value)]


def cases(kinds=None):
    return [pytest.param(name, panel, target, id=f"{name[:-5]}: {panel['title']} {target['refId']}")
            for name, board in boards.load().items() for panel, target in boards.queries(board)
            if kinds is None or panel["type"] in kinds]


def is_alarm(panel):
    """Green means 0."""
    return len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1


@pytest.mark.parametrize(("name", "panel", "target"), cases())
def test_a_busy_fleet_leaves_no_panel_empty(field, name, panel, target):
    found = ask(field, target, "busy")
    assert found, target["expr"]
    assert any(found), f"only zeroes: {target['expr']}"


@pytest.mark.parametrize(("name", "panel", "target"), cases({"stat"}))
def test_a_quiet_sidecar_shows_zero(field, name, panel, target):
    found = ask(field, target, "quiet")
    assert len(found) == 1
    if is_alarm(panel):
        assert found == [0]


@pytest.mark.parametrize(("name", "panel", "target"), cases({"stat"}))
def test_no_data_at_all_shows_zero(field, name, panel, target):
    assert ask(field, target, "nowhere") == [0]


@pytest.mark.parametrize("title", ["Double executions", "Possible double executions", "Reused too late"])
def test_what_happened_before_the_first_scrape_is_counted(field, title):
    board = next(board for board in boards.load().values() if title in {one["title"] for one in boards.panels(board)})
    target = next(target for panel, target in boards.queries(board) if panel["title"] == title)
    assert ask(field, target, "born")[0] >= 1
    naive = re.sub(r"\(max_over_time.*? offset \$__range\) or ", "", target["expr"])
    assert naive != target["expr"]
    assert ask(field, {**target, "expr": naive}, "born") == [0]


@pytest.mark.parametrize(("name", "panel", "target"), [case for case in cases() if case.values[2].get("exemplar")])
def test_exemplars_lead_to_traces(field, name, panel, target):
    expr = boards.substitute(target["expr"], values("busy", field))
    found = field.prometheus.exemplars(expr, field.began, field.ended)
    assert any(re.fullmatch("[0-9a-f]{32}", one["labels"]["trace_id"]) for _, many in found for one in many)


@pytest.mark.parametrize("name", boards.FILES)
def test_every_variable_has_choices(field, name):
    for variable in boards.load()[name]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        text = boards.substitute(variable["query"]["query"], values("busy", field))
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", text).groups()
        found = field.prometheus.get(f"label/{label}/values", **{"match[]": selector})
        assert found, text


@pytest.mark.parametrize("name", boards.FILES)
def test_every_annotation_marks_something(field, name):
    for annotation in boards.annotation_queries(boards.load()[name]):
        expr = boards.substitute(annotation["expr"], values("busy", field))
        assert field.prometheus.ranged(expr, field.began, field.ended, 1), annotation["name"]
