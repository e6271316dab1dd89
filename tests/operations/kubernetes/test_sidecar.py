"""The sidecar itself, field by field: Pod Security "restricted", probes, volume, resources, settings."""

import json
import os
import re
import subprocess
import threading

import pytest
import rendering

EXAMPLES = rendering.DEPLOY / "examples"


def every_pod():
    """Each pod that carries the sidecar, by where it comes from."""
    sources = {file.name: rendering.read(file) for file in sorted(EXAMPLES.glob("*.yaml"))}
    sources["kustomize"] = rendering.kustomize(rendering.DEPLOY / "kustomize" / "example")
    sources["helm"] = rendering.helm_objects(chart=rendering.APPLICATION_CHART)
    for origin, objects in sources.items():
        for item in objects:
            if item["kind"] in {"Pod", "Deployment", "Job", "CronJob"} and item["metadata"]["name"] != "storefront":
                yield f"{origin}:{item['metadata']['name']}", rendering.pod_template(item)


PODS = dict(every_pod())
ALL_PODS = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


def sidecar(pod):
    spec = pod["spec"]
    return next(item for item in [*spec.get("initContainers", []), *spec["containers"]] if item["name"] == "oncewatch")


def containers(pod):
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def test_every_way_is_looked_at():
    assert {name.split(":")[0] for name in PODS} == {"pod.yaml", "job.yaml", "pod-before-1.29.yaml", "kustomize", "helm"}


@ALL_PODS
def test_pod_security_restricted(pod):
    """All fields of the standard "restricted" (with those of "baseline"), for every container of the pod."""
    spec = pod["spec"]
    pod_context = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        assert not spec.get(field)
    assert pod_context.get("sysctls", []) == []
    assert "seLinuxOptions" not in pod_context and "windowsOptions" not in pod_context
    for volume in spec["volumes"]:
        kinds = set(volume) - {"name"}
        assert kinds <= {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for container in containers(pod):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert set(context["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        assert context.get("privileged", False) is False
        assert context.get("procMount", "Default") == "Default"
        assert context.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is True
        assert context.get("runAsUser", pod_context.get("runAsUser")) != 0
        profile = context.get("seccompProfile", pod_context.get("seccompProfile"))
        assert profile["type"] in {"RuntimeDefault", "Localhost"}
        assert "seLinuxOptions" not in context and "appArmorProfile" not in context and "windowsOptions" not in context
        assert not any("hostPort" in port for port in container.get("ports", []))


@ALL_PODS
def test_sidecar_does_not_depend_on_the_security_of_the_pod(pod):
    context = sidecar(pod)["securityContext"]
    assert context == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@ALL_PODS
def test_has_no_readiness_probe_and_starts_fast(pod):
    container = sidecar(pod)
    assert "readinessProbe" not in container and "lifecycle" not in container
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/livez", "port": "oncewatch"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] == 1, "the application waits for the first success"
    assert startup["periodSeconds"] * startup["failureThreshold"] == 30
    assert "successThreshold" not in startup and "initialDelaySeconds" not in startup


@ALL_PODS
def test_start_order_and_end(pod):
    spec, container = pod["spec"], sidecar(pod)
    if spec.get("initContainers"):
        assert spec["initContainers"][0] is container
        assert container["restartPolicy"] == "Always", "else the application would wait for its end"
    else:
        assert spec["containers"][0] is container and "restartPolicy" not in container
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@ALL_PODS
def test_volume_is_small_in_memory_and_mounted_as_a_directory_everywhere(pod):
    volumes = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "oncewatch"]
    assert volumes == [{"name": "oncewatch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    for container in [sidecar(pod), *pod["spec"]["containers"]]:
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "oncewatch"]
        assert mounts == [{"name": "oncewatch", "mountPath": "/run/oncewatch"}], container["name"]


@pytest.mark.parametrize("mebibytes", [None, 4, 7, 1000])
def test_state_is_on_a_disk_of_the_sidecar_alone_and_fits_its_volume(mebibytes):
    state = {"enabled": True} | ({"maxMiB": mebibytes} if mebibytes else {})
    values = {"oncewatch": {"sidecar": {"state": state}}}
    for item in rendering.helm_objects(values, chart=rendering.APPLICATION_CHART):
        pod = rendering.pod_template(item)
        volume = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "oncewatch-state")
        assert set(volume) == {"name", "emptyDir"} and set(volume["emptyDir"]) == {"sizeLimit"}, "not in memory"
        environment = {entry["name"]: entry.get("value") for entry in sidecar(pod)["env"]}
        assert environment["ONCEWATCH_STATE_MAX_BYTES"] == f"{mebibytes or 64}MiB"
        written, room = mebibytes or 64, int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi"))
        assert room > written, "the kubelet evicts a pod whose volume is larger"
        mounts = {
            container["name"]: mount["mountPath"]
            for container in containers(pod)
            for mount in container.get("volumeMounts", [])
            if mount["name"] == "oncewatch-state"
        }
        assert mounts == {"oncewatch": environment["ONCEWATCH_STATE_DIR"]}
        test_pod_security_restricted(pod)
        test_sidecar_does_not_depend_on_the_security_of_the_pod(pod)


@ALL_PODS
def test_state_is_not_kept_unless_asked_for(pod):
    assert "ONCEWATCH_STATE_DIR" not in {entry["name"] for entry in sidecar(pod)["env"]}
    assert "oncewatch-state" not in {volume["name"] for volume in pod["spec"]["volumes"]}


@ALL_PODS
def test_resources(pod):
    assert sidecar(pod)["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "352Mi"}}


def settings(container, directory):
    """The container's environment as the kubelet makes it, with addresses and paths of this test's."""
    environment = {}
    for entry in container["env"]:
        if "value" in entry:
            value = entry["value"]
            environment[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: environment.get(match[1], ""), value)
    if "ONCEWATCH_STATE_DIR" in environment:
        environment["ONCEWATCH_STATE_DIR"] = str(directory / "state")
    return environment | {
        "ONCEWATCH_SOCKET": str(directory / "events.sock"),
        "ONCEWATCH_METRICS_ADDR": "127.0.0.1:0",
        "ONCEWATCH_ADMIN_ADDR": "127.0.0.1:0",
        "ONCEWATCH_LOG_FORMAT": "json",
    }


def memory_bound(arguments, environment):
    """What the program says at its start that nothing can make it exceed."""
    command = [os.environ["ONCEWATCH_BIN"], *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        timer = threading.Timer(20, program.kill)
        timer.start()
        try:
            lines = []
            for line in program.stdout:
                lines.append(line)
                if '"ready"' in line:
                    return json.loads(line)["memory_bound_bytes"]
            raise AssertionError("".join(lines))
        finally:
            timer.cancel()
            program.kill()


def with_memory():
    """Each pod, and the application chart's with state, and with spans."""
    yield from PODS.items()
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    for what, values in {"state": {"state": {"enabled": True}}, "spans": {"env": endpoint}}.items():
        objects = rendering.helm_objects({"oncewatch": {"sidecar": values}}, chart=rendering.APPLICATION_CHART)
        yield what, rendering.pod_template(rendering.by_kind(objects, "Deployment")[0])


# For the volume in memory, and the kernel's share.
BESIDES_THE_PROGRAM = 16 << 20


WITH_MEMORY = dict(with_memory())


@pytest.mark.parametrize(("what", "pod"), WITH_MEMORY.items(), ids=WITH_MEMORY.keys())
def test_memory_limit_is_above_what_clients_can_make_the_sidecar_take(what, pod, tmp_path):
    container = sidecar(pod)
    environment = settings(container, tmp_path)
    assert ("ONCEWATCH_STATE_DIR" in environment) == (what == "state")
    bound = memory_bound(container["args"], environment)
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    assert bound + BESIDES_THE_PROGRAM <= limit, f"{bound >> 20} MiB"


@ALL_PODS
def test_environment(pod):
    container = sidecar(pod)
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    for position, entry in enumerate(container["env"]):
        for reference in re.findall(r"\$\((\w+)\)", entry.get("value", "")):
            assert reference in names[:position], f"{entry['name']} uses {reference} before it is there"
    values = {entry["name"]: entry for entry in container["env"]}
    port = {port["name"]: port["containerPort"] for port in container["ports"]}["oncewatch"]
    assert values["ONCEWATCH_METRICS_ADDR"]["value"] == f"0.0.0.0:{port}"
    assert values["ONCEWATCH_SOCKET"]["value"] == "/run/oncewatch/events.sock"
    assert values["ONCEWATCH_TOKEN_HASH_KEY"]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert "value" not in values["ONCEWATCH_TOKEN_HASH_KEY"]
    assert all(source["configMapRef"]["optional"] for source in container["envFrom"])
    assert values["POD_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in values, "spans are opt-in"


def test_network_policy_is_an_example_only_and_says_what_it_does():
    text = (EXAMPLES / "networkpolicy.yaml").read_text()
    assert text.startswith("# WARNING") and "default-deny" in text
    everything = [
        *rendering.helm_objects(rendering.EVERYTHING),
        *rendering.kustomize(rendering.DEPLOY / "kustomize" / "example"),
        *rendering.kustomize(rendering.DEPLOY / "kustomize" / "monitoring"),
    ]
    assert not rendering.by_kind(everything, "NetworkPolicy")
    rules = rendering.documents(text)[0]["spec"]["ingress"]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    assert 9464 in ports and len(ports) == 2, "the application's own port must stay open"


def test_exemplars_lead_to_traces_by_the_label_that_the_sidecar_writes():
    config_map = rendering.read(EXAMPLES / "datasources.yaml")[0]
    sources = rendering.documents(config_map["data"]["oncewatch-datasources.yaml"])[0]["datasources"]
    uids = {source["uid"] for source in sources}
    prometheus = next(source for source in sources if source["type"] == "prometheus")
    destinations = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert [item["name"] for item in destinations] == ["trace_id"]
    assert {item["datasourceUid"] for item in destinations} <= uids
    exposition = (rendering.ROOT / "src" / "metrics" / "exposition.rs").read_text()
    assert 'trace_id=' in exposition


@ALL_PODS
def test_pod_monitor_finds_the_sidecar(pod):
    monitors = [
        *rendering.by_kind(rendering.helm_objects(rendering.EVERYTHING), "PodMonitor"),
        *rendering.by_kind(rendering.kustomize(rendering.DEPLOY / "kustomize" / "monitoring"), "PodMonitor"),
    ]
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= pod["metadata"]["labels"].items()
        endpoint = monitor["spec"]["podMetricsEndpoints"][0]
        assert endpoint["port"] in [port["name"] for port in sidecar(pod)["ports"]]
        assert endpoint["path"] == "/metrics"
