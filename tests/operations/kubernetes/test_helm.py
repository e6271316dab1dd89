"""The charts under Helm's own strict lint, and what their schema of values refuses."""

import pytest
import rendering
from helm_python import HelmError
from helm_python import chart as helm

CHARTS = [rendering.CHART, rendering.APPLICATION_CHART]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda path: path.name)
@pytest.mark.parametrize("values", [{}, rendering.EVERYTHING], ids=["defaults", "everything"])
def test_strict_lint(chart, values):
    values = values if chart == rendering.CHART else {"oncewatch": values}
    report = helm.lint(chart, values, strict=True, with_subcharts=True, kube_version="v1.36.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_lint_sees_a_fault(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: broken\nversion: 0.1.0\n")
    (tmp_path / "templates" / "a.yaml").write_text("a: {{ .Values.missing.key }}\n")
    assert helm.lint(tmp_path, {}, strict=True)["errors"]


def test_defaults_render_no_object():
    assert rendering.helm_objects() == []


FLAGS = {
    ("injection", "mutatingAdmissionPolicy"): {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"},
    ("injection", "kyverno"): {"ClusterPolicy"},
    ("monitoring", "podMonitor"): {"PodMonitor"},
    ("monitoring", "prometheusRule"): {"PrometheusRule"},
    ("monitoring", "dashboards", "configMaps"): {"ConfigMap"},
    ("monitoring", "dashboards", "grafanaOperator"): {"ConfigMap", "GrafanaDashboard"},
}


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


@pytest.mark.parametrize(("path", "kinds"), FLAGS.items(), ids=lambda item: ".".join(item) if isinstance(item, tuple) else "")
def test_each_flag_brings_its_kinds_and_no_others(path, kinds):
    values = nested(path, {"enabled": True})
    assert {item["kind"] for item in rendering.helm_objects(values)} == kinds


REFUSED = {
    "unknown key": {"sidecarr": {}},
    "unknown nested key": {"sidecar": {"capacityy": 1}},
    "unknown flag": {"injection": {"webhook": {"enabled": True}}},
    "flag that is not a boolean": {"injection": {"kyverno": {"enabled": "yes"}}},
    "state that is no flag": {"sidecar": {"state": {"enabled": "yes"}}},
    "too little state": {"sidecar": {"state": {"maxMiB": 3}}},
    "state directory by hand": {"sidecar": {"env": {"ONCEWATCH_STATE_DIR": "/tmp"}}},
    "no tokens": {"sidecar": {"capacity": 0}},
    "text as a number": {"sidecar": {"capacity": "many"}},
    "privileged port": {"sidecar": {"metricsPort": 80}},
    "address without brackets": {"sidecar": {"metricsHost": "::"}},
    "one address only": {"sidecar": {"metricsHost": "10.0.0.1"}},
    "admin port": {"sidecar": {"metricsPort": 9465}},
    "digest without its algorithm": {"image": {"digest": "abc"}},
    "unknown pull policy": {"image": {"pullPolicy": "Sometimes"}},
    "no repository": {"image": {"repository": ""}},
    "memory without a unit": {"sidecar": {"resources": {"limits": {"memory": "192"}}}},
    "no memory limit": {"sidecar": {"resources": {"limits": {"memory": None}}}},
    "unknown resource": {"sidecar": {"resources": {"requests": {"gpu": "1"}}}},
    "setting of something else": {"sidecar": {"env": {"PATH": "/bin"}}},
    "setting the chart writes": {"sidecar": {"env": {"ONCEWATCH_CAPACITY": "1"}}},
    "interval without a unit": {"monitoring": {"podMonitor": {"interval": "15"}}},
    "link that is not a URL": {"monitoring": {"prometheusRule": {"grafanaUrl": "grafana"}}},
    "label that is not text": {"monitoring": {"podMonitor": {"labels": {"release": True}}}},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED.keys())
def test_bad_values_are_refused(values):
    with pytest.raises(HelmError):
        rendering.helm_objects({**values})
    with pytest.raises(HelmError):
        rendering.helm_objects({"oncewatch": values}, chart=rendering.APPLICATION_CHART)


def test_every_default_is_in_the_schema():
    chart = helm.Chart.load(rendering.CHART)
    missing = []

    def walk(values, schema, path):
        if schema.get("additionalProperties") is not False or not isinstance(values, dict):
            return
        for key, value in values.items():
            if key not in schema["properties"]:
                missing.append(".".join([*path, key]))
            else:
                part = schema["properties"][key]
                if "$ref" in part:
                    part = root["definitions"][part["$ref"].rpartition("/")[2]]
                walk(value, part, [*path, key])

    root = chart.schema
    walk(chart.values, root, [])
    assert not missing


def test_links_of_alerts_go_where_the_values_say():
    rule = {"enabled": True, "grafanaUrl": "https://g.internal", "runbookUrl": "https://wiki.internal/oncewatch"}
    text = str(rendering.helm_objects({"monitoring": {"prometheusRule": rule}}))
    assert "https://g.internal/d/oncewatch-overview" in text
    assert "https://wiki.internal/oncewatch/OncewatchDown.md" in text
    assert "example.com" not in text and "oncewatch.dev/runbooks" not in text


def test_image_by_digest():
    digest = "sha256:" + "a" * 64
    objects = rendering.helm_objects({"oncewatch": {"image": {"digest": digest}}}, chart=rendering.APPLICATION_CHART)
    container = rendering.pod_template(objects[0])["spec"]["initContainers"][0]
    assert container["image"] == f"oncewatch@{digest}"
