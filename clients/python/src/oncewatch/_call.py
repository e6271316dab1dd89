"""What waits in the buffer until the sender has time for it: calls whose bodies are not hashed yet, and their events.

The application's thread only keeps references; everything that takes time
happens when the sender asks an event for its line.
"""

from __future__ import annotations

from typing import Any, Optional, Union

from . import _event as event
from ._fingerprint import fingerprint

# A longer body is hashed at once: waiting, it would take much of the buffer from other events.
DEFERRED_BODY_BYTES_MAX = 32 * 1024
# What an event counts for besides its body and its call's texts.
_EVENT_BYTES = 256


class Call:
    """One logical call: what all its events share. Without a ``token`` it is read from the body."""

    __slots__ = (
        "api",
        "body",
        "call",
        "common",
        "fingerprints",
        "fp",
        "fp_raw",
        "ignored_fields",
        "scope",
        "size",
        "token",
        "token_field",
        "token_origin",
    )

    def __init__(
        self,
        api: str,
        token: Optional[str],
        call: str,
        scope: str,
        token_origin: str,
        body: Union[bytes, bytearray, str, None],
        token_field: Optional[str],
        ignored_fields: tuple[str, ...],
        fp: Optional[str] = None,
        fp_raw: Optional[str] = None,
    ) -> None:
        self.api = api
        self.token = token
        self.call = call
        self.scope = scope
        self.token_origin = token_origin
        self.body = body
        self.token_field = token_field
        self.ignored_fields = ignored_fields
        self.fp = fp
        self.fp_raw = fp_raw
        texts = api, token, call, scope, fp, fp_raw
        self.size = _EVENT_BYTES + sum(len(text) for text in texts if isinstance(text, str))
        self.common: Optional[str] = None
        self.fingerprints = ""

    @property
    def waiting_bytes(self) -> int:
        """The length of a body that is not hashed yet."""
        body = self.body
        return len(body) if body is not None else 0

    def fingerprint_now(self) -> None:
        """Hash the body and let go of it."""
        body = self.body
        if body is None:
            return
        if self.fp is None or self.fp_raw is None or self.token is None:
            found = fingerprint(self.api, body, self.token_field, self.ignored_fields)
            self.fp = self.fp if self.fp is not None else found.fp
            self.fp_raw = self.fp_raw if self.fp_raw is not None else found.fp_raw
            self.token = self.token if self.token is not None else found.token
        self.body = None

    def describe(self, client: str) -> bool:
        """Make the texts that the call's events share; False for a body that has no token."""
        self.fingerprint_now()
        if self.token is None:
            return False
        limit = event.FINGERPRINT_BYTES_MAX
        self.fingerprints = "".join(
            event.string_field(name, event.clipped_unique(value, limit), limit)
            for name, value in (("fp", self.fp), ("fp_raw", self.fp_raw))
            if value
        )
        scope = event.clipped_unique(self.scope, event.SCOPE_BYTES_MAX)
        self.common = (
            f',"api":{event.quoted(event.clipped(self.api, event.API_BYTES_MAX))}'
            f',"token":{event.quoted(event.clipped_unique(self.token, event.TOKEN_BYTES_MAX))}'
            f',"call":{event.quoted(event.clipped_unique(self.call, event.CALL_BYTES_MAX))}'
            f',"client":{event.quoted(client)}{event.string_field("scope", scope, event.SCOPE_BYTES_MAX)}'
        )
        return True


class AttemptStart:
    __slots__ = ("at", "call", "max_attempts", "number", "size", "traceparent")

    def __init__(
        self, call: Call, number: int, max_attempts: Optional[int], traceparent: Optional[str], at: float
    ) -> None:
        self.call = call
        self.number = number
        self.max_attempts = max_attempts
        self.traceparent = event.limited(traceparent, event.TRACEPARENT_BYTES_MAX)
        self.at = at
        self.size = call.size + call.waiting_bytes

    def line(self, client: str) -> str:
        call = self.call
        if call.common is None and not call.describe(client):
            return ""
        return (
            f'{{"type":"attempt_start"{call.common},"attempt":{self.number}'
            f"{event.integer_field('max_attempts', self.max_attempts, 1)}{call.fingerprints}"
            f'{event.string_field("traceparent", self.traceparent, event.TRACEPARENT_BYTES_MAX)},"token_origin":"{call.token_origin}"'
            f',"at":{self.at:.6f}}}\n'
        )


class AttemptEnd:
    __slots__ = ("at", "call", "duration_ms", "max_attempts", "number", "outcome", "size", "start_dropped", "units")

    def __init__(
        self,
        call: Call,
        number: int,
        max_attempts: Optional[int],
        start_dropped: bool,
        outcome: tuple[Any, ...],
        units: tuple[Optional[float], Optional[float]],
        duration_ms: float,
        at: float,
    ) -> None:
        self.call = call
        self.number = number
        self.max_attempts = max_attempts
        self.start_dropped = start_dropped
        self.outcome = outcome
        self.units = units
        self.duration_ms = duration_ms
        self.at = at
        self.size = call.size

    def line(self, client: str) -> str:
        call = self.call
        if call.common is None and not call.describe(client):
            return ""
        # Only needed if there is no start to look them up in.
        fingerprints = call.fingerprints if self.start_dropped else ""
        read_units, write_units = self.units
        return (
            f'{{"type":"attempt_end"{call.common},"attempt":{self.number}'
            f"{event.integer_field('max_attempts', self.max_attempts, 1)}{fingerprints}{_outcome_fields(*self.outcome)}"
            f',"duration_ms":{self.duration_ms:.3f}{event.number_field("read_units", read_units)}'
            f'{event.number_field("write_units", write_units)},"at":{self.at:.6f}}}\n'
        )


class CallEnd:
    __slots__ = ("at", "attempts", "call", "duration_ms", "outcome", "size")

    def __init__(
        self, call: Call, attempts: int, outcome: tuple[Any, ...], duration_ms: Optional[float], at: float
    ) -> None:
        self.call = call
        self.attempts = attempts
        self.outcome = outcome
        self.duration_ms = duration_ms
        self.at = at
        self.size = call.size

    def line(self, client: str) -> str:
        call = self.call
        if call.common is None and not call.describe(client):
            return ""
        return (
            f'{{"type":"call_end"{call.common},"attempts":{self.attempts}{_outcome_fields(*self.outcome)}'
            f'{event.number_field("duration_ms", self.duration_ms)},"at":{self.at:.6f}}}\n'
        )


def limited_outcome(outcome: str, error: Any, http_status: Any, request_id: Any) -> tuple[Any, ...]:
    """What an answer tells, within its limits: a proxy's page in place of a code must not wait in the buffer."""
    known = outcome if outcome in ("ok", "error") else "no_response"
    code = event.limited(error, event.ERROR_BYTES_MAX)
    return known, code, http_status, event.limited(request_id, event.REQUEST_ID_BYTES_MAX)


def _outcome_fields(outcome: str, error: Optional[str], http_status: Optional[int], request_id: Optional[str]) -> str:
    code = event.string_field("error", error, event.ERROR_BYTES_MAX)
    status = event.integer_field("http_status", http_status)
    if outcome == "error" and not code and not status:
        # The protocol wants one of the two; a code that no profile lists leaves the outcome open.
        code = ',"error":"UnknownError"'
    answer = event.string_field("request_id", request_id, event.REQUEST_ID_BYTES_MAX)
    return f',"outcome":"{outcome}"{code}{status}{answer}'
