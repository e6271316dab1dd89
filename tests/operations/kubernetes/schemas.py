"""Strict schemas: of Kubernetes for several versions, and of the custom resources.

An object of a kind without a schema is an error, and so is a key that a schema does not name.
"""

import copy
import functools
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

Schema = dict[str, Any]

NATIVE_SIDECARS = ["1.29", "1.31", "1.33", "1.35", "1.36", "1.37"]
BEFORE_NATIVE_SIDECARS = ["1.25", "1.26", "1.27"]
ADMISSION_POLICIES = ["1.36", "1.37"]

# Group and kind to the file that defines it. `run` fetches the files and names their folders.
CRD_FILES = {
    ("monitoring.coreos.com", "PodMonitor"): ("PROMETHEUS_OPERATOR_CRDS", "monitoring.coreos.com_podmonitors.yaml"),
    ("monitoring.coreos.com", "PrometheusRule"): (
        "PROMETHEUS_OPERATOR_CRDS",
        "monitoring.coreos.com_prometheusrules.yaml",
    ),
    ("kyverno.io", "ClusterPolicy"): ("KYVERNO_CRDS", "kyverno.io_clusterpolicies.yaml"),
}


class Invalid(Exception):
    """The object breaks its schema, or has none."""


def check(item: dict[str, Any], versions: list[str]) -> None:
    """Raises Invalid if a Kubernetes version, or the custom resource's definition, refuses the object."""
    group = item["apiVersion"].rpartition("/")[0]
    if (group, item["kind"]) == ("grafana.integreatly.org", "GrafanaDashboard"):
        validate(item, grafana_dashboard())
    elif (group, item["kind"]) in CRD_FILES:
        validate(item, custom_resource(group, item["kind"], item["apiVersion"].rpartition("/")[2]))
    else:
        for version in versions:
            check_kubernetes(item, version)


def check_kubernetes(item: dict[str, Any], version: str) -> None:
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        raise Invalid(error.message) from error
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        raise Invalid(f"Kubernetes {version}: {item['kind']}: {path}: {error.message}") from error


def validate(item: dict[str, Any], schema: Schema) -> None:
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(item))
    if errors:
        error = jsonschema.exceptions.best_match(errors)
        path = ".".join(str(part) for part in error.absolute_path)
        raise Invalid(f"{item['kind']}: {path}: {error.message}")


@functools.cache
def custom_resource(group: str, kind: str, version: str) -> Schema:
    variable, name = CRD_FILES[group, kind]
    definition = yaml.safe_load((folder(variable) / name).read_text())
    for candidate in definition["spec"]["versions"]:
        if candidate["name"] == version:
            schema = copy.deepcopy(candidate["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = object_meta()
            return closed(schema)
    raise Invalid(f"{kind}: {group} has no version {version}")


@functools.cache
def grafana_dashboard() -> Schema:
    schema = json.loads(Path(environment("GRAFANA_DASHBOARD_SCHEMA")).read_text())
    definition = schema["definitions"]["IGrafanaDashboard"]
    definition["properties"]["metadata"] = object_meta()
    return {**definition, "definitions": schema["definitions"]}


def object_meta() -> Schema:
    """Object metadata as manifests write it: names, labels and annotations."""
    strings = {"type": "object", "additionalProperties": {"type": "string"}}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 253},
            "namespace": {"type": "string", "maxLength": 63},
            "labels": strings,
            "annotations": strings,
        },
    }


def closed(schema: Any) -> Any:
    """The schema with unknown keys refused, as the API server does with strict field validation."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    return result


def folder(variable: str) -> Path:
    return Path(environment(variable))


def environment(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise RuntimeError(f"{variable} is not set: start these tests with tests/operations/kubernetes/run")
    return value
