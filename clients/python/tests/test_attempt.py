"""The API for everything that is not boto3, and the limits of the wire protocol."""

from __future__ import annotations

import io
import json
import urllib.error

import pytest
from peers import wait_until

import oncewatch
from oncewatch import _event

LIMITS = {
    "api": 128,
    "token": 512,
    "call": 64,
    "fp": 64,
    "fp_raw": 64,
    "client": 128,
    "scope": 256,
    "error": 128,
    "request_id": 128,
}


def test_one_attempt_is_a_call_of_its_own(transport, collector):
    with oncewatch.begin("stripe", "key-1", body=b'{"amount":1}', scope="acct_1") as attempt:
        attempt.end("ok", http_status=200, request_id="req_1")
    start, end, over = collector.wait(3)
    assert start["fp"] == oncewatch.fingerprint("stripe", b'{"amount":1}').fp
    assert start.items() >= {"attempt": 1, "token_origin": "caller", "scope": "acct_1", "api": "stripe"}.items()
    assert end.items() >= {"outcome": "ok", "http_status": 200, "request_id": "req_1"}.items()
    assert start["call"] == end["call"] == over["call"] and over["attempts"] == 1


def test_several_attempts_of_one_call(transport, collector):
    first = oncewatch.begin("stripe", "key", call="c1", fp="f" * 32, max_attempts=3)
    first.end("no_response")
    second = oncewatch.begin("stripe", "key", call="c1", attempt=2, fp="f" * 32, max_attempts=3)
    second.end("error", error="idempotency_error", http_status=400)
    second.end_call()
    second.end_call()
    events = collector.wait(5)
    assert [(e["type"], e.get("attempt"), e["call"]) for e in events] == [
        ("attempt_start", 1, "c1"),
        ("attempt_end", 1, "c1"),
        ("attempt_start", 2, "c1"),
        ("attempt_end", 2, "c1"),
        ("call_end", None, "c1"),
    ]
    assert events[-1].items() >= {"attempts": 2, "outcome": "error", "error": "idempotency_error"}.items()


class Answered(Exception):
    def __init__(self, response):
        self.response = response


class Reply:
    status_code = 409


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TimeoutError(), {"outcome": "no_response"}),
        (KeyboardInterrupt(), {"outcome": "no_response"}),
        (Answered(Reply()), {"outcome": "error", "http_status": 409}),
        (Answered(None), {"outcome": "no_response"}),
        (
            Answered({"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": 400}}),
            {"outcome": "error", "error": "X", "http_status": 400},
        ),
        (urllib.error.HTTPError("http://x", 503, "", {}, io.BytesIO()), {"outcome": "error", "http_status": 503}),
    ],
)
def test_an_exception_tells_what_it_knows(transport, collector, raised, expected):
    with pytest.raises(type(raised)):
        with oncewatch.begin("http", "key"):
            raise raised
    _, end, over = collector.wait(3)
    for event in (end, over):
        assert {name: event[name] for name in ("outcome", "error", "http_status") if name in event} == expected


def test_an_attempt_that_is_lost_ends_without_response(transport, collector):
    oncewatch.begin("http", "key")
    assert [e.get("outcome") for e in collector.wait(3)] == [None, "no_response", "no_response"]


def test_an_error_without_code_and_status_still_makes_a_valid_event(transport, collector):
    oncewatch.begin("http", "key").end("error", error="")
    oncewatch.begin("http", "key").end("nonsense")
    ends = [e for e in collector.wait(6) if e["type"] == "attempt_end"]
    assert [(e["outcome"], e.get("error")) for e in ends] == [("error", "UnknownError"), ("no_response", None)]


@pytest.mark.parametrize("unit", ["x", "é", "\U0001f600", "\x01", "\ud800"], ids=ascii)
def test_every_limit_holds_for_every_script(transport, collector, monkeypatch, unit):
    long = unit * 5000
    monkeypatch.setattr(transport, "_client", _event.clipped(long, 124) + "/1")
    attempt = oncewatch.begin(
        long, long, fp=long, fp_raw=long, call=long, scope=long, traceparent="x" * 5000, max_attempts=2**80
    )
    attempt.end(
        "error", error=long, request_id=long, http_status=2**80, read_units=float("nan"), write_units=float("inf")
    )
    events = collector.wait(2)
    for line in b"".join(collector.streams).splitlines():
        assert len(line) <= _event.LINE_BYTES_MAX and line.isascii()
    for event in events:
        for name, limit in LIMITS.items():
            if name in event:
                assert 0 < len(event[name].encode("utf-8")) <= limit, name
        assert not event.keys() & {"max_attempts", "read_units", "write_units", "http_status"}


@pytest.fixture
def queued(transport, monkeypatch):
    """The events that were queued; no sender takes them."""
    monkeypatch.setattr(transport, "_start", lambda: None)
    return transport._buffer._events


def test_texts_of_an_answer_wait_within_their_limits(queued):
    long = "é" * 100_000
    oncewatch.begin("stripe", "key", traceparent=long).end(long, error=long, request_id=long)
    start, end, _ = queued
    assert start.traceparent == "é" * 64
    assert end.outcome == ("no_response", "é" * 64, None, "é" * 64)


@pytest.mark.parametrize("refused", [("AttemptStart",), ("AttemptStart", "AttemptEnd")])
def test_the_body_of_a_refused_start_counts_for_the_end_that_keeps_it(transport, queued, monkeypatch, refused):
    put = transport._buffer.put
    monkeypatch.setattr(transport._buffer, "put", lambda event: type(event).__name__ not in refused and put(event))
    oncewatch.begin("stripe", "key", body="x" * 20_000).end()
    assert len(queued) == 3 - len(refused)
    assert 20_000 < transport._buffer._bytes < 22_000


def test_a_body_of_32_kib_waits_and_counts_and_a_longer_one_is_hashed_at_once(transport, queued):
    oncewatch.begin("stripe", "key", body="x" * 32 * 1024).end()
    assert queued[0].call.body is not None and 32 * 1024 < transport._buffer._bytes < 34 * 1024
    oncewatch.begin("stripe", "key", body="x" * (32 * 1024 + 1)).end()
    assert queued[3].call.body is None and transport._buffer._bytes < 36 * 1024


def test_the_body_is_hashed_as_it_was_at_the_beginning(transport, collector):
    body = bytearray(b'{"amount":1}')
    attempt = oncewatch.begin("stripe", "key", body=body)
    body[:] = b" " * len(body)
    attempt.end()
    assert collector.wait(3)[0]["fp"] == oncewatch.fingerprint("stripe", b'{"amount":1}').fp


def test_a_body_that_would_fill_the_buffer_is_hashed_at_once(transport, collector):
    body = json.dumps({"text": "x" * 300_000, "key": "k"})
    oncewatch.begin("stripe", "key", body=body, token_field="key").end()
    start = collector.wait(3)[0]
    assert "fp" not in start
    assert start["fp_raw"] == oncewatch.fingerprint("stripe", body, "key").fp_raw


def test_long_tokens_that_begin_alike_stay_apart(transport, collector):
    for last in "ab":
        oncewatch.begin("default", "x" * 600 + last).end()
    tokens = {e["token"] for e in collector.wait(6)}
    assert len(tokens) == 2 and {len(token) for token in tokens} == {512}
    oncewatch.begin("default", "y" * 512).end()
    wait_until(lambda: any(e["token"] == "y" * 512 for e in collector.events), 5, lambda: "a token at the limit")


def test_wrong_types_are_counted_and_not_raised(transport, collector):
    attempt = oncewatch.begin("default", None)  # type: ignore[arg-type]
    attempt.end()
    assert transport.failures == 1
    transport.failures = 0
    assert transport.stats()["dropped"] == 2
    good = oncewatch.begin("default", "t", attempt="one", max_attempts="two", fp="")  # type: ignore[arg-type]
    good.end("ok", http_status="200", write_units="3", request_id=7)  # type: ignore[arg-type]
    start, end, _, _ = collector.wait(4)
    assert start["attempt"] == 1 and "max_attempts" not in start and "fp" not in start
    assert not end.keys() & {"http_status", "write_units", "request_id"}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (2.5, "2.5"),
        (1e-7, "1e-07"),
        (True, None),
        (-1, None),
        ("1", None),
        (float("nan"), None),
        (None, None),
    ],
)
def test_numbers(value, written):
    assert _event.number_field("n", value) == (f',"n":{written}' if written else "")
    if written:
        json.loads("{" + _event.number_field("n", value)[1:] + "}")


def test_the_client_is_host_and_process(monkeypatch):
    monkeypatch.setenv("HOSTNAME", "orders-" + "x" * 300)
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert _event.client_name().endswith("/4711") and len(_event.client_name()) == 128
    monkeypatch.delenv("HOSTNAME")
    monkeypatch.setattr("socket.gethostname", lambda: "node")
    assert _event.client_name() == "node/4711"
