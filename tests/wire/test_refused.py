"""Show that nothing of a refused request reaches the upstream, while its twin without the defect does.

Each row is a request that passes and one change that spoils it. The upstream records
accepted connections and raw bytes; after the spoiled request it has seen nothing, and
after the twin exactly the twin.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.reasons import Reason
from tests.support.appliance import AUDIENCE, Appliance
from tests.support.caller import assert_own
from tests.support.upstream import Upstream
from tests.wire.conftest import Start

GET = b"GET /read/AUS HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer <token>\r\n\r\n"
POST = (
    b"POST /read/AUS HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer <token>\r\n"
    b"Content-Length: 3\r\n\r\nabc"
)
GET_ONLY = b"GET /get-only HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = (
    b"POST /read/AUS HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer <token>\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
SWITCH_POST = b"POST /switch HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc"
SWITCH_CHUNKED = (
    b"POST /switch HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)


@dataclass(frozen=True)
class Row:
    name: str
    whole: bytes
    sound: bytes
    """A part of `whole` ..."""
    spoiled: bytes
    """... and what takes its place."""
    status: int = 400
    reason: str = "bad_framing"


ROWS = [
    # the request line
    Row("two spaces before the target", GET, b"GET /", b"GET  /"),
    Row("two spaces before the version", GET, b" HTTP/1.1\r\nHost", b"  HTTP/1.1\r\nHost"),
    Row("a tab for a space", GET, b"GET /", b"GET\t/"),
    Row("a leading space", GET, b"GET /", b" GET /"),
    Row("a leading bare LF", GET, b"GET /", b"\nGET /"),
    Row("a leading bare CR", GET, b"GET /", b"\rGET /"),
    Row("two empty lines before", GET, b"GET /", b"\r\n\r\nGET /"),
    Row("a trailing space", GET, b"HTTP/1.1\r\nHost", b"HTTP/1.1 \r\nHost"),
    Row("HTTP/0.9", GET, b" HTTP/1.1\r\nHost", b"\r\nHost"),
    Row("HTTP/0.9 by number", GET, b"HTTP/1.1\r\nHost", b"HTTP/0.9\r\nHost", 505),
    Row("HTTP/2.0", GET, b"HTTP/1.1\r\nHost", b"HTTP/2.0\r\nHost", 505),
    Row("HTTP/1.2", GET, b"HTTP/1.1\r\nHost", b"HTTP/1.2\r\nHost", 505),
    Row("HTTP/1.10", GET, b"HTTP/1.1\r\nHost", b"HTTP/1.10\r\nHost"),
    Row("HTTP/01.1", GET, b"HTTP/1.1\r\nHost", b"HTTP/01.1\r\nHost"),
    Row("http/1.1", GET, b"HTTP/1.1\r\nHost", b"http/1.1\r\nHost"),
    Row("RTSP/1.0", GET, b"HTTP/1.1\r\nHost", b"RTSP/1.0\r\nHost"),
    Row("ICE/1.0", GET, b"HTTP/1.1\r\nHost", b"ICE/1.0\r\nHost"),
    Row("a bare LF behind it", GET, b"HTTP/1.1\r\nHost", b"HTTP/1.1\nHost"),
    Row("an unknown method", GET, b"GET /", b"BREW /", 501),
    Row("a method in lower case", GET, b"GET /", b"get /", 501),
    Row("CONNECT", GET, b"GET /read/AUS ", b"CONNECT a.example:443 ", 501),
    Row("TRACE", GET, b"GET /", b"TRACE /", 501),
    Row("PRI", GET, b"GET /read/AUS HTTP/1.1", b"PRI * HTTP/2.0", 505),
    # the target
    Row("a fragment", GET, b"/AUS ", b"/AUS# "),
    Row("a backslash", GET, b"/read/AUS ", b"/read\\AUS "),
    Row("a quotation mark", GET, b"/AUS ", b'/"AUS '),
    Row("an opening angle bracket", GET, b"/AUS ", b"/<AUS "),
    Row("a closing angle bracket", GET, b"/AUS ", b"/>AUS "),
    Row("a control byte", GET, b"/AUS ", b"/A\x01S "),
    Row("DEL", GET, b"/AUS ", b"/A\x7fS "),
    Row("a byte that is not ASCII", GET, b"/AUS ", b"/A\xc3\xa9S "),
    Row("a NUL", GET, b"/AUS ", b"/A\x00S "),
    Row("another authority than Host", GET, b"GET /read", b"GET http://b.example/read"),
    Row("another port than Host", GET, b"GET /read", b"GET http://a.example:81/read"),
    Row("a user in the authority", GET, b"GET /read", b"GET http://u@a.example/read", 400, "bad_path"),
    Row("another scheme", GET, b"GET /read", b"GET ftp://a.example/read", 400, "bad_path"),
    Row("an asterisk", GET, b"GET /read/AUS", b"OPTIONS *", 400, "bad_path"),
    Row("no slash in front", GET, b"GET /read", b"GET read", 400, "bad_path"),
    Row("a dot segment", GET, b"/read/", b"/x/../read/", 400, "bad_path"),
    Row("an encoded dot segment", GET, b"/read/", b"/x/%2e%2E/read/", 400, "bad_path"),
    Row("an empty segment", GET, b"/read/", b"/read//", 400, "bad_path"),
    Row("an encoded slash", GET, b"/AUS ", b"/A%2FS ", 400, "bad_path"),
    Row("an encoded backslash", GET, b"/AUS ", b"/A%5cS ", 400, "bad_path"),
    Row("an encoded NUL", GET, b"/AUS ", b"/A%00S ", 400, "bad_path"),
    Row("an encoded line end", GET, b"/AUS ", b"/A%0d%0aS ", 400, "bad_path"),
    Row("a broken escape", GET, b"/AUS ", b"/A%2 ", 400, "bad_path"),
    Row("an overlong escape", GET, b"/AUS ", b"/%c0%ae ", 400, "bad_path"),
    Row("a path parameter", GET, b"/AUS ", b"/AUS;v=1 ", 400, "bad_path"),
    # Host
    Row("no Host", GET, b"Host: a.example\r\n", b""),
    Row("two Hosts", GET, b"Host: a.example\r\n", b"Host: a.example\r\nHost: a.example\r\n"),
    Row("an empty Host", GET, b"Host: a.example", b"Host:"),
    Row("two values in Host", GET, b"Host: a.example", b"Host: a.example, b.example"),
    Row("a path in Host", GET, b"Host: a.example", b"Host: a.example/x"),
    Row("a user in Host", GET, b"Host: a.example", b"Host: u@a.example"),
    Row("a port too large", GET, b"Host: a.example", b"Host: a.example:65536"),
    Row("an empty port", GET, b"Host: a.example", b"Host: a.example:"),
    # fields
    Row("a space before the colon", GET, b"Host: a", b"Host : a"),
    Row("a folded line", GET, b"Host: a.example\r\n", b"Host: a.example\r\nX: 1\r\n 2\r\n"),
    Row("a folded first line", GET, b"1.1\r\nHost", b"1.1\r\n X: 1\r\nHost"),
    Row("a line without a colon", GET, b"Host: a", b"nonsense\r\nHost: a"),
    Row("an empty name", GET, b"Host: a", b": 1\r\nHost: a"),
    Row("a NUL in a value", GET, b"Host: a", b"X: \x00\r\nHost: a"),
    Row("a control byte in a value", GET, b"Host: a", b"X: \x01\r\nHost: a"),
    Row("a bare CR in a value", GET, b"Host: a", b"X: 1\r2\r\nHost: a"),
    Row("a bare LF between fields", GET, b"Host: a.example\r\n", b"Host: a.example\n"),
    Row("a bare LF in a value", GET, b"Host: a", b"X: 1\nY: 2\r\nHost: a"),
    Row("a name that is not ASCII", GET, b"Host: a", b"X\xe9: 1\r\nHost: a"),
    Row("brackets in a name", GET, b"Host: a", b"X(1): 1\r\nHost: a"),
    Row("an unknown expectation", POST, b"Content-L", b"Expect: tea\r\nContent-L", 417, "expectation_failed"),
    Row("an upgrade", SWITCH_POST, b"Content-L", b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-L"),
    # body framing
    Row("a length and a coding", CHUNKED, b"Transfer", b"Content-Length: 3\r\nTransfer"),
    Row("a coding and a length", POST, b"\r\n\r\nabc", b"\r\nTransfer-Encoding: chunked\r\n\r\nabc"),
    Row("xchunked", CHUNKED, b"chunked", b"xchunked"),
    Row("gzip, chunked", CHUNKED, b"chunked", b"gzip, chunked", 501),
    Row("chunked, chunked", CHUNKED, b"chunked", b"chunked, chunked"),
    Row("identity", CHUNKED, b"chunked", b"identity"),
    Row("a quoted coding", CHUNKED, b"chunked", b'"chunked"'),
    Row("an empty coding", CHUNKED, b"Encoding: chunked", b"Encoding:"),
    Row("two codings", CHUNKED, b"Transfer", b"Transfer-Encoding: chunked\r\nTransfer"),
    Row("a coding in HTTP/1.0", CHUNKED, b"HTTP/1.1", b"HTTP/1.0"),
    Row("two lengths", POST, b"Content", b"Content-Length: 3\r\nContent"),
    Row("two lengths in one", POST, b"Length: 3", b"Length: 3, 3"),
    Row("a signed length", POST, b"Length: 3", b"Length: +3"),
    Row("a negative length", POST, b"Length: 3", b"Length: -3"),
    Row("a hexadecimal length", POST, b"Length: 3", b"Length: 0x3"),
    Row("a length with an underscore", POST, b"Length: 3", b"Length: 0_3"),
    Row("a length in other digits", POST, b"Length: 3", b"Length: \xd9\xa3"),
    Row("a length too large", POST, b"Length: 3", b"Length: 99999999999999999999"),
    Row("an empty length", POST, b"Length: 3", b"Length:"),
    Row("a negative chunk size", CHUNKED, b"\r\n3\r\n", b"\r\n-3\r\n"),
    Row("a signed chunk size", CHUNKED, b"\r\n3\r\n", b"\r\n+3\r\n"),
    Row("a prefixed chunk size", CHUNKED, b"\r\n3\r\n", b"\r\n0x3\r\n"),
    Row("an empty chunk size", CHUNKED, b"\r\n3\r\n", b"\r\n\r\n"),
    Row("a chunk size that overflows", CHUNKED, b"\r\n3\r\n", b"\r\n10000000000000003\r\n"),
    Row("a chunk longer than it says", CHUNKED, b"abc\r\n", b"abcd\r\n"),
    Row("a bare LF behind a chunk", CHUNKED, b"abc\r\n", b"abc\n"),
    Row("a bare LF behind a size", CHUNKED, b"\r\n3\r\n", b"\r\n3\n"),
    Row("a bare CR behind a size", CHUNKED, b"\r\n3\r\n", b"\r\n3\r"),
    Row("a malformed trailer", CHUNKED, b"0\r\n", b"0\r\nX : 1\r\n"),
    Row("a folded trailer", CHUNKED, b"0\r\n", b"0\r\nX: 1\r\n 2\r\n"),
    # sizes (limits of the configuration below)
    Row("a target too long", GET, b"/AUS ", b"/" + b"x" * 5000 + b" ", 414, "uri_too_long"),
    Row("fields too long", GET, b"Host", b"X: " + b"x" * 5000 + b"\r\nHost", 431, "header_too_large"),
    Row("too many fields", GET, b"Host", b"X: 1\r\n" * 40 + b"Host", 431, "header_too_large"),
    Row("a length above the limit", POST, b"Length: 3", b"Length: 1001", 413, "body_too_large"),
    Row(
        "chunks above the limit",
        CHUNKED,
        b"3\r\nabc\r\n",
        b"3e9\r\n" + b"x" * 1001 + b"\r\n",
        413,
        "body_too_large",
    ),
    # where it leads
    Row("another path", GET, b"/read/AUS", b"/reads/AUS", 404, "no_route"),
    Row("a slash behind the path", GET, b"/read/AUS", b"/read/AUS/", 404, "no_route"),
    Row("another method", GET_ONLY, b"GET", b"PUT", 405, "method_not_allowed"),
    # the token
    Row("no token", GET, b"Authorization: Bearer <token>\r\n", b"", 401, "no_token"),
    Row("another scheme of authorization", GET, b"Bearer <token>", b"Basic cmVhZGVyOg==", 401, "no_token"),
    Row("a scheme alone", GET, b"Bearer <token>", b"Bearer", 401, "malformed_token"),
    Row("an empty Authorization", GET, b" Bearer <token>", b"", 401, "no_token"),
    Row("two tokens in one", GET, b"<token>", b"<token> <token>", 401, "malformed_token"),
    Row("a tab behind the scheme", GET, b"Bearer <token>", b"Bearer\t<token>", 401, "malformed_token"),
    Row("a padded token", GET, b"<token>", b"<token>=", 401, "malformed_token"),
    Row("a quoted token", GET, b"<token>", b'"<token>"', 401, "malformed_token"),
    Row("a token cut short", GET, b"<token>", b"<token>"[:-1], 401, "malformed_token"),
    Row(
        "two Authorization fields",
        GET,
        b"Host",
        b"Authorization: Bearer <token>\r\nHost",
        400,
        "duplicate_authorization",
    ),
]  # fmt: skip

LIMITS = {"header_bytes": "4KiB", "header_count": 40, "body_bytes": 1000}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_defects(row: Row, start: Start, upstream: Upstream) -> None:
    assert row.whole.count(row.sound) >= 1
    async with start(limits=LIMITS) as appliance:
        token = await appliance.token()
        whole = row.whole.replace(b"<token>", token)
        spoiled = row.whole.replace(row.sound, row.spoiled, 1).replace(b"<token>", token)
        async with appliance.connect() as caller:
            answer = await caller.ask(spoiled)
            assert_own(answer, row.status, row.reason)
            assert upstream.seen == (0, 0)
            if answer.one("Connection") == "close":
                assert await caller.rest() == b""
        twin = await appliance.ask(whole)
        assert (twin.status, twin.body) == (200, b"ok")
        assert len(upstream.connections) == len(upstream.requests) == 1
        assert upstream.connections[0].raw.count(b"HTTP/1.1\r\n") == 1


TOKENS: dict[str, Callable[[Appliance], bytes]] = {
    "malformed_token": lambda a: b"a.b.c",
    "bad_signature": lambda a: a.sign()[:-8] + b"AAAAAAAA",
    "wrong_type": lambda a: a.sign(typ="JWT"),
    "wrong_issuer": lambda a: a.sign(iss="http://127.0.0.1:8081"),
    "expired": lambda a: a.sign(exp=int(time.time())),
    "not_yet_valid": lambda a: a.sign(nbf=int(time.time()) + 60),
    "wrong_audience": lambda a: a.sign(aud="reader"),
    "missing_scope": lambda a: a.sign(scope="country.write"),
    "client_disabled": lambda a: a.sign(client_id="nobody", sub="nobody"),
    "client_not_allowed": lambda a: a.sign(client_id=AUDIENCE, sub=AUDIENCE),
}
STATUS = {"missing_scope": 403, "client_disabled": 403, "client_not_allowed": 403}


@pytest.mark.parametrize("reason", TOKENS)
async def test_tokens(reason: str, appliance: Appliance, upstream: Upstream) -> None:
    status = STATUS.get(reason, 401)
    for _ in range(2):  # once judged, once remembered
        answer = await appliance.ask(GET.replace(b"<token>", TOKENS[reason](appliance)))
        assert_own(answer, status, reason)
        challenge = answer.one("WWW-Authenticate")
        if status == 401:
            detail = Reason(reason).detail
            assert (
                challenge == f'Bearer realm="{AUDIENCE}", error="invalid_token", error_description="{detail}"'
            )
        elif reason == "missing_scope":
            assert challenge
            assert challenge.startswith(f'Bearer realm="{AUDIENCE}", error="insufficient_scope"')
            assert challenge.endswith('scope="country.read"')
        else:
            assert challenge is None
    assert upstream.seen == (0, 0)
    assert (await appliance.ask(GET.replace(b"<token>", appliance.sign()))).status == 200
    assert len(upstream.connections) == len(upstream.requests) == 1


async def test_a_revoked_token_is_refused_on_the_next_request(
    appliance: Appliance, upstream: Upstream
) -> None:
    token = await appliance.token()
    request = GET.replace(b"<token>", token)
    async with appliance.connect() as caller:
        assert (await caller.ask(request)).status == 200
        revoked = await appliance.post_form("/oauth2/revoke", {"token": token.decode()})
        assert (revoked.status, revoked.body) == (200, b"")
        assert_own(await caller.ask(request), 401, "revoked")
    assert len(upstream.requests) == 1


async def test_a_token_in_the_query_is_never_looked_at(appliance: Appliance, upstream: Upstream) -> None:
    token = await appliance.token()
    answer = await appliance.ask(b"GET /read/AUS?access_token=%b HTTP/1.1\r\nHost: a\r\n\r\n" % token)
    assert_own(answer, 401, "no_token")
    assert answer.one("WWW-Authenticate") == f'Bearer realm="{AUDIENCE}"'
    assert upstream.seen == (0, 0)


async def test_a_request_that_came_back_is_refused(appliance: Appliance, upstream: Upstream) -> None:
    request = b"GET /open/x HTTP/1.1\r\nHost: a\r\nVia: 1.1 proxy.example%b\r\n\r\n"
    assert_own(await appliance.ask(request % (b", 1.1 " + appliance.gate.pseudonym)), 508, "loop_detected")
    assert upstream.seen == (0, 0)
    assert (await appliance.ask(request % b"")).status == 200


@pytest.mark.parametrize(
    ("method", "allowed"), [(b"PUT", "GET"), (b"HEAD", "GET"), (b"OPTIONS", "GET"), (b"POST", "GET")]
)
async def test_allow_names_the_methods(
    method: bytes, allowed: str, appliance: Appliance, upstream: Upstream
) -> None:
    answer = await appliance.ask(method + b" /get-only HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.reason, answer.one("Allow")) == (405, "method_not_allowed", allowed)
    assert (answer.body == b"") == (method == b"HEAD")
    assert upstream.seen == (0, 0)


async def test_a_large_head_within_the_limits_is_forwarded(start: Start, upstream: Upstream) -> None:
    async with start(limits={"header_bytes": "1MiB", "header_count": 500}) as appliance:
        head = b"GET /open/x HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"x" * 500) * 400 + b"\r\n"
        assert (await appliance.ask(head)).status == 200
    assert upstream.requests[0].all("X") == ["x" * 500] * 400


async def test_shadow_routes_record_and_forward(appliance: Appliance, upstream: Upstream) -> None:
    shadow = GET.replace(b"/read/AUS", b"/shadow")
    assert (await appliance.ask(shadow.replace(b"<token>", b"a.b.c"))).status == 200
    assert (await appliance.ask(shadow.replace(b"<token>", appliance.sign(scope=None)))).status == 200
    first, second = upstream.requests
    assert [name for name, _ in first.fields if name.lower().startswith("x-auth")] == []
    assert second.one("X-Auth-Client-Id") == "reader"
    assert [(e.reason, e.decision) for e in appliance.exchanges if e.route == "shadow"] == [
        ("malformed_token", "shadow_deny"),
        ("missing_scope", "shadow_deny"),
    ]
    assert_own(
        await appliance.ask(shadow.replace(b"/shadow", b"/shadow;x").replace(b"<token>", b"a.b.c")),
        400,
        "bad_path",
    )


async def test_optional_routes(appliance: Appliance, upstream: Upstream) -> None:
    either = GET.replace(b"/read/AUS", b"/either")
    assert (await appliance.ask(either.replace(b"Authorization: Bearer <token>\r\n", b""))).status == 200
    assert (await appliance.ask(either.replace(b"<token>", await appliance.token()))).status == 200
    assert_own(await appliance.ask(either.replace(b"<token>", b"a.b.c")), 401, "malformed_token")
    assert_own(
        await appliance.ask(either.replace(b"<token>", appliance.sign(scope=None))), 403, "missing_scope"
    )
    anonymous, known = upstream.requests
    assert anonymous.one("X-Auth-Client-Id") is None
    assert known.one("X-Auth-Client-Id") == "reader"


async def test_public_routes_never_look_at_tokens(appliance: Appliance, upstream: Upstream) -> None:
    answer = await appliance.ask(GET.replace(b"/read/AUS", b"/open/x").replace(b"<token>", b"a.b.c"))
    assert answer.status == 200
    assert upstream.requests[0].one("Authorization") is None
    assert upstream.requests[0].one("X-Auth-Client-Id") is None


TOLD = [
    (b'GET /open/x?data={"companyId":1} HTTP/1.1\r\nHost: a\r\n\r\n', "a quotation mark as %22"),
    (b"GET /open/x?q=a b HTTP/1.1\r\nHost: a\r\n\r\n", "a space as %20"),
    ("GET /open/straße HTTP/1.1\r\nHost: a\r\n\r\n".encode(), "its bytes in UTF-8, such as %C3%A9"),
    (b"GET /open/x HTTP/1.1\r\nHost : a\r\n\r\n", "field line 1 is malformed: there is white space before"),
    (b"GET /open/x HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 40 + b"\r\n", "more than 40 header fields"),
    (b"GET /open/x HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5000, "longer than 4096 bytes"),
    (b"GET /open/" + b"x" * 5000, "longer than 4096 bytes"),
    (b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "larger than the 1000 bytes"),
    (
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001,
        "larger than the 1000 bytes",
    ),
    (
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\n",
        "a chunk-size line is malformed",
    ),
    (b"\x16\x03\x01\x02\x00", "port that has TLS"),
]


@pytest.mark.parametrize(("sent", "words"), TOLD, ids=[words for _, words in TOLD])
async def test_a_refusal_says_what_the_sender_can_change(
    sent: bytes, words: str, start: Start, upstream: Upstream
) -> None:
    async with start(limits=LIMITS) as appliance, appliance.connect() as caller:
        caller.send(sent)
        answer = await caller.answer()
        assert words in answer.json()["detail"]
