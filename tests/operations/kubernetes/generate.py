"""Writes the files that are made from the chart, the one source of the sidecar.

`python generate.py` writes them; test_one_sidecar.py fails if a committed file differs.
"""

from pathlib import Path

import yaml

from rendering import DEPLOY, EVERYTHING, Object, templates

HEADER = "# Made from deploy/helm/oncewatch by tests/operations/kubernetes/generate.py; edit it there.\n"

# The workload kinds differ in how deep the pod lies. The kind and name of a patch do not count: the
# target in kustomization.yaml selects.
PATCHES = {
    "pod.yaml": ("v1", "Pod", []),
    "pod-template.yaml": ("apps/v1", "Deployment", ["spec", "template"]),
    "cronjob.yaml": ("batch/v1", "CronJob", ["spec", "jobTemplate", "spec", "template"]),
}

def indent(text: str, columns: int) -> str:
    return "".join(" " * columns + line if line.strip() else line for line in text.splitlines(True))


def only(kind: str, text: str) -> str:
    return "---\n".join(part.lstrip("\n") for part in text.split("---\n") if f"kind: {kind}\n" in part)


def pod_spec(rendered: dict[str, str]) -> str:
    """The sidecar's part of a pod spec as text, cut out of the Kyverno policy's patch."""
    lines = rendered["kyverno-clusterpolicy.yaml"].splitlines(True)
    start = next(number for number, line in enumerate(lines) if line.strip() == "initContainers:")
    depth = len(lines[start]) - len(lines[start].lstrip())
    part = "".join(line[depth:] for line in lines[start:])
    containers, volumes = part.index("containers:\n  - (name)"), part.index("volumes:\n")
    return (part[:containers] + part[volumes:]).replace("\\$(", "$(").rstrip() + "\n"


def state_spec(without: str) -> str:
    """What the state directory adds to that pod spec, as text."""
    rendered = templates({**EVERYTHING, "sidecar": {"state": {"enabled": True}}})
    with_state, without = yaml.safe_load(pod_spec(rendered)), yaml.safe_load(without)

    def added(mine: Object, others: Object, key: str) -> list[Object]:
        return [item for item in mine[key] if item not in others[key]]

    sidecar, before = with_state["initContainers"][0], without["initContainers"][0]
    container = {"name": sidecar["name"]} | {key: added(sidecar, before, key) for key in ("env", "volumeMounts")}
    spec = {"initContainers": [container], "volumes": added(with_state, without, "volumes")}
    return yaml.safe_dump(spec, sort_keys=False)


def patch(api_version: str, kind: str, path: list[str], spec: str) -> str:
    text = f"apiVersion: {api_version}\nkind: {kind}\n"
    body = 'metadata:\n  name: any\n  labels:\n    oncewatch.dev/inject: "true"\nspec:\n' + indent(spec, 2)
    if path:
        text += "metadata:\n  name: any\n"
        body = body.replace("  name: any\n", "", 1)
    for depth, key in enumerate(path):
        text += " " * 2 * depth + key + ":\n"
    return text + indent(body, 2 * len(path))


def generated() -> dict[Path, str]:
    """Path below deploy/ to content."""
    rendered = templates(EVERYTHING)
    spec = pod_spec(rendered)
    state = state_spec(spec)
    files = {
        "inject/mutatingadmissionpolicy.yaml": rendered["mutatingadmissionpolicy.yaml"],
        "inject/kyverno-clusterpolicy.yaml": rendered["kyverno-clusterpolicy.yaml"],
        "kustomize/monitoring/podmonitor.yaml": rendered["podmonitor.yaml"],
        "kustomize/monitoring/prometheusrule.yaml": rendered["prometheusrule.yaml"],
        "kustomize/monitoring/grafana-operator/grafanadashboards.yaml": only(
            "GrafanaDashboard", rendered["dashboards.yaml"]
        ),
    }
    for name, (api_version, kind, path) in PATCHES.items():
        files[f"kustomize/component/{name}"] = patch(api_version, kind, path, spec)
        files[f"kustomize/state/{name}"] = patch(api_version, kind, path, state)
    return {DEPLOY / name: HEADER + text.lstrip("\n") for name, text in files.items()}


if __name__ == "__main__":
    for file, content in generated().items():
        file.write_text(content)
        print(file.relative_to(DEPLOY))
