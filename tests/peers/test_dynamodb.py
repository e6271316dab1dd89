"""boto3 with the oncewatch client against a real emulator: what was sent, what was executed, what is said about it."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from support.dynamo import Counter, Dynoxide, boto3_client
from support.fault_proxy import drop_response, hold_answer, reset_before_sending, slow_answer

WRITE = "dynamodb.TransactWriteItems"
EXECUTE = "dynamodb.ExecuteTransaction"
NO_ANSWER = (ConnectionClosedError, HTTPClientError)


def new_token() -> str:
    return str(uuid.uuid4())


def refused(call, **request) -> str:
    """The error code with which the server refuses the call."""
    with pytest.raises(ClientError) as error:
        call(**request)
    return error.value.response["Error"]["Code"]


def test_an_sdk_retry_after_a_dropped_response_is_no_finding(sidecar, proxy, counter, instrumented) -> None:
    proxy.plan({1: drop_response()})
    instrumented(proxy.url).transact_write_items(TransactItems=counter.add())
    assert counter.value == 1
    assert len({e.token for e in proxy.exchanges}) == 1 and len(proxy.exchanges) == 2
    findings = sidecar.expect(
        verdicts={"first_use": 1, "sdk_retry": 1},
        attempts={"no_response": 1, "success": 1},
        calls={"applied": 1},
    )
    assert findings == []


def test_the_same_token_after_a_timeout_is_a_safe_retry_then_a_replay(sidecar, proxy, counter, instrumented) -> None:
    proxy.plan({1: slow_answer(1.0)})
    client = instrumented(proxy.url, attempts=1, read_timeout_s=0.4)
    request = {"TransactItems": counter.add(), "ClientRequestToken": new_token()}
    with pytest.raises(ReadTimeoutError):
        client.transact_write_items(**request)
    client.transact_write_items(**request)
    client.transact_write_items(**request)
    assert counter.value == 1
    findings = sidecar.expect(
        verdicts={"first_use": 1, "safe_retry": 1, "replay": 1},
        attempts={"no_response": 1, "success": 2},
        calls={"unknown": 1, "applied": 2},
    )
    assert findings == []


def test_a_replay_after_success_costs_reads_and_executes_nothing(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    request = {
        "TransactItems": counter.add(),
        "ClientRequestToken": new_token(),
        "ReturnConsumedCapacity": "TOTAL",
    }
    client.transact_write_items(**request)
    client.transact_write_items(**request)
    assert counter.value == 1
    findings = sidecar.expect(verdicts={"first_use": 1, "replay": 1}, attempts={"success": 2}, calls={"applied": 2})
    assert findings == []
    assert sidecar.scrape().value("oncewatch_reuse_age_seconds_count", api=WRITE) == 1


def test_other_parameters_are_predicted_as_mismatch_and_confirmed(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    token = new_token()
    client.transact_write_items(TransactItems=counter.add(1), ClientRequestToken=token)
    code = refused(client.transact_write_items, TransactItems=counter.add(2), ClientRequestToken=token)
    assert code == "IdempotentParameterMismatchException"
    client.transact_write_items(TransactItems=counter.add(1), ClientRequestToken=token)
    assert counter.value == 1
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "parameter_mismatch": 1, "replay": 1},
        attempts={"success": 2, "mismatch": 1},
        calls={"applied": 2, "not_applied": 1},
    )
    me = f"peers-host/{os.getpid()}"
    assert (finding["verdict"], finding["severity"], finding["token"]) == ("parameter_mismatch", "error", token)
    assert finding["confirmed"] is True
    assert finding["api"] == WRITE and finding["client"] == me and finding["attempt"] == 1
    assert finding["holder"]["client"] == me and finding["holder"]["call"] != finding["call"]
    assert finding["message"] and finding["remedy"]


def test_a_fresh_token_after_an_unknown_outcome_executes_twice(sidecar, proxy, counter, instrumented) -> None:
    proxy.plan({1: drop_response()})
    client = instrumented(proxy.url, attempts=1)
    with pytest.raises(NO_ANSWER):
        client.transact_write_items(TransactItems=counter.add())
    client.transact_write_items(TransactItems=counter.add())
    assert counter.value == 2
    lost, fresh = (exchange.token for exchange in proxy.exchanges)
    assert lost != fresh
    (finding,) = sidecar.expect(
        verdicts={"first_use": 2, "fresh_token_after_unknown": 1},
        attempts={"no_response": 1, "success": 1},
        calls={"unknown": 1, "applied": 1},
    )
    assert (finding["verdict"], finding["severity"]) == ("fresh_token_after_unknown", "critical")
    assert finding["token"] == fresh and finding["holder"]["token"] == lost
    assert finding["call"] != finding["holder"]["call"]


def test_an_unknown_outcome_is_unknown_even_if_nothing_was_executed(sidecar, proxy, counter, instrumented) -> None:
    """The client cannot tell a lost request from a lost answer: the finding says *possible* double execution."""
    proxy.plan({1: reset_before_sending()})
    client = instrumented(proxy.url, attempts=1)
    with pytest.raises(NO_ANSWER):
        client.transact_write_items(TransactItems=counter.add())
    client.transact_write_items(TransactItems=counter.add())
    assert counter.value == 1
    findings = sidecar.expect(
        verdicts={"first_use": 2, "fresh_token_after_unknown": 1},
        attempts={"no_response": 1, "success": 1},
        calls={"unknown": 1, "applied": 1},
    )
    assert [f["token"] for f in findings] == [proxy.exchanges[1].token]


def test_a_fresh_token_while_the_first_is_running_is_found_when_that_one_is_lost(
    sidecar, proxy, counter, instrumented
) -> None:
    proxy.plan({1: slow_answer(1.5)})
    client = instrumented(proxy.url, attempts=1, read_timeout_s=0.8)
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(client.transact_write_items, TransactItems=counter.add())
        proxy.wait_executed(1)
        client.transact_write_items(TransactItems=counter.add())
        sidecar.expect(verdicts={"first_use": 2}, attempts={"success": 1}, calls={"applied": 1}, timeout_s=0.4)
        assert isinstance(lost.exception(5), ReadTimeoutError)
    assert counter.value == 2
    (finding,) = sidecar.expect(
        verdicts={"first_use": 2, "fresh_token_after_unknown": 1},
        attempts={"no_response": 1, "success": 1},
        calls={"unknown": 1, "applied": 1},
    )
    assert finding["token"] == proxy.exchanges[1].token
    assert finding["holder"]["token"] == proxy.exchanges[0].token


def test_equal_parameters_with_known_outcomes_are_no_finding(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    for _ in range(2):
        client.transact_write_items(TransactItems=counter.add())
    assert counter.value == 2
    assert sidecar.expect(verdicts={"first_use": 2}, attempts={"success": 2}, calls={"applied": 2}) == []


def test_a_token_over_36_characters_is_invalid_and_refused(sidecar, dynoxide, counter, instrumented) -> None:
    token = "order-4711-" + new_token()
    client = instrumented(dynoxide.url)
    code = refused(client.transact_write_items, TransactItems=counter.add(), ClientRequestToken=token)
    assert code == "ValidationException"
    assert counter.value == 0
    (finding,) = sidecar.expect(verdicts={"token_invalid": 1})
    assert (finding["verdict"], finding["severity"], finding["token"]) == ("token_invalid", "error", token)
    assert sidecar.tokens() == []


def test_a_cancelled_transaction_may_be_retried_with_its_token(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    request = {"TransactItems": counter.add(needs="stock"), "ClientRequestToken": new_token()}
    assert refused(client.transact_write_items, **request) == "TransactionCanceledException"
    counter.put("stock")
    client.transact_write_items(**request)
    assert counter.value == 1
    findings = sidecar.expect(
        verdicts={"first_use": 1, "retry_after_cancel": 1},
        attempts={"cancelled": 1, "success": 1},
        calls={"not_applied": 1, "applied": 1},
    )
    assert findings == []


def test_other_parameters_after_a_cancel_are_warned_about(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    token = new_token()
    needy = counter.add(1, needs="stock")
    assert refused(client.transact_write_items, TransactItems=needy, ClientRequestToken=token) == (
        "TransactionCanceledException"
    )
    client.transact_write_items(TransactItems=counter.add(3), ClientRequestToken=token)
    assert counter.value == 3
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "changed_after_cancel": 1},
        attempts={"cancelled": 1, "success": 1},
        calls={"not_applied": 1, "applied": 1},
    )
    assert (finding["severity"], finding["token"]) == ("warning", token)


def test_two_threads_with_one_token_collide(sidecar, proxy, counter, instrumented) -> None:
    held = hold_answer()
    proxy.plan({1: held})
    client = instrumented(proxy.url)
    request = {"TransactItems": counter.add(), "ClientRequestToken": new_token()}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.transact_write_items, **request)
        proxy.wait_executed(1)
        client.transact_write_items(**request)
        held.released.set()
        first.result(5)
    assert counter.value == 1
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "in_flight_collision": 1}, attempts={"success": 2}, calls={"applied": 2}
    )
    assert (finding["severity"], finding["token"]) == ("warning", request["ClientRequestToken"])
    assert finding["holder"]["client"] == finding["client"] == f"peers-host/{os.getpid()}"
    assert finding["holder"]["call"] == proxy.exchanges[0].invocation_id
    assert finding["call"] == proxy.exchanges[1].invocation_id


def test_an_answer_after_the_lease_resolves_what_was_stuck(
    start_sidecar, proxy, counter, instrumented, tmp_path
) -> None:
    config = tmp_path / "oncewatch.toml"
    config.write_text(f'[profiles."{WRITE}"]\nlease = "1s"\n')
    sidecar = start_sidecar("--config", str(config))
    held = hold_answer()
    proxy.plan({1: held})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(instrumented(proxy.url).transact_write_items, TransactItems=counter.add())
        (finding,) = sidecar.expect(verdicts={"first_use": 1, "stuck_in_flight": 1}, calls={})
        assert finding["severity"] == "warning"
        assert [t["status"] for t in sidecar.tokens()] == ["unknown"]
        held.released.set()
        call.result(5)
    sidecar.expect(verdicts={"first_use": 1, "stuck_in_flight": 1}, calls={"applied": 1})
    assert [t["status"] for t in sidecar.tokens()] == ["succeeded"]
    assert counter.value == 1


def test_a_server_that_forgot_the_token_executes_twice(sidecar, proxy, instrumented, tmp_path) -> None:
    """The emulator keeps tokens in memory: restarted on its database, it has the data and not the tokens."""
    emulator = Dynoxide(os.environ["PEERS_DYNOXIDE"], tmp_path, database=tmp_path / "tables.sqlite")
    try:
        counter = Counter(emulator)
        proxy.upstream_port = emulator.port
        client = instrumented(proxy.url)
        request = {
            "TransactItems": counter.add(),
            "ClientRequestToken": new_token(),
            "ReturnConsumedCapacity": "TOTAL",
        }
        client.transact_write_items(**request)
        emulator.stop()
        emulator.start()
        proxy.upstream_port = emulator.port
        client.transact_write_items(**request)
        assert counter.value == 2
    finally:
        emulator.stop()
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "replay": 1, "double_execution": 1},
        attempts={"success": 2},
        calls={"applied": 2},
    )
    assert (finding["verdict"], finding["severity"]) == ("double_execution", "critical")
    assert finding["holder"]["call"] == proxy.exchanges[0].invocation_id
    assert finding["call"] == proxy.exchanges[1].invocation_id


def test_a_mismatch_that_nothing_here_explains_is_remote(sidecar, dynoxide, counter, instrumented) -> None:
    token = new_token()
    boto3_client(dynoxide.url).transact_write_items(TransactItems=counter.add(1), ClientRequestToken=token)
    code = refused(
        instrumented(dynoxide.url).transact_write_items, TransactItems=counter.add(2), ClientRequestToken=token
    )
    assert code == "IdempotentParameterMismatchException"
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "remote_mismatch": 1}, attempts={"mismatch": 1}, calls={"not_applied": 1}
    )
    assert (finding["severity"], finding["token"]) == ("error", token)


def test_a_constant_as_token_is_called_hard_coded(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    client.transact_write_items(TransactItems=counter.add(1), ClientRequestToken="nightly-job")
    for amount in (2, 3):
        refused(client.transact_write_items, TransactItems=counter.add(amount), ClientRequestToken="nightly-job")
    assert counter.value == 1
    findings = sidecar.expect(
        verdicts={"first_use": 1, "parameter_mismatch": 2, "hard_coded_token": 1},
        attempts={"success": 1, "mismatch": 2},
        calls={"applied": 1, "not_applied": 2},
    )
    assert [f["verdict"] for f in findings] == ["parameter_mismatch", "parameter_mismatch", "hard_coded_token"]
    assert [f.get("confirmed") for f in findings][:2] == [True, True]


def test_execute_transaction_is_watched_like_transact_write_items(sidecar, proxy, counter, instrumented) -> None:
    proxy.plan({1: drop_response()})
    client = instrumented(proxy.url)
    token = new_token()
    client.execute_transaction(TransactStatements=counter.statements("a"), ClientRequestToken=token)
    code = refused(client.execute_transaction, TransactStatements=counter.statements("b"), ClientRequestToken=token)
    assert code == "IdempotentParameterMismatchException"
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "sdk_retry": 1, "parameter_mismatch": 1},
        attempts={"no_response": 1, "success": 1, "mismatch": 1},
        calls={"applied": 1, "not_applied": 1},
    )
    assert finding["api"] == EXECUTE and finding["confirmed"] is True
    assert sidecar.scrape().value("oncewatch_attempts_total", api=WRITE) == 0


def test_one_token_for_two_operations_is_two_tokens(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    token = new_token()
    client.transact_write_items(TransactItems=counter.add(), ClientRequestToken=token)
    client.execute_transaction(TransactStatements=counter.statements("a"), ClientRequestToken=token)
    assert sidecar.expect(verdicts={"first_use": 2}, attempts={"success": 2}, calls={"applied": 2}) == []
    assert sorted(t["api"] for t in sidecar.tokens()) == [EXECUTE, WRITE]


def test_an_instrumented_session_reports_each_attempt_once(sidecar, proxy, counter, oncewatch_library) -> None:
    session = boto3.Session("test", "test", region_name="eu-west-1")
    oncewatch_library.instrument(session)
    client = session.client("dynamodb", endpoint_url=proxy.url)
    oncewatch_library.instrument(client)
    client.transact_write_items(TransactItems=counter.add())
    assert sidecar.expect(verdicts={"first_use": 1}, attempts={"success": 1}, calls={"applied": 1}) == []
    assert sidecar.scrape().value("oncewatch_events_total", type="attempt_start") == 1


def test_operations_without_a_token_are_not_reported(sidecar, dynoxide, counter, instrumented) -> None:
    client = instrumented(dynoxide.url)
    client.put_item(TableName=counter.table, Item={"id": {"S": "other"}})
    client.transact_write_items(TransactItems=counter.add())
    assert sidecar.expect(verdicts={"first_use": 1}, attempts={"success": 1}, calls={"applied": 1}) == []


def test_tokens_are_hashed_unless_asked_for(start_sidecar, dynoxide, counter, instrumented) -> None:
    sidecar = start_sidecar()
    client = instrumented(dynoxide.url)
    token = new_token()
    client.transact_write_items(TransactItems=counter.add(1), ClientRequestToken=token)
    refused(client.transact_write_items, TransactItems=counter.add(2), ClientRequestToken=token)
    (finding,) = sidecar.expect(verdicts={"first_use": 1, "parameter_mismatch": 1})
    (entry,) = sidecar.tokens()
    assert finding["token"] == entry["token"] != token
    said = f"{sidecar.get('/api/v1/findings')}{sidecar.get('/api/v1/tokens')}{sidecar.service.output()}"
    assert token not in said
    assert sidecar.get(f"/api/v1/tokens/{WRITE}/{finding['token']}") == sidecar.get(f"/api/v1/tokens/{WRITE}/{token}")


def test_the_application_does_not_notice_that_the_sidecar_is_gone(sidecar, proxy, counter, instrumented) -> None:
    client = instrumented(proxy.url)
    client.transact_write_items(TransactItems=counter.add())
    sidecar.service.child.kill()
    sidecar.service.child.wait(5)
    for _ in range(3):
        client.transact_write_items(TransactItems=counter.add())
    assert counter.value == 4
    assert [e.status for e in proxy.exchanges] == [200] * 4
