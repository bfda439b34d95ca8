"""Show which claims of a token reach the upstream as fields, and that nobody but the token says them."""

import random
import re
import time
from typing import Any

import pytest

from gateway.observe.exposition import Exposition
from gateway.views import render_metrics
from tests.support.appliance import AUDIENCE, Appliance, configuration
from tests.support.upstream import Received, Upstream
from tests.wire.conftest import Start
from tests.wire.test_failures import closing_first

TOLD = {"country": {"claim_headers": {"X-Auth-Tenant": "tenant", "X-Auth-Groups": "groups"}}}
FAMILY = "sidegate_claim_headers_left_out_total"
SPELLINGS = [
    b"X-Auth-Tenant",
    b"x-auth-tenant",
    b"X_Auth_Tenant",
    b"X-AUTH_TENANT",
    b"X.Auth.Tenant",
    b"X--Auth--Tenant",
    b"-X-Auth-Tenant",
    b"X-Auth-Tenant_",
    b"X~Auth~Tenant",
]


def get(target: bytes, token: bytes | None, fields: bytes = b"") -> bytes:
    authorization = b"" if token is None else b"Authorization: Bearer %b\r\n" % token
    return b"GET %b HTTP/1.1\r\nHost: a.example\r\n%b%b\r\n" % (target, authorization, fields)


def told(request: Received) -> dict[str, str]:
    """Return what the service is told of claims, and that no field says it twice."""
    found = {name: request.one(name) for name, _ in request.fields if name.lower().startswith("x-auth-")}
    identity = ("Client-Id", "Subject", "Audience", "Scope")
    return {
        name: value
        for name, value in found.items()
        if name.removeprefix("X-Auth-") not in identity and value is not None
    }


async def arriving(
    appliance: Appliance, upstream: Upstream, token: bytes | None, target: bytes = b"/read/AUS"
) -> dict[str, str]:
    answer = await appliance.ask(get(target, token))
    assert answer.status == 200, answer.body
    return told(upstream.requests[-1])


async def left_out(appliance: Appliance) -> dict[str, float]:
    """Return what a scraper reads of the upstream `country`, by cause, without zeros."""
    metrics = appliance.metrics
    page = render_metrics(Exposition(metrics), metrics, appliance.gate, appliance.plane.state.counts, "")
    text = b"".join([chunk async for chunk in page.chunks]).decode()
    rows = re.findall(FAMILY + r'\{upstream="country",cause="(\w+)"\} (\S+)', text)
    assert {cause for cause, _ in rows} >= {"ambiguous", "characters", "kind", "size"}, "not there at 0"
    return {cause: float(value) for cause, value in rows if float(value)}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"tenant": "acme", "groups": ["a", "b"]}, {"X-Auth-Tenant": "acme", "X-Auth-Groups": "a,b"}),
        ({"tenant": 7, "groups": [1, True, "x"]}, {"X-Auth-Tenant": "7", "X-Auth-Groups": "1,true,x"}),
        ({"tenant": False, "groups": []}, {"X-Auth-Tenant": "false", "X-Auth-Groups": ""}),
        ({"tenant": "", "groups": [["a"]]}, {"X-Auth-Tenant": ""}),
        ({"tenant": {"id": 1}, "groups": ["user,admin"]}, {}),
        ({"tenant": "a\r\nX-Auth-Client-Id: admin", "groups": ["a", "b\r\n"]}, {}),
        ({"tenant": "x" * 1024}, {"X-Auth-Tenant": "x" * 1024}),
        ({"tenant": "x" * 1025, "groups": "münchen"}, {}),
        ({"groups": "a"}, {"X-Auth-Groups": "a"}),
        ({"Tenant": "acme", "X-Auth-Tenant": "acme"}, {}),
        ({}, {}),
    ],
    ids=range(11),
)
async def test_what_the_token_says_arrives(
    claims: dict[str, Any], expected: dict[str, str], start: Start, upstream: Upstream
) -> None:
    async with start(upstreams=TOLD) as appliance:
        token = appliance.sign(**claims)
        for _ in range(4):  # until all there is to remember is remembered
            assert await arriving(appliance, upstream, token) == expected
            assert upstream.requests[-1].one("X-Auth-Client-Id") == "reader"


async def test_what_a_client_is_configured_with_arrives(start: Start, upstream: Upstream) -> None:
    """The values of a token that was just issued are those of the same token when it is read anew."""
    claims = {"tenant": "acme", "groups": ["a", 1, True], "level": 3.0, "big": 2**70, "none": None}
    headers = {f"X-Auth-{name.title()}": name for name in claims}
    clients = {
        **configuration()["clients"],
        "reader": {"secrets": ["plain:reader"], "claims": claims},
    }
    expected = {"X-Auth-Tenant": "acme", "X-Auth-Groups": "a,1,true", "X-Auth-Big": str(2**70)}
    async with start(clients=clients, upstreams={"country": {"claim_headers": headers}}) as appliance:
        token = await appliance.token()
        assert await arriving(appliance, upstream, token) == expected
        appliance.plane.state.cache.drop(token)
        assert await arriving(appliance, upstream, token) == expected
        assert await left_out(appliance) == {"kind": 4}


async def test_the_issuers_own_claims_can_be_told(start: Start, upstream: Upstream) -> None:
    names = ("iss", "sub", "client_id", "aud", "iat", "nbf", "exp", "jti")
    headers = {f"X-Auth-C-{name.replace('_', '-')}": name for name in names}
    changes = {"country": {"claim_headers": headers, "identity_headers": False}}
    async with start(upstreams=changes) as appliance:
        now = int(time.time())
        found = await arriving(appliance, upstream, appliance.sign(jti="one", exp=now + 60, iat=now, nbf=now))
        assert found == {
            "X-Auth-C-iss": "http://127.0.0.1:8080",
            "X-Auth-C-sub": "reader",
            "X-Auth-C-client-id": "reader",
            "X-Auth-C-aud": AUDIENCE,
            "X-Auth-C-iat": str(now),
            "X-Auth-C-nbf": str(now),
            "X-Auth-C-exp": str(now + 60),
            "X-Auth-C-jti": "one",
        }
        assert upstream.requests[-1].one("X-Auth-Client-Id") is None


@pytest.mark.parametrize("name", SPELLINGS)
async def test_a_caller_never_says_a_claim(name: bytes, start: Start, upstream: Upstream) -> None:
    """Whatever else it sends, wherever it asks, and though its peer is trusted and every setting lenient."""
    lenient = {"country": {**TOLD["country"], "forward_token": True, "keep_headers": ["x_tenant"]}}
    forged = b"%b: forged\r\nConnection: X-Auth-Tenant, X-Auth-Client-Id\r\n" % name
    async with start(upstreams=lenient, trusted_proxies=["127.0.0.0/8"]) as appliance:
        having, lacking = appliance.sign(tenant="acme"), await appliance.token()
        for target, token, expected in (
            (b"/read/AUS", having, {"X-Auth-Tenant": "acme"}),
            (b"/read/AUS", lacking, {}),
            (b"/open/x", having, {}),
            (b"/open/x", None, {}),
            (b"/either", having, {"X-Auth-Tenant": "acme"}),
            (b"/either", None, {}),
            (b"/shadow", appliance.sign(tenant="acme", aud="other"), {"X-Auth-Tenant": "acme"}),
            (b"/shadow", None, {}),
            (b"/shadow", b"e30.e30.e30", {}),
        ):
            for _ in range(3):
                assert (await appliance.ask(get(target, token, forged))).status == 200
                request = upstream.requests[-1]
                assert told(request) == expected, target
                assert b"forged" not in request.head


@pytest.mark.parametrize("name", SPELLINGS)
async def test_nor_in_a_trailer_nor_when_it_switches(name: bytes, start: Start, upstream: Upstream) -> None:
    async with start(upstreams=TOLD) as appliance:
        token = appliance.sign(tenant="acme")
        chunked = get(b"/read/AUS", token, b"Transfer-Encoding: chunked\r\n").replace(b"GET", b"POST", 1)
        answer = await appliance.ask(chunked + b"1\r\na\r\n0\r\n%b: forged\r\nX-Sum: 1\r\n\r\n" % name)
        assert answer.status == 200
        raw = bytes(upstream.connections[-1].raw)
        assert raw.endswith(b"\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert b"forged" not in raw
        switch = b"%b: forged\r\nConnection: Upgrade, %b\r\nUpgrade: websocket\r\n" % (name, name)
        assert (await appliance.ask(get(b"/switch", token, switch))).status == 200
        assert upstream.requests[-1].one("Upgrade") == "websocket"
        assert b"forged" not in upstream.requests[-1].head


async def test_a_tunnel_is_opened_with_the_claims_of_its_token(start: Start, upstream: Upstream) -> None:
    require = {"audience": AUDIENCE, "scopes": ["country.read"]}
    route = {"name": "s", "path": "/s", "upstream": "country", "require": require, "upgrade": ["websocket"]}
    async with start(upstreams=TOLD, routes=[route]) as appliance:
        switch = b"Connection: Upgrade, X-Auth-Tenant\r\nUpgrade: websocket\r\n"
        request = get(b"/s", appliance.sign(tenant="acme"), switch)
        assert (await appliance.ask(request)).status == 200
        assert told(upstream.requests[-1]) == {"X-Auth-Tenant": "acme"}
        assert upstream.requests[-1].one("Upgrade") == "websocket"


async def test_a_request_that_is_sent_again_says_the_same(start: Start, upstream: Upstream) -> None:
    upstream.script = closing_first(1)
    async with start(upstreams=TOLD) as appliance:
        await arriving(appliance, upstream, appliance.sign(tenant="acme", groups={}))
        assert [told(request) for request in upstream.requests] == [{"X-Auth-Tenant": "acme"}] * 2
        assert await left_out(appliance) == {"kind": 1}


async def test_what_is_left_out_is_counted_once_for_a_token(start: Start, upstream: Upstream) -> None:
    async with start(upstreams=TOLD) as appliance:
        assert await left_out(appliance) == {}
        for claims in ({"tenant": 1.5, "groups": ["a", ""]}, {"tenant": "é", "groups": "x" * 2000}):
            token = appliance.sign(**claims)
            for _ in range(4):
                await arriving(appliance, upstream, token)
        assert await left_out(appliance) == {"kind": 1, "ambiguous": 1, "characters": 1, "size": 1}


async def test_a_token_too_long_to_be_remembered_says_the_same(start: Start, upstream: Upstream) -> None:
    async with start(upstreams=TOLD) as appliance:
        token = appliance.sign(tenant="acme", groups=["g"] * 500, rest="x" * 5000)
        for _ in range(4):
            found = await arriving(appliance, upstream, token)
            assert found == {"X-Auth-Tenant": "acme", "X-Auth-Groups": ",".join(["g"] * 500)}


VALUES: list[Any] = ["acme", "beta", "", 5, True, ["a", "b"], ["a,b"], 1.5, None, {"x": 1}, "é", "x" * 1025]
HEADERS = [
    {},
    {"X-Auth-Tenant": "tenant"},
    {"X-Auth-Tenant": "plan"},
    {"x-auth-tenant": "tenant", "X-Auth-Plan": "plan"},
    {"X-Auth-Plan": "tenant", "X-Auth-Again": "tenant"},
]
SAYS = {
    str(value): said for value, said in zip(VALUES, ("acme", "beta", "", "5", "true", "a,b"), strict=False)
}
"""By hand: what those values read as that are told."""


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_remembered_is_what_is_made_anew(seed: int, start: Start, upstream: Upstream) -> None:
    """Tokens, routes to two upstreams and reloads of their `claim_headers`, in any order."""
    chance = random.Random(seed)
    require = {"audience": AUDIENCE, "scopes": ["country.read"]}
    routes = [
        {"name": name, "path": f"/{name}", "upstream": name, "require": require}
        for name in ("country", "other")
    ]
    targets = {"country": [upstream.port], "other": [upstream.port]}
    headers: dict[str, dict[str, str]] = {"country": {}, "other": {}}

    def settings() -> dict[str, Any]:
        upstreams = {name: {"claim_headers": names} for name, names in headers.items()}
        return configuration(upstreams=upstreams, routes=routes)

    async with start(routes=[]) as appliance:
        await appliance.reload(settings(), targets=targets)
        wished = [{"tenant": chance.choice(VALUES), "plan": chance.choice(VALUES)} for _ in range(4)]
        claims = [{name: value for name, value in each.items() if value is not None} for each in wished]
        tokens = [appliance.sign(**each) for each in claims]
        for _ in range(12):
            changed = chance.choice(["country", "other"])
            headers[changed] = chance.choice(HEADERS)
            await appliance.reload(settings(), targets=targets)
            async with appliance.connect() as caller:
                for _ in range(12):
                    name, number = chance.choice(["country", "other"]), chance.randrange(4)
                    answer = await caller.ask(get(b"/%b" % name.encode(), tokens[number]))
                    assert answer.status == 200
                    expected = {
                        field: SAYS[str(claims[number][claim])]
                        for field, claim in headers[name].items()
                        if str(claims[number].get(claim)) in SAYS
                    }
                    found = {
                        name: value
                        for name, value in upstream.requests[-1].fields
                        if name.lower() in ("x-auth-tenant", "x-auth-plan", "x-auth-again")
                    }
                    assert found == expected


async def test_upstreams_do_not_hear_what_others_are_told(start: Start, upstream: Upstream) -> None:
    other = {"name": "other", "path": "/other", "upstream": "other", "require": {"audience": AUDIENCE}}
    async with start() as appliance:
        settings = configuration(upstreams={**TOLD, "other": {}}, routes=[*configuration()["routes"], other])
        await appliance.reload(settings, targets={"country": [upstream.port], "other": [upstream.port]})
        token = appliance.sign(tenant="acme")
        for _ in range(3):
            assert await arriving(appliance, upstream, token) == {"X-Auth-Tenant": "acme"}
            assert await arriving(appliance, upstream, token, b"/other") == {}
