"""Runs one `promtool test rules` case against the shipped rules."""

import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "deploy/prometheus/rules.yaml"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
API = "dynamodb.TransactWriteItems"


def series(metric, values, pod="a", service="orders", **labels):
    """An input series as a PodMonitor labels it; `service=None` is a scrape without that label."""
    labels = {
        "namespace": "shop",
        "service": service,
        "pod": pod,
        "container": "oncewatch",
        "job": "shop/oncewatch",
        "instance": f"{pod}:9464",
        **labels,
    }
    text = ",".join(f'{k}="{v}"' for k, v in labels.items() if v is not None)
    return {"series": f"{metric}{{{text}}}", "values": values}


def verdict(name, values, api=API, **labels):
    return series("oncewatch_verdicts_total", values, api=api, verdict=name, **labels)


def calls(outcome, values, api=API, **labels):
    return series("oncewatch_calls_total", values, api=api, outcome=outcome, **labels)


def attempts(result, values, api=API, **labels):
    return series("oncewatch_attempts_total", values, api=api, result=result, **labels)


def firing(alertname, severity, service="orders", api=API, **labels):
    """The labels that an alert must have: these and no others."""
    labels = {
        "alertname": alertname,
        "alertstate": "firing",
        "severity": severity,
        "namespace": "shop",
        "service": service,
        "api": api,
        **labels,
    }
    return {key: value for key, value in labels.items() if value is not None}


def fire(service, labels):
    """An expectation: of this service these alerts fire, and no others."""
    samples = [({"__name__": "ALERTS", **each}, 1) for each in labels]
    return matching(f'ALERTS{{alertstate="firing",service="{service}"}}', samples)


def observing(since_seconds, pod="a", **labels):
    """When the sidecar began; the clock of a test begins at 0, so -9000 is long before."""
    return series("oncewatch_observation_start_timestamp_seconds", f"{since_seconds}x400", pod=pod, **labels)


def matching(expression, samples):
    """An expectation: labels (with `__name__`) and value of every sample of `expression`."""
    rows = []
    for labels, value in samples:
        name = labels.get("__name__", "")
        text = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k != "__name__")
        rows.append({"labels": f"{name}{{{text}}}", "value": value})
    return {"expr": expression, "exp_samples": rows}


def run(directory, inputs, expected, interval="1m", rules=RULES, alerts=ALERTS):
    """`expected`: at a time, all alerts that fire then, or what `matching` gives."""
    groups = [group["name"] for path in (rules, alerts) for group in yaml.safe_load(path.read_text())["groups"]]
    checks = []
    for at, wanted in expected:
        if isinstance(wanted, list):
            wanted = matching('ALERTS{alertstate="firing"}', [({"__name__": "ALERTS", **labels}, 1) for labels in wanted])
        checks.append({"eval_time": at, **wanted})
    case = {
        "rule_files": [str(rules), str(alerts)],
        "evaluation_interval": interval,
        "group_eval_order": groups,
        "tests": [{"interval": interval, "input_series": inputs, "promql_expr_test": checks}],
    }
    path = directory / "case.yaml"
    path.write_text(yaml.safe_dump(case, sort_keys=False))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
