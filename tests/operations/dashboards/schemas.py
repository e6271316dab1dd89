"""JSON Schemas: Grafana's own, generated from its published types, and what those types leave open.

The dashboard type leaves a panel's options, its custom field settings and its queries untyped. The first two
have types of their own in the same package; queries are closed here. The published type of an annotation has no
place for a data source's query, though every Grafana reads it there: exactly the fields of Prometheus are added.
"""

import json
import os
from pathlib import Path

TEXT = {"type": "string"}
PROMETHEUS_ANNOTATION = {
    "expr": TEXT, "step": TEXT, "tagKeys": TEXT, "titleFormat": TEXT, "textFormat": TEXT,
    "useValueForTime": {"type": "boolean"},
}

TARGET = {
    "type": "object",
    "additionalProperties": False,
    "required": ["refId", "datasource", "expr", "instant", "range", "format"],
    "properties": {
        "refId": {"type": "string", "pattern": "^[A-Z]$"},
        "datasource": {"type": "object"},
        "editorMode": {"enum": ["code"]},
        "expr": {"type": "string", "minLength": 1},
        "instant": {"type": "boolean"},
        "range": {"type": "boolean"},
        "format": {"enum": ["time_series", "table", "heatmap"]},
        "legendFormat": TEXT,
        "exemplar": {"type": "boolean"},
    },
}

BOOLEAN = {"type": "boolean"}
# The package has no type for the alert list; these are the options that the panel reads.
ALERT_LIST = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "alertInstanceLabelFilter": TEXT, "alertName": TEXT, "dashboardAlerts": BOOLEAN, "groupBy": {"type": "array"},
        "groupMode": {"enum": ["default", "custom"]}, "maxItems": {"type": "integer"},
        "sortOrder": {"enum": [1, 2, 3, 4, 5]}, "viewMode": {"enum": ["list", "stat"]},
        "stateFilter": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: BOOLEAN for name in ("error", "firing", "noData", "normal", "pending")},
        },
    },
}


def generated(name):
    return json.loads((Path(os.environ["ONCEWATCH_SCHEMAS"]) / f"{name}.json").read_text())


def dashboard():
    schema = generated("dashboard")
    schema["definitions"]["AnnotationQuery"]["properties"].update(PROMETHEUS_ANNOTATION)
    return schema


def options(kind):
    return ALERT_LIST if kind == "alertlist" else generated(f"{kind}-options")


def custom(kind):
    return generated(f"{kind}-custom") if kind in ("timeseries", "heatmap", "table") else {"maxProperties": 0}
