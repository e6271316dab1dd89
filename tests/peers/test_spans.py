"""Spans as a collector receives them over OTLP/HTTP, and what happens when there is no collector."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider

from support.fault_proxy import drop_response, hold_answer, slow_answer
from support.otlp import OtlpReceiver, attributes
from support.process import free_port, wait_until
from support.sidecar import Sidecar

WRITE = "dynamodb.TransactWriteItems"
NAME = f"idempotency_token {WRITE}"
# Clocks of one machine, but two processes and a scheduler between them.
CLOCK_SLACK_S = 0.15
EXIT_LIMIT_S = 2.0


@pytest.fixture
def traced_sidecar(start_sidecar, otlp) -> Callable[..., Sidecar]:
    """A sidecar that exports to the receiver at once, instead of after the SDK's default of five seconds."""

    def start(*flags: str, endpoint: str = otlp.url, delay_ms: int = 100) -> Sidecar:
        return start_sidecar(
            *flags,
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": str(delay_ms)},
        )

    return start


class Caller:
    """The application's own tracing: one root span per request."""

    def __init__(self) -> None:
        self.tracer = TracerProvider(shutdown_on_exit=False).get_tracer("peers")

    def run(self, call: Callable, **request) -> tuple[str, str]:
        """Makes the call inside a span of its own; trace and span id of it. Server errors are the scenario's."""
        with self.tracer.start_as_current_span("request", record_exception=False) as span:
            context = span.get_span_context()
            with suppress(ClientError, ReadTimeoutError):
                call(**request)
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"


@pytest.fixture
def caller() -> Caller:
    return Caller()


def event_names(span: Span) -> list[str]:
    """What happened in the span, in order."""
    return [event.name for event in span.events]


def links_of(span: Span) -> set[str]:
    return {link.trace_id.hex() for link in span.links}


def mismatch(client, counter, caller: Caller) -> tuple[tuple[str, str], tuple[str, str]]:
    """A success and a call with other parameters under its token: the contexts of both."""
    token = str(uuid.uuid4())
    first = caller.run(client.transact_write_items, TransactItems=counter.add(1), ClientRequestToken=token)
    second = caller.run(client.transact_write_items, TransactItems=counter.add(2), ClientRequestToken=token)
    return first, second


def test_a_span_covers_the_life_of_a_token(traced_sidecar, otlp, proxy, counter, instrumented, caller) -> None:
    traced_sidecar("--spans", "all")
    # The second delay keeps its start and end in different reads of the sidecar, so in different moments.
    proxy.plan({1: slow_answer(1.2), 2: slow_answer(0.05)})
    client = instrumented(proxy.url, read_timeout_s=0.6)
    begun = time.time()
    trace, parent = caller.run(client.transact_write_items, TransactItems=counter.add())
    ended = time.time()
    (received,) = otlp.wait_spans(1)
    span = received.span
    assert (span.name, span.kind) == (NAME, Span.SPAN_KIND_INTERNAL)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
    assert begun - CLOCK_SLACK_S <= span.start_time_unix_nano / 1e9 <= begun + CLOCK_SLACK_S
    assert ended - CLOCK_SLACK_S <= span.end_time_unix_nano / 1e9 <= ended + CLOCK_SLACK_S
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert list(span.links) == []
    times = [e.time_unix_nano for e in span.events]
    assert times == sorted(times) and span.start_time_unix_nano <= times[0] and times[-1] <= span.end_time_unix_nano
    assert event_names(span) == [
        *("attempt_start", "first_use", "attempt_end"),
        *("attempt_start", "sdk_retry", "attempt_end"),
    ]
    assert [attributes(e).get("oncewatch.result") for e in span.events if e.name == "attempt_end"] == [
        "no_response",
        "success",
    ]
    assert received.attributes["oncewatch.api"] == WRITE
    assert received.attributes["oncewatch.attempts"] == 2
    assert received.attributes["oncewatch.client"].count("/") == 1
    assert received.attributes["db.system.name"] == "aws.dynamodb"
    assert received.attributes["db.operation.name"] == "TransactWriteItems"
    assert "error.type" not in received.attributes
    token = proxy.exchanges[0].token
    assert received.attributes["oncewatch.token.hash"] not in ("", token)
    assert token not in str(received)
    assert received.resource["service.name"]
    assert otlp.content_types == {"application/x-protobuf"}


def test_misuse_mode_exports_only_lifecycles_with_a_finding(
    traced_sidecar, otlp, proxy, counter, instrumented, caller
) -> None:
    sidecar = traced_sidecar()
    # Slow enough that the sidecar reads each start and its end at different times.
    proxy.plan({number: slow_answer(0.05) for number in range(1, 6)})
    client = instrumented(proxy.url)
    for amount in (7, 8, 9):
        caller.run(client.transact_write_items, TransactItems=counter.add(amount))
    (trace, parent), (other_trace, _) = mismatch(client, counter, caller)
    sidecar.expect(verdicts={"first_use": 4, "parameter_mismatch": 1})
    assert sidecar.terminate()[0] == 0
    (received,) = otlp.wait_spans(1)
    span = received.span
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert received.attributes["oncewatch.verdict"] == "parameter_mismatch"
    assert event_names(span) == [
        *("attempt_start", "first_use", "attempt_end"),
        *("attempt_start", "parameter_mismatch", "attempt_end"),
    ]
    # The holder, which is also the first attempt, and the request that the finding is about.
    assert links_of(span) == {trace, other_trace}


def test_no_span_at_all_when_they_are_off(traced_sidecar, otlp, dynoxide, counter, instrumented, caller) -> None:
    sidecar = traced_sidecar("--spans", "off")
    mismatch(instrumented(dynoxide.url), counter, caller)
    sidecar.expect(verdicts={"first_use": 1, "parameter_mismatch": 1})
    assert sidecar.terminate()[0] == 0
    assert otlp.requests == 0


def test_a_warning_is_a_finding_but_no_error_status(traced_sidecar, otlp, proxy, counter, instrumented, caller) -> None:
    sidecar = traced_sidecar()
    held = hold_answer()
    proxy.plan({1: held})
    client = instrumented(proxy.url)
    request = {"TransactItems": counter.add(), "ClientRequestToken": str(uuid.uuid4())}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(caller.run, client.transact_write_items, **request)
        proxy.wait_executed(1)
        second_trace, _ = caller.run(client.transact_write_items, **request)
        held.released.set()
        first_trace, first_span = first.result(5)
    sidecar.expect(verdicts={"first_use": 1, "in_flight_collision": 1})
    assert sidecar.terminate()[0] == 0
    (received,) = otlp.wait_spans(1)
    assert received.span.trace_id.hex() == first_trace and received.span.parent_span_id.hex() == first_span
    assert received.span.status.code == Status.STATUS_CODE_UNSET
    assert received.attributes["oncewatch.verdict"] == "in_flight_collision"
    assert links_of(received.span) == {first_trace, second_trace}


def test_a_fresh_token_links_to_the_trace_of_the_lost_one(
    traced_sidecar, otlp, proxy, counter, instrumented, caller
) -> None:
    sidecar = traced_sidecar()
    proxy.plan({1: slow_answer(0.8)})
    client = instrumented(proxy.url, attempts=1, read_timeout_s=0.3)
    lost_trace, _ = caller.run(client.transact_write_items, TransactItems=counter.add())
    fresh_trace, fresh_span = caller.run(client.transact_write_items, TransactItems=counter.add())
    sidecar.expect(verdicts={"first_use": 2, "fresh_token_after_unknown": 1})
    wait_until(lambda: otlp.received, "the span of the fresh token")
    received = otlp.received[0]
    assert (received.span.trace_id.hex(), received.span.parent_span_id.hex()) == (fresh_trace, fresh_span)
    assert links_of(received.span) == {lost_trace, fresh_trace}
    assert received.span.status.code == Status.STATUS_CODE_ERROR
    assert received.attributes["oncewatch.verdict"] == "fresh_token_after_unknown"


def test_an_error_answer_is_named_in_error_type(traced_sidecar, otlp, dynoxide, counter, instrumented, caller) -> None:
    traced_sidecar("--spans", "all")
    request = {"TransactItems": counter.add(needs="nothing"), "ClientRequestToken": str(uuid.uuid4())}
    caller.run(instrumented(dynoxide.url).transact_write_items, **request)
    (received,) = otlp.wait_spans(1)
    assert received.attributes["error.type"] == "TransactionCanceledException"
    assert received.span.status.code == Status.STATUS_CODE_UNSET


def test_the_span_of_an_unknown_outcome_ends_with_the_lease(
    traced_sidecar, otlp, proxy, counter, instrumented, caller, tmp_path
) -> None:
    config = tmp_path / "oncewatch.toml"
    config.write_text(f'[profiles."{WRITE}"]\nlease = "1s"\n')
    traced_sidecar("--spans", "all", "--config", str(config))
    proxy.plan({1: slow_answer(0.6)})
    timeout_s = 0.3
    trace, _ = caller.run(
        instrumented(proxy.url, attempts=1, read_timeout_s=timeout_s).transact_write_items, TransactItems=counter.add()
    )
    (received,) = otlp.wait_spans(1)
    lived_s = (received.span.end_time_unix_nano - received.span.start_time_unix_nano) / 1e9
    assert received.span.trace_id.hex() == trace
    # One lease after the start, or after the ambiguous end: the specification leaves open from when.
    assert 1.0 <= lived_s <= 1.0 + timeout_s + CLOCK_SLACK_S


def test_without_a_callers_trace_the_span_is_a_root(traced_sidecar, otlp, dynoxide, counter, instrumented) -> None:
    traced_sidecar("--spans", "all")
    instrumented(dynoxide.url).transact_write_items(TransactItems=counter.add())
    (received,) = otlp.wait_spans(1)
    assert received.span.parent_span_id == b"" and any(received.span.trace_id)


def test_sigterm_flushes_what_is_queued(traced_sidecar, otlp, dynoxide, counter, instrumented, caller) -> None:
    sidecar = traced_sidecar("--spans", "all", delay_ms=60_000)
    client = instrumented(dynoxide.url)
    for amount in range(5):
        caller.run(client.transact_write_items, TransactItems=counter.add(amount))
    sidecar.expect(verdicts={"first_use": 5}, attempts={"success": 5})
    assert otlp.received == []
    code, seconds = sidecar.terminate()
    assert code == 0 and seconds < EXIT_LIMIT_S
    otlp.wait_spans(5)


def test_exported_spans_are_counted(traced_sidecar, otlp, dynoxide, counter, instrumented, caller) -> None:
    sidecar = traced_sidecar("--spans", "all")
    caller.run(instrumented(dynoxide.url).transact_write_items, TransactItems=counter.add())
    otlp.wait_spans(1)
    assert sidecar.scrape().count_by("oncewatch_spans_total", "outcome") == {"exported": 1}


def lost_spans(sidecar: Sidecar) -> int:
    counted = sidecar.scrape().count_by("oncewatch_spans_total", "outcome")
    assert counted["exported"] == 0
    return counted["failed"] + counted["dropped"]


def test_a_dead_collector_costs_only_counted_spans(traced_sidecar, proxy, counter, instrumented, caller) -> None:
    sidecar = traced_sidecar("--spans", "all", endpoint=f"http://127.0.0.1:{free_port()}")
    proxy.plan({2: drop_response()})
    client = instrumented(proxy.url)
    for amount in range(4):
        caller.run(client.transact_write_items, TransactItems=counter.add(amount))
    findings = sidecar.expect(
        verdicts={"first_use": 4, "sdk_retry": 1}, attempts={"success": 4, "no_response": 1}, calls={"applied": 4}
    )
    assert findings == []
    wait_until(lambda: lost_spans(sidecar) == 4, "all four spans are counted as lost")
    code, seconds = sidecar.terminate()
    assert code == 0 and seconds < EXIT_LIMIT_S


def test_a_hanging_collector_does_not_delay_the_exit(traced_sidecar, dynoxide, counter, instrumented, caller) -> None:
    stuck = OtlpReceiver(hang_s=30)
    try:
        sidecar = traced_sidecar("--spans", "all", endpoint=stuck.url)
        caller.run(instrumented(dynoxide.url).transact_write_items, TransactItems=counter.add())
        wait_until(lambda: stuck.requests >= 1, "an export hangs")
        caller.run(instrumented(dynoxide.url).transact_write_items, TransactItems=counter.add())
        sidecar.expect(verdicts={"first_use": 2}, attempts={"success": 2})
        code, seconds = sidecar.terminate()
        assert code == 0 and seconds < EXIT_LIMIT_S
    finally:
        stuck.stop()
