"""Parse tokens by exact rules, and read back what we write."""

import base64
import inspect
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from gateway.tokens.base64url import decode_base64url, encode_base64url
from gateway.tokens.jwt import (
    MAX_DEPTH,
    MAX_NUMBER,
    MAX_VALUES,
    CompactJwt,
    JwtProblem,
    _find_excess,
    parse_compact,
    parse_json_object,
)
from gateway.tokens.key_ring import make_key_ring
from gateway.tokens.keys import make_signing_key, make_verification_key
from gateway.tokens.signing import sign_compact

JWK_ = JWK.generate(kty="EC", crv="P-256")
KEY = make_signing_key(JWK_, "ES256")


def test_a_signed_token_parses_to_what_was_signed() -> None:
    raw = sign_compact(KEY, {"iss": "i", "exp": 1, "naïve": ["é", {"a": None}]}, typ="at+jwt")
    token = parse_compact(raw)
    assert isinstance(token, CompactJwt)
    assert token.header == {"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt"}
    assert token.payload == {"iss": "i", "exp": 1, "naïve": ["é", {"a": None}]}
    assert raw == token.signing_input + b"." + encode_base64url(token.signature)
    assert make_verification_key(JWK_, "ES256").verify(token.signing_input, token.signature)


def test_a_header_known_by_heart_is_the_one_that_would_be_read() -> None:
    ring = make_key_ring(KEY, [make_verification_key(JWK_, "ES256")])
    raw = sign_compact(KEY, {"sub": "someone"})
    assert set(ring.headers) == {raw.partition(b".")[0]}
    by_heart, read = parse_compact(raw, headers=ring.headers), parse_compact(raw)
    assert isinstance(by_heart, CompactJwt)
    assert isinstance(read, CompactJwt)
    assert dict(by_heart.header) == read.header
    assert (by_heart.payload, by_heart.signing_input) == (read.payload, read.signing_input)


def test_no_representation_shows_a_token() -> None:
    token = parse_compact(sign_compact(KEY, {"sub": "someone"}))
    assert "someone" not in repr(token)


@given(st.binary(max_size=40))
def test_base64url_has_one_spelling(octets: bytes) -> None:
    spelling = encode_base64url(octets)
    assert spelling == base64.urlsafe_b64encode(octets).rstrip(b"=")
    assert decode_base64url(spelling) == octets


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", max_size=9))
def test_whatever_decodes_encodes_to_the_same_text(text: str) -> None:
    octets = decode_base64url(text.encode())
    assert octets is None or encode_base64url(octets) == text.encode()


PART = encode_base64url(b"{}")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", JwtProblem.NOT_COMPACT),
        (b"..", JwtProblem.NOT_COMPACT),
        (b"e30.e30", JwtProblem.NOT_COMPACT),
        (b"e30..e30", JwtProblem.NOT_COMPACT),
        (b"e30.e30.e30.", JwtProblem.NOT_COMPACT),
        (b"e30=.e30.e30", JwtProblem.NOT_COMPACT),
        (b"e3 0.e30.e30", JwtProblem.NOT_COMPACT),
        (b"e30.e30.e30\n", JwtProblem.NOT_COMPACT),
        (b"e30.e30.A", JwtProblem.BAD_BASE64URL),
        (b"e31.e30.", JwtProblem.BAD_BASE64URL),
        (b"e30.e30.Af", JwtProblem.BAD_BASE64URL),
        (b"e30.W10.", JwtProblem.BAD_JSON),
        (b"e30." + encode_base64url(b'{"a":1,"a":1}') + b".", JwtProblem.DUPLICATE_MEMBER),
        (encode_base64url(b'{"crit":["x"]}') + b".e30.", JwtProblem.CRITICAL_HEADER),
        (encode_base64url(b'{"b64":true}') + b".e30.", JwtProblem.CRITICAL_HEADER),
        (b"e30." + encode_base64url(b'{"a":' * 17 + b"1" + b"}" * 17) + b".", JwtProblem.TOO_DEEP),
        (b"e30." + b"A" * 20000 + b".", JwtProblem.TOO_LARGE),
    ],
)
def test_broken_rules_are_named(raw: bytes, problem: JwtProblem) -> None:
    assert parse_compact(raw) is problem


def test_the_size_limit_is_inclusive() -> None:
    raw = b"e30.e30."
    assert isinstance(parse_compact(raw, max_bytes=len(raw)), CompactJwt)
    assert parse_compact(raw, max_bytes=len(raw) - 1) is JwtProblem.TOO_LARGE


@pytest.mark.parametrize(
    "text", ['"' + "[" * 100 + '"', '["\\"' + "{" * 100 + '"]', "[" + ",".join(["{}"] * 100) + "]"]
)
def test_brackets_in_strings_and_in_width_are_not_depth(text: str) -> None:
    assert isinstance(parse_json_object(b'{"x":' + text.encode() + b"}"), dict)


@pytest.mark.parametrize(
    "number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999", b"01", b"+1", b"1_0", b".5"]
)
def test_numbers_that_json_has_not_are_refused(number: bytes) -> None:
    assert parse_json_object(b'{"x":' + number + b"}") is JwtProblem.BAD_JSON


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'"\uDFFF"', rb'["\ud800\u0041"]', rb'{"\udc00":1}'])
def test_lone_surrogates_are_refused(text: bytes) -> None:
    assert parse_json_object(b'{"x":' + text + b"}") is JwtProblem.BAD_JSON


def test_surrogate_pairs_are_one_character() -> None:
    assert parse_json_object(rb'{"x":"\ud83d\ude00"}') == {"x": "\U0001f600"}


@pytest.mark.parametrize("start", [b"", b"-", b"0.", b"-0."])
def test_a_number_has_a_bounded_length(start: bytes) -> None:
    longest = start + b"1" * (MAX_NUMBER - len(start))
    assert isinstance(parse_json_object(b'{"x":' + longest + b"}"), dict)
    assert parse_json_object(b'{"x":' + longest + b"1}") is JwtProblem.BAD_JSON


def test_the_number_of_values_is_bounded() -> None:
    fits = b'{"x":[' + b",".join([b"1"] * (MAX_VALUES - 1)) + b"]}"
    assert isinstance(parse_json_object(fits), dict)
    assert parse_json_object(fits.replace(b"1]", b"1,1]")) is JwtProblem.TOO_MANY_VALUES


JSON_VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(r'[]{}\\",:a', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\\\', max_size=3), inner, max_size=2)
    ),
    max_leaves=40,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(JSON_VALUES, st.integers(0, MAX_DEPTH), st.booleans())
def test_depth_is_counted_as_a_decoder_would_nest(value: object, around: int, as_array: bool) -> None:
    for _ in range(around):
        value = [value] if as_array else {'"[': value}
    document = {"x": value, "wide": [[]] * MAX_DEPTH}
    read = parse_json_object(json.dumps(document).encode())
    assert read == (document if depth_of(document) <= MAX_DEPTH else JwtProblem.TOO_DEEP)


@given(st.text('[]{}\\\\":,1u0 ', max_size=200))
def test_no_text_nests_deeper_than_was_counted(text: str) -> None:
    """Also what is no JSON: the decoder must never recurse, whatever it makes of a text."""
    octets = b"[" * (MAX_DEPTH - 1) + text.encode()
    if _find_excess(octets) is None:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + MAX_DEPTH + 40)
        try:
            parse_json_object(octets)
        finally:
            sys.setrecursionlimit(before)


@given(st.binary(max_size=60))
def test_no_bytes_make_the_json_reader_raise(octets: bytes) -> None:
    parse_json_object(octets)
