"""Every object against the strict schemas of several Kubernetes versions and of its custom resource."""

import copy
import re

import pytest
import rendering
import schemas

POLICY_KINDS = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?")

EXAMPLES = rendering.DEPLOY / "examples"
KUSTOMIZATIONS = ["example", "monitoring"]


def every_object() -> list[tuple[str, rendering.Object]]:
    """Where each object that a user can get comes from, and the object."""
    found = []
    files = [*EXAMPLES.glob("*.yaml"), *(rendering.DEPLOY / "inject").glob("*.yaml")]
    for file in sorted(files):
        found += [(file.name, item) for item in rendering.read(file)]
    for name in KUSTOMIZATIONS:
        directory = rendering.DEPLOY / "kustomize" / name
        found += [(f"kustomize/{name}", item) for item in rendering.kustomize(directory)]
    operator = rendering.DEPLOY / "kustomize" / "monitoring" / "grafana-operator"
    found += [("kustomize/monitoring/grafana-operator", item) for item in rendering.kustomize(operator)]
    found += [("helm/oncewatch", item) for item in rendering.helm_objects(rendering.EVERYTHING)]
    found += [("helm/example", item) for item in rendering.helm_objects(chart=rendering.APPLICATION_CHART)]
    return found


OBJECTS = every_object()


def identity(case: tuple[str, rendering.Object]) -> str:
    origin, item = case
    return f"{origin}:{item['kind']}/{item['metadata']['name']}"


def versions_of(origin: str, item: rendering.Object) -> list[str]:
    if item["kind"] in POLICY_KINDS:
        return schemas.ADMISSION_POLICIES
    if origin == "pod-before-1.29.yaml":
        return [*schemas.BEFORE_NATIVE_SIDECARS, *schemas.NATIVE_SIDECARS]
    return schemas.NATIVE_SIDECARS


@pytest.mark.parametrize("case", OBJECTS, ids=identity)
def test_object_is_valid(case):
    origin, item = case
    schemas.check(item, versions_of(origin, item))


@pytest.mark.parametrize("case", OBJECTS, ids=identity)
def test_unknown_key_is_refused(case):
    origin, item = case
    for path in (["sppec"], ["spec", "unknownKey"]):
        broken = copy.deepcopy(item)
        target = broken
        for key in path[:-1]:
            target = target.setdefault(key, {})
        target[path[-1]] = {}
        if item["kind"] == "ConfigMap" and path[0] == "spec":
            continue
        with pytest.raises(schemas.Invalid):
            schemas.check(broken, versions_of(origin, item))


def test_unknown_kind_is_refused():
    with pytest.raises(schemas.Invalid, match="Couldn't find schema"):
        schemas.check({"apiVersion": "v1", "kind": "Pood", "metadata": {"name": "x"}}, ["1.37"])


@pytest.mark.parametrize("version", schemas.BEFORE_NATIVE_SIDECARS)
def test_native_sidecar_is_refused_where_it_would_never_end(version):
    pod = rendering.read(EXAMPLES / "pod.yaml")[0]
    with pytest.raises(schemas.Invalid, match="restartPolicy"):
        schemas.check_kubernetes(pod, version)


@pytest.mark.parametrize("case", OBJECTS, ids=identity)
def test_names_labels_and_ports_follow_the_rules(case):
    item = case[1]
    assert NAME.fullmatch(item["metadata"]["name"])
    for labels in found("labels", item):
        for key, value in labels.items():
            assert LABEL_KEY.fullmatch(key), key
            assert isinstance(value, str), f"{key}: {value!r} is not a string"
            assert LABEL_VALUE.fullmatch(value), value
    for ports in found("ports", item):
        for port in ports:
            if "containerPort" in port:
                assert len(port["name"]) <= 15 and PORT_NAME.fullmatch(port["name"]), port["name"]


def found(key: str, value: object) -> list:
    """All values of a key, except those inside rules, whose labels are templates."""
    results = []
    if isinstance(value, dict):
        for name, part in value.items():
            if name == key and part and not isinstance(part, str):
                results.append(part)
            if name != "groups":
                results += found(key, part)
    elif isinstance(value, list):
        for part in value:
            results += found(key, part)
    return results
