"""Rules, Alertmanager example and runbooks are valid, agree with each other and with the binary."""

import re
import subprocess

import promql_parser as promql
import pytest
import yaml
from promtool import ALERTS, ROOT, RULES
from vocabulary import exported, labels_out, problems

DEPLOY = ROOT / "deploy"
ALERTMANAGER = DEPLOY / "alertmanager/oncewatch.example.yaml"
RUNBOOKS = {path.stem: path.read_text() for path in (DEPLOY / "runbooks").glob("*.md")}
GROUPS = [group for path in (RULES, ALERTS) for group in yaml.safe_load(path.read_text())["groups"]]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
ALERT_RULES = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
NAMES = {rule["alert"] for rule in ALERT_RULES}
DASHBOARDS = {"oncewatch-overview", "oncewatch-investigate", "oncewatch-sidecar-health"}
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Is it safe to retry?"]
OF_A_REQUEST, OF_A_SIDECAR = {"namespace", "service", "api"}, {"namespace", "service"}


def recorded_labels():
    found = {}
    for rule in RECORDS:  # in the order of evaluation, so that what a rule reads is known
        found[rule["record"]] = labels_out(promql.parse(rule["expr"]), found)
    return found


RECORDED = recorded_labels()


@pytest.fixture(scope="module")
def metrics():
    return exported()


def tool(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules():
    assert "15 rules found" in tool("promtool", "check", "rules", RULES)
    assert "22 rules found" in tool("promtool", "check", "rules", ALERTS)


def test_the_files_are_the_spec_of_a_prometheus_rule():
    for path in (RULES, ALERTS):
        assert list(yaml.safe_load(path.read_text())) == ["groups"]
    names = [group["name"] for group in GROUPS]
    assert len(set(names)) == len(names)


def test_promtool_accepts_the_prometheus_example(tmp_path):
    """Debian builds Prometheus without Kubernetes discovery: its one entry is replaced."""
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.example.yaml").read_text())
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    job["file_sd_configs"] = [{"files": ["targets.json"]}]
    (tmp_path / "targets.json").write_text("[]")
    for path in (RULES, ALERTS):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    assert "2 rule files found" in tool("promtool", "check", "config", tmp_path / "prometheus.yaml")


@pytest.mark.parametrize("rule", RECORDS + ALERT_RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_every_name_of_a_rule_exists(rule, metrics):
    assert problems(rule["expr"], metrics, RECORDED) == []


def test_every_recorded_series_is_used():
    read = " ".join(rule["expr"] for rule in RECORDS + ALERT_RULES)
    assert [name for name in RECORDED if not re.search(rf"(?<![\w:]){name}(?![\w:])", read)] == []


def test_a_record_is_named_by_its_labels():
    for name, labels in RECORDED.items():
        level = set(name.split(":")[0].split("_"))
        assert level <= labels and labels - level <= {"job"}, (name, labels)


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_its_labels_and_annotations(rule):
    assert re.fullmatch(r"Oncewatch([A-Z][a-z]+)+", rule["alert"])
    out = labels_out(promql.parse(rule["expr"]), RECORDED)
    assert out in (OF_A_REQUEST, OF_A_SIDECAR), out
    labels = rule["labels"]
    assert labels["severity"] in ("critical", "warning", "info")
    assert set(labels) <= {"severity", "window"} and "{{" not in str(labels)
    assert "for" in rule
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert notes["runbook_url"] == f"https://oncewatch.dev/runbooks/{rule['alert']}.md"
    address, _, query = notes["dashboard_url"].partition("?")
    assert address.removeprefix("https://grafana.example.com/d/") in DASHBOARDS
    assert query.startswith("var-namespace={{ $labels.namespace }}&var-service={{ $labels.service }}")
    assert ("$labels.api }}" in query) == (out == OF_A_REQUEST or rule["alert"] == "OncewatchTokenStuck")
    used = set(re.findall(r"\$labels\.(\w+)", str(notes)))
    assert used <= (OF_A_REQUEST if "with $labels.api" in notes["description"] else out), used


def test_amtool_accepts_the_example():
    assert "4 inhibit rules" in tool("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize("severity, receiver", [("critical", "pager"), ("warning", "chat"), ("info", "null")])
def test_every_alert_is_routed_by_its_severity(severity, receiver):
    for name in sorted(NAMES):
        labels = [f"alertname={name}", f"severity={severity}", "namespace=shop", "service=orders"]
        assert tool("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels).split() == [receiver]


def matched(matchers):
    """The alert rules that Alertmanager's matchers select."""
    chosen = ALERT_RULES
    for matcher in matchers:
        name, operator, value = re.fullmatch(r'(\w+)(=~|=)"(.*)"', matcher).groups()
        values = value.split("|") if operator == "=~" else [value]
        assert name == "severity" or set(values) <= NAMES, matcher
        chosen = [rule for rule in chosen if {"alertname": rule["alert"], **rule["labels"]}.get(name) in values]
    return chosen


def test_both_sides_of_an_inhibition_carry_its_labels():
    inhibitions = []
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        sides = [matched(rule["source_matchers"]), matched(rule["target_matchers"])]
        assert all(sides), rule
        for alert in sides[0] + sides[1]:
            out = labels_out(promql.parse(alert["expr"]), RECORDED)
            assert set(rule["equal"]) <= out | set(alert["labels"]), (alert["alert"], rule["equal"])
        assert {"namespace", "service"} <= set(rule["equal"])
        targets = "+".join(sorted({alert["alert"] for alert in sides[1]}))
        inhibitions.append((sides[0][0]["alert"].removeprefix("Oncewatch"), targets.replace("Oncewatch", "")))
    assert inhibitions == [
        ("DoubleExecution", "LostIdempotency+ReuseAfterWindow"),
        ("LostIdempotency", "LostIdempotency"),
        ("UnresolvedCallsBurn", "UnresolvedCallsBurn"),
        ("Down", "Blind"),
    ]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert set(RUNBOOKS) == NAMES


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_runbook_is_complete_and_names_what_exists(name, metrics, tmp_path):
    text = RUNBOOKS[name]
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    queries, commands = blocks(text, "promql"), blocks(text, "sh")
    assert queries and commands and "kubectl -n NAMESPACE" in "".join(commands)
    for query in queries:
        assert problems(query, metrics, RECORDED) == []
        assert 'namespace="NAMESPACE", service="SERVICE"' in query
    rules = [{"record": f"query{i}", "expr": query} for i, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": name, "rules": rules}]}))
    tool("promtool", "check", "rules", tmp_path / "queries.yaml")
    for other in re.findall(r"\bOncewatch\w+", text):
        assert other in NAMES
    severities = {rule["labels"]["severity"] for rule in ALERT_RULES if rule["alert"] == name}
    assert severities == set(re.findall(r"critical|warning|info", re.search(r"^Severity: ([^.]*)\.", text, re.M)[1]))


# What backticks may name besides metrics, labels, their values and alerts.
SETTINGS = {"token_max_len", "token_charset", "ignored_fields", "capacity", "lease", "retention", "spans"}
FIELDS = {"holder", "confirmed", "attribute_not_exists", "misuse", "all", "window"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_runbook_names_the_verdicts_of_its_alert_and_no_unknown_ones(name, metrics):
    verdicts = metrics["oncewatch_verdicts_total"]["verdict"]
    known = set(metrics) | SETTINGS | FIELDS
    for labels in metrics.values():
        known |= set(labels).union(*labels.values()) if labels else set()
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", RUNBOOKS[name]))
    assert words <= known, words - known
    for rule in ALERT_RULES:
        if rule["alert"] == name:
            used = {word for word in re.findall(r"[a-z_]+", rule["expr"]) if word in verdicts}
            assert used <= words, used - words
    asked = set(re.findall(r"findings\?verdict=(\w+)", RUNBOOKS[name]))
    assert asked <= verdicts


KIND = r"(new|fresh|another|different|valid|own|third) token\b"
OTHER_TOKEN = re.compile(rf"{KIND}|rotate tokens?|regenerate", re.I)
FORBIDDEN = re.compile(rf"\b(never|not|no)\s+(\w+\s+)?(an?\s+)?({KIND}|rotate tokens?|regenerate)", re.I)
# What was seen, or a request that was refused and so was not applied.
ALLOWED = {
    "The same request (equal API, scope and fingerprint) was sent under a fresh token after, or while, the outcome of"
    " the former token became unknown: verdict `fresh_token_after_unknown`, a *possible* double execution.",
    "{{ $value | humanize }} times in 15 minutes a request to {{ $labels.api }} was sent again under a fresh token"
    " while the outcome of the former was unknown: more than 5 times, or more than 1 % of the calls.",
    "{{ $value | humanize }} times in 15 minutes a request to {{ $labels.api }} was sent again under a fresh token"
    " while the outcome of the former was unknown.",
    "If the server refused it (diagnosis 3: `rejected`), it was not applied: send it with a valid token and keep that"
    " one for its retries.",
    "A request that was refused with a mismatch was not applied: run it again as its own operation, with its own token"
    " from the beginning.",
}


def advises_another_token(text):
    text = re.sub(r"^#.*$|\*\*", "", text, flags=re.M)
    for sentence in re.split(r"(?<=[.;])\s", " ".join(text.split())):
        if OTHER_TOKEN.search(FORBIDDEN.sub("", sentence)) and sentence not in ALLOWED:
            return sentence
    return None


@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_text_advises_another_token_after_an_unknown_outcome(name):
    texts = [RUNBOOKS[name]]
    texts += [rule["annotations"]["description"] for rule in ALERT_RULES if rule["alert"] == name]
    assert [advice for advice in map(advises_another_token, texts) if advice] == []
    retry = RUNBOOKS[name].split("## Is it safe to retry?")[1]
    assert re.search(r"\*\*.*(no|yes|not|only|same token)", retry, re.I), retry
    assert "window" in retry or not re.search(r"\byes\b", retry, re.I), retry


@pytest.mark.parametrize(
    "advice",
    [
        "The call timed out. Use a new token for each attempt.",
        "If the first attempt did not answer, use a new token.",
        "If it did not answer use a new token.",
        "The request was refused, so it was not applied; send it with a valid token and keep that one.",
        "Never wait; run it with its own token.",
        "Do not wait. Rotate tokens.",
    ],
)
def test_the_search_for_such_advice_finds_it(advice):
    assert advises_another_token(advice)
    assert advises_another_token("# Name\n\n" + advice + "\n\n## Mitigation\n")


def test_the_search_for_such_advice_lets_a_warning_pass():
    assert advises_another_token("Never use a new token. **Do not rotate tokens**. Never with a new token.") is None
