"""Attempts of token-taking calls, for any API."""

from __future__ import annotations

import os
import time
import uuid
from types import TracebackType
from typing import Any, Optional

from . import _event as event
from ._fingerprint import Body, fingerprint
from ._transport import Transport

transport = Transport()


class Attempt:
    """One request on the wire, begun; :meth:`end` it once.

    No method raises, whatever it is given.  An attempt that is garbage
    collected without an end is reported as ``no_response``: whoever waited for
    the answer has been cancelled.  In a forked child the parent's attempts are
    silent.
    """

    __slots__ = (
        "_common",
        "_fingerprints",
        "_number",
        "_observed",
        "_open",
        "_outcome",
        "_own_call",
        "_pid",
        "_started",
    )

    def __init__(self, common: str, fingerprints: str, number: int, own_call: bool) -> None:
        """Not for applications: use :func:`begin`. Until it is started, its ends are only counted as dropped."""
        self._common = common
        self._fingerprints = fingerprints
        self._number = number
        self._own_call = own_call
        self._open = True
        self._observed = False
        self._outcome = ""
        self._pid = os.getpid()
        self._started = 0.0

    def start(self, max_attempts: Optional[int], token_origin: str, traceparent: Optional[str]) -> None:
        """Not for applications: send the start event."""
        sent = transport.send(
            f'{{"type":"attempt_start"{self._common},"attempt":{self._number}'
            f"{event.integer_field('max_attempts', max_attempts, 1)}{self._fingerprints}"
            f'{event.string_field("traceparent", traceparent, 128)},"token_origin":"{token_origin}"'
            f',"at":{time.time():.6f}}}'
        )
        # An end needs the fingerprints only if there is no start to look them up in.
        if sent:
            self._fingerprints = ""
        self._observed = True
        self._started = time.monotonic()

    def end(
        self,
        outcome: str = "ok",
        *,
        error: Optional[str] = None,
        http_status: Optional[int] = None,
        request_id: Optional[str] = None,
        read_units: Optional[float] = None,
        write_units: Optional[float] = None,
        max_attempts: Optional[int] = None,
    ) -> None:
        """Report how the request ended; only the first end counts.

        ``outcome`` is ``ok``, ``error`` (with ``error``, the server's code, or
        ``http_status``) or ``no_response``; anything else is taken as
        ``no_response``, which claims nothing.  Units are capacity units.
        """
        try:
            if not self._open or self._pid != os.getpid():
                return
            self._open = False
            duration_ms = (time.monotonic() - self._started) * 1000
            self._outcome = _outcome_fields(outcome, error, http_status, request_id)
            if not self._observed:
                transport.skip()
            else:
                transport.send(
                    f'{{"type":"attempt_end"{self._common},"attempt":{self._number}'
                    f"{event.integer_field('max_attempts', max_attempts, 1)}{self._fingerprints}{self._outcome}"
                    f',"duration_ms":{duration_ms:.3f}{event.number_field("read_units", read_units)}'
                    f'{event.number_field("write_units", write_units)},"at":{time.time():.6f}}}'
                )
            if self._own_call:
                self.end_call()
        except Exception as failure:
            transport.count_failure(failure)

    def end_call(self, duration_ms: Optional[float] = None) -> None:
        """Report that the call is over, with the outcome of this, its last attempt."""
        try:
            self.end("no_response")
            if self._pid != os.getpid() or not self._outcome:
                return
            outcome, self._outcome = self._outcome, ""
            if not self._observed:
                transport.skip()
                return
            transport.send(
                f'{{"type":"call_end"{self._common},"attempts":{self._number}{outcome}'
                f'{event.number_field("duration_ms", duration_ms)},"at":{time.time():.6f}}}'
            )
        except Exception as failure:
            transport.count_failure(failure)

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], raised: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Without an earlier :meth:`end`: ``ok``, or what the exception tells of the answer."""
        if raised is None:
            self.end("ok")
        else:
            self.end(**outcome_of(raised))

    def __del__(self) -> None:
        try:
            if self._open:
                self.end("no_response")
        except Exception:
            # The interpreter may be going away; a finalizer has nobody to tell.
            pass


def begin(
    api: str,
    token: str,
    *,
    body: Optional[Body] = None,
    fp: Optional[str] = None,
    fp_raw: Optional[str] = None,
    token_field: Optional[str] = None,
    ignored_fields: tuple[str, ...] = (),
    call: Optional[str] = None,
    attempt: int = 1,
    max_attempts: Optional[int] = None,
    scope: str = "",
    token_origin: str = "caller",
    traceparent: Optional[str] = None,
) -> Attempt:
    """Report that a request with ``token`` is about to be sent; never raises.

    ``api`` names the sidecar's profile, e.g. ``stripe``.  Give the ``body`` as
    sent (``token_field`` and ``ignored_fields`` as in the profile) or ``fp``,
    your own hash of the parameters without the token, at most 64 characters.
    For several attempts of one call give the same ``call`` and count
    ``attempt`` from 1, and finish with :meth:`Attempt.end_call`; without
    ``call`` this attempt is a call of its own.
    """
    own_call = not call
    number = attempt if isinstance(attempt, int) and attempt >= 1 else 1
    try:
        if not transport.accepting:
            transport.skip()
            return Attempt("", "", number, own_call)
        if body is not None and (fp is None or fp_raw is None):
            computed = fingerprint(api, body, token_field, ignored_fields)
            fp = fp if fp is not None else computed.fp
            fp_raw = fp_raw if fp_raw is not None else computed.fp_raw
        common = common_fields(api, token, call or str(uuid.uuid4()), scope)
        started = Attempt(common, fingerprint_fields(fp, fp_raw), number, own_call)
        started.start(
            max_attempts,
            "sdk" if token_origin == "sdk" else "caller",
            traceparent if traceparent is not None else event.traceparent(),
        )
        return started
    except Exception as failure:
        transport.count_failure(failure)
        return Attempt("", "", number, own_call)


def common_fields(api: str, token: str, call: str, scope: str) -> str:
    """The fields that all events of a call share."""
    return (
        f',"api":{event.quoted(event.clipped(api, event.API_BYTES_MAX))}'
        f',"token":{event.quoted(event.clipped_unique(token, event.TOKEN_BYTES_MAX))}'
        f',"call":{event.quoted(event.clipped_unique(call, event.CALL_BYTES_MAX))}'
        f',"client":{event.quoted(transport.client)}'
        f"{event.string_field('scope', event.clipped_unique(scope, event.SCOPE_BYTES_MAX), event.SCOPE_BYTES_MAX)}"
    )


def fingerprint_fields(fp: Optional[str], fp_raw: Optional[str]) -> str:
    limit = event.FINGERPRINT_BYTES_MAX
    return "".join(
        event.string_field(name, event.clipped_unique(value, limit), limit)
        for name, value in (("fp", fp), ("fp_raw", fp_raw))
        if value
    )


def outcome_of(raised: BaseException) -> dict[str, Any]:
    """The arguments of :meth:`Attempt.end` for an exception.

    Knows the answer that botocore, requests, httpx and urllib attach to their
    errors; an exception without one says nothing about the outcome.
    """
    response = getattr(raised, "response", None)
    if isinstance(response, dict):
        code = response.get("Error", {}).get("Code")
        metadata = response.get("ResponseMetadata", {})
        return {
            "outcome": "error",
            "error": code,
            "http_status": metadata.get("HTTPStatusCode"),
            "request_id": metadata.get("RequestId"),
        }
    status = getattr(response, "status_code", None)
    if status is None and type(raised).__name__ == "HTTPError":
        status = getattr(raised, "code", None)
    if isinstance(status, int):
        return {"outcome": "error", "http_status": status}
    return {"outcome": "no_response"}


def _outcome_fields(outcome: str, error: Optional[str], http_status: Optional[int], request_id: Optional[str]) -> str:
    code = event.string_field("error", error, event.ERROR_BYTES_MAX)
    status = event.integer_field("http_status", http_status)
    if outcome == "error" and not code and not status:
        # The protocol wants one of the two; a code that no profile lists leaves the outcome open.
        code = ',"error":"UnknownError"'
    known = outcome if outcome in ("ok", "error") else "no_response"
    answer = event.string_field("request_id", request_id, event.REQUEST_ID_BYTES_MAX)
    return f',"outcome":"{known}"{code}{status}{answer}'
