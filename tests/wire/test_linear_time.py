"""Feed every reader that a stranger reaches repeated atoms, and look at the clock.

The one kind of test that may: a function of strangers' texts that takes more than linear
time stops the process for everybody (the two below did). `tests.support.linear_time` says
how it is judged. Here are the functions; `test_linear_time_over_http.py` asks whole servers.
A reader that is added to the product gets a row.
"""

import re
from base64 import b64encode
from itertools import islice

import pytest
from aiohttp.helpers import parse_content_type
from jwcrypto.jwk import JWK

from gateway.admin.guards import AdminRequest, find_refusal, read_bearer
from gateway.clients.authenticate import PresentedAssertion, read_credentials
from gateway.clients.conditions import ClaimValues, read_conditions
from gateway.enforce.bearer import bearer_token
from gateway.enforce.verifier import read_stated_token, verify_access_token
from gateway.hosts import normalise_host
from gateway.http1.chunked import ChunkedReader, ChunkError
from gateway.http1.forwarding import (
    ForwardingRules,
    forwardable_fields,
    forwardable_trailers,
    join_forwarded_for,
)
from gateway.http1.media_type import is_utf8_media_type
from gateway.http1.request import FieldBlock, RequestHead, RequestReader, read_fields
from gateway.http1.response import read_response_head
from gateway.http1.target import split_target
from gateway.issuer.assertions import read_client_assertion, read_grant_assertion
from gateway.issuer.forms import MAX_BODY_BYTES, check_query, parse_form
from gateway.observe.access_log import Encode, json_lines, text_lines
from gateway.observe.credentials import mask_credentials
from gateway.observe.exchange import Exchange
from gateway.observe.exposition import Exposition
from gateway.observe.metrics import Metrics
from gateway.policy.compile import compile_routes
from gateway.policy.evaluate import locate
from gateway.policy.paths import canonical_path
from gateway.policy.peers import forwarded_address, peer_group
from gateway.proxy.admission import Admission
from gateway.proxy.proxy_protocol import V2_LIMIT_BYTES, read_proxy_header
from gateway.settings.model import AdminSettings, MetricsSettings
from gateway.tokens.base64url import encode_base64url
from gateway.tokens.claims import parse_scope, read_access_token
from gateway.tokens.foreign_keys import MAX_SET_BYTES, read_key_set
from gateway.tokens.freshness import fresh_seconds
from gateway.tokens.jwt import MAX_TOKEN_BYTES, parse_compact, parse_json_object
from gateway.tokens.key_sets import KeySetError
from tests.enforce.conftest import ISSUER, NOW, ROUTES, ring_of
from tests.support.linear_time import Reader, find_faults

HEAD_BYTES = 32 * 1024
"""`limits.header_bytes` as shipped."""
LINE_BYTES = 8 * 1024
"""More of what strangers sent is in no line of the process log."""
FIELDS = (
    b"Accept Authorization Connection Content-Encoding Content-Length Content-Type Cookie Expect Forwarded "
    b"Host If-None-Match Max-Forwards TE Traceparent Trailer Transfer-Encoding Upgrade Via X-Forwarded-For "
    b"X-Request-Id"
).split()

TABLE = compile_routes(ROUTES, reserved_paths=frozenset()).table
KEYS = ring_of(JWK.generate(kty="EC", crv="P-256"))[1]
HEADER = encode_base64url(b'{"alg":"ES256","kid":"k","typ":"at+jwt"}')
ASSERTION = encode_base64url(b'{"alg":"ES256","kid":"k"}')
RULES = ForwardingRules(frozenset(), True, None, True, True)
EXPOSITION = Exposition(Metrics(MetricsSettings(), issuer="i", version="v", uvloop_version="u"))


def read_head(head: bytes) -> object:
    """Read a head as the gate does: the fields, where it leads, and what of it is passed on."""
    read = RequestReader(max_fields=100).read(head)
    if isinstance(read, RequestHead):
        forward_block(read.block)
        bearer_token(read.authorization, read.authorization_count)
        split = split_target(read.target, read.block.host)
        if isinstance(split, tuple):
            locate(TABLE, "h", split[0], "GET")
    return read


def forward_block(block: FieldBlock) -> None:
    forwardable_fields(block, RULES, traced=True)
    join_forwarded_for(b"X-Forwarded-For: 192.0.2.1\r\n", block, RULES)
    Admission().forwarded_peer(block, trust)


def read_block(lines: bytes) -> object:
    read = read_fields(lines, max_fields=100)
    if isinstance(read, FieldBlock):
        forward_block(read)
    return read


def trust(_: str) -> bool:
    return True


def read_chunks(text: bytes) -> object:
    try:
        return ChunkedReader().feed(text)
    except ChunkError as error:
        return error


def read_trailers(lines: bytes) -> object:
    reader = ChunkedReader()
    try:
        reader.feed(b"0\r\n" + lines + b"\r\n\r\n")
    except ChunkError as error:
        return error
    return forwardable_trailers(reader.trailers, frozenset(), RULES)


def read_token(header: bytes, text: bytes) -> object:
    raw = header + b"." + encode_base64url(text) + b".AA"
    return verify_access_token(raw, keys=KEYS, issuer=ISSUER, now=NOW)


def read_claims(text: bytes) -> object:
    claims = parse_json_object(text)
    if isinstance(claims, dict):
        ClaimValues(claims).fulfil(read_conditions(dict.fromkeys(("aud", "groups", "a"), ("x",))))
        return read_access_token(claims, "k")
    return claims


def read_as_assertion(text: bytes) -> object:
    raw = ASSERTION + b"." + encode_base64url(text) + b".AA"
    return read_client_assertion(PresentedAssertion(raw, None))


def read_as_grant(text: bytes) -> object:
    return read_grant_assertion(ASSERTION + b"." + encode_base64url(text) + b".AA")


def read_for_revocation(text: bytes) -> object:
    raw = encode_base64url(text) + b".AA"
    read_stated_token(HEADER + b"." + raw, keys=KEYS)
    return read_stated_token(raw.removesuffix(b"AA") + encode_base64url(b"{}") + b".AA", keys=KEYS)


def read_keys(text: bytes) -> object:
    try:
        return read_key_set(text)
    except KeySetError as error:
        return error


def read_form(body: bytes) -> object:
    form = parse_form(body)
    values = getattr(form, "values", {})
    return read_credentials([], values), parse_scope(values.get("scope", ""))


def guard(**changes: object) -> object:
    nothing: dict[str, object] = {
        name: [] for name in ("host", "origin", "fetch_site", "content_type", "authorization")
    }
    request = {"method": "POST", "path": "/api/v1/reload", "scheme": "http", **nothing, "host": ["localhost"]}
    settings = AdminSettings(hosts=("admin.example",))
    return find_refusal(AdminRequest(**(request | changes)), settings)  # type: ignore[arg-type]


def log(encode: Encode, path: bytes) -> bytes:
    return encode([Exchange(0.0, path=path.decode("latin-1"))])


def text_of(octets: bytes) -> str:
    """Return a field as aiohttp gives it."""
    return octets.decode("utf-8", "surrogateescape")


BODY_BYTES = MAX_TOKEN_BYTES * 3 // 4 - 200
JSON = (b"", b'{"iss":"https://issuer.example","sub":"a","aud":[', b'{"keys":[', b'{"scope":"')
FEW = (b"", b'"', b"(")
NESTED = (b"", b'"', b"[", b"[" * 17 + b'"')
ON_A_THREAD = (b"", b"[" * 17 + b'"')
READERS = [
    # --- the gate: heads and what is behind them
    Reader("head: target", read_head, HEAD_BYTES, (b"GET /",), b" HTTP/1.1\r\nHost: h\r\n\r\n"),
    Reader("head: query", read_head, HEAD_BYTES, (b"GET /open/?",), b" HTTP/1.1\r\nHost: h\r\n\r\n"),
    Reader(
        "head: URL",
        read_head,
        HEAD_BYTES,
        (b"GET http://", b"GET http://h/"),
        b" HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    Reader("head: line", read_head, HEAD_BYTES, (b"", b"GET ", b"GET / HTTP/1.1\r\n"), b"\r\n\r\n"),
    *(
        Reader(
            f"head: {name.decode()}",
            read_head,
            HEAD_BYTES,
            (b"GET /open/a HTTP/1.1\r\nHost: h\r\nConnection: te, upgrade\r\n" + name + b": ",),
            b"\r\n\r\n",
            (b"", b'"', b"a;"),
        )
        for name in FIELDS
    ),
    Reader("fields", read_block, HEAD_BYTES, (b"", b"Host: h\r\na: "), b"\r\n\r\n"),
    Reader("field name", read_block, HEAD_BYTES, (b"Host: h\r\na",), b": b\r\n\r\n"),
    Reader("path", canonical_path, HEAD_BYTES, (b"/",)),
    Reader("place", lambda path: locate(TABLE, "h", path, "GET"), HEAD_BYTES, (b"/open/", b"/read/")),
    Reader("host", normalise_host, HEAD_BYTES, (b"", b"[")),
    Reader("bearer", lambda value: bearer_token(value, 1), HEAD_BYTES, (b"", b"Bearer ")),
    Reader("chunks", read_chunks, HEAD_BYTES, (b"", b"5;", b"1\r\nx\r\n")),
    Reader("trailers", read_trailers, HEAD_BYTES, (b"", b"a: ")),
    Reader(
        "answer", read_response_head, HEAD_BYTES, (b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\na: "), b"\r\n\r\n"
    ),
    Reader("PROXY header", read_proxy_header, V2_LIMIT_BYTES, (b"", b"PROXY TCP6 ", b"PROXY UNKNOWN ")),
    Reader("forwarded for", lambda value: forwarded_address([value], trust), HEAD_BYTES, (b"", b"::1,")),
    Reader("peer", lambda value: peer_group(text_of(value)), HEAD_BYTES, (b"", b"::1%")),
    # --- tokens
    Reader("compact JWT", parse_compact, MAX_TOKEN_BYTES, (b"", b"e30.", b"e30.e30.")),
    Reader("token: payload", lambda text: read_token(HEADER, text), BODY_BYTES, JSON, prefixes=NESTED),
    Reader(
        "token: header",
        lambda text: read_token(encode_base64url(text), b"{}"),
        BODY_BYTES,
        JSON,
        prefixes=NESTED,
    ),
    Reader("claims", read_claims, MAX_TOKEN_BYTES, JSON, prefixes=NESTED),
    Reader("revoked token", read_for_revocation, BODY_BYTES, JSON, prefixes=NESTED),
    Reader("client assertion", read_as_assertion, BODY_BYTES, JSON, prefixes=NESTED),
    Reader("grant assertion", read_as_grant, BODY_BYTES, JSON, prefixes=NESTED),
    Reader("scope", lambda text: parse_scope(text_of(text)), MAX_BODY_BYTES, (b"", b"a ")),
    # --- the issuer's forms and fields
    Reader(
        "form",
        read_form,
        MAX_BODY_BYTES,
        (b"", b"a=", b"scope=", b"client_id=a&client_secret="),
        prefixes=FEW,
        allowed_s=0.01,
    ),
    Reader("query", lambda text: check_query(text_of(text)), HEAD_BYTES),
    Reader("basic: text", lambda text: read_credentials([f"Basic {text_of(text)}"], {}), HEAD_BYTES),
    Reader(
        "basic: credentials",
        lambda text: read_credentials([f"Basic {b64encode(text).decode()}"], {}),
        HEAD_BYTES * 3 // 4,
        (b"", b"a:"),
        prefixes=FEW,
    ),
    Reader("authorization", lambda text: read_credentials([text_of(text)], {}), HEAD_BYTES),
    Reader(
        "Content-Type",
        lambda text: is_utf8_media_type([text_of(text)], "application/json"),
        HEAD_BYTES,
        (b"", b"application/json", b"application/json;charset="),
    ),
    # --- the admin listener
    Reader("admin: Host", lambda text: guard(host=[text_of(text)]), HEAD_BYTES, (b"", b"[")),
    Reader("admin: Origin", lambda text: guard(origin=[text_of(text)]), HEAD_BYTES, (b"", b"http://")),
    Reader("admin: bearer", lambda text: read_bearer([text_of(text)]), HEAD_BYTES, (b"", b"Bearer ")),
    Reader("admin: body", parse_json_object, MAX_BODY_BYTES, JSON, prefixes=NESTED, allowed_s=0.01),
    Reader(
        "admin: Accept",
        lambda text: EXPOSITION.render(text_of(text)),
        HEAD_BYTES,
        (b"", b"text/plain;version="),
    ),
    # --- logs
    Reader(
        "log mask", lambda text: mask_credentials(text.decode("latin-1")), LINE_BYTES, (b"", b"authorization")
    ),
    Reader("access log: JSON", lambda path: log(json_lines(query=True), path), HEAD_BYTES),
    Reader("access log: text", lambda path: log(text_lines(query=True), path), HEAD_BYTES),
    # --- what key servers send; judged on a thread
    Reader(
        "key set",
        read_keys,
        MAX_SET_BYTES,
        (b"", b'{"keys":[', b'{"keys":[{"kty":"EC","x":"'),
        prefixes=ON_A_THREAD,
        allowed_s=0.02,
    ),
    Reader(
        "metadata",
        parse_json_object,
        MAX_SET_BYTES,
        (b"", b'{"issuer":"'),
        prefixes=ON_A_THREAD,
        allowed_s=0.02,
    ),
    Reader(
        "Cache-Control",
        lambda text: fresh_seconds({"Cache-Control": text_of(text)}, 0.0),
        8190,
        (b"", b"max-age"),
    ),
    Reader(
        "Expires", lambda text: fresh_seconds({"Expires": text_of(text)}, 0.0), 8190, (b"", b"Sun, 06 Nov ")
    ),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_readers_take_linear_time(reader: Reader) -> None:
    assert [str(fault) for fault in islice(find_faults(reader), 3)] == []


# --- the two faults that were there, put back

OLD_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
PLANTED = [
    Reader(
        "JSON strings by a pattern", lambda text: OLD_STRING.sub("", text.decode("latin-1")), MAX_TOKEN_BYTES
    ),
    Reader(
        "Content-Type by a mail parser", lambda text: parse_content_type(text_of(text)), HEAD_BYTES, (b"a/b",)
    ),
]


@pytest.mark.parametrize("reader", PLANTED, ids=str)
def test_faults_that_are_put_back_are_found(reader: Reader) -> None:
    assert next(find_faults(reader), None) is not None
