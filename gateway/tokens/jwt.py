"""Read compact JSON Web Signatures, strictly.

Parsing yields header, payload and signature or one named problem; it verifies
nothing (that is `gateway.tokens.keys` for signatures and the callers for claims).
Pure: no I/O, no clock.

The rules:

1. Three segments of unpadded base64url; the middle ones non-empty. A segment has
   exactly one spelling: stray bits behind the last byte are refused, because two
   spellings of one token would slip past anything keyed by its bytes.
2. Header and payload are JSON objects in UTF-8 in which no member repeats, at any
   depth: two parsers could otherwise read two different tokens. No NaN, infinite
   numbers or lone surrogates; nesting, the number of values and the length of a number
   are bounded. The bounds are checked before the decoder sees a text, and each step of
   it all takes linear time: whoever sends a token need not have one.
3. A `crit` or `b64` header is refused: we implement no extension, and RFC 7797
   changes what is signed.

The standard library's decoder is used because it can see repeated members; with a
prepared `JSONDecoder` it costs 1.9 µs for a usual payload (msgspec, which cannot
see them: 0.7 µs; checking an ES256 signature: 60 µs).

Sources: RFC 7515 2, 4.1.11, 5.2 and 7.1; RFC 7519 4; RFC 7797 6; RFC 8725 3.11.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.tokens.base64url import decode_base64url
from gateway.tokens.key_ring import NO_HEADERS

MAX_TOKEN_BYTES = 16 * 1024
REST_OF_HEAD_BYTES = 1024
"""Kept free in a head for what is no token: the request line, Host and other usual fields."""
MAX_DEPTH = 16
MAX_VALUES = 8 * 1024
"""Commas and opening brackets, those inside strings included."""
MAX_QUOTATION_MARKS = 4 * (MAX_VALUES + 1)
"""Two for each value and for each name of a member."""
MAX_NUMBER = 1000
"""Characters; reading a whole number takes more than linear time (Python's own limit is 4300)."""

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def largest_token_bytes(header_bytes: int) -> int:
    """Return the size beyond which a token may not pass the gate.

    Args:
        header_bytes: How much a whole head may have (0 = any); the token shares it with all other fields.
    """
    if not header_bytes:
        return MAX_TOKEN_BYTES
    return min(MAX_TOKEN_BYTES, max(header_bytes - REST_OF_HEAD_BYTES, header_bytes // 2))


class JwtProblem(StrEnum):
    """Why a text is not a token that we read."""

    TOO_LARGE = "the token is larger than allowed"
    NOT_COMPACT = "not three base64url segments separated by dots"
    BAD_BASE64URL = "a segment is not exact unpadded base64url"
    BAD_JSON = "header or payload is not a JSON object"
    DUPLICATE_MEMBER = "a member of a JSON object is repeated"
    TOO_DEEP = "JSON is nested too deeply"
    TOO_MANY_VALUES = "JSON holds too many values"
    CRITICAL_HEADER = "the header demands an extension that is not supported"


@dataclass(frozen=True, slots=True)
class CompactJwt:
    """One parsed token. Nothing in it is verified."""

    header: Mapping[str, object]
    payload: dict[str, object] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


class _DuplicateMemberError(ValueError):
    """Raised inside the JSON decoder; never leaves this module."""


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateMemberError
    return members


def _whole_number(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError
    return int(text)


def _finite_number(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise ValueError
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refuse_constant(text: str) -> object:
    raise ValueError(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_int=_whole_number,
    parse_float=_finite_number,
    parse_constant=_refuse_constant,
)


def _none_when_repeated(pairs: list[tuple[str, object]]) -> dict[str, object] | None:
    members = dict(pairs)
    return members if len(members) == len(pairs) else None


def _any_number(text: str) -> int:
    """Return a number in the place of one that nobody looks at, however long it is."""
    return 0


_KEY_SET_DECODER = json.JSONDecoder(
    object_pairs_hook=_none_when_repeated,
    parse_int=_any_number,
    parse_float=_any_number,
    parse_constant=_refuse_constant,
)


def _find_excess(octets: bytes) -> JwtProblem | None:
    """Return the bound that a JSON text breaks, if it breaks one; its grammar is not looked at.

    No octet is visited more than a fixed number of times, and none by a pattern: a pattern for
    strings begins anew at each quotation mark of a text whose strings do not end.
    """
    opening = octets.count(b"{") + octets.count(b"[")
    if opening + octets.count(b",") > MAX_VALUES:
        return JwtProblem.TOO_MANY_VALUES
    if opening <= MAX_DEPTH:
        return None
    # Escapes come in pairs from the left, as a decoder reads them; then every other piece is a string.
    unescaped = octets.replace(rb"\\", b"").replace(rb"\"", b"")
    if unescaped.count(b'"') > MAX_QUOTATION_MARKS:
        return JwtProblem.TOO_MANY_VALUES
    outside = b"".join(unescaped.split(b'"')[::2])
    depth = 0
    for bracket in outside.translate(None, _ALL_BUT_BRACKETS):
        depth += 1 if bracket in b"{[" else -1
        if depth > MAX_DEPTH:
            return JwtProblem.TOO_DEEP
        if depth <= 0:
            return None  # the value ends here, and a decoder reads no further
    return None


def parse_json_object(octets: bytes) -> dict[str, object] | JwtProblem:
    """Return the JSON object that `octets` hold, by rule 2 above. Never raises on input."""
    return _parse_object(octets, _DECODER, may_hold_halves=False)


def parse_key_set_object(octets: bytes) -> dict[str, object] | JwtProblem:
    """Return the JSON object that `octets` hold, lenient about what is within. Never raises on input.

    An object within that repeats a member is None in its place: it makes none of its neighbours
    useless. Each number is 0. A text may hold a lone surrogate, which no octets can spell.
    """
    return _parse_object(octets, _KEY_SET_DECODER, may_hold_halves=True)


def _parse_object(
    octets: bytes, decoder: json.JSONDecoder, *, may_hold_halves: bool
) -> dict[str, object] | JwtProblem:
    excess = _find_excess(octets)
    if excess is not None:
        return excess
    try:
        text = octets.decode("utf-8")
        value = decoder.decode(text)
        if not may_hold_halves and _ESCAPED_SURROGATE.search(text):
            # Pairs have become one character; what still does not encode is a lone half.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _DuplicateMemberError:
        return JwtProblem.DUPLICATE_MEMBER
    except ValueError:
        return JwtProblem.BAD_JSON
    if not isinstance(value, dict):
        return JwtProblem.BAD_JSON
    return value


def parse_compact(
    raw: bytes,
    *,
    max_bytes: int = MAX_TOKEN_BYTES,
    headers: Mapping[bytes, Mapping[str, object]] = NO_HEADERS,
) -> CompactJwt | JwtProblem:
    """Return the token that `raw` spells, or the first rule it breaks. Never raises on input.

    An empty signature parses (it is how `none` is written) and verifies under no key.

    Args:
        raw: The token as it was presented.
        max_bytes: Longer ones are not looked at.
        headers: First segments that are known by heart, with what they spell.
    """
    if len(raw) > max_bytes:
        return JwtProblem.TOO_LARGE
    segments = _COMPACT.fullmatch(raw)
    if segments is None:
        return JwtProblem.NOT_COMPACT
    header = headers.get(segments[1])
    payload_bytes = decode_base64url(segments[2])
    signature = decode_base64url(segments[3])
    if payload_bytes is None or signature is None:
        return JwtProblem.BAD_BASE64URL
    if header is None:
        read = _parse_header(segments[1])
        if isinstance(read, JwtProblem):
            return read
        header = read
    payload = parse_json_object(payload_bytes)
    if isinstance(payload, JwtProblem):
        return payload
    return CompactJwt(header, payload, raw[: segments.end(2)], signature)


def _parse_header(segment: bytes) -> dict[str, object] | JwtProblem:
    octets = decode_base64url(segment)
    if octets is None:
        return JwtProblem.BAD_BASE64URL
    header = parse_json_object(octets)
    if not isinstance(header, JwtProblem) and ("crit" in header or "b64" in header):
        return JwtProblem.CRITICAL_HEADER
    return header
