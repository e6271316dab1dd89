"""The scenario script that the client of every language goes through, and what the sidecar must say of each scenario.

A scenario runs on a `Stage` with one driver (two for collisions across clients) and states the multisets of verdicts,
attempts and calls that must be on the sidecar's metrics page afterwards: nothing missing, nothing added.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from .driver import Driver
from .dynamo import Counter
from .fault_proxy import FaultProxy, drop_response, hold_answer, slow_answer
from .process import wait_until
from .scripted import Answer, ScriptedDynamo, error, in_progress, ok, silence

MISMATCH = "IdempotentParameterMismatchException"
CANCELLED = "TransactionCanceledException"
IN_PROGRESS = "TransactionInProgressException"
# One place in the middle, one at the end, and what JSON writers escape differently.
AWKWARD = "ü < & > / \\ \u2028 \U0001f600"


@dataclass
class Stage:
    """The peers of one scenario. `call` uses the driver under test; `other` is a second process."""

    driver: Driver
    proxy: FaultProxy
    stub: ScriptedDynamo
    counter: Counter
    other: Driver | None = None

    def job(self, **job: object) -> dict:
        return {"op": "transact", "endpoint": self.proxy.url, "table": self.counter.table, **job}

    def call(self, **job: object) -> str:
        return self.driver.run(**self.job(**job))

    def stubbed(self, **job: object) -> str:
        return self.call(endpoint=self.stub.url, table="counters", **job)


@dataclass(frozen=True)
class Scenario:
    """`findings` names the verdicts of severity warning or worse, in order."""

    name: str
    play: Callable[[Stage], None]
    verdicts: dict[str, int]
    attempts: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    needs_other: bool = False


def token() -> str:
    return str(uuid.uuid4())


def sdk_retry(stage: Stage) -> None:
    stage.proxy.plan({1: drop_response()})
    assert stage.call() == "ok"
    assert stage.counter.value == 1
    first, second = stage.proxy.exchanges
    assert first.token == second.token and first.invocation_id == second.invocation_id


def same_token_after_timeout(stage: Stage) -> None:
    stage.proxy.plan({1: slow_answer(1.2)})
    same = {"token": token(), "max_attempts": 1}
    assert stage.call(**same, read_timeout_ms=500) == "no_response"
    assert stage.call(**same) == "ok"
    assert stage.call(**same) == "ok"
    assert stage.counter.value == 1


def other_parameters(stage: Stage) -> None:
    same = token()
    assert stage.call(token=same, amount=1) == "ok"
    assert stage.call(token=same, amount=2) == MISMATCH
    assert stage.counter.value == 1


def fresh_token_after_unknown(stage: Stage) -> None:
    stage.proxy.plan({1: drop_response()})
    assert stage.call(max_attempts=1) == "no_response"
    assert stage.call(max_attempts=1) == "ok"
    assert stage.counter.value == 2


def fresh_token_after_server_error(stage: Stage) -> None:
    stage.stub.script(error("InternalServerError", "The request could not be completed", status=500), ok())
    assert stage.stubbed(max_attempts=1) == "InternalServerError"
    assert stage.stubbed(max_attempts=1) == "ok"


def fresh_token_after_throttling(stage: Stage) -> None:
    stage.stub.script(error("ProvisionedThroughputExceededException", "too fast"), ok())
    assert stage.stubbed(max_attempts=1) == "ProvisionedThroughputExceededException"
    assert stage.stubbed(max_attempts=1) == "ok"


def over_long_token(stage: Stage) -> None:
    # A client that validates parameters itself never sends it, and then there is nothing to report.
    assert stage.call(token="order-4711-" + token()) == "ValidationException"
    assert stage.counter.value == 0


def cancelled_then_retried(stage: Stage) -> None:
    same = {"token": token(), "needs": "stock"}
    assert stage.call(**same) == CANCELLED
    stage.counter.put("stock")
    assert stage.call(**same) == "ok"
    assert stage.counter.value == 1


def changed_after_cancel(stage: Stage) -> None:
    same = token()
    assert stage.call(token=same, needs="stock") == CANCELLED
    assert stage.call(token=same, amount=3) == "ok"
    assert stage.counter.value == 3


def execute_transaction(stage: Stage) -> None:
    stage.proxy.plan({1: drop_response()})
    same = token()
    assert stage.call(op="execute", identity="a", token=same) == "ok"
    assert stage.call(op="execute", identity="b", token=same) == MISMATCH


def in_flight_collision(stage: Stage) -> None:
    held = hold_answer()
    stage.proxy.plan({1: held})
    same = token()
    first = stage.driver.start(**stage.job(token=same, background=True))
    stage.proxy.wait_executed(1)
    assert stage.call(token=same) == "ok"
    held.released.set()
    assert stage.driver.result(first) == "ok"
    assert stage.counter.value == 1


def cross_client_collision(stage: Stage) -> None:
    held = hold_answer()
    stage.proxy.plan({1: held})
    same = token()
    first = stage.other.start(**stage.job(token=same, background=True))
    stage.proxy.wait_executed(1)
    assert stage.call(token=same) == "ok"
    held.released.set()
    assert stage.other.result(first) == "ok"
    assert stage.counter.value == 1


def in_progress_remote(stage: Stage) -> None:
    stage.stub.script(in_progress(), in_progress(), ok())
    assert stage.stubbed(token=token()) == "ok"


def in_progress_local(stage: Stage) -> None:
    stage.stub.script(silence(1.2), in_progress(), ok())
    assert stage.stubbed(token=token(), read_timeout_ms=500) == "ok"


def in_progress_exhausted(stage: Stage) -> None:
    stage.stub.script(in_progress(), in_progress(), ok())
    same = token()
    assert stage.stubbed(token=same, max_attempts=2) == IN_PROGRESS
    assert stage.stubbed(token=same, max_attempts=2) == "ok"


def collision_confirmed(stage: Stage) -> None:
    stage.stub.script(silence(1.5), in_progress())
    same = {"endpoint": stage.stub.url, "token": token(), "max_attempts": 1}
    first = stage.driver.start(**stage.job(**same, background=True))
    wait_until(lambda: len(stage.stub.requests) == 1, "the first request has reached the stub", every_s=0.01)
    assert stage.call(**same) == IN_PROGRESS
    assert stage.driver.result(first) == "ok"


def double_execution(stage: Stage) -> None:
    written = {"TableName": "counters", "CapacityUnits": 2.0, "WriteCapacityUnits": 2.0}
    executed = Answer(200, {"ConsumedCapacity": [written]})
    stage.stub.script(executed, executed)
    same = token()
    for _ in range(2):
        assert stage.stubbed(token=same, return_consumed=True) == "ok"


def other_bytes(stage: Stage) -> None:
    # A field that is no parameter makes other bytes of the same request.
    stage.stub.script(ok(), error(MISMATCH, "the parameters differ"))
    same = token()
    assert stage.stubbed(token=same) == "ok"
    assert stage.stubbed(token=same, return_consumed=True) == MISMATCH


def given_up_at_once(stage: Stage) -> None:
    # No SDK repeats after this status: only the end of the call tells that the first of 4 attempts was the last.
    stage.stub.script(error("NotImplemented", "not this one", status=501))
    assert stage.stubbed(token=token(), max_attempts=4) == "NotImplemented"


def hard_coded_token(stage: Stage) -> None:
    # Constant within the scenario only: the emulator, which all scenarios share, remembers it.
    constant = f"nightly-{stage.counter.table}"
    assert stage.call(token=constant, amount=1) == "ok"
    for amount in (2, 3):
        assert stage.call(token=constant, amount=amount) == MISMATCH


def generic_reuse(stage: Stage) -> None:
    same = {"op": "generic", "api": "stripe", "token": token(), "token_field": None, "call": None, "attempt": 1}
    body = '{"amount": 100, "currency": "eur"}'
    reordered = '{"currency":"eur","amount":100}'
    stage.driver.run(**same, body=body, outcome="ok", http_status=200)
    stage.driver.run(**same, body=reordered, outcome="ok", http_status=200)
    stage.driver.run(**same, body='{"amount": 999}', outcome="error", http_status=400, error="idempotency_error")


def generic_retries(stage: Stage) -> None:
    same = {"op": "generic", "api": "http", "token": token(), "token_field": None, "call": "own-call", "body": "{}"}
    stage.driver.run(**same, attempt=1, outcome="no_response", http_status=None, error=None)
    stage.driver.run(**same, attempt=2, outcome="error", http_status=503, error=None)
    stage.driver.run(**same, attempt=3, outcome="ok", http_status=200, error=None)


def lost(key: str, **job: object) -> dict:
    job |= {"op": "generic", "api": "http", "token": key, "call": "own-call", "body": "{}", "outcome": "no_response"}
    return job


def generic_call_end(stage: Stage) -> None:
    stage.driver.run(**lost(token(), attempt=1, end_call=True))


def generic_last_attempt(stage: Stage) -> None:
    same = token()
    for attempt in (1, 2):
        stage.driver.run(**lost(same, attempt=attempt, max_attempts=2))


def flush_at_exit(stage: Stage) -> None:
    job = {"op": "generic", "api": "stripe", "token_field": None, "call": None, "attempt": 1, "outcome": "ok"}
    jobs = [
        stage.driver.start(**job, token=f"key-{n}", body=f'{{"amount": {n}}}', http_status=200, error=None)
        for n in range(200)
    ]
    stage.driver.finish()
    assert {stage.driver.result(each) for each in jobs} == {"ok"}


SCENARIOS = (
    Scenario(
        "SDK retry after a dropped response",
        sdk_retry,
        {"first_use": 1, "sdk_retry": 1},
        {"no_response": 1, "success": 1},
        {"applied": 1},
    ),
    Scenario(
        "same token after a timeout, then replay",
        same_token_after_timeout,
        {"first_use": 1, "safe_retry": 1, "replay": 1},
        {"no_response": 1, "success": 2},
        {"unknown": 1, "applied": 2},
    ),
    Scenario(
        "other parameters, mismatch confirmed",
        other_parameters,
        {"first_use": 1, "parameter_mismatch": 1},
        {"success": 1, "mismatch": 1},
        {"applied": 1, "not_applied": 1},
        ("parameter_mismatch",),
    ),
    Scenario(
        "fresh token after an unknown outcome",
        fresh_token_after_unknown,
        {"first_use": 2, "fresh_token_after_unknown": 1},
        {"no_response": 1, "success": 1},
        {"unknown": 1, "applied": 1},
        ("fresh_token_after_unknown",),
    ),
    Scenario(
        "fresh token after a server error (stub)",
        fresh_token_after_server_error,
        {"first_use": 2, "fresh_token_after_unknown": 1},
        {"server_error": 1, "success": 1},
        {"unknown": 1, "applied": 1},
        ("fresh_token_after_unknown",),
    ),
    Scenario(
        "fresh token after throttling (stub)",
        fresh_token_after_throttling,
        {"first_use": 2},
        {"throttled": 1, "success": 1},
        {"not_applied": 1, "applied": 1},
    ),
    Scenario("over-long token", over_long_token, {"token_invalid": 1}, findings=("token_invalid",)),
    Scenario(
        "cancelled, then retried",
        cancelled_then_retried,
        {"first_use": 1, "retry_after_cancel": 1},
        {"cancelled": 1, "success": 1},
        {"not_applied": 1, "applied": 1},
    ),
    Scenario(
        "changed after a cancel",
        changed_after_cancel,
        {"first_use": 1, "changed_after_cancel": 1},
        {"cancelled": 1, "success": 1},
        {"not_applied": 1, "applied": 1},
        ("changed_after_cancel",),
    ),
    Scenario(
        "ExecuteTransaction",
        execute_transaction,
        {"first_use": 1, "sdk_retry": 1, "parameter_mismatch": 1},
        {"no_response": 1, "success": 1, "mismatch": 1},
        {"applied": 1, "not_applied": 1},
        ("parameter_mismatch",),
    ),
    Scenario(
        "collision within a process",
        in_flight_collision,
        {"first_use": 1, "in_flight_collision": 1},
        {"success": 2},
        {"applied": 2},
        ("in_flight_collision",),
    ),
    Scenario(
        "collision with a process of another language",
        cross_client_collision,
        {"first_use": 1, "cross_client_collision": 1},
        {"success": 2},
        {"applied": 2},
        ("cross_client_collision",),
        needs_other=True,
    ),
    Scenario(
        "in progress, holder elsewhere (stub)",
        in_progress_remote,
        {"first_use": 1, "in_progress_remote": 1, "sdk_retry": 2},
        {"in_progress": 2, "success": 1},
        {"applied": 1},
        ("in_progress_remote",),
    ),
    Scenario(
        "in progress, holder is the own lost attempt (stub)",
        in_progress_local,
        {"first_use": 1, "in_progress_local": 1, "sdk_retry": 2},
        {"no_response": 1, "in_progress": 1, "success": 1},
        {"applied": 1},
    ),
    Scenario(
        "given up in progress too early, then repeated (stub)",
        in_progress_exhausted,
        {
            "first_use": 1,
            "in_progress_remote": 1,
            "sdk_retry": 1,
            "in_progress_exhausted": 1,
            "retry_budget_too_short": 1,
            "safe_retry": 1,
        },
        {"in_progress": 2, "success": 1},
        {"in_progress_exhausted": 1, "applied": 1},
        ("in_progress_remote", "in_progress_exhausted", "retry_budget_too_short"),
    ),
    Scenario(
        "collision confirmed by the server (stub)",
        collision_confirmed,
        {"first_use": 1, "in_flight_collision": 1, "in_progress_exhausted": 1, "retry_budget_too_short": 1},
        {"success": 1, "in_progress": 1},
        {"applied": 1, "in_progress_exhausted": 1},
        ("in_flight_collision", "in_progress_exhausted", "retry_budget_too_short"),
    ),
    Scenario(
        "executed twice, told by write units (stub)",
        double_execution,
        {"first_use": 1, "replay": 1, "double_execution": 1},
        {"success": 2},
        {"applied": 2},
        ("double_execution",),
    ),
    Scenario(
        "same request in other bytes, refused by the server (stub)",
        other_bytes,
        {"first_use": 1, "replay": 1, "encoding_mismatch": 1},
        {"success": 1, "mismatch": 1},
        {"applied": 1, "not_applied": 1},
        ("encoding_mismatch",),
    ),
    Scenario(
        "given up before the last attempt, told by the end of the call (stub)",
        given_up_at_once,
        {"first_use": 1},
        {"server_error": 1},
        {"unknown": 1},
    ),
    Scenario(
        "a constant as token",
        hard_coded_token,
        {"first_use": 1, "parameter_mismatch": 2, "hard_coded_token": 1},
        {"success": 1, "mismatch": 2},
        {"applied": 1, "not_applied": 2},
        ("parameter_mismatch", "parameter_mismatch", "hard_coded_token"),
    ),
    Scenario(
        "generic API: replay in other bytes, then another body",
        generic_reuse,
        {"first_use": 1, "replay": 1, "parameter_mismatch": 1},
        {"success": 2, "mismatch": 1},
        {"applied": 2, "not_applied": 1},
        ("parameter_mismatch",),
    ),
    Scenario(
        "generic API: own retries of one call",
        generic_retries,
        {"first_use": 1, "sdk_retry": 2},
        {"no_response": 1, "server_error": 1, "success": 1},
        {"applied": 1},
    ),
    Scenario(
        "generic API: the end of a call whose limit is unknown",
        generic_call_end,
        {"first_use": 1},
        {"no_response": 1},
        {"unknown": 1},
    ),
    Scenario(
        "generic API: the last attempt of a call that is not ended",
        generic_last_attempt,
        {"first_use": 1, "sdk_retry": 1},
        {"no_response": 2},
        {"unknown": 1},
    ),
    Scenario(
        "200 attempts flushed at exit", flush_at_exit, {"first_use": 200}, {"success": 200}, {"applied": 200}
    ),
)
