"""What the injection policies change, and which pods they must leave alone."""

import copy

import admission
import pytest
import rendering

ENGINES = pytest.mark.parametrize(
    "engine", [admission.admission_policy, admission.kyverno], ids=lambda item: item.__name__
)


def pod(labels=None, **spec):
    spec.setdefault("containers", [{"name": "app", "image": "app:1"}])
    labels = {"oncewatch.dev/inject": "true"} if labels is None else labels
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "labels": labels}, "spec": spec}


def mount(name, path):
    return {"name": name, "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": path}]}


DATA = [{"name": "data", "emptyDir": {}}]

INJECTED = {
    "bare": pod(),
    "two containers": pod(containers=[{"name": "a", "image": "a"}, mount("b", "/data")], volumes=DATA),
    "init containers": pod(initContainers=[{"name": "m", "image": "m"}, {"name": "n", "image": "n"}]),
    "other ports": pod(containers=[{"name": "a", "image": "a", "ports": [{"containerPort": 8080}]}]),
    "said to be Linux": pod(os={"name": "linux"}),
    "said not to have the host's network": pod(hostNetwork=False),
}

LEFT_ALONE = {
    "no label": pod(labels={}),
    "label says no": pod(labels={"oncewatch.dev/inject": "false"}),
    "has the sidecar": pod(initContainers=[{"name": "oncewatch", "image": "x", "restartPolicy": "Always"}]),
    "has it as a container": pod(containers=[{"name": "oncewatch", "image": "x"}, {"name": "a", "image": "a"}]),
    "volume of that name": pod(volumes=[{"name": "oncewatch", "emptyDir": {}}]),
    "volume of the state's name": pod(volumes=[{"name": "oncewatch-state", "emptyDir": {}}]),
    "mount path taken": pod(containers=[mount("a", "/run/oncewatch")], volumes=DATA),
    "port taken": pod(containers=[{"name": "a", "image": "a", "ports": [{"containerPort": 9464}]}]),
    "port taken by an init container": pod(
        initContainers=[{"name": "i", "image": "i", "restartPolicy": "Always", "ports": [{"containerPort": 9464}]}]
    ),
    "host network": pod(hostNetwork=True),
    "Windows": pod(os={"name": "windows"}),
}


@ENGINES
def test_pods_with_the_label_get_the_sidecar_first(engine):
    for name, result in zip(INJECTED, engine(list(copy.deepcopy(INJECTED).values())), strict=True):
        before, spec = INJECTED[name]["spec"], result["spec"]
        names = [item["name"] for item in spec["initContainers"]]
        assert names == ["oncewatch", *(item["name"] for item in before.get("initContainers", []))], name
        assert [item["name"] for item in spec["containers"]] == [item["name"] for item in before["containers"]]
        assert sorted(item["name"] for item in spec["volumes"]).count("oncewatch") == 1, name
        for container, original in zip(spec["containers"], before["containers"], strict=True):
            mounts = {item["mountPath"]: item for item in container.pop("volumeMounts")}
            assert mounts.pop("/run/oncewatch") == {"name": "oncewatch", "mountPath": "/run/oncewatch"}, name
            expected = dict(original)
            assert list(mounts.values()) == expected.pop("volumeMounts", []), name
            assert container == expected, name


@ENGINES
def test_pods_that_it_could_hurt_are_left_alone(engine):
    for name, result in zip(LEFT_ALONE, engine(list(copy.deepcopy(LEFT_ALONE).values())), strict=True):
        assert result == admission.without_zero_values(copy.deepcopy(LEFT_ALONE[name])), name


@ENGINES
def test_injection_twice_is_injection_once(engine):
    once = engine(list(copy.deepcopy(INJECTED).values()))
    assert engine(copy.deepcopy(once)) == once


def test_one_policy_leaves_alone_what_the_other_injected():
    pods = list(INJECTED.values())
    by_kyverno = admission.kyverno(copy.deepcopy(pods))
    assert admission.admission_policy(copy.deepcopy(by_kyverno)) == by_kyverno
    by_policy = admission.admission_policy(copy.deepcopy(pods))
    assert admission.kyverno(copy.deepcopy(by_policy)) == by_policy


def test_a_policy_that_fails_does_not_stop_pods():
    policy, binding = rendering.read(admission.INJECT / "mutatingadmissionpolicy.yaml")
    assert policy["spec"]["failurePolicy"] == "Ignore"
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    cluster_policy = rendering.read(admission.INJECT / "kyverno-clusterpolicy.yaml")[0]
    assert cluster_policy["spec"]["webhookConfiguration"]["failurePolicy"] == "Ignore"


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("object.spec.volumes", "object.spec.volume["), ('op: "add"', 'op: "ad"'), ("JSONPatch{", "Patch{"), ("failurePolicy:", "failPolicy:")],
)
def test_a_broken_expression_is_seen(tmp_path, was, becomes):
    text = (admission.INJECT / "mutatingadmissionpolicy.yaml").read_text()
    broken = tmp_path / "policy.yaml"
    assert was in text
    broken.write_text(text.replace(was, becomes))
    with pytest.raises(admission.Refused):
        admission.admission_policy([pod()], broken)


@pytest.mark.parametrize("values", [{"metricsHost": "[::]", "metricsPort": 9999}, {"capacity": 4096, "env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}}])
def test_chart_values_reach_the_injected_sidecar(tmp_path, values):
    rendered = rendering.templates({**rendering.EVERYTHING, "sidecar": values})
    sidecars = []
    for engine, name in (
        (admission.admission_policy, "mutatingadmissionpolicy.yaml"),
        (admission.kyverno, "kyverno-clusterpolicy.yaml"),
    ):
        policy = tmp_path / name
        policy.write_text(rendered[name].lstrip("\n"))
        sidecars.append(engine([pod()], policy)[0]["spec"]["initContainers"][0])
    assert sidecars[0] == sidecars[1]
    environment = {item["name"]: item.get("value") for item in sidecars[0]["env"]}
    host, port = values.get("metricsHost", "0.0.0.0"), values.get("metricsPort", 9464)
    assert environment["ONCEWATCH_METRICS_ADDR"] == f"{host}:{port}"
    assert environment["ONCEWATCH_CAPACITY"] == str(values.get("capacity", 65536))
    assert environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") == values.get("env", {}).get("OTEL_EXPORTER_OTLP_ENDPOINT")
    assert sidecars[0]["ports"][0]["containerPort"] == port
