"""The uses of a token in the kill loop, and what the sidecar must know of each in the end."""

from __future__ import annotations

from dataclasses import dataclass

API = "dynamodb.TransactWriteItems"
ONE, OTHER = '{"n":1}', '{"n":2}'


@dataclass(frozen=True)
class Scenario:
    """Calls, each a list of attempts; and of each attempt: number, verdict of its start, class of its end."""

    calls: list[list[dict[str, object]]]
    known: list[tuple[int, str, str]]


def ok(body: str = ONE) -> dict[str, object]:
    return {"body": body, "outcome": "ok"}


def failed(error: str, body: str = ONE) -> dict[str, object]:
    return {"body": body, "outcome": "error", "error": error, "http_status": 400}


LOST: dict[str, object] = {"body": ONE, "outcome": "no_response"}

SCENARIOS = [
    Scenario([[ok()]], [(1, "first_use", "success")]),
    Scenario(
        [[failed("ThrottlingException"), ok()]],
        [(1, "first_use", "throttled"), (2, "sdk_retry", "success")],
    ),
    Scenario([[LOST], [ok()]], [(1, "first_use", "no_response"), (1, "safe_retry", "success")]),
    Scenario(
        [[ok()], [failed("IdempotentParameterMismatchException", OTHER)]],
        [(1, "first_use", "success"), (1, "parameter_mismatch", "mismatch")],
    ),
    Scenario([[{"raw": True}]], [(1, "first_use", "success")]),
]
