"""Tells the oncewatch sidecar how this process uses idempotency tokens.

``oncewatch.instrument(boto3.client("dynamodb"))`` for DynamoDB,
``with oncewatch.begin(api, token, body=...) as attempt:`` for anything else.
It only observes: no call here waits for the sidecar or fails because of it.
"""

from __future__ import annotations

from typing import Any

from ._attempt import Attempt, begin, transport
from ._boto import instrument
from ._fingerprint import Fingerprint, canonical, fingerprint

__version__ = "0.1.0"
__all__ = ["Attempt", "Fingerprint", "begin", "canonical", "fingerprint", "flush", "instrument", "stats"]


def flush(timeout_s: float = 0.2) -> bool:
    """Wait at most ``timeout_s`` seconds for queued events to be written and acknowledged; True if all are.

    Only needed before ``os._exit``: a normal end of the process does it.
    """
    return transport.flush(timeout_s)


def stats() -> dict[str, Any]:
    """Counts of this process: events ``sent``, ``pending``, ``dropped``, and ``failures`` inside this library.

    To a sidecar that has ``acknowledged`` anything on this connection, an event is sent once it is acknowledged.
    """
    return transport.stats()
