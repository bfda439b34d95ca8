"""Show at the wire what callers see of rate limits, bad tokens, crowds and overload."""

import asyncio
import contextlib
from time import perf_counter
from typing import Any

import pytest

from gateway.observe.loop_lag import LoopLag
from tests.support.appliance import AUDIENCE, configuration, write
from tests.support.caller import Caller, assert_own
from tests.support.upstream import Upstream, answering
from tests.support.waiting import until
from tests.wire.conftest import Start

REQUIRE = {"audience": AUDIENCE, "scopes": ["country.read"]}


def routes(**limit: Any) -> list[dict[str, Any]]:
    """Return one route of each kind, all with this limit of two in a day."""
    rule = {"requests": 2, "per": "1d", **limit}
    shared = {"upstream": "country", "rate_limit": rule}
    return [
        {"name": "read", "path": "/read", "require": REQUIRE, **shared},
        {"name": "open", "path": "/open", "access": "public", **shared},
        {"name": "either", "path": "/either", "access": "optional", "require": REQUIRE, **shared},
        {"name": "shadow", "path": "/shadow", "mode": "shadow", "require": REQUIRE, **shared},
        {"name": "free", "path": "/free", "upstream": "country", "access": "public"},
    ]


def get(path: str, token: bytes = b"", *fields: bytes, method: bytes = b"GET") -> bytes:
    lines = [method + b" " + path.encode() + b" HTTP/1.1", b"Host: a", *fields]
    if token:
        lines.append(b"Authorization: Bearer " + token)
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def statuses(caller: Caller, request: bytes, count: int) -> list[int]:
    return [(await caller.ask(request)).status for _ in range(count)]


@pytest.mark.parametrize("path", ["/open", "/read", "/either", "/shadow"])
async def test_beyond_the_limit_nothing_reaches_the_upstream(
    start: Start, upstream: Upstream, path: str
) -> None:
    async with start(routes=routes()) as appliance, appliance.connect() as caller:
        request = get(path, await appliance.token() if path != "/open" else b"")
        assert await statuses(caller, request, 2) == [200, 200]
        seen = upstream.seen
        answer = await caller.ask(request)
        assert_own(answer, 429, "rate_limited")
        name = '"client"'
        assert answer.one("RateLimit-Policy") == f"{name};q=2;w=86400"
        retry_after = answer.one("Retry-After")
        assert retry_after is not None
        assert int(retry_after) == pytest.approx(43200, abs=2)
        assert answer.one("RateLimit") == f"{name};r=0;t={retry_after}"
        assert upstream.seen == seen
        assert (await caller.ask(get("/free"))).status == 200  # the connection lives on
        record = appliance.exchanges[-2]
        assert (record.reason, record.decision, record.upstream) == ("rate_limited", "deny", "")
        assert appliance.gate.admission.take_refused() == [((path[1:], "rate_limit"), 1)]


async def test_allowed_answers_say_what_is_left(start: Start) -> None:
    async with start(routes=routes(burst=3)) as appliance, appliance.connect() as caller:
        answer = await caller.ask(get("/open"))
        assert answer.all("RateLimit-Policy") == ['"client";q=2;w=86400']
        assert answer.one("RateLimit") == '"client";r=2;t=43200'
        answer = await caller.ask(get("/free"))
        assert answer.one("RateLimit") is None


async def test_a_switch_of_protocols_says_what_is_left_and_counts(start: Start, upstream: Upstream) -> None:
    upstream.script = answering(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    limited = {**routes()[1], "upgrade": ["websocket"]}
    ask = get("/open", b"", b"Connection: Upgrade", b"Upgrade: websocket")
    async with start(routes=[limited]) as appliance:
        for left in (1, 0):
            answer = await appliance.ask(ask)
            assert answer.status == 101
            assert (answer.one("RateLimit") or "").startswith(f'"client";r={left};')
        assert_own(await appliance.ask(ask), 429, "rate_limited")


async def test_only_allowed_requests_count(start: Start) -> None:
    async with start(routes=routes(by="route")) as appliance, appliance.connect() as caller:
        token = await appliance.token()
        other = await appliance.token(scope="country.write")
        assert await statuses(caller, get("/read"), 5) == [401] * 5
        assert await statuses(caller, get("/read", other), 5) == [403] * 5
        assert await statuses(caller, get("/read", token), 3) == [200, 200, 429]


async def test_clients_and_the_anonymous_are_counted_apart(start: Start) -> None:
    async with start(routes=routes()) as appliance, appliance.connect() as caller:
        token = await appliance.token()
        assert await statuses(caller, get("/either", token), 3) == [200, 200, 429]
        assert await statuses(caller, get("/either"), 3) == [200, 200, 429]


async def test_behind_a_trusted_proxy_its_callers_are_counted(start: Start) -> None:
    async with (
        start(routes=routes(), trusted_proxies=["127.0.0.0/8"]) as appliance,
        appliance.connect() as caller,
    ):
        for entry in (b"192.0.2.1", b"2001:db8::1"):
            assert await statuses(caller, get("/open", b"", b"X-Forwarded-For: " + entry), 3) == [
                200,
                200,
                429,
            ]
        invented = get("/open", b"", b"X-Forwarded-For: 198.51.100.7, 192.0.2.1")
        assert await statuses(caller, invented, 1) == [429]
        same_subnet = get("/open", b"", b"X-Forwarded-For: 2001:db8::2")
        assert await statuses(caller, same_subnet, 1) == [429]


async def test_others_cannot_invent_whom_they_count_for(start: Start) -> None:
    async with start(routes=routes()) as appliance, appliance.connect() as caller:
        found = []
        for index in range(3):
            request = get("/open", b"", b"X-Forwarded-For: 192.0.2.%d" % index)
            found.append((await caller.ask(request)).status)
        assert found == [200, 200, 429]


async def test_a_refusal_comes_before_the_body(start: Start, upstream: Upstream) -> None:
    async with start(routes=routes(by="peer")) as appliance, appliance.connect() as caller:
        assert await statuses(caller, get("/open"), 2) == [200, 200]
        caller.send(get("/open", b"", b"Content-Length: 3", b"Expect: 100-continue", method=b"POST"))
        assert (await caller.answer()).status == 429
        assert len(upstream.requests) == 2


async def test_head_has_the_fields_and_no_body(start: Start) -> None:
    async with start(routes=routes()) as appliance, appliance.connect() as caller:
        await statuses(caller, get("/open"), 2)
        answer = await caller.ask(get("/open", method=b"HEAD"))
        assert (answer.status, answer.body) == (429, b"")
        assert answer.one("Retry-After")


async def test_a_reload_keeps_what_was_counted(start: Start, upstream: Upstream) -> None:
    async with start(routes=routes()) as appliance, appliance.connect() as caller:
        await statuses(caller, get("/open"), 2)
        write(
            appliance.path.parent,
            configuration(routes=routes(), drain_timeout="9s"),
            targets={"country": [upstream.port]},
        )
        assert (await appliance.load()).applied
        assert await statuses(caller, get("/open"), 1) == [429]
        write(
            appliance.path.parent,
            configuration(routes=routes(requests=3)),
            targets={"country": [upstream.port]},
        )
        assert (await appliance.load()).applied
        assert await statuses(caller, get("/open"), 1) == [200]


# --- bad tokens


def forged(token: bytes, number: int) -> bytes:
    """Return the token with another signature, well-formed and different for each number."""
    head, _, _ = token.rpartition(b".")
    return head + b"." + (b"%04d" % number).ljust(85, b"x") + b"A"


async def test_after_too_many_bad_tokens_unknown_ones_are_not_checked(
    start: Start, upstream: Upstream
) -> None:
    limits = {"bad_tokens": {"requests": 3, "per": "1d"}}
    async with start(limits=limits) as appliance, appliance.connect() as caller:
        good = await appliance.token()
        fresh = appliance.sign()
        assert await statuses(caller, get("/read/A", good), 1) == [200]
        found = []
        for number in range(5):
            answer = await caller.ask(get("/read/A", forged(good, number)))
            found.append((answer.status, answer.reason))
        assert found == [(401, "bad_signature")] * 3 + [(429, "rate_limited")] * 2
        assert answer.one("RateLimit-Policy") == '"bad_tokens";q=3;w=86400'
        assert answer.one("Retry-After")
        counted = appliance.plane.state.counts.misses["bad_signature"]
        assert counted == 3  # the others were not looked at
        # Known tokens go on as before: the good one, and the bad one without another check.
        assert await statuses(caller, get("/read/A", good), 1) == [200]
        assert await statuses(caller, get("/read/A", forged(good, 1)), 1) == [401]
        assert await statuses(caller, get("/read/A", fresh), 1) == [429]
        assert await statuses(caller, get("/shadow", fresh), 1) == [429]  # a limit, not a judgement
        assert ("read", "bad_tokens") in dict(appliance.gate.admission.take_refused())
    assert len(upstream.requests) == 2


async def test_bad_tokens_may_be_unlimited(start: Start) -> None:
    async with (
        start(limits={"bad_tokens": {"requests": 0}}) as appliance,
        appliance.connect() as caller,
    ):
        good = await appliance.token()
        found = []
        for number in range(300):
            found.append((await caller.ask(get("/read/A", forged(good, number)))).status)
        assert set(found) == {401}


# --- crowds


async def test_connections_per_peer_are_limited(start: Start) -> None:
    async with start(limits={"connections_per_peer": 2}) as appliance:
        async with appliance.connect() as first, appliance.connect() as second:
            for caller in (first, second):
                assert await statuses(caller, get("/open/a"), 1) == [200]
            async with appliance.connect() as third:
                answer = await third.answer()
                assert_own(answer, 429, "rate_limited")
                assert answer.one("Retry-After") == "1"
                assert await third.rest() == b""
            assert await statuses(first, get("/open/a"), 1) == [200]
            assert appliance.gate.admission.take_refused() == [(("", "connections_per_peer"), 1)]
        await until(lambda: not appliance.gate.connections)
        async with appliance.connect() as caller:
            assert await statuses(caller, get("/open/a"), 1) == [200]


@pytest.mark.parametrize("limit", ["connections", "connections_per_peer"])
async def test_a_crowd_beyond_the_limit_is_cut_unheard(start: Start, limit: str) -> None:
    """What is told why, and waits to be read, is bounded too: 64 connections."""
    async with start(limits={limit: 1}) as appliance, appliance.connect() as first:
        assert await statuses(first, get("/open/a"), 1) == [200]
        opened = [await asyncio.open_connection("127.0.0.1", appliance.port) for _ in range(80)]
        cut = 0
        for reader, writer in opened:
            try:
                cut += not await reader.read(12)
            except ConnectionError:
                cut += 1
            assert len(appliance.gate.connections) <= 1 + 64
            writer.close()
        assert 10 <= cut <= 16
        assert await statuses(first, get("/open/a"), 1) == [200]


async def test_trusted_proxies_may_have_any_number_of_connections(start: Start) -> None:
    async with (
        start(limits={"connections_per_peer": 1}, trusted_proxies=["127.0.0.0/8"]) as appliance,
        appliance.connect() as first,
        appliance.connect() as second,
    ):
        for caller in (first, second):
            assert await statuses(caller, get("/open/a"), 1) == [200]


UNNAMED = (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
NAMED = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n"


@pytest.mark.parametrize("header", UNNAMED)
async def test_a_trusted_proxy_that_names_nobody_may_have_any_number_of_connections(
    start: Start, header: bytes
) -> None:
    """So balancers probe. Their fields are not believed then; whoever they name has a share as ever."""
    settings: dict[str, Any] = {
        "listeners": [{"address": "127.0.0.1:0", "proxy_protocol": True}],
        "trusted_proxies": ["127.0.0.0/8"],
        "limits": {"connections_per_peer": 1},
    }
    async with start(**settings) as appliance, contextlib.AsyncExitStack() as opened:
        for _ in range(4):
            caller = await opened.enter_async_context(appliance.connect())
            assert (await caller.ask(header + get("/open/a"), to="GET")).status == 200
        caller = await opened.enter_async_context(appliance.connect())
        assert (await caller.ask(NAMED + get("/open/a"), to="GET")).status == 200
        second = await opened.enter_async_context(appliance.connect())
        second.send(NAMED + get("/open/a"))
        assert await second.rest() == b""


# --- overload


def block_the_loop(seconds: float) -> None:
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


async def test_load_is_shed_while_the_loop_is_late(start: Start, upstream: Upstream) -> None:
    async with start(limits={"loop_lag": "20ms"}) as appliance, appliance.connect() as caller:
        lag = LoopLag(asyncio.get_running_loop(), appliance.gate.observe_lag, interval_s=0.002)
        lag.start()
        try:
            share = 0.0
            while appliance.gate.shed_share < 0.5:
                block_the_loop(0.05)
                await asyncio.sleep(0)
                assert appliance.gate.shed_share >= share or lag.last_s < 0.02
                share = appliance.gate.shed_share
        finally:
            lag.stop()
        seen = len(upstream.requests)
        found = [await caller.ask(get("/open/a")) for _ in range(20)]
        shed = [answer for answer in found if answer.status == 503]
        assert 9 <= len(shed) <= 19
        for answer in shed:
            assert_own(answer, 503, "overloaded")
            assert answer.one("Retry-After") == "1"
        assert len(upstream.requests) == seen + 20 - len(shed)
        assert (await caller.ask(get("/.well-known/jwks.json"))).status == 200  # the issuer is not shed
        for _ in range(20):
            appliance.gate.observe_lag(0.0)
        assert appliance.gate.shed_share == 0.0
        assert await statuses(caller, get("/open/a"), 20) == [200] * 20


async def test_requests_in_flight_are_not_shed(start: Start, upstream: Upstream) -> None:
    answer_now = asyncio.Event()

    async def script(connection: Any) -> None:
        await connection.request()
        await answer_now.wait()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream.script = script
    async with start() as appliance, appliance.connect() as caller:
        caller.send(get("/open/a"))
        await upstream.received()
        for _ in range(50):
            appliance.gate.observe_lag(9.0)
        answer_now.set()
        assert (await caller.answer()).status == 200
