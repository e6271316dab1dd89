"""What the other tests believe about their peers, without oncewatch: if one of these fails, look there first."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client import Counter as PrometheusCounter

from support.dynamo import Counter, add_items, boto3_client
from support.fault_proxy import drop_response, hold_answer, reset_before_sending, slow_answer
from support.process import wait_until
from support.scripted import in_progress, ok, silence


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_dynoxide_replays_a_token_and_reports_read_units(dynoxide, counter: Counter) -> None:
    client = boto3_client(dynoxide.url)
    request = {
        "TransactItems": counter.add(),
        "ClientRequestToken": uuid.uuid4().hex,
        "ReturnConsumedCapacity": "TOTAL",
    }
    first = client.transact_write_items(**request)["ConsumedCapacity"]
    replay = client.transact_write_items(**request)["ConsumedCapacity"]
    assert counter.value == 1
    assert first[0].get("WriteCapacityUnits", 0) > 0
    assert replay[0].get("WriteCapacityUnits", 0) == 0
    assert replay[0]["ReadCapacityUnits"] > 0


def test_dynoxide_refuses_other_parameters_and_long_tokens(dynoxide, counter: Counter) -> None:
    client = boto3_client(dynoxide.url)
    token = uuid.uuid4().hex
    client.transact_write_items(TransactItems=counter.add(1), ClientRequestToken=token)
    with pytest.raises(ClientError) as mismatch:
        client.transact_write_items(TransactItems=counter.add(2), ClientRequestToken=token)
    assert code_of(mismatch) == "IdempotentParameterMismatchException"
    with pytest.raises(ClientError) as too_long:
        client.transact_write_items(TransactItems=counter.add(1), ClientRequestToken="x" * 37)
    assert code_of(too_long) == "ValidationException"
    assert counter.value == 1


def test_dynoxide_does_not_mind_the_order_of_keys(dynoxide, counter: Counter) -> None:
    client = boto3_client(dynoxide.url)
    token = uuid.uuid4().hex
    (item,) = counter.add()
    for update in (item["Update"], dict(reversed(item["Update"].items()))):
        client.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken=token)
    assert counter.value == 1


def test_dynoxide_executes_again_after_a_cancelled_transaction(dynoxide, counter: Counter) -> None:
    client = boto3_client(dynoxide.url)
    request = {"TransactItems": counter.add(needs="stock"), "ClientRequestToken": uuid.uuid4().hex}
    with pytest.raises(ClientError) as cancelled:
        client.transact_write_items(**request)
    assert code_of(cancelled) == "TransactionCanceledException"
    counter.put("stock")
    client.transact_write_items(**request)
    assert counter.value == 1


def test_dynoxide_replays_execute_transaction(dynoxide, counter: Counter) -> None:
    client = boto3_client(dynoxide.url)
    token = uuid.uuid4().hex
    for _ in range(2):
        client.execute_transaction(TransactStatements=counter.statements("a"), ClientRequestToken=token)
    with pytest.raises(ClientError) as mismatch:
        client.execute_transaction(TransactStatements=counter.statements("b"), ClientRequestToken=token)
    assert code_of(mismatch) == "IdempotentParameterMismatchException"


def test_the_proxy_loses_an_answer_after_the_server_executed(proxy, counter: Counter) -> None:
    proxy.plan({1: drop_response()})
    boto3_client(proxy.url).transact_write_items(TransactItems=counter.add())
    assert counter.value == 1
    first, second = proxy.exchanges
    assert (first.executed, first.status, first.answered) == (True, 200, False)
    assert (second.executed, second.status, second.answered) == (True, 200, True)
    assert first.token == second.token and first.invocation_id == second.invocation_id


def test_the_proxy_resets_delays_and_holds(proxy, counter: Counter) -> None:
    held = hold_answer()
    proxy.plan({1: reset_before_sending(), 2: slow_answer(1.0), 3: held})
    once = boto3_client(proxy.url, attempts=1, read_timeout_s=0.4)
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        once.transact_write_items(TransactItems=counter.add())
    assert counter.value == 0
    with pytest.raises(ReadTimeoutError):
        once.transact_write_items(TransactItems=counter.add())
    assert counter.value == 1
    patient = boto3_client(proxy.url, attempts=1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(patient.transact_write_items, TransactItems=counter.add())
        proxy.wait_executed(3)
        assert not answer.done()
        held.released.set()
        answer.result(5)
    assert counter.value == 2


def test_the_stub_is_understood_by_the_sdk(stub) -> None:
    stub.script(in_progress(), silence(0.6), ok(), in_progress())
    boto3_client(stub.url, read_timeout_s=0.3).transact_write_items(TransactItems=add_items(), ClientRequestToken="t")
    with pytest.raises(ClientError) as error:
        boto3_client(stub.url, attempts=1).transact_write_items(TransactItems=add_items(), ClientRequestToken="t")
    assert code_of(error) == "TransactionInProgressException"


def test_prometheus_scrapes_a_page_every_second_and_keeps_exemplars(start_prometheus) -> None:
    registry = CollectorRegistry()
    events = PrometheusCounter("peer_events", "Events of the dummy page.", registry=registry)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        prometheus = start_prometheus(f"127.0.0.1:{server.server_address[1]}")
        wait_until(lambda: prometheus.query("peer_events_total") == {(): 0.0}, "the first scrape")
        events.inc(3, exemplar={"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"})
        prometheus.wait_scraped_after(time.time())
        assert prometheus.number("peer_events_total") == 3
        stored = prometheus.exemplars("peer_events_total")
        assert [e["labels"] for series in stored for e in series["exemplars"]] == [
            {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
        ]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_the_receiver_decodes_what_an_opentelemetry_sdk_sends(otlp) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": "peers"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{otlp.url}/v1/traces")))
    with provider.get_tracer("peers").start_as_current_span("work", attributes={"n": 1, "all": ["a"]}) as span:
        context = span.get_span_context()
    (received,) = otlp.wait_spans(1)
    assert received.span.trace_id.hex() == f"{context.trace_id:032x}"
    assert received.span.name == "work" and received.scope == "peers"
    assert received.attributes == {"n": 1, "all": ["a"]}
    assert received.resource["service.name"] == "peers"
    assert otlp.content_types == {"application/x-protobuf"}
    provider.shutdown()
