"""Send the same head again and again: what is remembered of it must not outlive its reasons.

A head is remembered when it comes for the second time, and a verdict on its token with it,
so four requests take every path there is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.appliance import AUDIENCE, Appliance, configuration
from tests.support.caller import Caller
from tests.support.upstream import Upstream
from tests.wire.conftest import Start

TIMES = 4
GET = b"GET /read/AUS HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %b\r\n\r\n"


async def let_through(caller: Caller, request: bytes) -> None:
    """Send the request until everything there is to remember of it is remembered."""
    for _ in range(TIMES):
        assert (await caller.ask(request)).status == 200


async def refusal(caller: Caller, request: bytes) -> tuple[int, str | None]:
    """Return status and reason of the answer to the same request."""
    answer = await caller.ask(request)
    return answer.status, answer.json().get("reason")


async def test_a_revoked_token_is_refused(appliance: Appliance, upstream: Upstream) -> None:
    token = await appliance.token()
    async with appliance.connect() as caller:
        await let_through(caller, GET % token)
        assert (await appliance.post_form("/oauth2/revoke", {"token": token.decode()})).status == 200
        assert await refusal(caller, GET % token) == (401, "revoked")
    assert len(upstream.requests) == TIMES


async def test_another_token_of_the_caller_still_passes(appliance: Appliance, upstream: Upstream) -> None:
    token, other = await appliance.token(), appliance.sign()
    async with appliance.connect() as caller:
        await let_through(caller, GET % token)
        await let_through(caller, GET % other)
        assert (await appliance.post_form("/oauth2/revoke", {"token": other.decode()})).status == 200
        await let_through(caller, GET % token)
        assert await refusal(caller, GET % other) == (401, "revoked")
    assert len(upstream.requests) == 3 * TIMES


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"authorizations": []}, (403, "client_not_allowed")),
        ({"clients": {"reader": {"secrets": ["plain:reader"], "disabled": True}}}, (403, "client_disabled")),
        ({"routes": []}, (404, "no_route")),
        ({"issuer": {"url": "http://127.0.0.1:8081"}}, (401, "wrong_issuer")),
    ],
)
async def test_a_reload_takes_it_away(
    changes: dict[str, Any], expected: tuple[int, str], appliance: Appliance, upstream: Upstream
) -> None:
    token = await appliance.token()
    targets = {"country": [upstream.port]}
    async with appliance.connect() as caller:
        await let_through(caller, GET % token)
        await appliance.reload(configuration(**changes), targets=targets)
        assert await refusal(caller, GET % token) == expected
        await appliance.reload(configuration(), targets=targets)
        await let_through(caller, GET % token)
    assert len(upstream.requests) == 2 * TIMES


async def test_where_refusals_are_only_recorded_nobody_is_named_any_more(
    appliance: Appliance, upstream: Upstream
) -> None:
    """A shadow route goes on forwarding, but says whose token it is only while it is somebody's."""
    token = await appliance.token()
    request = (GET % token).replace(b"/read/AUS", b"/shadow")
    async with appliance.connect() as caller:
        await let_through(caller, request)
        assert upstream.requests[-1].one("X-Auth-Client-Id") == "reader"
        assert (await appliance.post_form("/oauth2/revoke", {"token": token.decode()})).status == 200
        await let_through(caller, request)
    assert appliance.exchanges[-1].reason == "revoked"
    for received in upstream.requests[TIMES:]:
        assert not [name for name, _ in received.fields if name.lower().startswith("x-auth-")]


@contextlib.asynccontextmanager
async def connected_from(address: str, appliance: Appliance) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", appliance.port, local_addr=(address, 0))
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("forwarded", ["x", "rfc7239", "both"])
async def test_each_connection_is_told_apart(forwarded: str, start: Start, upstream: Upstream) -> None:
    """Two callers behind different addresses that send the same bytes."""
    async with start(upstreams={"country": {"forwarded": forwarded}}) as appliance:
        token = await appliance.token()
        for address in ("127.0.0.1", "127.0.0.2") * 2:
            async with connected_from(address, appliance) as caller:
                await let_through(caller, GET % token)
            told = {
                value
                for request in upstream.requests[-TIMES:]
                for name, value in request.fields
                if name in ("X-Forwarded-For", "Forwarded")
            }
            assert told
            assert all(address in value for value in told)


async def test_each_request_has_an_id_and_a_trace_of_its_own(
    appliance: Appliance, upstream: Upstream
) -> None:
    token = await appliance.token()
    async with appliance.connect() as caller:
        await let_through(caller, GET % token)
    for field in ("X-Request-Id", "traceparent"):
        values = [value for request in upstream.requests for name, value in request.fields if name == field]
        assert len(values) == len(set(values)) == TIMES


async def test_routes_of_two_upstreams_open_requests_by_their_own_rules(
    start: Start, upstream: Upstream
) -> None:
    """The same head leads elsewhere after a reload, and is then written as that upstream wants it."""
    async with start() as appliance:
        token = await appliance.token()
        targets = {"country": [upstream.port], "other": [upstream.port]}
        require = {"audience": AUDIENCE, "scopes": ["country.read"]}
        route = {"name": "read", "path": "/read/{code}", "upstream": "other", "require": require}
        async with appliance.connect() as caller:
            await let_through(caller, GET % token)
            assert ("Authorization", f"Bearer {token.decode()}") not in upstream.requests[-1].fields
            await appliance.reload(
                configuration(
                    upstreams={"other": {"forward_token": True, "identity_headers": False}}, routes=[route]
                ),
                targets=targets,
            )
            await let_through(caller, GET % token)
            fields = dict(upstream.requests[-1].fields)
            assert fields["Authorization"] == f"Bearer {token.decode()}"
            assert "X-Auth-Client-Id" not in fields


async def test_of_refused_requests_nothing_is_remembered(appliance: Appliance) -> None:
    """Otherwise strangers push out what callers repeat, and fill memory with what they made up."""
    reader = appliance.gate.reader
    enforcer = appliance.gate.snapshot.enforcer
    async with appliance.connect() as caller:
        for number in range(20):
            for target in (b"/read/%d", b"/nowhere/%d", b"/open/%%2e%%2e/%d", b"/get-only?%d"):
                method = b"POST" if b"only" in target else b"GET"
                head = b"%b %b HTTP/1.1\r\nHost: a\r\nX-%d: 1\r\n\r\n" % (method, target % number, number)
                for _ in range(3):
                    assert (await caller.ask(head)).status in (400, 401, 404, 405)
        assert (len(reader._memo), len(reader._heads)) == (0, 0)
        assert len(enforcer._locations) == 20  # of the routes that wanted a token
        head = b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-0: 1\r\n\r\n"
        for _ in range(3):
            assert (await caller.ask(head)).status == 200
        assert (len(reader._memo), len(reader._heads)) == (1, 1)
