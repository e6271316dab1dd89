"""Runs pods through the injection policies: the API server's plugin, and Kyverno's rule code."""

import json
import subprocess
from pathlib import Path

import rendering

INJECT = rendering.DEPLOY / "inject"


class Refused(Exception):
    """The policy failed on a pod; with failurePolicy Ignore a cluster would let it pass unchanged."""


def run(tool: str, policy: Path, pods: list[rendering.Object]) -> list[rendering.Object]:
    command = [str(rendering.TOOLS / tool), str(policy)]
    result = subprocess.run(command, input=json.dumps(pods), capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise Refused(result.stderr)
    admitted = []
    for item in json.loads(result.stdout):
        if "error" in item:
            raise Refused(item["error"])
        admitted.append(without_zero_values(item["pod"]))
    return admitted


def without_zero_values(pod: rendering.Object) -> rendering.Object:
    """Without what Go's types add or leave out when they are written, and the namespace of the test."""
    pod.pop("status", None)
    pod["metadata"].pop("namespace", None)
    if not pod["metadata"].get("labels"):
        pod["metadata"].pop("labels", None)
    if pod["spec"].get("hostNetwork") is False:
        del pod["spec"]["hostNetwork"]
    for containers in ("initContainers", "containers"):
        for container in pod["spec"].get(containers, []):
            if container.get("resources") == {}:
                del container["resources"]
    for key in ("apiVersion", "kind"):
        pod.setdefault(key, {"apiVersion": "v1", "kind": "Pod"}[key])
    return pod


def admission_policy(pods, policy=INJECT / "mutatingadmissionpolicy.yaml"):
    return run("admission", policy, pods)


def kyverno(pods, policy=INJECT / "kyverno-clusterpolicy.yaml"):
    return run("kyverno", policy, pods)
