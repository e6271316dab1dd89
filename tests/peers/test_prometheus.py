"""The metrics page as a real Prometheus and its lint see it."""

import subprocess
import time
import uuid
from collections.abc import Iterable

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict_openmetrics

from support.dynamo import Counter
from support.exposition import OPENMETRICS, Scrape, fetch
from support.fault_proxy import drop_response

WRITE = "dynamodb.TransactWriteItems"
APIS = [WRITE, "dynamodb.ExecuteTransaction", "other"]
SEVERITIES = {
    "info": "first_use sdk_retry safe_retry replay retry_after_cancel in_progress_local",
    "warning": "in_flight_collision in_progress_remote encoding_mismatch changed_after_cancel window_edge"
    " token_recycled stuck_in_flight orphaned",
    "error": "cross_client_collision in_progress_exhausted retry_budget_too_short parameter_mismatch remote_mismatch"
    " token_invalid hard_coded_token",
    "critical": "reuse_after_window double_execution fresh_token_after_unknown",
}
PER_API = {
    "attempts_total": (
        "result",
        "success no_response in_progress mismatch cancelled throttled rejected server_error",
    ),
    "calls_total": ("outcome", "applied not_applied in_progress_exhausted unknown"),
    "tokens": ("status", "in_flight succeeded unknown cancelled rejected"),
    "tokens_removed_total": ("reason", "expired evicted_in_retention evicted_in_window"),
}
PLAIN = {
    "tracking_gaps_total": ("reason", "evicted open_attempts_overflow restart"),
    "events_total": ("type", "attempt_start attempt_end call_end client_report"),
    "events_rejected_total": (
        "reason",
        "malformed too_long unsupported_version unknown_type missing_field invalid_field duplicate",
    ),
    "events_dropped_total": ("where", "client findings_queue spans_queue"),
    "spans_total": ("outcome", "exported failed dropped"),
}
SERIES_LIMIT = 350


def labels_of(scrape: Scrape, name: str) -> set[tuple[tuple[str, str], ...]]:
    return {tuple(sorted(s.labels.items())) for s in scrape.named(f"oncewatch_{name}")}


def expected_labels() -> dict[str, set[tuple[tuple[str, str], ...]]]:
    expected = {
        name: {(("api", api), (label, value)) for api in APIS for value in values.split()}
        for name, (label, values) in PER_API.items()
    }
    expected = {name: {tuple(sorted(pairs)) for pairs in sets} for name, sets in expected.items()}
    expected |= {name: {((label, value),) for value in values.split()} for name, (label, values) in PLAIN.items()}
    expected["verdicts_total"] = {
        (("api", api), ("severity", severity), ("verdict", verdict))
        for api in APIS
        for severity, verdicts in SEVERITIES.items()
        for verdict in verdicts.split()
    }
    return expected


def lint(promtool: str, text: str, *flags: str) -> None:
    checked = subprocess.run(
        [promtool, "check", "metrics", *flags], input=text, capture_output=True, text=True, timeout=20
    )
    assert checked.returncode == 0 and not checked.stderr.strip(), checked.stderr


def test_every_series_is_there_at_zero_before_any_event(sidecar, promtool) -> None:
    scrape = sidecar.scrape()
    for name, labels in expected_labels().items():
        assert not labels - labels_of(scrape, name), name
        assert scrape.value(f"oncewatch_{name}") == 0, name
    for histogram in ("attempt_duration_seconds", "retry_delay_seconds", "reuse_age_seconds"):
        for api in APIS:
            assert scrape.value(f"oncewatch_{histogram}_count", api=api) == 0
    assert scrape.value("oncewatch_clock_suspect_total") == 0
    assert scrape.value("oncewatch_oldest_open_token_timestamp_seconds") == 0
    assert len(scrape.samples) <= SERIES_LIMIT
    lint(promtool, scrape.text)


def test_the_gauges_and_the_named_buckets(sidecar) -> None:
    scrape = sidecar.scrape()
    for api in APIS[:2]:
        assert scrape.value("oncewatch_window_seconds", api=api) == 600
        assert scrape.value("oncewatch_tokens_capacity", api=api) == 65536
    buckets = lambda name: {float(s.labels["le"]) for s in scrape.named(f"oncewatch_{name}_bucket")}  # noqa: E731
    assert 5 in buckets("retry_delay_seconds") and 600 in buckets("reuse_age_seconds")
    assert abs(scrape.value("oncewatch_observation_start_timestamp_seconds") - time.time()) < 30
    (build,) = scrape.named("oncewatch_build_info")
    assert build.value == 1 and {"version", "revision"} <= build.labels.keys()
    assert scrape.value("process_resident_memory_bytes") > 0


def run_scenario(proxy, counter: Counter, instrumented) -> None:
    """One dropped response that the SDK repairs, one that the application answers with a fresh token, one mismatch."""
    proxy.plan({1: drop_response(), 3: drop_response()})
    instrumented(proxy.url).transact_write_items(TransactItems=counter.add(1))
    once = instrumented(proxy.url, attempts=1)
    for _ in range(2):
        try:
            once.transact_write_items(TransactItems=counter.add(2))
        except Exception as error:  # the first of the two: its answer is dropped
            assert "Connection" in type(error).__name__, error
    token = str(uuid.uuid4())
    once.transact_write_items(TransactItems=counter.add(3), ClientRequestToken=token)
    with pytest.raises(once.exceptions.IdempotentParameterMismatchException):
        once.transact_write_items(TransactItems=counter.add(4), ClientRequestToken=token)


SCENARIO = {
    "verdicts": {"first_use": 4, "sdk_retry": 1, "fresh_token_after_unknown": 1, "parameter_mismatch": 1},
    "attempts": {"no_response": 2, "success": 3, "mismatch": 1},
    "calls": {"applied": 3, "unknown": 1, "not_applied": 1},
}


def test_prometheus_sees_the_whole_scenario(sidecar, start_prometheus, proxy, counter, instrumented, promtool) -> None:
    prometheus = start_prometheus(sidecar.metrics_target)
    prometheus.wait_scraped_after(time.time())
    assert prometheus.number("count(oncewatch_verdicts_total)") == len(expected_labels()["verdicts_total"])
    assert prometheus.number("sum(oncewatch_verdicts_total)") == 0
    started = time.time()
    run_scenario(proxy, counter, instrumented)
    sidecar.expect(**SCENARIO)
    assert counter.value == 1 + 2 + 2 + 3
    prometheus.wait_scraped_after(time.time())

    for name, label in (("verdicts", "verdict"), ("attempts", "result"), ("calls", "outcome")):
        stored = prometheus.query(f"sum by ({label}) (oncewatch_{name}_total) > 0")
        assert stored == {((label, value),): count for value, count in SCENARIO[name].items()}
    # Born at 0, so the first misuse ever is an increase an alert can see.
    assert prometheus.number("sum(increase(oncewatch_verdicts_total{severity='critical'}[5m]))") > 0
    assert prometheus.query("oncewatch_tokens > 0") == {
        (("api", WRITE), ("status", "succeeded")): 3,
        (("api", WRITE), ("status", "unknown")): 1,
    }
    assert prometheus.number("sum(oncewatch_attempt_duration_seconds_count)") == 6
    assert prometheus.number("sum(oncewatch_retry_delay_seconds_count)") == 1
    assert prometheus.number("oncewatch_clients_connected") == 1
    assert started <= prometheus.number("oncewatch_last_event_timestamp_seconds") <= time.time()
    assert prometheus.number("sum(oncewatch_events_total{type='attempt_start'})") == 6
    assert prometheus.target()["lastError"] == ""
    lint(promtool, sidecar.scrape().text)


def test_exemplars_lead_from_a_finding_to_its_trace(sidecar, start_prometheus, proxy, counter, instrumented) -> None:
    prometheus = start_prometheus(sidecar.metrics_target)
    prometheus.wait_scraped_after(time.time())
    with TracerProvider(shutdown_on_exit=False).get_tracer("peers").start_as_current_span("checkout") as span:
        trace = f"{span.get_span_context().trace_id:032x}"
        run_scenario(proxy, counter, instrumented)
    sidecar.expect(**SCENARIO)
    prometheus.wait_scraped_after(time.time())

    stored = prometheus.exemplars("oncewatch_verdicts_total")
    seen = {s["seriesLabels"]["verdict"]: [e["labels"]["trace_id"] for e in s["exemplars"]] for s in stored}
    assert seen == {
        "fresh_token_after_unknown": [trace],
        "parameter_mismatch": [trace],
    }
    buckets = prometheus.exemplars("oncewatch_attempt_duration_seconds_bucket")
    assert {e["labels"]["trace_id"] for s in buckets for e in s["exemplars"]} == {trace}


def comparable(samples: Iterable) -> set[tuple]:
    """Samples of either format: without what moves by itself, and with bucket bounds as numbers (1 or 1.0)."""
    kept = set()
    for sample in samples:
        if sample.name.startswith("process_") or sample.name.endswith("_created"):
            continue
        labels = {k: float(v) if k == "le" else v for k, v in sample.labels.items()}
        kept.add((sample.name, tuple(sorted(labels.items())), sample.value))
    return kept


def test_both_formats_say_the_same(sidecar, proxy, counter, instrumented) -> None:
    run_scenario(proxy, counter, instrumented)
    sidecar.expect(**SCENARIO)
    content_type, text = fetch(f"{sidecar.metrics_url}/metrics", accept=OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    open_samples = comparable(s for family in strict_openmetrics(text) for s in family.samples)
    classic_type, classic = fetch(f"{sidecar.metrics_url}/metrics")
    assert classic_type.startswith("text/plain") and "# EOF" not in classic and " # {" not in classic
    assert comparable(Scrape(classic).samples) == open_samples
