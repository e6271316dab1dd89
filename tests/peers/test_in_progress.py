"""TransactionInProgressException and other answers that no installable emulator gives: a SCRIPTED STUB gives them.

These tests show boto3, the client and the sidecar against the documented wire answer. They do not show how a real
DynamoDB behaves while a transaction is running.
"""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from support.dynamo import add_items
from support.process import wait_until
from support.scripted import error, in_progress, ok, silence

IN_PROGRESS = "TransactionInProgressException"


def request() -> dict:
    return {"TransactItems": add_items(), "ClientRequestToken": str(uuid.uuid4())}


def refused(client, **parameters) -> str:
    with pytest.raises(ClientError) as caught:
        client.transact_write_items(**parameters)
    return caught.value.response["Error"]["Code"]


def test_in_progress_with_no_holder_here_is_remote_once_per_call(sidecar, stub, instrumented) -> None:
    stub.script(in_progress(), in_progress(), ok())
    parameters = request()
    instrumented(stub.url).transact_write_items(**parameters)
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "in_progress_remote": 1, "sdk_retry": 2},
        attempts={"in_progress": 2, "success": 1},
        calls={"applied": 1},
    )
    assert (finding["severity"], finding["token"]) == ("warning", parameters["ClientRequestToken"])
    assert "holder" not in finding


def test_in_progress_after_the_own_lost_attempt_is_local(sidecar, stub, instrumented) -> None:
    stub.script(silence(0.8), in_progress(), ok())
    instrumented(stub.url, read_timeout_s=0.3).transact_write_items(**request())
    findings = sidecar.expect(
        verdicts={"first_use": 1, "in_progress_local": 1, "sdk_retry": 2},
        attempts={"no_response": 1, "in_progress": 1, "success": 1},
        calls={"applied": 1},
    )
    assert findings == []


def test_giving_up_in_progress_before_recovery_is_possible(sidecar, stub, instrumented) -> None:
    stub.script(in_progress(), in_progress(), ok())
    parameters = request()
    assert refused(instrumented(stub.url, attempts=2), **parameters) == IN_PROGRESS
    findings = sidecar.expect(
        verdicts={
            "first_use": 1,
            "in_progress_remote": 1,
            "sdk_retry": 1,
            "in_progress_exhausted": 1,
            "retry_budget_too_short": 1,
        },
        attempts={"in_progress": 2},
        calls={"in_progress_exhausted": 1},
    )
    assert [f["verdict"] for f in findings] == [
        "in_progress_remote",
        "in_progress_exhausted",
        "retry_budget_too_short",
    ]
    # The right way out: the same token again.
    instrumented(stub.url).transact_write_items(**parameters)
    sidecar.expect(
        verdicts={
            "first_use": 1,
            "in_progress_remote": 1,
            "sdk_retry": 1,
            "in_progress_exhausted": 1,
            "retry_budget_too_short": 1,
            "safe_retry": 1,
        },
        attempts={"in_progress": 2, "success": 1},
        calls={"in_progress_exhausted": 1, "applied": 1},
    )


def test_giving_up_after_recovery_was_possible_is_no_short_budget(sidecar, stub, instrumented) -> None:
    stub.script(in_progress(delay_s=5.1), in_progress())
    assert refused(instrumented(stub.url, attempts=2), **request()) == IN_PROGRESS
    findings = sidecar.expect(
        verdicts={"first_use": 1, "in_progress_remote": 1, "sdk_retry": 1, "in_progress_exhausted": 1},
        attempts={"in_progress": 2},
        calls={"in_progress_exhausted": 1},
    )
    assert [f["verdict"] for f in findings] == ["in_progress_remote", "in_progress_exhausted"]


def test_a_collision_is_confirmed_by_the_servers_answer(sidecar, stub, instrumented) -> None:
    stub.script(silence(1.5), in_progress())
    client = instrumented(stub.url, attempts=1)
    parameters = request()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.transact_write_items, **parameters)
        wait_until(lambda: len(stub.requests) == 1, "the first request has reached the stub")
        assert refused(client, **parameters) == IN_PROGRESS
        first.result(5)
    findings = sidecar.expect(
        verdicts={
            "first_use": 1,
            "in_flight_collision": 1,
            "in_progress_exhausted": 1,
            "retry_budget_too_short": 1,
        },
        attempts={"success": 1, "in_progress": 1},
        calls={"applied": 1, "in_progress_exhausted": 1},
    )
    assert {f["verdict"]: f.get("confirmed") for f in findings}["in_flight_collision"] is True


def test_a_server_error_leaves_the_outcome_unknown(sidecar, stub, instrumented) -> None:
    stub.script(error("InternalServerError", "The request could not be completed", status=500), ok())
    client = instrumented(stub.url, attempts=1)
    assert refused(client, **request()) == "InternalServerError"
    client.transact_write_items(**request())
    (finding,) = sidecar.expect(
        verdicts={"first_use": 2, "fresh_token_after_unknown": 1},
        attempts={"server_error": 1, "success": 1},
        calls={"unknown": 1, "applied": 1},
    )
    assert finding["severity"] == "critical"


def test_a_throttled_call_was_not_applied_and_may_be_sent_with_a_fresh_token(sidecar, stub, instrumented) -> None:
    stub.script(error("ProvisionedThroughputExceededException", "too fast"), ok())
    client = instrumented(stub.url, attempts=1)
    assert refused(client, **request()) == "ProvisionedThroughputExceededException"
    client.transact_write_items(**request())
    findings = sidecar.expect(
        verdicts={"first_use": 2},
        attempts={"throttled": 1, "success": 1},
        calls={"not_applied": 1, "applied": 1},
    )
    assert findings == []


def test_the_same_request_in_other_bytes_is_an_encoding_mismatch(sidecar, stub, instrumented) -> None:
    """DynamoDB Local compares bytes, dynoxide does not: the stub answers as the former."""
    stub.script(ok(), error("IdempotentParameterMismatchException", "parameters differ"))
    client = instrumented(stub.url)
    parameters = request()
    client.transact_write_items(**parameters)
    (item,) = parameters["TransactItems"]
    parameters["TransactItems"] = [{"Update": dict(reversed(item["Update"].items()))}]
    assert refused(client, **parameters) == "IdempotentParameterMismatchException"
    (finding,) = sidecar.expect(
        verdicts={"first_use": 1, "replay": 1, "encoding_mismatch": 1},
        attempts={"success": 1, "mismatch": 1},
        calls={"applied": 1, "not_applied": 1},
    )
    assert (finding["verdict"], finding["severity"]) == ("encoding_mismatch", "warning")
