"""Show what callers see when upstreams fail, and when a request may be sent again."""

import asyncio
import socket

import pytest

from tests.support.appliance import Appliance, configuration, running
from tests.support.caller import ClosedError, assert_own
from tests.support.upstream import OK, Accepted, Script, Upstream, answering
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
PUT = POST.replace(b"POST", b"PUT")
CHUNKED_PUT = b"PUT /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
LARGE_PUT = b"PUT /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65537


def closing_first(times: int, *, after_one: bool = False, reset: bool = False, begin: bytes = b"") -> Script:
    """Return a script whose first `times` connections end before an answer, the others answer.

    Args:
        times: How many connections end early.
        after_one: They answer one request before.
        reset: They end by a reset.
        begin: What they send of the answer before they end.
    """
    ended = 0

    async def script(connection: Accepted) -> None:
        nonlocal ended
        ended += 1
        early = ended <= times
        if early and after_one:
            assert await connection.request() is not None
            connection.write(OK)
        while await connection.request() is not None:
            if early:
                connection.write(begin)
                connection.reset() if reset else connection.close()
                return
            connection.write(OK)

    return script


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_nobody_listens(tmp_path, upstream: Upstream) -> None:
    async with running(tmp_path, configuration(), targets={"country": [free_port()]}) as appliance:
        async with appliance.connect() as caller:
            for request in (GET, POST):
                assert_own(await caller.ask(request), 502, "upstream_connect")
        assert [(e.upstream, e.reason, e.attempts, e.status) for e in appliance.exchanges] == [
            ("country", "upstream_connect", 1, 502)
        ] * 2


async def test_another_target_is_tried(tmp_path, upstream: Upstream) -> None:
    targets = {"country": [free_port(), upstream.port, free_port()]}
    async with running(tmp_path, configuration(), targets=targets) as appliance:
        for request in (GET, POST, CHUNKED_PUT) * 3:
            assert (await appliance.ask(request)).status == 200


GARBAGE = [
    b"nonsense\r\n\r\n",
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("raw", GARBAGE, ids=lambda raw: repr(raw[:40]))
async def test_garbage_is_not_passed_on(raw: bytes, appliance: Appliance, upstream: Upstream) -> None:
    upstream.script = answering(raw)
    async with appliance.connect() as caller:
        caller.send(GET)
        answer = await caller.answer()
        while answer.status == 100:
            answer = await caller.answer()
        assert_own(answer, 502, "upstream_protocol")
        upstream.script = answering(OK)
        assert (await caller.ask(GET)).status == 200
    assert len(upstream.connections) == 2, "a connection was used again, or a request was sent again"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("request_", [GET, POST, PUT, CHUNKED_PUT, LARGE_PUT], ids=lambda raw: repr(raw[:20]))
async def test_an_upstream_that_ends_before_its_answer(
    request_: bytes, reset: bool, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = closing_first(1, reset=reset)
    answer = await appliance.ask(request_)
    if request_ in (GET, PUT):
        assert answer.status == 200
        assert [request.body for request in upstream.requests] == [request_.partition(b"\r\n\r\n")[2]] * 2
        assert appliance.exchanges[0].attempts == 2
    else:
        assert_own(answer, 502, "upstream_reset")
        assert len(upstream.requests) == 1


async def test_retries_are_bounded(start: Start, upstream: Upstream) -> None:
    upstream.script = closing_first(99)
    async with start(upstreams={"country": {"retries": 2}}) as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_reset")
        assert appliance.exchanges[0].attempts == len(upstream.requests) == 3
    async with start(upstreams={"country": {"retries": 0}}) as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_reset")
        assert len(upstream.requests) == 4


@pytest.mark.parametrize("begin", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 103 Hints\r\n\r\n"])
async def test_a_request_whose_answer_began_is_not_sent_again(
    begin: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = closing_first(1, begin=begin)
    async with appliance.connect() as caller:
        caller.send(GET)
        answer = await caller.answer()
        if answer.status == 103:
            answer = await caller.answer()
        assert_own(answer, 502, "upstream_reset")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("retries", [0, 1])
async def test_the_keep_alive_race_is_not_seen_by_idempotent_requests(
    retries: int, reset: bool, start: Start, upstream: Upstream
) -> None:
    upstream.script = closing_first(1, after_one=True, reset=reset)
    async with start(upstreams={"country": {"retries": retries}}) as appliance:
        assert [(await appliance.ask(GET)).status for _ in range(2)] == [200, 200]
        assert len(upstream.connections) == 2
        assert [request.method for request in upstream.requests] == ["GET", "GET", "GET"]


@pytest.mark.parametrize("expects", [False, True])
async def test_the_keep_alive_race_is_not_seen_while_the_body_is_still_coming(
    expects: bool, appliance: Appliance, upstream: Upstream
) -> None:
    """What came of it so far is held, and the rest follows on the new connection."""
    turns = 0

    async def script(connection: Accepted) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            await connection.request()
            connection.write(OK)
            await connection.head()
            connection.close()
            return
        while await connection.request() is not None:
            connection.write(OK)

    upstream.script = script
    async with appliance.connect() as caller:
        assert (await caller.ask(GET)).status == 200
        caller.send(PUT.replace(b"Host", b"Expect: 100-continue\r\nHost" if expects else b"Host")[:-4])
        await upstream.connection(1)
        caller.send(b"ello")
        assert (await caller.answer(to="PUT")).status == 200
    assert [request.body for request in upstream.requests] == [b"", b"hello"]
    assert appliance.exchanges[-1].attempts == 2


async def test_a_body_that_its_first_upstream_did_not_take_is_read_on_for_the_second(
    appliance: Appliance, upstream: Upstream
) -> None:
    """Also on an event loop that does not say so itself when the connection is lost."""
    turns = 0

    async def script(connection: Accepted) -> None:
        nonlocal turns
        turns += 1
        if turns > 1:
            await connection.request()
            connection.write(OK)

    upstream.script = script
    async with appliance.connect() as caller:
        caller.send(PUT[:-4])
        first = await upstream.connection()
        await until(lambda: first.raw.endswith(b"h"))
        (downstream,) = appliance.gate.connections
        assert downstream.relay is not None
        downstream.relay.upstream_blocked(blocked=True)
        first.close()
        await upstream.connection(1)
        caller.send(b"ello")
        assert (await caller.answer(to="PUT")).status == 200
    assert [request.body for request in upstream.requests] == [b"hello"]


async def test_a_body_that_ends_while_a_second_connection_is_awaited_has_no_deadline(
    start: Start, upstream: Upstream
) -> None:
    """The end of `body_idle_timeout`, which the piece before the last began, is nobody's fault then."""
    may_answer = asyncio.Event()
    turns = 0

    async def script(connection: Accepted) -> None:
        nonlocal turns
        turns += 1
        if turns > 1:
            while await connection.request() is not None:
                await may_answer.wait()
                connection.write(OK)

    upstream.script = script
    upstreams = {
        "country": {"max_connections": 1, "queue": {"size": 2, "timeout": "60s"}, "response_timeout": "9m"}
    }
    async with (
        start(upstreams=upstreams) as appliance,
        appliance.connect() as caller,
        appliance.connect() as other,
    ):
        pool = appliance.gate.pools["country"]
        caller.send(PUT[:-4])
        first = await upstream.connection()
        await until(lambda: first.raw.endswith(b"h"))
        other.send(GET)
        await until(lambda: pool.gauges["waiting"] == 1)
        first.close()  # the next connection is the other's, who has waited longer
        await upstream.received()
        await until(lambda: pool.gauges["waiting"] == 1)
        for rest in (b"el", b"lo"):
            caller.send(rest)
            await turns_of_the_loop()
        appliance.let_pass(31)
        may_answer.set()
        assert (await other.answer()).status == 200
        assert (await caller.answer(to="PUT")).status == 200
    assert [request.body for request in upstream.requests] == [b"", b"hello"]


async def test_a_post_in_the_keep_alive_race_is_not_repeated(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = closing_first(1, after_one=True)
    assert (await appliance.ask(GET)).status == 200
    assert_own(await appliance.ask(POST), 502, "upstream_reset")
    assert [request.method for request in upstream.requests] == ["GET", "POST"]


async def test_a_connection_that_the_upstream_closed_while_idle_is_forgotten(
    appliance: Appliance, upstream: Upstream
) -> None:
    assert (await appliance.ask(GET)).status == 200
    upstream.connections[0].close()
    await until(lambda: appliance.gate.pools["country"].gauges["idle"] == 0)
    assert (await appliance.ask(POST)).status == 200
    assert [e.attempts for e in appliance.exchanges] == [1, 1]


TRUNCATED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxx\r\n",
]


@pytest.mark.parametrize("raw", TRUNCATED)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_truncated_answer_never_looks_complete(
    raw: bytes, version: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(raw, close=True)
    async with appliance.connect() as caller:
        caller.send(GET.replace(b"1.1", version))
        if version == b"1.0" and b"chunked" in raw:
            # HTTP/1.0 has no framing for it: the reset is the only sign.
            with pytest.raises(ConnectionResetError):
                await caller.reader.read()
        else:
            with pytest.raises(ClosedError):
                await caller.answer()
    await until(lambda: appliance.exchanges)
    reason = "upstream_protocol" if raw.endswith(b"xx\r\n") else "upstream_reset"
    assert [(e.status, e.reason) for e in appliance.exchanges] == [(200, reason)], "recorded once"


async def test_a_reset_in_an_answer_until_close_is_a_truncation(
    appliance: Appliance, upstream: Upstream
) -> None:
    async def script(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await until(
            lambda: (
                appliance.gate.in_flight_by_route()
                and sum(relay.response_bytes for c in appliance.gate.connections if (relay := c.relay)) == 5
            )
        )
        connection.reset()

    upstream.script = script
    async with appliance.connect() as caller:
        caller.send(GET)
        with pytest.raises(ClosedError):
            await caller.answer()


async def test_head_and_first_body_bytes_arrive_before_the_truncation(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(TRUNCATED[0], close=True)
    async with appliance.connect() as caller:
        caller.send(GET)
        assert b"HTTP/1.1 200 OK\r\n" in await caller.rest()


# --- deadlines: `let_pass` moves the clock of the sweep, nothing sleeps


async def test_an_upstream_that_does_not_answer(appliance: Appliance, upstream: Upstream) -> None:
    async def silent(connection: Accepted) -> None:
        await connection.request()

    upstream.script = silent
    async with appliance.connect() as caller:
        caller.send(GET)
        await upstream.received()
        appliance.let_pass(29)
        assert not appliance.exchanges
        appliance.let_pass(31)
        assert_own(await caller.answer(), 504, "upstream_timeout")
        await upstream.connections[0].closed.wait()
        upstream.script = answering(OK)
        assert (await caller.ask(GET)).status == 200
    assert len(upstream.requests) == 2


async def test_a_routes_timeout_stands_before_the_upstreams(start: Start, upstream: Upstream) -> None:
    async def silent(connection: Accepted) -> None:
        await connection.request()

    upstream.script = silent
    route = {"name": "r", "path": "/open/x", "upstream": "country", "access": "public", "timeout": "5s"}
    async with start(routes=[route]) as appliance, appliance.connect() as caller:
        caller.send(POST)
        await upstream.received()
        appliance.let_pass(4)
        assert not appliance.exchanges
        appliance.let_pass(6)
        assert_own(await caller.answer(), 504, "upstream_timeout")


async def test_an_answer_that_falls_silent_is_cut(appliance: Appliance, upstream: Upstream) -> None:
    async def stalling(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    upstream.script = stalling
    async with appliance.connect() as caller:
        caller.send(GET)
        await caller.reader.readuntil(b"hello")
        appliance.let_pass(299)
        assert not appliance.exchanges
        appliance.let_pass(301)
        assert await caller.rest() == b""
    assert [(e.status, e.reason) for e in appliance.exchanges] == [(200, "upstream_timeout")]


@pytest.mark.parametrize("body_idle_timeout", ["30s", "0"])
async def test_an_early_answer_that_falls_silent_is_cut_at_the_upstreams_idle_timeout(
    body_idle_timeout: str, start: Start, upstream: Upstream
) -> None:
    """The caller has said all it has to say: how long it may be silent no longer matters."""

    async def early(connection: Accepted) -> None:
        await connection.head()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await connection.body_bytes(5)

    upstream.script = early
    async with (
        start(limits={"body_idle_timeout": body_idle_timeout}) as appliance,
        appliance.connect() as caller,
    ):
        caller.send(POST[:-2])
        await caller.reader.readuntil(b"\r\n\r\nhello")
        connection = await upstream.connection()
        for byte, so_far in ((b"l", b"hell"), (b"o", b"hello")):
            caller.send(byte)
            await until(lambda sent=so_far: connection.raw.endswith(sent))
        appliance.let_pass(299)
        assert not appliance.exchanges
        appliance.let_pass(301)
        assert await caller.rest() == b""
        await connection.closed.wait()
    assert [(e.status, e.reason) for e in appliance.exchanges] == [(200, "upstream_timeout")]


async def test_an_early_answer_that_falls_silent_while_the_body_does_too_is_cut(
    appliance: Appliance, upstream: Upstream
) -> None:
    async def early(connection: Accepted) -> None:
        await connection.head()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    upstream.script = early
    async with appliance.connect() as caller:
        caller.send(POST[:-2])
        await caller.reader.readuntil(b"\r\n\r\nhello")
        appliance.let_pass(301)
        assert await caller.rest() == b""
    assert [(e.status, e.reason) for e in appliance.exchanges] == [(200, "upstream_timeout")]


async def test_a_head_that_does_not_come(appliance: Appliance, upstream: Upstream) -> None:
    for sent in (b"GET", b"GET /open/x HTTP/1.1\r\nHost: a\r\n", b"\r\n"):
        async with appliance.connect() as caller:
            caller.send(sent)
            await until(lambda: any(not c.is_idle for c in appliance.gate.connections))
            appliance.let_pass(9)
            assert appliance.gate.connections
            appliance.let_pass(11)
            assert_own(await caller.answer(), 408, "request_timeout")
            assert await caller.rest() == b""
    assert upstream.seen == (0, 0)


async def test_more_bytes_of_a_head_do_not_renew_its_deadline(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(b"G")
        await until(lambda: any(not c.is_idle for c in appliance.gate.connections))
        (connection,) = appliance.gate.connections
        deadline = connection.deadline
        for byte in GET[1:-1]:
            caller.send(bytes([byte]))
        await until(lambda: connection._held == GET[:-1])
        assert connection.deadline == deadline


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"]
)
async def test_a_body_that_stops_coming(framing: bytes, appliance: Appliance, upstream: Upstream) -> None:
    async with appliance.connect() as caller:
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\n" + framing)
        connection = await upstream.connection()
        await until(lambda: connection.raw.endswith((b"hello", b"hel\r\n")))
        appliance.let_pass(29)
        assert not appliance.exchanges
        appliance.let_pass(31)
        assert_own(await caller.answer(), 408, "request_timeout")
        assert await caller.rest() == b""
        await connection.closed.wait()


async def test_an_idle_connection_is_closed_without_a_word(appliance: Appliance, upstream: Upstream) -> None:
    async with appliance.connect() as fresh, appliance.connect() as used:
        assert (await used.ask(GET)).status == 200
        await until(lambda: len(appliance.gate.connections) == 2)
        appliance.let_pass(74)
        assert len(appliance.gate.connections) == 2
        appliance.let_pass(76)
        assert (await fresh.rest(), await used.rest()) == (b"", b"")


async def test_waiting_for_a_connection_has_its_own_deadline_only(start: Start, upstream: Upstream) -> None:
    """The caller's connection was idle for long when its request came: that time is over."""

    async def on_demand(connection: Accepted) -> None:
        await connection.request()

    upstream.script = on_demand
    upstreams = {
        "country": {"max_connections": 1, "queue": {"size": 10, "timeout": "60s"}, "response_timeout": "9m"}
    }
    async with (
        start(upstreams=upstreams, limits={"keep_alive_timeout": "5s"}) as appliance,
        appliance.connect() as first,
        appliance.connect() as second,
    ):
        first.send(GET)
        await upstream.received()
        second.send(GET)
        await until(lambda: appliance.gate.pools["country"].gauges["waiting"] == 1)
        appliance.let_pass(59)
        assert appliance.gate.pools["country"].gauges["waiting"] == 1
        upstream.connections[0].write(OK)
        assert (await first.answer()).status == 200
        await upstream.connections[0].request()
        upstream.connections[0].write(OK)
        assert (await second.answer()).status == 200
