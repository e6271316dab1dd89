"""Renders the deployment files with the tools that users have: Helm's own SDK and Kustomize."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from helm_python import chart as helm

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "oncewatch"
APPLICATION_CHART = DEPLOY / "helm" / "example"
TOOLS = Path(os.environ.get("ONCEWATCH_TOOLS", ROOT / "target" / "operations" / "bin"))

Object = dict[str, Any]

EVERYTHING: Object = {
    "injection": {"mutatingAdmissionPolicy": {"enabled": True}, "kyverno": {"enabled": True}},
    "monitoring": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"configMaps": {"enabled": True}, "grafanaOperator": {"enabled": True}},
    },
}


class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML libraries silently take the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key given twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def documents(text: str) -> list[Object]:
    return [document for document in yaml.load_all(text, Loader=UniqueKeyLoader) if document]


def read(path: Path) -> list[Object]:
    return documents(path.read_text())


def templates(values: Object | None = None, chart: Path = CHART) -> dict[str, str]:
    """File name of each template to its text; raises HelmError for values the schema refuses."""
    rendered = helm.Chart.load(chart).render(values or {}, name="oncewatch", namespace="default")
    return {Path(path).name: text for path, text in rendered.items()}


def helm_objects(values: Object | None = None, chart: Path = CHART) -> list[Object]:
    return [
        document
        for name, text in templates(values, chart).items()
        if name.endswith(".yaml")
        for document in documents(text)
    ]


def kustomize(directory: Path) -> list[Object]:
    command = [str(TOOLS / "kustomize"), "build", str(directory)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return documents(result.stdout)


def pod_template(workload: Object) -> Object:
    """The pod (metadata and spec) that a workload object makes."""
    match workload["kind"]:
        case "Pod":
            return workload
        case "CronJob":
            return workload["spec"]["jobTemplate"]["spec"]["template"]
        case _:
            return workload["spec"]["template"]


def by_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]
