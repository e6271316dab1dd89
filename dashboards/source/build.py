"""Writes the dashboards' JSON beside this folder; with --check, only says whether it is up to date."""

import json
import sys
from pathlib import Path

import grafana
import investigate
import overview
import promql
import sidecar_health

BOARDS = (overview, investigate, sidecar_health)


def variable(name, label, label_query, all_value):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": grafana.PROMETHEUS,
        "query": {"qryType": 1, "query": label_query, "refId": f"Variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": all_value,
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "options": [],
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }


def data_source(name, label, plugin):
    return {
        "type": "datasource",
        "name": name,
        "label": label,
        "query": plugin,
        "current": {"selected": True, "text": "default", "value": "default"},
        "options": [],
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "skipUrlSync": False,
    }


def variables():
    """Each one is limited by those before it. Clusters, namespaces and services may be unlabelled, so that
    All must match an absent label, too."""
    made = [
        data_source("prometheus_datasource", "Prometheus data source", "prometheus"),
        data_source("tempo_datasource", "Tempo data source", "tempo"),
    ]
    before = []
    for name, all_value in (("cluster", ".*"), ("namespace", ".*"), ("service", ".*"), ("job", ".+"), ("instance", ".+")):
        query = f"label_values(oncewatch_build_info{{{', '.join(before)}}}, {name})"
        made.append(variable(name, name.capitalize(), query, all_value))
        before.append(f'{name}=~"${name}"')
    query = f"label_values(oncewatch_verdicts_total{{{', '.join(before)}}}, api)"
    made.append(variable("api", "API", query, ".+"))
    return made


def prometheus_annotation(name, color, expr, title, text, *, at_value=False):
    return {
        "name": name,
        "datasource": grafana.PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expr,
        "step": "60s",
        "tagKeys": "namespace,service,api,severity",
        "titleFormat": title,
        "textFormat": text,
        "useValueForTime": at_value,
    }


def annotations():
    selector = f"{{{promql.INSTANCE}}}"
    build = "oncewatch_build_info" + selector
    versions = "count by (cluster, namespace, service, version, revision)"
    # Alerts may lack both labels, whatever is chosen.
    alert_labels = 'cluster=~"$cluster|", namespace=~"$namespace", service=~"$service", api=~"$api|"'
    return [
        {
            "name": "Annotations & Alerts",
            "builtIn": 1,
            "type": "dashboard",
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
        },
        prometheus_annotation(
            "Alerts", "red", f'ALERTS{{alertname=~"Oncewatch.+", alertstate="firing", {alert_labels}}}',
            "{{alertname}}", "{{namespace}}/{{service}} {{api}} is firing"),
        prometheus_annotation(
            "Restarts", "orange", "1000 * oncewatch_observation_start_timestamp_seconds" + selector,
            "Sidecar started", "{{namespace}}/{{service}} {{pod}} began to observe", at_value=True),
        prometheus_annotation(
            "New versions", "blue", f"{versions} ({build}) unless {versions} ({build} offset 10m)",
            "Deploy", "{{namespace}}/{{service}} runs oncewatch {{version}} ({{revision}})"),
    ]



def dashboard(module):
    board = grafana.Board()
    module.fill(board)
    return {
        "uid": module.UID,
        "title": module.TITLE,
        "description": module.DESCRIPTION,
        "tags": ["oncewatch"],
        "schemaVersion": grafana.SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m", "1h"]},
        "refresh": "30s",
        "timezone": "",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "links": [{
            "type": "dashboards", "title": "oncewatch dashboards", "tags": ["oncewatch"], "asDropdown": False,
            "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "dashboard",
            "tooltip": "The other dashboards, with this time range and these variables",
        }],
        "annotations": {"list": annotations()},
        "templating": {"list": variables()},
        "panels": board.panels,
    }


def files():
    """File name and text of each dashboard."""
    return {f"{module.FILE}.json": json.dumps(dashboard(module), indent=2) + "\n" for module in BOARDS}


def main():
    folder = Path(__file__).resolve().parent.parent
    check = sys.argv[1:] == ["--check"]
    stale = [name for name, text in files().items()
             if not (folder / name).is_file() or (folder / name).read_text() != text]
    for name in stale:
        if check:
            print(f"{name} is not what dashboards/source makes: run python3 dashboards/source/build.py", file=sys.stderr)
        else:
            (folder / name).write_text(files()[name])
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
