"""Show which fields reach the upstream, which come back, and who may say what."""

import pytest

from tests.support.appliance import ISSUER, Appliance
from tests.support.upstream import Received, Upstream, answering
from tests.wire.conftest import Start

IDENTITY = {
    "X-Auth-Client-Id": "reader",
    "X-Auth-Subject": "reader",
    "X-Auth-Audience": "country-service",
    "X-Auth-Scope": "country.read",
}


async def forwarded(
    appliance: Appliance, upstream: Upstream, fields: bytes, target: bytes = b"/read/AUS"
) -> Received:
    """Return what arrives of a permitted request with these fields."""
    token = await appliance.token()
    answer = await appliance.ask(
        b"GET %b HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %b\r\n%b\r\n" % (target, token, fields)
    )
    assert answer.status == 200
    return upstream.requests[-1]


SPELLINGS = [
    b"X-Auth-Client-Id",
    b"x-auth-client-id",
    b"X-AUTH-CLIENT-ID",
    b"X_Auth_Client_Id",
    b"X-Auth_Client-Id",
    b"X_AUTH-CLIENT_ID",
    b"X.Auth.Client.Id",
    b"X--Auth--Client--Id",
    b"X~Auth~Client~Id",
    b"-X-Auth-Client-Id",
    b"_X-Auth-Client-Id",
    b"X-Auth-",
    b"X-Auth",
    b"X-Auth-Anything",
    b"X-Sidegate-Connection",
    b"X_Sidegate_Connection",
]


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("target", [b"/read/AUS", b"/open/x"])
async def test_identity_fields_of_a_caller_never_arrive(
    name: bytes, target: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    request = await forwarded(appliance, upstream, name + b": forged\r\n", target)
    assert b"forged" not in request.head
    ours = {name: value for name, value in request.fields if name.lower().startswith("x-auth")}
    assert ours == (IDENTITY if target == b"/read/AUS" else {})


@pytest.mark.parametrize(
    "option",
    [b"X-Auth-Client-Id", b"x-auth-scope, X-Auth-Subject", b"close, X-Auth-Client-Id", b"Host", b"Via"],
)
async def test_connection_cannot_remove_what_is_ours(
    option: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    request = await forwarded(appliance, upstream, b"Connection: %b\r\n" % option)
    assert {name: request.one(name) for name in IDENTITY} == IDENTITY
    assert request.one("Host") == "a.example"
    assert request.one("Via")


async def test_fields_that_connection_names_end_here(appliance: Appliance, upstream: Upstream) -> None:
    request = await forwarded(
        appliance,
        upstream,
        b"Connection: X-Hop , x-other\r\nConnection: X-Third\r\nX-Hop: 1\r\nX-OTHER: 2\r\nX-Third: 3\r\n"
        b"X-End: 4\r\n",
    )
    assert [name for name, _ in request.fields if name in ("X-Hop", "X-OTHER", "X-Third", "X-End")] == [
        "X-End"
    ]


async def test_hop_by_hop_fields_end_here(appliance: Appliance, upstream: Upstream) -> None:
    names = [b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization", b"TE", b"Trailer", b"HTTP2-Settings"]
    request = await forwarded(appliance, upstream, b"".join(name + b": gone\r\n" for name in names))
    assert b"gone" not in request.head
    assert request.one("Connection") is None


async def test_authorization_arrives_only_with_forward_token(start: Start, upstream: Upstream) -> None:
    async with start() as appliance:
        assert (await forwarded(appliance, upstream, b"")).one("Authorization") is None
    async with start(upstreams={"country": {"forward_token": True}}) as appliance:
        token = await appliance.token()
        assert (await forwarded(appliance, upstream, b"")).one("Authorization") == f"Bearer {token.decode()}"


async def test_identity_fields_can_be_switched_off(start: Start, upstream: Upstream) -> None:
    async with start(upstreams={"country": {"identity_headers": False}}) as appliance:
        request = await forwarded(appliance, upstream, b"X-Auth-Client-Id: forged\r\n")
    assert [name for name, _ in request.fields if name.lower().startswith("x-auth")] == []


async def test_a_token_without_scope_has_an_empty_scope_field(
    appliance: Appliance, upstream: Upstream
) -> None:
    await appliance.ask(
        b"GET /shadow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % appliance.sign(scope=None)
    )
    assert upstream.requests[0].one("X-Auth-Scope") == ""


DROPPED = [
    b"X_Custom",
    b"Content_Length",
    b"X-HTTP-Method-Override",
    b"x-http-method",
    b"X-Method-Override",
    b"X-Original-URL",
    b"X-Rewrite-Url",
    b"X-Original-Uri",
    b"X_Original_Url",
]


@pytest.mark.parametrize("name", DROPPED)
async def test_fields_that_are_read_in_two_ways_are_kept_only_by_name(
    name: bytes, start: Start, upstream: Upstream
) -> None:
    async with start() as appliance:
        request = await forwarded(appliance, upstream, name + b": 7\r\nX-Beside: 1\r\n")
        assert (request.one(name.decode()), request.one("X-Beside")) == (None, "1")
    async with start(upstreams={"country": {"keep_headers": [name.decode().lower()]}}) as appliance:
        assert (await forwarded(appliance, upstream, name + b": 7\r\n")).one(name.decode()) == "7"


async def test_what_another_hop_says_arrives_only_by_name_and_from_a_trusted_proxy(
    start: Start, upstream: Upstream
) -> None:
    lies = (
        b"X-SSL-Client-Verify: SUCCESS\r\nClient-Cert: :AA==:\r\nX_Remote_User: root\r\nremote-user: root\r\n"
        b"X-Original-Host: b\r\nX-Scheme: https\r\nProxy: http://b\r\nX-WEBAUTH-USER: root\r\n"
    )
    kept = {"keep_headers": ["x-ssl-client-verify"]}
    for named, trusted in ((False, False), (True, False), (False, True), (True, True)):
        async with start(
            upstreams={"country": kept if named else {}}, trusted_proxies=["127.0.0.1"] if trusted else []
        ) as appliance:
            request = await forwarded(appliance, upstream, lies)
        arrived = {name for name, _ in request.fields} & {
            line.partition(b":")[0].decode() for line in lies.split(b"\r\n")
        }
        assert arrived == ({"X-SSL-Client-Verify"} if named and trusted else set())


async def test_an_upstream_may_name_further_fields_that_callers_may_not_send(
    start: Start, upstream: Upstream
) -> None:
    fields = b"X-Tenant: a\r\nx_tenant: b\r\nX.Tenant: c\r\nX-Tenants: d\r\nCookie: e\r\n"
    dropping = {"drop_headers": ["X-Tenant", "cookie"], "keep_headers": ["x_other"]}
    async with start(upstreams={"country": dropping}) as appliance:
        request = await forwarded(appliance, upstream, fields)
        assert [value for name, value in request.fields if value in "abcde"] == ["d"]
        raw = (
            b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\nx\r\n0\r\nX-Tenant: a\r\nRemote-User: b\r\nX-Sum: c\r\n\r\n"
        )
        assert (await appliance.ask(raw)).status == 200
    received = bytes(upstream.connections[-1].raw)
    assert received.endswith(b"1\r\nx\r\n0\r\nX-Sum: c\r\n\r\n")


async def test_end_to_end_fields_arrive_as_they_were_sent_and_in_order(
    appliance: Appliance, upstream: Upstream
) -> None:
    sent = [
        ("X-a", "1"),
        ("Accept", "*/*"),
        ("x-A", "2"),
        ("Cookie", "a=1; b=2"),
        ("X-Latin", "caf\xe9"),
        ("X-Empty", ""),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent).encode("latin-1")
    request = await forwarded(appliance, upstream, lines)
    names = {name for name, _ in sent}
    assert [(name, value) for name, value in request.fields if name in names] == sent


async def test_an_untrusted_peer_cannot_say_where_it_comes_from(
    appliance: Appliance, upstream: Upstream
) -> None:
    request = await forwarded(
        appliance,
        upstream,
        b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\n"
        b"X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /x\r\nForwarded: for=9.9.9.9\r\n"
        b"X_Forwarded_For: 9.9.9.9\r\n"
        b"X-Forwarded: 9.9.9.9\r\n",
    )
    found = {name: value for name, value in request.fields if "orward" in name}
    assert found == {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "a.example",
    }


async def test_a_trusted_peer_may_say_where_requests_come_from(start: Start, upstream: Upstream) -> None:
    async with start(trusted_proxies=["127.0.0.0/8"]) as appliance:
        request = await forwarded(
            appliance,
            upstream,
            b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8, 7.7.7.7\r\n"
            b"X-Forwarded-Host: b.example\r\nX-Forwarded-Proto: https\r\nX_Forwarded_For: 6.6.6.6\r\n"
            b"X-Real-IP: 9.9.9.9\r\nX_Real_IP: 6.6.6.6\r\nX--Real-IP: 6.6.6.6\r\n",
        )
    assert request.one("X-Forwarded-For") == "9.9.9.9, 8.8.8.8, 7.7.7.7, 127.0.0.1"
    assert request.one("X-Forwarded-Host") == "b.example"
    assert request.one("X-Forwarded-Proto") == "https"
    assert request.one("X-Real-IP") == "9.9.9.9"
    assert b"6.6.6.6" not in request.head


@pytest.mark.parametrize(
    ("forwarded_setting", "expected"),
    [
        ("none", {}),
        ("x", {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example"}),
        ("rfc7239", {"Forwarded": 'for=127.0.0.1;proto=http;host="a.example"'}),
    ],
)
async def test_forwarding_fields_follow_the_setting(
    forwarded_setting: str, expected: dict[str, str], start: Start, upstream: Upstream
) -> None:
    async with start(upstreams={"country": {"forwarded": forwarded_setting}}) as appliance:
        request = await forwarded(
            appliance, upstream, b"Forwarded: for=9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\n"
        )
    assert {name: value for name, value in request.fields if "orwarded" in name} == expected


BEHIND_TLS = [{"address": "127.0.0.1:0", "behind_tls": True}]


async def test_behind_tls_callers_have_used_https(start: Start, upstream: Upstream) -> None:
    settings = {"listeners": BEHIND_TLS, "upstreams": {"country": {"forwarded": "both"}}}
    async with start(**settings) as appliance:
        request = await forwarded(appliance, upstream, b"X-Forwarded-Proto: http\r\n")
        assert request.one("X-Forwarded-Proto") == "https"
        assert request.one("Forwarded") == 'for=127.0.0.1;proto=https;host="a.example"'


async def test_a_trusted_peer_behind_tls_is_believed_first(start: Start, upstream: Upstream) -> None:
    async with start(listeners=BEHIND_TLS, trusted_proxies=["127.0.0.0/8"]) as appliance:
        request = await forwarded(appliance, upstream, b"X-Forwarded-Proto: http\r\n")
        assert request.one("X-Forwarded-Proto") == "http"
        assert (await forwarded(appliance, upstream, b"")).one("X-Forwarded-Proto") == "https"


async def test_a_fixed_host_replaces_the_callers(start: Start, upstream: Upstream) -> None:
    async with start(upstreams={"country": {"host": "inside.example"}}) as appliance:
        request = await forwarded(appliance, upstream, b"")
    assert (request.one("Host"), request.one("X-Forwarded-Host")) == ("inside.example", "a.example")
    assert request.fields[0][0] == "Host"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"abc-1._9", True),
        (b"x" * 64, True),
        (b"x" * 65, False),
        (b"a b", False),
        (b"a\xe9", False),
        (b"", False),
    ],
)
async def test_request_ids(sent: bytes, kept: bool, appliance: Appliance, upstream: Upstream) -> None:
    answer = await appliance.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\n\r\n" % sent)
    request_id = answer.one("X-Request-Id")
    assert request_id == upstream.requests[0].one("X-Request-Id") == appliance.exchanges[0].request_id
    assert (request_id == sent.decode("latin-1")) == kept


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (TRACE, True),
        (TRACE.upper(), False),
        (TRACE.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32), False),
    ],
)
async def test_trace_contexts(sent: bytes, kept: bool, appliance: Appliance, upstream: Upstream) -> None:
    await appliance.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\ntraceparent: %b\r\n\r\n" % sent)
    arrived = upstream.requests[0].one("traceparent")
    assert arrived
    assert (arrived.encode() == sent) == kept
    assert appliance.exchanges[0].trace_id == arrived[3:35]


@pytest.mark.parametrize(
    ("traces", "kept"),
    [
        (b"traceparent: %b\r\n" % TRACE, True),
        (b"", False),
        (b"traceparent: garbage\r\n", False),
        (b"traceparent: %b\r\n" % TRACE.upper(), False),
        (b"traceparent: %b\r\ntraceparent: %b\r\n" % (TRACE, TRACE), False),
        (b"traceparent: ff%b\r\n" % TRACE[2:], False),
        (b"traceparent: %b\r\nConnection: tracestate\r\n" % TRACE, False),
    ],
)
async def test_a_tracestate_ends_where_a_new_trace_begins(
    traces: bytes, kept: bool, appliance: Appliance, upstream: Upstream
) -> None:
    request = b"GET /open/x HTTP/1.1\r\nHost: a\r\n%btracestate: vendor=1\r\nTraceState: other=2\r\n\r\n"
    other = b"GET /open/x HTTP/1.1\r\nHost: a\r\n%btracestate: vendor=1\r\nTraceState: other=2\r\n\r\n"
    for _ in range(3):  # read anew, and remembered
        await appliance.ask(request % traces)
        await appliance.ask(other % (b"traceparent: %b\r\n" % TRACE))
    arrived = [received.all("tracestate") for received in upstream.requests]
    assert arrived == [["vendor=1", "other=2"] if kept else [], ["vendor=1", "other=2"]] * 3


SHOP = {"path": "/shop/**", "upstream": "country", "access": "public"}
STRIPPED = {"strip_prefix": "/shop"}


@pytest.mark.parametrize(
    ("forwarded_setting", "rewrite", "expected"),
    [
        ("x", STRIPPED, "/shop"),
        ("both", STRIPPED, "/shop"),
        ("x", {"strip_prefix": "/shop", "add_prefix": "/v2"}, "/shop"),
        ("x", {"add_prefix": "/v2"}, None),
        ("none", STRIPPED, None),
        ("rfc7239", STRIPPED, None),
    ],
)
async def test_a_service_is_told_the_prefix_that_was_stripped(
    forwarded_setting: str, rewrite: dict[str, str], expected: str | None, start: Start, upstream: Upstream
) -> None:
    settings = {"country": {"forwarded": forwarded_setting}}
    async with start(upstreams=settings, routes=[{**SHOP, "rewrite": rewrite}]) as appliance:
        for own in (b"", b"X-Forwarded-Prefix: /forged\r\n", b"X_Forwarded_Prefix: /forged\r\n"):
            await appliance.ask(b"GET /shop/orders/1 HTTP/1.1\r\nHost: a\r\n%b\r\n" % own)
            assert upstream.requests[-1].one("X-Forwarded-Prefix") == expected
            assert b"forged" not in upstream.requests[-1].head


@pytest.mark.parametrize(
    ("own", "stripped", "kept"),
    [
        (b"", "/shop", None),
        (b"X-Forwarded-Prefix: /api\r\n", "/api/shop", "/api"),
        (b"X-Forwarded-Prefix: /api/\r\n", "/api/shop", "/api/"),
        (b"X-Forwarded-Prefix: /a, /b\r\n", "/a/b/shop", "/a, /b"),
    ],
)
async def test_what_a_trusted_peer_stripped_comes_first(
    own: bytes, stripped: str, kept: str | None, start: Start, upstream: Upstream
) -> None:
    routes = [{**SHOP, "rewrite": STRIPPED}, {**SHOP, "path": "/plain"}]
    async with start(routes=routes, trusted_proxies=["127.0.0.0/8"]) as appliance:
        for path, expected in ((b"/shop/1", stripped), (b"/plain", kept)):
            await appliance.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, own))
            assert upstream.requests[-1].one("X-Forwarded-Prefix") == expected


async def test_the_path_is_rewritten_and_the_query_left_alone(start: Start, upstream: Upstream) -> None:
    route = {
        "name": "r",
        "path": "/api/{x}/**",
        "upstream": "country",
        "access": "public",
        "rewrite": {"strip_prefix": "/api", "add_prefix": "/v2"},
    }
    async with start(routes=[route]) as appliance:
        await appliance.ask(
            b"GET /api/%7ea%c3%a9/b?x=%2F..//\\&y=%zz HTTP/1.1\r\nHost: a\r\n\r\n".replace(b"\\", b"'")
        )
    assert upstream.requests[0].target == "/v2/~a%C3%A9/b?x=%2F..//'&y=%zz"


async def test_absolute_form_arrives_as_origin_form(appliance: Appliance, upstream: Upstream) -> None:
    await appliance.ask(b"GET http://A.example:80/open/x?q HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n")
    assert upstream.requests[0].target == "/open/x?q"
    assert upstream.requests[0].one("Host") == "a.EXAMPLE:80"


async def test_answers_lose_what_only_a_hop_or_the_gate_may_say(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(
        b"HTTP/1.1 401 Nope\r\nWWW-Authenticate: Negotiate\r\nSidegate-Reason: ok\r\nX-Request-Id: theirs\r\n"
        b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
        b"Trailer: X\r\nUpgrade: h2c\r\nX-End: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )
    answer = await appliance.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n")
    assert answer.head.startswith(b"HTTP/1.1 401 Nope\r\n")
    assert {name for name, _ in answer.fields} == {
        "WWW-Authenticate",
        "X-End",
        "Date",
        "Content-Length",
        "Via",
        "X-Request-Id",
    }
    assert answer.one("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert (answer.reason, answer.one("X-Request-Id"), answer.body) == (None, "mine", b"body")


async def test_answers_without_a_date_get_one(appliance: Appliance, upstream: Upstream) -> None:
    answer = await appliance.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.one("Date")
    assert answer.one("Via") == f"1.1 {appliance.gate.pseudonym.decode()}"


async def test_the_issuers_metadata_is_reached_behind_the_same_port(
    appliance: Appliance, upstream: Upstream
) -> None:
    answer = await appliance.ask(b"GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.json()["issuer"] == ISSUER
    assert upstream.seen == (0, 0)
