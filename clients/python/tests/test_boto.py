"""A real boto3 against a scripted server: which events the sidecar gets."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
import types
import uuid

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError, ReadTimeoutError
from peers import Step, error, ok

import oncewatch
from oncewatch._call import AttemptStart

ITEMS = [{"Put": {"TableName": "orders", "Item": {"id": {"S": "é1"}, "n": {"N": "1"}}}}]
CREDENTIALS = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "eu-west-1"}


def make_client(dynamo, mode="standard", attempts=4, read_timeout=5, session=None, **retries):
    if attempts:
        retries["total_max_attempts"] = attempts
    config = Config(retries={"mode": mode, **retries}, read_timeout=read_timeout, connect_timeout=5)
    return (session or boto3).client("dynamodb", endpoint_url=dynamo.url, config=config, **CREDENTIALS)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    """The SDK's waits between attempts are not under test."""
    monkeypatch.setattr("botocore.endpoint.time", types.SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def client(dynamo, transport, collector):
    return oncewatch.instrument(make_client(dynamo))


def test_success_tells_everything(client, dynamo, collector):
    dynamo.script = [
        ok(
            ConsumedCapacity=[
                {"TableName": "a", "CapacityUnits": 4.0, "WriteCapacityUnits": 4.0},
                {"TableName": "b", "CapacityUnits": 2.5, "ReadCapacityUnits": 0.5, "WriteCapacityUnits": 2.0},
            ]
        )
    ]
    client.transact_write_items(TransactItems=ITEMS, ClientRequestToken="tok-é", ReturnConsumedCapacity="TOTAL")
    start, end, over = collector.wait(3)
    headers, body = dynamo.requests[0]
    expected = oncewatch.fingerprint(
        "dynamodb.TransactWriteItems", body, "ClientRequestToken", ("ReturnConsumedCapacity",)
    )
    common = {
        "api": "dynamodb.TransactWriteItems",
        "token": "tok-é",
        "call": headers["amz-sdk-invocation-id"],
        "client": f"{os.environ.get('HOSTNAME') or socket.gethostname()}/{os.getpid()}",
        "scope": "eu-west-1",
    }
    assert (
        start.items()
        >= {
            **common,
            "type": "attempt_start",
            "attempt": 1,
            "max_attempts": 4,
            "token_origin": "caller",
            "fp": expected.fp,
            "fp_raw": expected.fp_raw,
        }.items()
    )
    assert (
        end.items()
        >= {
            **common,
            "type": "attempt_end",
            "attempt": 1,
            "outcome": "ok",
            "http_status": 200,
            "request_id": "REQ1",
            "read_units": 0.5,
            "write_units": 6.0,
        }.items()
    )
    assert over.items() >= {**common, "type": "call_end", "attempts": 1, "outcome": "ok"}.items()
    assert 0 < end["duration_ms"] <= over["duration_ms"] < 5000
    assert start["at"] <= end["at"] <= over["at"]
    assert "traceparent" not in start


def test_token_made_by_the_sdk_is_read_from_the_body(client, dynamo, collector):
    client.execute_transaction(TransactStatements=[{"Statement": "SELECT 1"}])
    start = collector.wait(3)[0]
    assert start["api"] == "dynamodb.ExecuteTransaction"
    assert start["token_origin"] == "sdk"
    assert start["token"] == json.loads(dynamo.requests[0][1])["ClientRequestToken"]
    assert uuid.UUID(start["token"])


@pytest.mark.parametrize(("mode", "configured"), [("standard", 4), ("standard", None), ("legacy", 4), ("adaptive", 4)])
def test_retries_are_attempts_of_one_call(dynamo, transport, collector, mode, configured):
    client = oncewatch.instrument(make_client(dynamo, mode, configured))
    dynamo.script = [error(400, "TransactionInProgressException"), error(500, "InternalServerError"), ok()]
    client.transact_write_items(TransactItems=ITEMS)
    events = collector.wait(7)
    assert [(e["type"], e.get("attempt"), e.get("outcome"), e.get("error")) for e in events] == [
        ("attempt_start", 1, None, None),
        ("attempt_end", 1, "error", "TransactionInProgressException"),
        ("attempt_start", 2, None, None),
        ("attempt_end", 2, "error", "InternalServerError"),
        ("attempt_start", 3, None, None),
        ("attempt_end", 3, "ok", None),
        ("call_end", None, "ok", None),
    ]
    assert events[1]["http_status"] == 400 and events[3]["http_status"] == 500
    assert events[-1]["attempts"] == 3
    assert len({e["call"] for e in events}) == 1 and len({e["token"] for e in events}) == 1
    assert len({e["fp_raw"] for e in collector.of("attempt_start")}) == 1
    limits = [e.get("max_attempts") for e in collector.of("attempt_start")]
    if configured:
        assert limits == [4, 4, 4]
    else:
        # The default was 3 once, and not told before the first retry.
        assert limits in ([4, 4, 4], [None, 3, 3])


def test_legacy_default_limit_is_known_from_the_second_attempt(dynamo, transport, collector):
    client = oncewatch.instrument(make_client(dynamo, "legacy", None))
    dynamo.script = [error(400, "TransactionInProgressException")]
    client.transact_write_items(TransactItems=ITEMS)
    collector.wait(5)
    assert [e.get("max_attempts") for e in collector.of("attempt_start")] == [None, 10]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("TransactionCanceledException", 400),
        ("IdempotentParameterMismatchException", 400),
        ("ValidationException", 400),
    ],
)
def test_a_definite_error_reaches_application_and_sidecar(client, dynamo, collector, code, status):
    dynamo.script = [error(status, code)]
    with pytest.raises(ClientError) as raised:
        client.transact_write_items(TransactItems=ITEMS)
    assert raised.value.response["Error"]["Code"] == code
    _, end, over = collector.wait(3)
    for event in (end, over):
        assert (event["outcome"], event["error"], event["http_status"]) == ("error", code, status)


def test_call_that_runs_out_of_attempts(client, dynamo, collector):
    dynamo.script = [error(400, "ThrottlingException")] * 4
    with pytest.raises(ClientError):
        client.transact_write_items(TransactItems=ITEMS)
    events = collector.wait(9)
    assert events[-2]["attempt"] == events[-2]["max_attempts"] == 4
    assert events[-1].items() >= {"type": "call_end", "error": "ThrottlingException", "attempts": 4}.items()


@pytest.mark.parametrize("mode", ["standard", "legacy"])
@pytest.mark.parametrize(
    ("step", "raised"), [(Step(hang_s=1), ReadTimeoutError), (Step(reset=True), ConnectionClosedError)]
)
def test_without_an_answer_the_outcome_is_no_response(dynamo, transport, collector, mode, step, raised):
    client = oncewatch.instrument(make_client(dynamo, mode, 2, read_timeout=0.2))
    dynamo.script = [step, step]
    with pytest.raises(raised):
        client.transact_write_items(TransactItems=ITEMS)
    events = collector.wait(5)
    assert [e.get("outcome") for e in events] == [None, "no_response", None, "no_response", "no_response"]
    assert not any("error" in e or "http_status" in e for e in events)


def test_lost_answer_then_success(dynamo, transport, collector):
    client = oncewatch.instrument(make_client(dynamo, read_timeout=0.2))
    dynamo.script = [Step(hang_s=1)]
    client.transact_write_items(TransactItems=ITEMS)
    assert [e.get("outcome") for e in collector.wait(5)] == [None, "no_response", None, "ok", "ok"]
    assert collector.of("attempt_end")[0]["duration_ms"] >= 200


def test_keyboard_interrupt_ends_the_call(client, dynamo, collector):
    dynamo.script = [Step(hang_s=2)]

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            client.transact_write_items(TransactItems=ITEMS)
    finally:
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    assert [(e["type"], e.get("outcome")) for e in collector.wait(3)] == [
        ("attempt_start", None),
        ("attempt_end", "no_response"),
        ("call_end", "no_response"),
    ]


def test_answer_that_cannot_be_parsed(client, dynamo, collector, monkeypatch):
    def broken(*_, **__):
        raise ValueError("unreadable")

    monkeypatch.setattr("botocore.parsers.JSONParser.parse", broken)
    with pytest.raises(ValueError, match="unreadable"):
        client.transact_write_items(TransactItems=ITEMS)
    assert [e.get("outcome") for e in collector.wait(3)] == [None, "no_response", "no_response"]


def test_older_botocore_hands_no_context_to_before_send(client, dynamo, collector):
    def forget_context(request, **_):
        request.__dict__.pop("context", None)

    client.meta.events.register_first("before-send.dynamodb.TransactWriteItems", forget_context)
    dynamo.script = [error(500, "InternalServerError")]
    client.transact_write_items(TransactItems=ITEMS)
    assert [e.get("attempt") for e in collector.wait(5)] == [1, 1, 2, 2, None]


def test_call_that_never_reached_the_wire_is_silent(client, dynamo, collector):
    client._request_signer._credentials = None
    with pytest.raises(NoCredentialsError):
        client.transact_write_items(TransactItems=ITEMS)
    assert collector.wait(0, 0.1) == []


def test_other_operations_are_silent(client, dynamo, collector):
    client.list_tables()
    client.describe_endpoints()
    assert len(dynamo.requests) == 2
    assert collector.wait(0, 0.1) == []


@pytest.mark.parametrize("kind", ["boto3", "botocore"])
def test_session_covers_later_clients_once(dynamo, transport, collector, kind):
    if kind == "boto3":
        session = boto3.Session()
        make = make_client
    else:
        session = botocore.session.Session()

        def make(dynamo, session):
            return session.create_client("dynamodb", endpoint_url=dynamo.url, **CREDENTIALS)

    assert oncewatch.instrument(session) is session
    oncewatch.instrument(session)
    client = make(dynamo, session=session)
    assert oncewatch.instrument(client) is client
    client.transact_write_items(TransactItems=ITEMS)
    collector.wait(3)


def test_resource_and_scope(dynamo, transport, collector):
    resource = boto3.resource("dynamodb", endpoint_url=dynamo.url, **CREDENTIALS)
    oncewatch.instrument(resource, scope="123456789012/eu-west-1")
    resource.meta.client.transact_write_items(TransactItems=[{"Delete": {"TableName": "orders", "Key": {"id": "1"}}}])
    assert collector.wait(3)[0]["scope"] == "123456789012/eu-west-1"


def test_anything_else_is_a_type_error():
    with pytest.raises(TypeError, match="boto3 client or Session, not int"):
        oncewatch.instrument(5)


def test_calls_from_many_threads_stay_apart(client, dynamo, collector):
    def work():
        for _ in range(5):
            client.transact_write_items(TransactItems=ITEMS)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = collector.wait(120)
    by_call = {}
    for event in events:
        by_call.setdefault((event["call"], event["token"]), []).append(event["type"])
    assert len(by_call) == 40
    assert all(types == ["attempt_start", "attempt_end", "call_end"] for types in by_call.values())


def test_current_trace_is_the_parent(client, dynamo, collector):
    """Asks the real library if it is there; the run script installs it."""
    from opentelemetry import trace

    context = trace.SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        client.transact_write_items(TransactItems=ITEMS)
    assert collector.wait(3)[0]["traceparent"] == f"00-{0xA1:032x}-{0xB2:016x}-01"


def test_a_failure_inside_is_counted_and_kept_from_the_application(client, dynamo, collector, transport, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("inside oncewatch")

    monkeypatch.setattr("oncewatch._boto.Call", broken)
    monkeypatch.setattr("oncewatch._boto._max_attempts", broken)
    assert client.transact_write_items(TransactItems=ITEMS)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert transport.failures > 0 and "inside oncewatch" in transport.last_failure
    transport.failures = 0


def test_a_start_that_was_dropped_leaves_its_fingerprints_to_the_end(client, dynamo, collector, transport, monkeypatch):
    put = transport._buffer.put
    monkeypatch.setattr(transport._buffer, "put", lambda event: not isinstance(event, AttemptStart) and put(event))
    client.transact_write_items(TransactItems=ITEMS)
    end = collector.wait(2)[0]
    assert end["type"] == "attempt_end" and len(end["fp"]) == len(end["fp_raw"]) == 32
