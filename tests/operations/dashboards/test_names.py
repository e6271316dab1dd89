"""Every metric, label and label value in a dashboard is exported, and every exported metric is of use."""

import json
import re
import sys
from urllib.parse import unquote

import pytest
import yaml

import boards
import inventory
import names
from live import Sidecar

sys.path.insert(0, str(boards.FOLDER / "source"))
import verdicts  # noqa: E402

# Exported, and on no dashboard.
UNUSED = {
    "process_start_time_seconds": "oncewatch_observation_start_timestamp_seconds says more",
    "process_threads": "fixed by the number of cores",
    "process_virtual_memory_bytes": "what counts for limits is resident memory",
}

# OPERATIONS: every alert has a panel, which names it in its description.
ALERTS = {
    "OncewatchDoubleExecution", "OncewatchLostIdempotency", "OncewatchReuseAfterWindow", "OncewatchUnresolvedCallsBurn",
    "OncewatchRetryBudgetTooShort", "OncewatchCollisions", "OncewatchParameterMismatch", "OncewatchUnstableEncoding",
    "OncewatchHardCodedToken", "OncewatchInvalidToken", "OncewatchTokenStuck", "OncewatchReplayHigh", "OncewatchDown",
    "OncewatchBlind", "OncewatchEventsDropped", "OncewatchTrackingGaps", "OncewatchSpanExportFailing",
    "OncewatchStateWriteFailing",
}


@pytest.fixture(scope="module")
def exposition(binary, tmp_path_factory):
    with Sidecar(binary, tmp_path_factory.mktemp("names"), "plain") as sidecar:
        return sidecar.metrics()


@pytest.mark.parametrize("name", boards.FILES)
def test_all_that_is_named_is_exported(dashboards, name, exposition):
    assert list(names.unknown(dashboards[name], inventory.of(exposition))) == []


def test_every_metric_is_used_or_has_a_reason(dashboards, exposition):
    used = set().union(*(names.used(board) for board in dashboards.values()))
    exported = inventory.families(exposition)
    assert exported - used == set(UNUSED)


def test_every_finding_has_one_cause_and_a_first_action(exposition):
    findings = inventory.findings(exposition)
    caused = [verdict for cause in verdicts.CAUSES.values() for verdict in cause]
    assert sorted(caused) == sorted(findings)
    assert set(verdicts.FIRST_ACTIONS) == findings


def test_every_alert_has_a_panel(dashboards):
    told = " ".join(panel["description"] for board in dashboards.values() for panel in boards.panels(board))
    assert set(re.findall(r"\bOncewatch\w+", told)) == ALERTS


def test_the_dashboards_link_to_each_other_only(dashboards):
    uids = {board["uid"] for board in dashboards.values()}
    for board in dashboards.values():
        assert set(re.findall(r"/d/([\w-]+)\?", str(board))) <= uids
    assert uids == {"oncewatch-overview", "oncewatch-investigate", "oncewatch-sidecar-health"}


@pytest.mark.parametrize("name", boards.FILES[:2])
def test_trace_searches_are_well_formed(dashboards, name):
    """Explore gets JSON with a search for the attribute that the sidecar's spans carry."""
    found = re.findall(r"/explore\?schemaVersion=1&panes=([^\s\"')]+)", json.dumps(dashboards[name]))
    assert found
    for panes in found:
        pane = json.loads(unquote(panes))["traces"]
        assert pane["datasource"] == pane["queries"][0]["datasource"]["uid"] == "${tempo_datasource}"
        attribute = re.fullmatch(r'\{ span\.([\w.]+) =~ "[^"]+" \}', pane["queries"][0]["query"])[1]
        assert f'"{attribute}"' in (boards.ROOT / "src/edge/spans/mapping.rs").read_text()


FAULTS = {
    "metric": ("oncewatch_calls_total", "oncewatch_call_total"),
    "suffix of a metric": ("oncewatch_attempt_duration_seconds_bucket", "oncewatch_attempt_duration_bucket"),
    "label": ('outcome=~"unknown', 'outcomes=~"unknown'),
    "label value": ("unknown|in_progress_exhausted", "unknown|in_progress_exausted"),
    "verdict": ('verdict="double_execution"', 'verdict="double_executions"'),
    "severity": ('severity!="info"', 'severity!="information"'),
    "grouping": ("sum by (outcome)", "sum by (result)"),
    "legend": ("{{outcome}}", "{{outcom}}"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_name_is_seen(dashboards, exposition, fault):
    board = boards.copy_of(dashboards["overview.json"])
    old, new = FAULTS[fault]
    changed = 0
    for _, target in boards.queries(board):
        for key in ("expr", "legendFormat"):
            changed += old in target[key]
            target[key] = target[key].replace(old, new)
    assert changed
    assert list(names.unknown(board, inventory.of(exposition))) != []


def test_a_wrong_colour_and_a_wrong_search_are_seen(dashboards, exposition):
    exported = inventory.of(exposition)
    board = boards.copy_of(dashboards["overview.json"])
    next(panel for panel in boards.panels(board) if panel["title"] == "Calls by outcome")[
        "fieldConfig"]["overrides"][0]["matcher"]["options"] = "aplied"
    stat = next(boards.panels(board))
    stat["links"][0]["url"] = stat["links"][0]["url"].replace("double_execution", "double_exeution")
    assert [text.split(": ")[1] for text in names.unknown(board, exported)] == [
        "search for double_exeution", "colour of aplied"]


def test_every_dashboard_is_packaged():
    kustomization = yaml.safe_load((boards.FOLDER / "kustomization.yaml").read_text())
    packaged = [file for one in kustomization["configMapGenerator"] for file in one["files"]]
    assert sorted(packaged) == sorted(boards.FILES) == sorted(path.name for path in boards.FOLDER.glob("*.json"))
    assert kustomization["generatorOptions"]["labels"]["grafana_dashboard"] == "1"
