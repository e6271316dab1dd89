"""Reports what boto3 clients do, through botocore's event hooks.

Order of the hooks of one call, with those used here: ``before-parameter-build``
(the caller's parameters, before a missing token is filled in); for each attempt
``before-send`` (the final bytes) and ``response-received``; then ``after-call``
or ``after-call-error``.  They share one context dictionary, which keeps the
call's state and drops it with the call, however the call ends.  Up to botocore
1.42 at least, ``before-send`` is not given it: it is handed on from
``request-created``, which comes just before in the same thread.
"""

from __future__ import annotations

import functools
import time
from contextvars import ContextVar
from typing import Any, Callable, NamedTuple, Optional, TypeVar

from . import _event as event
from ._attempt import Attempt, transport
from ._call import Call

T = TypeVar("T")
_CONTEXT_KEY = "oncewatch"
_SERVICE = "dynamodb"
_OPERATIONS = ("TransactWriteItems", "ExecuteTransaction")
_TOKEN_FIELD = "ClientRequestToken"
_IGNORED_FIELDS = ("ReturnConsumedCapacity", "ReturnItemCollectionMetrics")
_created_context: ContextVar[Any] = ContextVar("oncewatch_created_context", default=None)


class _Call:
    """One logical SDK call."""

    __slots__ = ("attempt", "body", "call", "started", "token_origin")

    def __init__(self, token_origin: str) -> None:
        self.token_origin = token_origin
        self.body: Any = None
        self.call: Optional[Call] = None
        self.attempt: Optional[Attempt] = None
        self.started = time.monotonic()

    def __del__(self) -> None:
        """No hook runs after KeyboardInterrupt and its like: the call ends when its context goes."""
        if self.attempt is not None:
            self.attempt.end_call()


def instrument(obj: T, *, scope: Optional[str] = None) -> T:
    """Report the idempotency tokens of a boto3 client, or of all clients a session creates from now on.

    Takes a boto3 client, resource or Session or a botocore Session and returns
    it; doing so again changes nothing.  ``scope`` is the namespace of the
    tokens, at most 256 bytes; the default is the client's Region, as the SDK
    does not know the account.  Raises ``TypeError`` for anything else.
    """
    events = _event_emitter(obj)
    hooks = _Hooks(scope)
    for operation in _OPERATIONS:
        for name, hook in hooks.by_event():
            events.register_last(f"{name}.{_SERVICE}.{operation}", hook, unique_id=f"oncewatch-{name}-{operation}")
    return obj


def _event_emitter(obj: Any) -> Any:
    # A resource keeps its client in meta, a botocore session its emitter in a component.
    client = getattr(getattr(obj, "meta", None), "client", None) or obj
    emitter = getattr(getattr(client, "meta", None), "events", None) or getattr(client, "events", None)
    if emitter is None and hasattr(client, "get_component"):
        emitter = client.get_component("event_emitter")
    if not hasattr(emitter, "register_last"):
        raise TypeError(f"oncewatch.instrument takes a boto3 client or Session, not {type(obj).__name__}")
    return emitter


def _guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """botocore lets a hook's exception through to the application, and takes a returned value as an answer."""

    @functools.wraps(hook)
    def guarded(self: _Hooks, **kwargs: Any) -> None:
        try:
            hook(self, **kwargs)
        except Exception as failure:
            transport.count_failure(failure)

    return guarded


class _Hooks(NamedTuple):
    scope: Optional[str]

    def by_event(self) -> list[tuple[str, Callable[..., None]]]:
        return [
            ("before-parameter-build", self.before_parameter_build),
            ("request-created", self.request_created),
            ("before-send", self.before_send),
            ("response-received", self.response_received),
            ("after-call", self.after_call),
            ("after-call-error", self.after_call),
        ]

    @_guarded
    def before_parameter_build(self, params: Any, context: Any, **_: Any) -> None:
        context[_CONTEXT_KEY] = _Call("caller" if _TOKEN_FIELD in params else "sdk")

    @_guarded
    def request_created(self, request: Any, **_: Any) -> None:
        _created_context.set(request.context)

    @_guarded
    def before_send(self, request: Any, event_name: str, **_: Any) -> None:
        # Not kept any longer: a call whose context lives on does not end when its caller is interrupted.
        created = _created_context.get()
        _created_context.set(None)
        context = getattr(request, "context", created)
        call = context.get(_CONTEXT_KEY) if context is not None else None
        if call is None:
            return
        retries = context.get("retries", {})
        number = retries.get("attempt", 1)
        if not transport.accepting:
            transport.skip()
            call.attempt = Attempt(None, number, False)
            return
        if call.body is not request.body and call.body != request.body:
            self._describe(call, request.body, retries.get("invocation-id", ""), context, event_name)
        if call.call is None:
            return
        call.attempt = Attempt(call.call, number, False)
        call.attempt.start(_max_attempts(context), event.traceparent())

    def _describe(self, call: _Call, body: Any, call_id: str, context: Any, event_name: str) -> None:
        """Everything that the attempts of a call have in common, once per call."""
        call.body, call.call = body, None
        if not isinstance(body, (bytes, bytearray, str)):
            return
        scope = self.scope if self.scope is not None else context.get("client_region") or ""
        api = f"{_SERVICE}.{event_name.rpartition('.')[2]}"
        call.call = Call(api, None, call_id, scope, call.token_origin, body, _TOKEN_FIELD, _IGNORED_FIELDS)

    @_guarded
    def response_received(self, parsed_response: Any, context: Any, **_: Any) -> None:
        call = context.get(_CONTEXT_KEY)
        if call is None or call.attempt is None:
            return
        max_attempts = _max_attempts(context)
        if parsed_response is None:
            call.attempt.end("no_response", max_attempts=max_attempts)
            return
        metadata = parsed_response.get("ResponseMetadata", {})
        status = metadata.get("HTTPStatusCode")
        failed = status is None or status >= 300
        read_units, write_units = _consumed_units(parsed_response)
        call.attempt.end(
            "error" if failed else "ok",
            error=parsed_response.get("Error", {}).get("Code") if failed else None,
            http_status=status,
            request_id=_request_id(metadata),
            read_units=read_units,
            write_units=write_units,
            max_attempts=max_attempts,
        )

    @_guarded
    def after_call(self, context: Any, **_: Any) -> None:
        call = context.pop(_CONTEXT_KEY, None)
        if call is not None and call.attempt is not None:
            call.attempt.end_call((time.monotonic() - call.started) * 1000)


def _request_id(metadata: Any) -> Optional[str]:
    """The headers' own where botocore does not look: in a 5xx whose body is no JSON."""
    found: Optional[str] = metadata.get("RequestId") or metadata.get("HTTPHeaders", {}).get("x-amzn-requestid")
    return found


def _max_attempts(context: Any) -> Optional[int]:
    """The limit including the first attempt; legacy retries know it only after the first failure."""
    limit: Optional[int] = context.get("retries", {}).get("max")
    if limit is None:
        configured = getattr(context.get("client_config"), "retries", None) or {}
        limit = configured.get("total_max_attempts")
    return limit


def _consumed_units(parsed: Any) -> tuple[Optional[float], Optional[float]]:
    """Sums over the tables of an answer; ``None`` where no table tells."""
    entries = parsed.get("ConsumedCapacity")
    if not isinstance(entries, list):
        return None, None
    totals = []
    for name in ("ReadCapacityUnits", "WriteCapacityUnits"):
        units = [entry[name] for entry in entries if name in entry]
        totals.append(sum(units) if units else None)
    return totals[0], totals[1]
