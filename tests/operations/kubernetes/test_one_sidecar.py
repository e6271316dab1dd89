"""Helm, Kustomize, both injections and plain YAML give the same pod."""

import json
import os
import re
import shutil
import subprocess

import admission
import generate
import pytest
import rendering

EXAMPLES = rendering.DEPLOY / "examples"


def normal(value):
    """Without what does not matter: order of keys, and of lists whose elements have a name."""
    if isinstance(value, dict):
        return {key: normal(part) for key, part in sorted(value.items())}
    if isinstance(value, list):
        parts = [normal(part) for part in value]
        ordered = any("valueFrom" in part or "image" in part for part in parts if isinstance(part, dict))
        if not ordered and parts and all(isinstance(part, dict) and "name" in part for part in parts):
            parts.sort(key=lambda part: part["name"])
        return parts
    return value


def pod_of(objects, kind, name):
    workload = next(item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))
    template = rendering.pod_template(workload)
    return normal({"labels": template["metadata"]["labels"], "spec": template["spec"]})


def without_sidecar(pod):
    """The pod as its owner wrote it, marked for injection."""
    spec = json.loads(json.dumps(pod["spec"]))
    spec["initContainers"] = [item for item in spec["initContainers"] if item["name"] != "oncewatch"]
    spec["volumes"] = [item for item in spec["volumes"] if not item["name"].startswith("oncewatch")]
    for container in spec["containers"]:
        container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "oncewatch"]
        if not container["volumeMounts"]:
            del container["volumeMounts"]
    for key in ("initContainers", "volumes"):
        if not spec[key]:
            del spec[key]
    metadata = {"name": "injected", "labels": pod["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def injected(engine, pod):
    admitted = engine([without_sidecar(pod)])[0]
    return normal({"labels": admitted["metadata"]["labels"], "spec": admitted["spec"]})


WORKLOADS = [("Deployment", "orders"), ("CronJob", "settle")]


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
@pytest.mark.parametrize("engine", [admission.admission_policy, admission.kyverno], ids=lambda item: item.__name__)
def test_every_path_gives_the_same_pod(workload, engine):
    helm = pod_of(rendering.helm_objects(chart=rendering.APPLICATION_CHART), *workload)
    kustomize = pod_of(rendering.kustomize(rendering.DEPLOY / "kustomize" / "example"), *workload)
    assert helm["spec"]["initContainers"][0]["name"] == "oncewatch"
    assert kustomize == helm
    assert injected(engine, helm) == helm


def test_plain_examples_have_the_same_sidecar():
    helm = pod_of(rendering.helm_objects(chart=rendering.APPLICATION_CHART), "CronJob", "settle")
    job = pod_of(rendering.read(EXAMPLES / "job.yaml"), "Job", "settle")
    assert job == helm
    pod = pod_of(rendering.read(EXAMPLES / "pod.yaml"), "Pod", "orders")
    for key in ("initContainers", "volumes"):
        assert pod["spec"][key] == helm["spec"][key]
    assert pod["spec"]["containers"][0]["volumeMounts"] == helm["spec"]["containers"][0]["volumeMounts"]


WITH_STATE = {"sidecar": {"state": {"enabled": True}}}


def with_state_by_kustomize(tmp_path, resource):
    """Component and state on one file, which is copied: a kustomization reads nothing outside its folder."""
    for name in ("component", "state"):
        shutil.copytree(rendering.DEPLOY / "kustomize" / name, tmp_path / name)
    folder = tmp_path / "overlay"
    folder.mkdir()
    shutil.copy(resource, folder / "resource.yaml")
    overlay = {"resources": ["resource.yaml"], "components": ["../component", "../state"]}
    (folder / "kustomization.yaml").write_text(json.dumps(overlay))
    return rendering.kustomize(folder)


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_every_path_gives_the_same_pod_with_state(workload, tmp_path):
    helm = pod_of(rendering.helm_objects({"oncewatch": WITH_STATE}, rendering.APPLICATION_CHART), *workload)
    workloads = rendering.DEPLOY / "kustomize" / "example" / "workloads.yaml"
    assert pod_of(with_state_by_kustomize(tmp_path, workloads), *workload) == helm
    rendered = rendering.templates({**rendering.EVERYTHING, **WITH_STATE})
    for engine, name in (
        (admission.admission_policy, "mutatingadmissionpolicy.yaml"),
        (admission.kyverno, "kyverno-clusterpolicy.yaml"),
    ):
        policy = tmp_path / name
        policy.write_text(rendered[name].lstrip("\n"))
        assert injected(lambda pods, engine=engine, policy=policy: engine(pods, policy), helm) == helm


def test_a_plain_pod_gets_the_state_by_the_same_patch(tmp_path):
    helm = pod_of(rendering.helm_objects({"oncewatch": WITH_STATE}, rendering.APPLICATION_CHART), *WORKLOADS[0])
    pod = pod_of(with_state_by_kustomize(tmp_path, EXAMPLES / "pod.yaml"), "Pod", "orders")
    for key in ("initContainers", "volumes"):
        mine = [item for item in helm["spec"][key] if item["name"].startswith("oncewatch")]
        assert mine == pod["spec"][key]


def test_ordinary_container_differs_in_its_restart_policy_only():
    native = pod_of(rendering.read(EXAMPLES / "pod.yaml"), "Pod", "orders")["spec"]
    ordinary = pod_of(rendering.read(EXAMPLES / "pod-before-1.29.yaml"), "Pod", "orders")["spec"]
    sidecar = native.pop("initContainers")[0]
    assert sidecar.pop("restartPolicy") == "Always"
    native["containers"] = [sidecar, *native["containers"]]
    assert ordinary == native


def test_generated_files_are_up_to_date():
    stale = [path.name for path, text in generate.generated().items() if path.read_text() != text]
    assert not stale, "run `python tests/operations/kubernetes/generate.py`"


def test_kustomize_leaves_workloads_without_the_label():
    objects = rendering.kustomize(rendering.DEPLOY / "kustomize" / "example")
    assert "oncewatch" not in json.dumps(pod_of(objects, "Deployment", "storefront"))
    assert not rendering.by_kind(objects, "Sidecar")


def test_kustomize_names_every_kind_of_workload():
    component = rendering.read(rendering.DEPLOY / "kustomize" / "component" / "kustomization.yaml")[0]
    patched = {
        kind for patch in component["patches"] for kind in patch["target"]["kind"].strip("()").split("|")
    }
    mounted = {target["select"]["kind"] for item in component["replacements"] for target in item["targets"]}
    assert patched == mounted == {"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"}


def test_rules_and_dashboards_have_one_source():
    helm = rendering.helm_objects(rendering.EVERYTHING)
    kustomize = rendering.kustomize(rendering.DEPLOY / "kustomize" / "monitoring")
    for objects in (helm, kustomize):
        rules = {item["metadata"]["name"]: item["spec"] for item in rendering.by_kind(objects, "PrometheusRule")}
        for name in ("rules", "alerts"):
            assert rules[f"oncewatch-{name}"] == rendering.read(rendering.DEPLOY / "prometheus" / f"{name}.yaml")[0]
        files = {}
        for item in rendering.by_kind(objects, "ConfigMap"):
            files.update({name: text.strip() for name, text in item["data"].items()})
        sources = sorted((rendering.ROOT / "dashboards").glob("*.json"))
        assert len(sources) == 3
        assert files == {source.name: source.read_text().strip() for source in sources}


def test_config_maps_of_dashboards_are_the_same():
    paths = rendering.helm_objects(rendering.EVERYTHING), rendering.kustomize(rendering.DEPLOY / "kustomize" / "monitoring")
    helm, kustomize = (
        {item["metadata"].pop("name"): item["metadata"] for item in rendering.by_kind(objects, "ConfigMap")}
        for objects in paths
    )
    assert helm == kustomize and len(helm) == 3


@pytest.mark.parametrize("origin", ["helm", "kustomize"])
def test_grafana_dashboards_point_to_config_maps_that_are_there(origin):
    if origin == "helm":
        objects = rendering.helm_objects(rendering.EVERYTHING)
    else:
        directory = rendering.DEPLOY / "kustomize" / "monitoring"
        objects = rendering.kustomize(directory) + rendering.kustomize(directory / "grafana-operator")
    keys = {(item["metadata"]["name"], key) for item in rendering.by_kind(objects, "ConfigMap") for key in item["data"]}
    references = [item["spec"]["configMapRef"] for item in rendering.by_kind(objects, "GrafanaDashboard")]
    assert len(references) == 3
    assert {(item["name"], item["key"]) for item in references} <= keys


def deploy_texts():
    for file in sorted(rendering.DEPLOY.rglob("*")):
        if file.is_file() and not file.is_symlink() and file.suffix in {".yaml", ".md", ".tpl", ".json", ".txt", ""}:
            yield file, file.read_text()


def test_settings_exist_in_the_binary():
    binary = os.environ["ONCEWATCH_BIN"]
    help_text = subprocess.run([binary, "run", "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    known = set(re.findall(r"\[env:\s+(ONCEWATCH_\w+)\]", help_text))
    sources = "".join(path.read_text() for path in (rendering.ROOT / "src").rglob("*.rs"))
    known |= set(re.findall(r'"(OTEL_\w+)"', sources)) | set(re.findall(r'env::var\("(ONCEWATCH_\w+)"\)', sources))
    tests = "".join(path.read_text() for path in (rendering.ROOT / "tests").rglob("*.rs"))
    of_tests = set(re.findall(r'env::var\("(ONCEWATCH_\w+)"\)', tests))
    named = {}
    for file, text in deploy_texts():
        for name in re.findall(r"\b(?:ONCEWATCH|OTEL)_[A-Z][A-Z_]*[A-Z]\b", text):
            # A text may say how a test is run; a manifest may not.
            if file.suffix != ".md" or name not in of_tests:
                named.setdefault(name, file.name)
    assert {"ONCEWATCH_METRICS_ADDR", "OTEL_RESOURCE_ATTRIBUTES"} <= named.keys()
    unknown = {name: file for name, file in named.items() if name not in known}
    assert not unknown


@pytest.mark.parametrize("state", [False, True], ids=["as it is", "with state"])
def test_sidecar_settings_are_accepted_by_the_binary(state):
    """check-config takes the rendered environment, with $(NAME) replaced the way the kubelet does."""
    values = {"oncewatch": {"sidecar": {"state": {"enabled": state}}}}
    objects = rendering.helm_objects(values, rendering.APPLICATION_CHART)
    pod = rendering.pod_template(rendering.by_kind(objects, "Deployment")[0])
    environment = {}
    for entry in pod["spec"]["initContainers"][0]["env"]:
        value = entry.get("value", f"a-{entry['name'].lower()}")
        if entry["name"] == "ONCEWATCH_TOKEN_HASH_KEY":
            continue
        environment[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], value)
    result = subprocess.run(
        [os.environ["ONCEWATCH_BIN"], "check-config"], env=environment, capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 0, result.stderr
    assert 'metrics-addr = "0.0.0.0:9464"' in result.stdout
    assert "capacity = 65536" in result.stdout
    assert ('state-dir = "/var/lib/oncewatch"' in result.stdout) == state
    assert ('state-max-bytes = "64MiB"' in result.stdout) == state
    assert "$(" not in environment["OTEL_RESOURCE_ATTRIBUTES"]
