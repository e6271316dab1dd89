"""Attempts of token-taking calls, for any API."""

from __future__ import annotations

import os
import time
import uuid
from types import TracebackType
from typing import Any, Optional, Union

from . import _event as event
from ._call import DEFERRED_BODY_BYTES_MAX, AttemptEnd, AttemptStart, Call, CallEnd, limited_outcome
from ._fingerprint import Body
from ._transport import Transport

transport = Transport()


class Attempt:
    """One request on the wire, begun; :meth:`end` it once.

    No method raises, whatever it is given.  An attempt that is garbage
    collected without an end is reported as ``no_response``: whoever waited for
    the answer has been cancelled.  In a forked child the parent's attempts are
    silent.
    """

    __slots__ = ("_body_counted", "_call", "_number", "_open", "_outcome", "_own_call", "_pid", "_start_dropped", "_started")

    def __init__(self, call: Optional[Call], number: int, own_call: bool) -> None:
        """Not for applications: use :func:`begin`. Without a call, its ends are only counted as dropped."""
        self._call = call
        self._number = number
        self._own_call = own_call
        self._open = True
        self._start_dropped = True
        self._body_counted = False
        self._outcome: Optional[tuple[Any, ...]] = None
        self._pid = os.getpid()
        self._started = 0.0

    def start(self, max_attempts: Optional[int], traceparent: Optional[str]) -> None:
        """Not for applications: send the start event."""
        call = self._call
        assert call is not None
        if call.waiting_bytes > DEFERRED_BODY_BYTES_MAX:
            call.fingerprint_now()
        start = AttemptStart(call, self._number, max_attempts, traceparent, time.time())
        self._body_counted = transport.send(start)
        self._start_dropped = not self._body_counted
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
            self._outcome = limited_outcome(outcome, error, http_status, request_id)
            if self._call is None:
                transport.skip()
            else:
                units = read_units, write_units
                end = AttemptEnd(
                    self._call, self._number, max_attempts, self._start_dropped, self._outcome, units, duration_ms, time.time()
                )
                if not self._body_counted:
                    end.size += self._call.waiting_bytes
                    self._body_counted = transport.send(end)
                else:
                    transport.send(end)
            if self._own_call:
                self.end_call()
        except Exception as failure:
            transport.count_failure(failure)

    def end_call(self, duration_ms: Optional[float] = None) -> None:
        """Report that the call is over, with the outcome of this, its last attempt."""
        try:
            self.end("no_response")
            if self._pid != os.getpid() or self._outcome is None:
                return
            outcome, self._outcome = self._outcome, None
            if self._call is None:
                transport.skip()
                return
            over = CallEnd(self._call, self._number, outcome, duration_ms, time.time())
            if not self._body_counted:
                over.size += self._call.waiting_bytes
            transport.send(over)
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
            return Attempt(None, number, own_call)
        common = _text("api", api), _text("token", token), _text("call", call or str(uuid.uuid4())), _text("scope", scope)
        origin = "sdk" if token_origin == "sdk" else "caller"
        started = Attempt(Call(*common, origin, _own_copy(body), token_field, ignored_fields, fp, fp_raw), number, own_call)
        started.start(max_attempts, traceparent if traceparent is not None else event.traceparent())
        return started
    except Exception as failure:
        transport.count_failure(failure)
        return Attempt(None, number, own_call)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"oncewatch.begin: {name} must be a string, not {type(value).__name__}")
    return value


def _own_copy(body: Optional[Body]) -> Union[bytes, str, None]:
    """The application may write something else into its bytes before they are hashed."""
    if body is None or isinstance(body, (bytes, str)):
        return body
    if not isinstance(body, (bytearray, memoryview)):
        raise TypeError(f"oncewatch.begin: body must be bytes or a string, not {type(body).__name__}")
    return bytes(body)


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
