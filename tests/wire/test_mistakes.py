"""Inject one mistake of ours at a time: it ends one request, and nothing that request borrowed stays away.

Each test lets one method raise once, where only a bug could, and looks at what is left: the
caller has an answer or a cut connection, every count is back at zero, no target is blamed,
and the next request passes.
"""

import asyncio
from typing import Any

import pytest

from gateway.http1.response import ResponseReader
from gateway.proxy import prober
from gateway.proxy.downstream import DownstreamConnection
from gateway.proxy.gate import Gate
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.relay import Relay
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upstream import UpstreamConnection
from tests.support.appliance import Appliance
from tests.support.upstream import OK, Accepted, Upstream, answering
from tests.support.waiting import until
from tests.wire.conftest import Start
from tests.wire.test_upgrade import ASK, ROUTES, SWITCH

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
OUTLIER = {"country": {"outlier": {"consecutive_failures": 1}, "circuit_breaker": {"minimum": 1}}}


class InjectedError(Exception):
    """A mistake that no input of a caller or an upstream can cause."""


def inject(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, calls_before: int = 0) -> list[str]:
    """Let `owner.name` raise once, before it does anything; return the list that tells of it."""
    real = getattr(owner, name)
    raised: list[str] = []
    calls = 0

    def once(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == calls_before + 1:
            raised.append(name)
            raise InjectedError(name)
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, once)
    return raised


async def all_is_given_back(appliance: Appliance) -> None:
    """Wait until no request has anything of the pool, and see that nobody was blamed."""
    pool = appliance.gate.pools["country"]
    await until(lambda: pool.gauges["active"] == 0)
    await until(lambda: pool.gauges["waiting"] == 0)
    await until(lambda: pool._total == pool.gauges["idle"])
    assert [each.is_ejected for each in (target.ejection for target in pool._targets)] == [False]
    assert pool.circuit_state == "closed"
    assert not appliance.gate.tunnels


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailers + b"\r\n"


class InPieces:
    """A script that writes the first piece of its answer, and the others once that was heard."""

    def __init__(self, *pieces: bytes, close: bool = False) -> None:
        self.heard = asyncio.Event()
        self._pieces = pieces
        self._close = close

    async def __call__(self, connection: Accepted) -> None:
        while await connection.request() is not None:
            connection.write(self._pieces[0])
            await self.heard.wait()
            if connection.closed.is_set():
                return
            connection.write(b"".join(self._pieces[1:]))
            if self._close:
                connection.close()
                return


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
BEFORE_THE_ANSWER = [
    (Relay, "head_received", answering(OK)),
    (Relay, "head_received", answering(chunked(b"a"))),
    (Relay, "head_received", answering(b"HTTP/1.1 200 OK\r\n\r\nx", close=True)),
    (Relay, "interim_received", answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)),
    (Relay, "closed_before_head", answering(b"", close=True)),
    (Relay, "broken", answering(b"HTTP/1.1 x\r\n\r\n")),
    (Relay, "_request_head", answering(OK)),
    (Relay, "start", answering(OK)),
    (UpstreamConnection, "send", answering(OK)),
    (UpstreamConnection, "_read_head", answering(OK)),
    (UpstreamConnection, "_begin_body", answering(OK)),
    (UpstreamPool, "answered", answering(OK)),
    (UpstreamPool, "stands", answering(OK)),
]


@pytest.mark.parametrize(
    ("owner", "name", "script"),
    BEFORE_THE_ANSWER,
    ids=[f"{number}-{name}" for number, (_, name, _) in enumerate(BEFORE_THE_ANSWER)],
)
async def test_a_mistake_before_the_answer_is_internal(
    owner: type, name: str, script: Any, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script = script
    settings = OUTLIER["country"] | {
        "outlier": {"consecutive_failures": 3},
        "circuit_breaker": {"minimum": 3},
    }
    async with start(upstreams={"country": settings}) as appliance:
        raised = inject(monkeypatch, owner, name)
        answer = await appliance.ask(GET)
        assert raised == [name]
        assert (answer.status, answer.one("Sidegate-Reason")) == (500, "internal")
        assert b"Injected" not in answer.body
        await all_is_given_back(appliance)
        upstream.script = answering(OK)
        assert (await appliance.ask(GET)).status == 200
        await all_is_given_back(appliance)
    assert [each.reason for each in appliance.exchanges] == ["internal", "public"]


INSIDE_THE_ANSWER = [
    (Relay, "body_received", (LONG, b"abc"), False),
    (Relay, "body_ended", (LONG, b"abcdef"), False),
    (Relay, "body_ended", (chunked(b"abc")[:-5], b"0\r\n\r\n"), False),
    (Relay, "body_ended", (b"HTTP/1.1 200 OK\r\n\r\n", b"abc"), True),
    (Relay, "finished", (LONG, b"abcdef"), False),
    (UpstreamConnection, "_read_chunks", (CHUNKED, b"3\r\nabc\r\n0\r\n\r\n"), False),
    (UpstreamConnection, "_leave", (LONG, b"abcdef"), False),
    (UpstreamPool, "release", (LONG, b"abcdef"), False),
    (UpstreamPool, "lost", (LONG, b"abc"), True),
    (DownstreamConnection, "answering", (LONG, b"abcdef"), False),
]


@pytest.mark.parametrize(
    ("owner", "name", "pieces", "close"),
    INSIDE_THE_ANSWER,
    ids=[f"{number}-{name}" for number, (_, name, *_) in enumerate(INSIDE_THE_ANSWER)],
)
async def test_a_mistake_inside_an_answer_cuts_that_answer(
    owner: type,
    name: str,
    pieces: tuple[bytes, ...],
    close: bool,
    start: Start,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.script = script = InPieces(*pieces, close=close)
    async with start(upstreams=OUTLIER) as appliance:
        raised = inject(monkeypatch, owner, name)
        async with appliance.connect() as caller:
            caller.send(GET)
            assert (await caller.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            script.heard.set()
            await caller.rest()  # it is cut, also where it was whole already
        assert raised == [name]
        await all_is_given_back(appliance)
        upstream.script = answering(OK)
        assert (await appliance.ask(GET)).status == 200
        await all_is_given_back(appliance)
    assert [each.reason for each in appliance.exchanges] == ["internal", "public"]


async def test_the_next_request_on_the_same_connection_is_not_struck(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends gives its connection to who waits; what then raises is about the one that ended."""
    go = asyncio.Event()

    async def script(connection: Accepted) -> None:
        while await connection.request() is not None:
            await go.wait()
            connection.write(OK)

    upstream.script = script
    async with start(upstreams={"country": OUTLIER["country"] | {"max_connections": 1}}) as appliance:
        async with appliance.connect() as first, appliance.connect() as second:
            first.send(GET)
            await until(lambda: upstream.requests)
            second.send(GET)
            await until(lambda: appliance.gate.pools["country"].gauges["waiting"])
            raised = inject(monkeypatch, Relay, "finished")
            go.set()
            assert (await second.answer()).status == 200
        assert raised == ["finished"]
        assert len(upstream.connections) == 1
        await all_is_given_back(appliance)
    assert sorted(each.reason for each in appliance.exchanges) == ["internal", "public"]


async def test_a_record_that_fails_leaves_nothing_behind(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(upstreams=OUTLIER) as appliance:
        real = appliance.gate.record
        appliance.gate.record = lambda exchange: (_ for _ in ()).throw(InjectedError("record"))
        async with appliance.connect() as caller:
            caller.send(GET)
            await caller.rest()
        appliance.gate.record = real
        await all_is_given_back(appliance)
        assert not appliance.gate.connections
        assert (await appliance.ask(GET)).status == 200


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Tunnel, "from_upstream"), (Tunnel, "upstream_ended"), (Relay, "switched"), (Tunnel, "upstream_lost")],
)
async def test_a_mistake_in_a_tunnel_ends_that_tunnel(
    owner: type, name: str, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()

    async def script(connection: Accepted) -> None:
        if await connection.request() is not None:
            connection.write(SWITCH)
            await heard.wait()
            if connection.closed.is_set():
                return
            connection.write(b"hello")
            connection.reset() if name == "upstream_lost" else connection.close()

    upstream.script = script
    async with start(routes=ROUTES, upstreams=OUTLIER) as appliance:
        token = await appliance.token()
        raised = inject(monkeypatch, owner, name)
        async with appliance.connect() as caller:
            caller.send(ASK % token)
            await until(lambda: appliance.gate.tunnels or raised)
            heard.set()
            if name == "switched":  # nothing of a tunnel was there yet
                assert (await caller.answer()).status == 500
            else:
                await caller.rest()
        assert raised == [name]
        await all_is_given_back(appliance)
        assert appliance.exchanges[-1].reason == "internal"


async def test_one_connection_that_raises_does_not_end_the_sweep(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as appliance:
        raised = inject(monkeypatch, DownstreamConnection, "expire")
        async with appliance.connect() as one, appliance.connect() as other, appliance.connect() as third:
            for caller in (one, other, third):
                caller.send(b"GET /open/x HT")
            await until(lambda: [each.state for each in appliance.gate.connections] == ["active"] * 3)
            appliance.let_pass(11)
            for caller in (one, other, third):
                await caller.rest()
        await until(lambda: not appliance.gate.connections)
        assert raised == ["expire"]
    assert "InjectedError" in caplog.text
    assert [each.reason for each in appliance.exchanges] == ["request_timeout"] * 2


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (DownstreamConnection, "expire"),
        (UpstreamPool, "sweep"),
        (UpstreamPool, "_sweep_target"),
        (Tunnel, "judge_again"),
        (Gate, "_refresh_date"),
    ],
)
async def test_the_sweep_goes_on_after_each_kind_of_mistake(
    owner: type, name: str, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(connection: Accepted) -> None:
        if await connection.request() is not None:
            connection.write(SWITCH)
            await connection.closed.wait()

    upstream.script = script
    async with start(routes=ROUTES) as appliance:
        ask = ASK % await appliance.token()
        async with (
            appliance.connect() as idle,
            appliance.connect() as idle_too,
            appliance.connect() as first,
            appliance.connect() as second,
        ):
            for caller in (first, second):
                caller.send(ask)
            await until(lambda: len(appliance.gate.tunnels) == 2)
            called = {"judge_again": 0, "sweep": 0}
            for counted, what in ((Tunnel, "judge_again"), (UpstreamPool, "sweep")):
                count_calls(monkeypatch, counted, what, called)
            raised = inject(monkeypatch, owner, name)
            appliance.let_pass(80)
            assert raised == [name]
            await idle.rest()
            await idle_too.rest()
            assert called == {
                "judge_again": 2 - (owner is Tunnel),
                "sweep": len(appliance.gate.pools) - (name == "sweep"),
            }
            if owner is Tunnel:
                await until(lambda: len(appliance.gate.tunnels) == 1)
                assert appliance.exchanges[-1].reason == "internal"


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, called: dict[str, int]) -> None:
    real = getattr(owner, name)

    def counting(*arguments: Any) -> Any:
        called[name] += 1
        return real(*arguments)

    monkeypatch.setattr(owner, name, counting)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Gate, "accept"), (Gate, "enter"), (Gate, "forwarded_x_lines"), (DownstreamConnection, "__init__")],
)
@pytest.mark.parametrize("proxy_protocol", [False, True])
async def test_a_mistake_in_taking_a_connection_in_costs_that_one_and_is_logged(
    owner: type,
    name: str,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    proxy_protocol: bool,
) -> None:
    listener = {"address": "127.0.0.1:0", "proxy_protocol": proxy_protocol}
    header = b"PROXY UNKNOWN\r\n" if proxy_protocol else b""
    async with start(listeners=[listener], trusted_proxies=["127.0.0.0/8"]) as appliance:
        raised = inject(monkeypatch, owner, name)
        async with appliance.connect() as struck:
            struck.send(header)
            assert await struck.rest() == b""
        assert raised == [name]
        assert "InjectedError" in caplog.text
        assert "Traceback" in caplog.text
        async with appliance.connect() as caller:
            assert (await caller.ask(header + GET, to="GET")).status == 200
        await until(lambda: not appliance.gate.connections)
        assert appliance.gate.arriving == 0
        assert not appliance.gate.admission._connections


@pytest.mark.parametrize(
    ("owner", "name"),
    [(ResponseReader, "read"), (prober._Conversation, "_take"), (prober._Conversation, "_fail")],
)
async def test_a_mistake_in_a_health_check_blames_nobody(
    owner: type,
    name: str,
    start: Start,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = b"no answer\r\n\r\n" if name == "_fail" else OK
    upstream.script = answering(answer)
    check = {"path": "/healthz", "unhealthy_after": 1, "interval": "1s"}
    raised = inject(monkeypatch, owner, name)
    async with start(upstreams={"country": {"health_check": check}}) as appliance:
        appliance.let_pass(2)
        await until(lambda: "a health check failed inside the gateway" in caplog.text)
        assert raised == [name]
        assert "InjectedError" in caplog.text
        assert [in_use for _, in_use in appliance.gate.pools["country"].targets_in_use()] == [True]
