"""The two fingerprints of a request (SPEC §10).

``fp`` identifies what is asked for: equal for any key order or white space.
``fp_raw`` identifies the bytes: it differs where ``fp`` is equal when a
serialiser wrote the same request in another way.  Neither contains the token.
"""

from __future__ import annotations

import hashlib
import json
import re
from json.decoder import JSONDecoder
from json.decoder import scanstring as _scan_string  # type: ignore[attr-defined]
from json.encoder import encode_basestring
from typing import Any, NamedTuple, NoReturn, Optional, Union

BODY_BYTES_MAX = 256 * 1024
# Deeper documents have no canonical form in any client. DynamoDB allows 32 levels of attributes.
_LEVELS_MAX = 512
_HEX_DIGITS = 32

# StopIteration is how the standard scanner says that no value begins here.
_NOT_JSON = (ValueError, StopIteration, RecursionError)

Body = Union[bytes, bytearray, memoryview, str]


class Fingerprint(NamedTuple):
    """What one request body tells about itself.

    ``fp`` is ``None`` for a body over 256 KiB, one that is not JSON or has
    more than 512 levels, or one whose strings are not Unicode (a lone
    surrogate cannot be written as UTF-8).  ``token`` is ``None`` if the token
    field is no top-level string.
    """

    fp: Optional[str]
    fp_raw: str
    token: Optional[str]


class _SourceNumber:
    """A number that is written back with the characters it was read from."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Document(NamedTuple):
    """A parsed body, and where in its text the token's characters are (an empty range if nowhere)."""

    text: str
    value: Any
    token: Optional[str] = None
    token_start: int = 0
    token_end: int = 0
    # Too deep for the interpreter: ``value`` is not all of it.
    is_cut: bool = False


def fingerprint(
    api: str,
    body: Body,
    token_field: Optional[str] = None,
    ignored_fields: tuple[str, ...] = (),
) -> Fingerprint:
    """Hash ``body`` for ``api``; never raises for any bytes.

    ``token_field`` and ``ignored_fields`` are looked for at the top level
    only.  Of a repeated key the last one counts, as JSON parsers have it.
    """
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    prefix = api.encode("utf-8", "replace") + b"\n"
    try:
        text = raw.decode("utf-8")
        document = _parse(text, token_field)
    except _NOT_JSON:
        return Fingerprint(None, _hash(prefix, raw), None)
    fp = None
    if len(raw) <= BODY_BYTES_MAX:
        canonical_body = _canonical(document, token_field, ignored_fields)
        if canonical_body is not None:
            fp = _hash(prefix, canonical_body)
    start, end = document.token_start, document.token_end
    if len(raw) != len(text):
        start, end = _byte_offset(text, start), _byte_offset(text, end)
    return Fingerprint(fp, _hash(prefix, raw[:start], raw[end:]), document.token)


def canonical(body: Body, token_field: Optional[str] = None, ignored_fields: tuple[str, ...] = ()) -> Optional[bytes]:
    """What ``fp`` is a hash of, without the API's name: for tests and for explaining a difference.

    ``None`` for a body that has none; the size limit of ``fp`` does not apply.
    """
    try:
        text = body if isinstance(body, str) else bytes(body).decode("utf-8")
        return _canonical(_parse(text, token_field), token_field, ignored_fields)
    except _NOT_JSON:
        return None


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:_HEX_DIGITS]


def _byte_offset(text: str, index: int) -> int:
    return len(text[:index].encode("utf-8"))


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _integer(text: str) -> _SourceNumber:
    return _SourceNumber("0" if text == "-0" else text)


_decoder = JSONDecoder(parse_float=_SourceNumber, parse_constant=_refuse_constant)
# Python refuses to convert integers of some thousand digits; JSON allows no leading zeros, so their text will do.
_long_integer_decoder = JSONDecoder(parse_float=_SourceNumber, parse_int=_integer, parse_constant=_refuse_constant)


def _parse(text: str, token_field: Optional[str]) -> _Document:
    try:
        return _read_document(text, token_field, _decoder)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _read_document(text, token_field, _long_integer_decoder)


def _read_document(text: str, token_field: Optional[str], decoder: JSONDecoder) -> _Document:
    """Parse member by member, because the standard parser does not tell where the token's string is."""
    scan = decoder.scan_once  # type: ignore[attr-defined]
    opening = _match_opening(text)
    if opening is None:
        value, index = scan(text, _skip_space(text).end())  # type: ignore[union-attr]
        _expect_end(text, index)
        return _Document(text, value)
    members: dict[str, Any] = {}
    token, token_start, token_end = None, 0, 0
    is_cut = False
    index = opening.end()
    separator = opening[1]
    while separator != "}":
        member = _match_key(text, index)
        if member is not None:
            key, start = member[1], member.end()
        else:
            key, start = _read_escaped_key(text, index)
        try:
            value, index = scan(text, start)
        except RecursionError:
            value, index, is_cut = None, _end_of_brackets(text, start), True
        members[key] = value
        if key == token_field:
            if isinstance(value, str):
                token, token_start, token_end = value, start + 1, index - 1
            else:
                token, token_start, token_end = None, 0, 0
        after = _match_separator(text, index)
        if after is None:
            raise json.JSONDecodeError("expected ',' or '}'", text, index)
        separator, index = after[1], after.end()
    _expect_end(text, index)
    return _Document(text, members, token, token_start, token_end, is_cut)


def _is_deep(text: str) -> bool:
    """Whether a JSON text has more than ``_LEVELS_MAX`` levels; each round takes the innermost of them away."""
    if text.count("[") + text.count("{") <= _LEVELS_MAX:
        return False
    source = text.encode("utf-8", "surrogatepass")
    if b"\\" in source:
        source = source.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(source.split(b'"')[::2])
    brackets = outside_strings.translate(_ONE_KIND_OF_BRACKETS, _ALL_BUT_BRACKETS)
    for _ in range(_LEVELS_MAX):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


_ONE_KIND_OF_BRACKETS = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _end_of_brackets(text: str, start: int) -> int:
    """The end of the array or object that begins at ``start``, of which only brackets and strings are looked at."""
    level = 0
    for mark in _find_marks(text, start):
        if mark[0] in "[{":
            level += 1
        elif mark[0] in "]}":
            level -= 1
            if level == 0:
                return mark.end()
    raise json.JSONDecodeError("expected more text", text, len(text))


_find_marks = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL).finditer
_skip_space = re.compile(r"[ \t\n\r]*").match
_match_opening = re.compile(r"[ \t\n\r]*\{(?:[ \t\n\r]*(\}))?").match
_match_key = re.compile(r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*').match
_match_quote = re.compile(r'[ \t\n\r]*"').match
_match_colon = re.compile(r"[ \t\n\r]*:[ \t\n\r]*").match
_match_separator = re.compile(r"[ \t\n\r]*([,}])").match


def _read_escaped_key(text: str, index: int) -> tuple[str, int]:
    quote = _match_quote(text, index)
    if quote is None:
        raise json.JSONDecodeError("expected a key", text, index)
    key, index = _scan_string(text, quote.end(), True)
    colon = _match_colon(text, index)
    if colon is None:
        raise json.JSONDecodeError("expected ':'", text, index)
    return key, colon.end()


def _expect_end(text: str, index: int) -> None:
    if _skip_space(text, index).end() != len(text):  # type: ignore[union-attr]
        raise json.JSONDecodeError("text after the end of the document", text, index)


_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)


def _canonical(document: _Document, token_field: Optional[str], ignored_fields: tuple[str, ...]) -> Optional[bytes]:
    """Takes the dropped fields out of the parsed body itself: nobody needs it afterwards."""
    if document.is_cut or _is_deep(document.text):
        return None
    value = document.value
    if isinstance(value, dict):
        value.pop(token_field, None)
        for name in ignored_fields:
            value.pop(name, None)
    try:
        try:
            written = _encoder.encode(value)
        except (TypeError, ValueError):
            # The fast encoder knows neither numbers kept as text nor integers of some thousand digits.
            parts: list[str] = []
            _write(value, parts)
            written = "".join(parts)
        return written.encode("utf-8")
    except _NOT_JSON:
        return None


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, dict):
        separator = "{"
        for key in sorted(value):
            parts += (separator, encode_basestring(key), ":")
            _write(value[key], parts)
            separator = ","
        parts.append("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for item in value:
            parts.append(separator)
            _write(item, parts)
            separator = ","
        parts.append("]" if value else "[]")
    elif isinstance(value, _SourceNumber):
        parts.append(value.text)
    else:
        parts.append(_encoder.encode(value))
