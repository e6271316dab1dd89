"""Event lines of wire protocol version 1 (SPEC §2), always within its limits.

The sidecar rejects an event for one value that is too long, so values are
shortened here instead.  Lines are pure ASCII: JSON escapes carry the rest.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import sys
from json.encoder import encode_basestring_ascii
from typing import Any, Optional

LINE_BYTES_MAX = 16 * 1024
TOKEN_BYTES_MAX = 512
API_BYTES_MAX = 128
CALL_BYTES_MAX = 64
FINGERPRINT_BYTES_MAX = 64
CLIENT_BYTES_MAX = 128
SCOPE_BYTES_MAX = 256
ERROR_BYTES_MAX = 128
REQUEST_ID_BYTES_MAX = 128
TRACEPARENT_BYTES_MAX = 128
_INTEGER_MAX = 2**53 - 1


def quoted(value: str) -> str:
    """``value`` as a JSON string; what is not Unicode becomes U+FFFD, as the sidecar accepts nothing else."""
    written: str = encode_basestring_ascii(_unicode(value))
    return written


def clipped(value: str, bytes_max: int) -> str:
    """``value``, cut at a character boundary to at most ``bytes_max`` bytes of UTF-8."""
    if value.isascii() and len(value) <= bytes_max:
        return value
    encoded = _unicode(value[:bytes_max]).encode("utf-8")
    if len(value) <= bytes_max and len(encoded) <= bytes_max:
        return value
    return encoded[:bytes_max].decode("utf-8", "ignore")


def limited(value: Any, bytes_max: int) -> Optional[str]:
    """:func:`clipped`, or ``None`` for what is no string."""
    return clipped(value, bytes_max) if isinstance(value, str) else None


def clipped_unique(value: str, bytes_max: int) -> str:
    """Like :func:`clipped` for identifiers: two long values that begin alike stay different.

    The end of a value that is too long is replaced by a hash of all of it.
    """
    if value.isascii() and len(value) <= bytes_max:
        return value
    encoded = _unicode(value).encode("utf-8")
    if len(encoded) <= bytes_max:
        return value
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:32]
    return encoded[: bytes_max - len(mark)].decode("utf-8", "ignore") + mark


def _unicode(value: str) -> str:
    if value.isascii():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def client_name() -> str:
    """``<HOSTNAME>/<pid>`` of this process."""
    suffix = f"/{os.getpid()}"
    host = os.environ.get("HOSTNAME") or socket.gethostname()
    return clipped(host, CLIENT_BYTES_MAX - len(suffix)) + suffix


def string_field(name: str, value: Any, bytes_max: int) -> str:
    """``,"name":"value"``, or nothing for a value that is absent or no string."""
    if not isinstance(value, str) or not value:
        return ""
    return f',"{name}":{quoted(clipped(value, bytes_max))}'


def number_field(name: str, value: Any) -> str:
    """``,"name":value`` for a finite number ≥0, or nothing."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return ""
    if not math.isfinite(value) or value < 0 or value > _INTEGER_MAX:
        return ""
    return f',"{name}":{value:.15g}' if isinstance(value, float) else f',"{name}":{value}'


def integer_field(name: str, value: Any, minimum: int = 0) -> str:
    """``,"name":value`` for an integer ≥ ``minimum``, or nothing."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _INTEGER_MAX:
        return ""
    return f',"{name}":{value}'


def traceparent() -> Optional[str]:
    """The W3C trace context of the current OpenTelemetry span, or ``None``.

    The library is used if the application has imported it: without that there
    is no current span, and importing it here would cost the application time.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 0xFF:02x}"
