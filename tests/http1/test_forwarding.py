"""Show what is removed from a caller's fields, by name and however the name is spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.forwarding import (
    RULES_PER_BLOCK,
    ForwardingRules,
    forwardable_fields,
    forwardable_trailers,
    forwarded_element,
    identity_fields,
    join_forwarded_for,
    may_forward,
    tell_prefix,
)
from gateway.http1.request import FieldBlock, read_fields


def rules(
    *,
    keep: frozenset[bytes] = frozenset(),
    token: bool = False,
    host: bytes | None = None,
    x: bool = False,
    trusted: bool = False,
    drop: frozenset[bytes] = frozenset(),
) -> ForwardingRules:
    return ForwardingRules(
        keep_headers=keep,
        forward_token=token,
        host=host,
        forwarded_x=x,
        trusted_peer=trusted,
        drop_headers=drop,
    )


def block_of(lines: bytes) -> FieldBlock:
    block = read_fields(b"Host: a\r\n" + lines + b"\r\n", max_fields=100)
    assert isinstance(block, FieldBlock)
    return block


def passed(lines: bytes, with_rules: ForwardingRules) -> bytes:
    """Return what passes of these lines, without the Host line."""
    return forwardable_fields(block_of(lines), with_rules, traced=False).removeprefix(b"Host: a\r\n")


SEPARATORS = st.text("-_.~!#$%&'*+^`|", min_size=1, max_size=2)


@given(
    st.sampled_from([("x", "auth"), ("x", "sidegate")]),
    SEPARATORS | st.just(""),
    SEPARATORS,
    SEPARATORS | st.just(""),
    st.from_regex(r"[a-z0-9]{0,8}", fullmatch=True),
    st.booleans(),
    st.data(),
)
def test_no_spelling_of_an_identity_field_passes(
    parts: tuple[str, str],
    before: str,
    between: str,
    behind: str,
    rest: str,
    trusted: bool,
    data: st.DataObject,
) -> None:
    name = before + between.join(parts) + (behind + rest if behind else "")
    spelled = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in name).encode()
    everything = rules(keep=frozenset({spelled.lower()}), token=True, x=True, trusted=trusted)
    assert passed(spelled + b": forged\r\n", everything).startswith(b"X-Forwarded-Host") or not passed(
        spelled + b": forged\r\n", everything
    )


@pytest.mark.parametrize(
    ("name", "passes", "kept", "trusted"),
    [
        # (by default, when named in keep_headers, from a trusted peer)
        (b"accept", True, True, True),
        (b"x-authority", True, True, True),
        (b"x-authenticated-user", False, False, False),
        (b"x-authenticity-token", True, True, True),
        (b"x-custom", True, True, True),
        (b"x_custom", False, True, False),
        (b"connection", False, False, False),
        (b"te", False, False, False),
        (b"transfer-encoding", False, False, False),
        (b"proxy-authorization", False, False, False),
        (b"x-forwarded-for", False, True, True),
        (b"x-forwarded-prefix", False, True, True),
        (b"x_forwarded_for", False, True, False),
        (b"x-forwarded_for", False, True, False),
        (b"x.forwarded.for", False, True, False),
        (b"forwarded", False, True, True),
        (b"x-http-method-override", False, True, False),
        (b"x_http_method_override", False, True, False),
        (b"x-original-url", False, True, False),
        (b"x.original.url", False, True, False),
        (b"x-auth-client-id", False, False, False),
        (b"x-auth", False, False, False),
    ],
)
def test_names(name: bytes, passes: bool, kept: bool, trusted: bool) -> None:
    assert may_forward(name, rules()) is passes
    assert may_forward(name, rules(keep=frozenset({name}))) is kept
    assert may_forward(name, rules(trusted=True)) is trusted


@pytest.mark.parametrize(
    ("lines", "with_rules", "expected"),
    [
        (b"Authorization: x\r\n", rules(), b""),
        (b"Authorization: x\r\n", rules(token=True), b"Authorization: x\r\n"),
        (b"aUTHORIZATION: x\r\n", rules(keep=frozenset({b"authorization"})), b""),
        (b"Connection: authorization\r\nAuthorization: x\r\n", rules(token=True), b""),
        (b"A: 1\r\nConnection: a\r\n", rules(), b""),
        (b"Content-Length: 3\r\n", rules(keep=frozenset({b"content-length"})), b""),
        (b"X-Request-Id: x\r\ntraceparent: x\r\n", rules(), b""),
        (b"", rules(x=True), b"X-Forwarded-Host: a\r\n"),
        (b"X-Forwarded-Host: b\r\n", rules(x=True), b"X-Forwarded-Host: a\r\n"),
        (b"X-Forwarded-Host: b\r\n", rules(x=True, trusted=True), b"X-Forwarded-Host: b\r\n"),
        (b"X-Forwarded-For: 9\r\n", rules(trusted=True), b"X-Forwarded-For: 9\r\n"),
        (b"X-Forwarded-For: 9\r\n", rules(x=True, trusted=True), b"X-Forwarded-Host: a\r\n"),
        (b"X-Tenant: 9\r\nX-Tenants: 8\r\n", rules(drop=frozenset({b"x-tenant"})), b"X-Tenants: 8\r\n"),
        (b"X_Tenant: 9\r\nx.tenant: 8\r\n-X--Tenant: 7\r\n", rules(drop=frozenset({b"x-tenant"})), b""),
        (b"X-Real-IP: 9\r\n", rules(trusted=True, drop=frozenset({b"x-real-ip"})), b""),
        (b"X-Auth-A: 9\r\n", rules(trusted=True, keep=frozenset({b"x-auth-a"})), b""),
    ],
)
def test_fields(lines: bytes, with_rules: ForwardingRules, expected: bytes) -> None:
    assert passed(lines, with_rules) == expected


def test_the_result_is_remembered_by_rules_and_bounded() -> None:
    block = block_of(b"A: 1\r\n")
    ours = rules()
    first = forwardable_fields(block, ours, traced=False)
    assert forwardable_fields(block, ours, traced=False) is first
    for number in range(100):
        assert (
            forwardable_fields(block, rules(host=b"h%d" % number), traced=False)
            == b"Host: h%d\r\nA: 1\r\n" % number
        )
        assert len(block.forwardable) <= RULES_PER_BLOCK
    assert forwardable_fields(block, ours, traced=False) == first


def test_what_may_not_be_sent_is_not_joined_either() -> None:
    block = block_of(b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n")
    dropped = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
    assert join_forwarded_for(OWN, block, rules(x=True, trusted=True, drop=dropped)) == OWN
    assert join_forwarded_for(OWN, block, rules(x=True, trusted=True)) != OWN


OWN = b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", OWN),
        (b"X-Forwarded-For: 9\r\n", OWN.replace(b"10.0", b"9, 10.0")),
        (b"X-Forwarded-For: 9, 8\r\nX-Forwarded-For: 7\r\n", OWN.replace(b"10.0", b"9, 8, 7, 10.0")),
        (b"X-Forwarded-For:\r\n", OWN),
        (b"X-Forwarded-For: 9\r\nConnection: x-forwarded-for\r\n", OWN),
        (b"X-Forwarded-Proto: https\r\n", b"X-Forwarded-For: 10.0.0.1\r\n"),
        (b"X-Forwarded-Proto: https\r\nConnection: x-forwarded-proto\r\n", OWN),
    ],
)
def test_entries_of_a_trusted_peer_come_before_ours(lines: bytes, expected: bytes) -> None:
    assert join_forwarded_for(OWN, block_of(lines), rules(x=True, trusted=True)) == expected


@pytest.mark.parametrize(
    ("peer", "host", "expected"),
    [
        ("10.0.0.1", None, b"for=10.0.0.1;proto=http"),
        ("::1", b"[::1]:80", b'for="[::1]";proto=http;host="[::1]:80"'),
        ("", b"a.example", b'for=unknown;proto=http;host="a.example"'),
    ],
)
def test_forwarded_elements(peer: str, host: bytes | None, expected: bytes) -> None:
    assert forwarded_element(peer, "http", host) == expected


@pytest.mark.parametrize(
    ("scope", "line"),
    [("a b", b"X-Auth-Scope: a b\r\n"), (None, b"X-Auth-Scope: \r\n"), ("é", b""), ("a\r\nX: 1", b"")],
)
def test_identity_fields(scope: str | None, line: bytes) -> None:
    lines = identity_fields(client_id="c 1", subject="s", audience="https://a.example/x", scope=scope)
    assert lines == (
        b"X-Auth-Client-Id: c 1\r\nX-Auth-Subject: s\r\nX-Auth-Audience: https://a.example/x\r\n" + line
    )


ADDRESSES = [
    b"X-Real-IP",
    b"Client-IP",
    b"True-Client-IP",
    b"CF-Connecting-IP",
    b"X-Envoy-External-Address",
    b"WL-Proxy-Client-IP",
]


@pytest.mark.parametrize("name", ADDRESSES)
def test_who_says_a_callers_address(name: bytes) -> None:
    line = name + b": 9.9.9.9\r\n"
    respelled = name.replace(b"-", b"--", 1) + b": 9.9.9.9\r\n"
    assert passed(line, rules()) == b""
    assert passed(line, rules(trusted=True)) == line
    assert passed(line, rules(keep=frozenset({name.lower()}))) == line
    assert passed(respelled, rules(trusted=True)) == b""
    for lenient in (rules(), rules(trusted=True), rules(keep=frozenset({name.lower()})), None):
        assert forwardable_trailers(line + b"X-Sum: 1\r\n", frozenset(), lenient) == b"X-Sum: 1\r\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Host: a\r\n", b"/shop"),
        (b"Host: a\r\nX-Forwarded-Prefix: /api\r\n", b"/api/shop"),
        (b"Host: a\r\nx-forwarded-prefix: /api/\r\nX-FORWARDED-PREFIX: /v1\r\n", b"/api/v1/shop"),
        (b"Host: a\r\nX-Forwarded-Prefix: /api, /v1\r\n", b"/api/v1/shop"),
        (b"Host: a\r\nX-Forwarded-Prefix: /\r\n", b"/shop"),
        (b"Host: a\r\nX-Forwarded-Prefix:\r\n", b"/shop"),
        (b"Host: a\r\nX-Forwarded-Prefix: /api/v1/, /.hidden/x.y~%20\r\n", b"/api/v1/.hidden/x.y~%20/shop"),
        *(
            (b"Host: a\r\nX-Forwarded-Prefix: /good, %b\r\n" % odd, b"/good/shop")
            for odd in (
                b"//evil.example",
                b"///evil.example",
                b"/a//evil.example",
                b"https://evil.example",
                b"evil.example",
                b"\\evil.example",
                b"/\\evil.example",
                b"/a/../..",
                b"/.",
                b"/a?b=",
                b"/%2Fevil.example",
                b"/%5cevil.example",
                b"/%2e%2E",
                b"/100%",
                b"/a#b",
                b"/a b",
                b"/\xe9",
                b'/a"b',
                b"/<script>",
            )
        ),
        (b"Host: a\r\nX: y-forwarded-prefix: 1\r\n", b"/shop"),
    ],
)
def test_prefixes_become_one_path(fields: bytes, expected: bytes) -> None:
    told = tell_prefix(fields, b"/shop")
    assert told.endswith(b"\r\nX-Forwarded-Prefix: %b\r\n" % expected)
    assert told.lower().count(b"\nx-forwarded-prefix:") == 1
    assert told.startswith(b"Host: a\r\n")


def test_a_tracestate_passes_only_with_its_trace() -> None:
    block = block_of(b"tracestate: a=1\r\nTraceState: b=2\r\nA: 1\r\n")
    for _ in range(2):
        assert forwardable_fields(block, rules(), traced=False) == b"Host: a\r\nA: 1\r\n"
        assert b"tracestate: a=1\r\nTraceState: b=2\r\n" in forwardable_fields(block, rules(), traced=True)
    assert forwardable_trailers(b"tracestate: a=1\r\n", frozenset(), rules()) == b""
