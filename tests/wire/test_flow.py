"""Show back-pressure, limits, aborts and drain: what a connection may hold, and for how long."""

import asyncio

import pytest

from gateway.proxy.downstream import DRAIN_GRACE_S
from tests.support.appliance import Appliance
from tests.support.caller import assert_own
from tests.support.upstream import OK, Accepted, Script, Upstream, answering
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
UNKNOWN = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
HIGH_WATER_BYTES = 320 * 1024
"""Above it, towards callers and upstreams alike, the gate stops reading what it would have to hold."""
ONE_READ_BYTES = 256 * 1024
"""What the event loop hands over at once."""


def buffered(appliance: Appliance) -> int:
    """Return how many bytes the gate holds for its callers."""
    return sum(
        connection._transport.get_write_buffer_size() + len(connection._held)
        for connection in appliance.gate.connections
    )


async def stalled(appliance: Appliance) -> None:
    """Return when the gate has stopped reading an answer because its caller takes nothing."""
    await until(lambda: any(connection._hold for connection in appliance.gate.connections))


# --- back-pressure


async def test_a_slow_reader_bounds_what_is_held(appliance: Appliance, upstream: Upstream) -> None:
    size = 32 * 1024 * 1024

    async def flooding(connection: Accepted) -> None:
        while await connection.request() is not None:
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            connection.write(bytes(size))

    upstream.script = flooding
    async with appliance.connect() as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(GET)
        await stalled(appliance)
        await turns_of_the_loop()
        assert 0 < buffered(appliance) <= HIGH_WATER_BYTES + ONE_READ_BYTES
        caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
        head = await caller.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % size in head
        taken = 0
        while taken < size:
            taken += len(await caller.reader.read(1 << 20))
            assert buffered(appliance) <= HIGH_WATER_BYTES + ONE_READ_BYTES
        upstream.connections[0].close()
        upstream.script = answering(OK)
        assert (await caller.ask(GET)).status == 200


async def test_a_slow_upstream_bounds_what_is_held(appliance: Appliance, upstream: Upstream) -> None:
    size = 32 * 1024 * 1024
    may_read = asyncio.Event()

    async def slow(connection: Accepted) -> None:
        connection.transport.pause_reading()
        await may_read.wait()
        connection.transport.resume_reading()
        while await connection.request() is not None:
            connection.write(OK)

    upstream.script = slow
    async with appliance.connect() as caller:
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        caller.send(bytes(size))
        await upstream.connection()
        await stalled(appliance)
        await until(lambda: caller.writer.transport.get_write_buffer_size() > 0)
        (connection,) = appliance.gate.connections
        assert connection.relay is not None
        relay = connection.relay
        await until(lambda: relay._connection is not None and relay._connection.write_buffer_bytes > 0)
        assert relay._connection is not None
        assert relay._connection.write_buffer_bytes <= HIGH_WATER_BYTES + ONE_READ_BYTES
        may_read.set()
        assert (await caller.answer()).status == 200
        assert len(upstream.requests[0].body) == size


async def test_a_pipelined_flood_is_bounded(appliance: Appliance, upstream: Upstream) -> None:
    may_answer = asyncio.Event()

    async def held_back(connection: Accepted) -> None:
        while await connection.request() is not None:
            await may_answer.wait()
            connection.write(OK)

    upstream.script = held_back
    count = 200_000
    async with appliance.connect() as caller:
        caller.send(GET * count)
        await upstream.received()
        await stalled(appliance)
        await turns_of_the_loop()
        assert buffered(appliance) <= 2 * ONE_READ_BYTES
        assert caller.writer.transport.get_write_buffer_size() > 0
        may_answer.set()
        for _ in range(50):
            assert (await caller.answer()).status == 200


def filling(appliance: Appliance) -> Script:
    """Return a script whose first answer's last piece is what fills the buffer towards its caller."""
    piece = b"8000\r\n" + bytes(0x8000) + b"\r\n"

    async def script(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        (downstream,) = appliance.gate.connections
        pieces = 0

        def arrived() -> bool:
            return downstream.relay is not None and downstream.relay.response_bytes == pieces * 0x8000

        while buffered(appliance) + len(piece) < HIGH_WATER_BYTES:
            connection.write(piece)
            pieces += 1
            await until(arrived)
        connection.write(piece + b"0\r\n\r\n")
        while await connection.request() is not None:
            connection.write(OK)

    return script


async def test_a_connection_whose_last_piece_met_a_full_caller_serves_the_next(
    appliance: Appliance, upstream: Upstream
) -> None:
    """The upstream's connection goes back to the pool: it must not stay unread for that caller."""
    upstream.script = filling(appliance)
    async with appliance.connect() as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(GET)
        await until(lambda: appliance.exchanges)
        assert buffered(appliance) >= HIGH_WATER_BYTES
        assert (await appliance.ask(GET)).status == 200
        caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert (await caller.answer()).status == 200
        assert (await caller.ask(GET)).status == 200
    assert len(upstream.connections) == 1


async def test_a_slow_reader_gets_the_end_of_the_last_answer(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = filling(appliance)
    async with appliance.connect() as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await until(lambda: appliance.exchanges)
        assert buffered(appliance) >= HIGH_WATER_BYTES
        appliance.let_pass(29)
        await turns_of_the_loop()
        caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
        answer = await caller.answer()
        assert (answer.status, answer.one("Connection")) == (200, "close")
        assert len(answer.body) > HIGH_WATER_BYTES
        assert await caller.rest() == b""


async def test_a_reader_that_takes_nothing_is_cut(appliance: Appliance, upstream: Upstream) -> None:
    size = 32 * 1024 * 1024
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    async with appliance.connect() as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(GET)
        await stalled(appliance)
        for _ in range(3):
            await turns_of_the_loop()
            appliance.let_pass(31)
        await until(lambda: not appliance.gate.connections)
        await upstream.connections[0].closed.wait()


async def test_a_reader_that_takes_nothing_does_not_take_the_cut_for_the_bodys_end(
    appliance: Appliance, upstream: Upstream
) -> None:
    """An HTTP/1.0 answer of unknown length ends with the connection."""
    upstream.script = filling(appliance)
    async with appliance.connect() as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(b"GET /open/x HTTP/1.0\r\nHost: a\r\n\r\n")
        await until(lambda: appliance.exchanges)
        assert buffered(appliance) >= HIGH_WATER_BYTES
        appliance.let_pass(31)
        await until(lambda: not appliance.gate.connections)
        caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(caller.reader.read(), 10)


# --- limits


async def test_more_requests_than_connections_wait_in_a_queue(start: Start, upstream: Upstream) -> None:
    may_answer = asyncio.Event()

    async def held_back(connection: Accepted) -> None:
        while await connection.request() is not None:
            await may_answer.wait()
            connection.write(OK)

    upstream.script = held_back
    limits = {"country": {"max_connections": 2, "queue": {"size": 3, "timeout": "1s"}}}
    async with start(upstreams=limits) as appliance:
        pool = appliance.gate.pools["country"]
        waiting = [asyncio.create_task(appliance.ask(GET)) for _ in range(5)]
        await upstream.received(1)
        await until(lambda: pool.gauges["waiting"] == 3)
        overloaded = await appliance.ask(GET)
        assert_own(overloaded, 503, "overloaded")
        assert overloaded.one("Retry-After")
        may_answer.set()
        assert [(await task).status for task in waiting] == [200] * 5
        assert len(upstream.connections) == 2
        assert pool.gauges == {"idle": 2, "active": 0, "waiting": 0}


async def test_who_waits_too_long_in_the_queue_is_refused(start: Start, upstream: Upstream) -> None:
    async def silent(connection: Accepted) -> None:
        await connection.request()

    upstream.script = silent
    limits = {"country": {"max_connections": 1, "queue": {"size": 3, "timeout": "1s"}}}
    async with (
        start(upstreams=limits) as appliance,
        appliance.connect() as first,
        appliance.connect() as second,
    ):
        first.send(GET)
        await upstream.received()
        second.send(GET)
        await until(lambda: appliance.gate.pools["country"].gauges["waiting"] == 1)
        appliance.let_pass(2)
        assert_own(await second.answer(), 503, "overloaded")
        upstream.connections[0].write(OK)
        assert (await first.answer()).status == 200


async def test_a_caller_that_leaves_the_queue_makes_room(start: Start, upstream: Upstream) -> None:
    async def silent(connection: Accepted) -> None:
        await connection.request()

    upstream.script = silent
    limits = {"country": {"max_connections": 1, "queue": {"size": 3, "timeout": "1s"}}}
    async with (
        start(upstreams=limits) as appliance,
        appliance.connect() as first,
        appliance.connect() as second,
    ):
        pool = appliance.gate.pools["country"]
        first.send(GET)
        await upstream.received()
        second.send(GET)
        await until(lambda: pool.gauges["waiting"] == 1)
        second.abort()
        await until(lambda: pool.gauges["waiting"] == 0)


async def test_too_many_connections_are_told_so(start: Start, upstream: Upstream) -> None:
    async with start(limits={"connections": 2}) as appliance:
        async with appliance.connect() as one, appliance.connect() as two:
            assert [(await caller.ask(GET)).status for caller in (one, two)] == [200, 200]
            async with appliance.connect() as three:
                answer = await three.answer()
                assert_own(answer, 503, "overloaded")
                assert answer.one("Connection") == "close"
                assert await three.rest() == b""
            assert [(await caller.ask(GET)).status for caller in (one, two)] == [200, 200]
        await until(lambda: not appliance.gate.connections)
        assert (await appliance.ask(GET)).status == 200


# --- callers that leave


async def test_a_caller_that_vanishes_frees_the_upstream(appliance: Appliance, upstream: Upstream) -> None:
    async def stalling(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    upstream.script = stalling
    async with appliance.connect() as caller:
        caller.send(GET)
        await caller.reader.readuntil(b"hello")
        caller.abort()
    await upstream.connections[0].closed.wait()
    assert [(e.status, e.reason) for e in appliance.exchanges] == [(200, "client_closed")]
    assert appliance.gate.pools["country"].gauges == {"idle": 0, "active": 0, "waiting": 0}


async def test_a_caller_that_vanishes_inside_its_body_frees_the_upstream(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        connection = await upstream.connection()
        await until(lambda: connection.raw.endswith(b"hello"))
        caller.abort()
    await connection.closed.wait()
    await until(lambda: appliance.exchanges)
    assert [(e.status, e.reason) for e in appliance.exchanges] == [(0, "client_closed")]


# --- drain


async def test_drain_ends_idle_connections_and_lets_requests_finish(
    appliance: Appliance, upstream: Upstream
) -> None:
    may_answer = asyncio.Event()

    async def held_back(connection: Accepted) -> None:
        await connection.request()
        await may_answer.wait()
        connection.write(OK)

    upstream.script = held_back
    async with appliance.connect() as idle, appliance.connect() as fresh, appliance.connect() as busy:
        assert (await idle.ask(UNKNOWN)).status == 404
        busy.send(GET)
        await upstream.received()
        await until(lambda: len(appliance.gate.connections) == 3)
        appliance.gate.drain()
        assert await idle.rest() == b""
        # Nobody has told this caller yet that it is the last time: its request may be on its way.
        answer = await fresh.ask(UNKNOWN)
        assert (answer.status, answer.one("Connection")) == (404, "close")
        may_answer.set()
        answer = await busy.answer()
        assert (answer.status, answer.one("Connection")) == (200, "close")
        assert await busy.rest() == b""
    assert not appliance.gate.connections


async def test_drain_does_not_wait_for_a_caller_that_says_nothing(appliance: Appliance) -> None:
    async with appliance.connect() as silent:
        await until(lambda: appliance.gate.connections)
        appliance.gate.drain()
        appliance.let_pass(DRAIN_GRACE_S + 0.1)
        assert await silent.rest() == b""


async def test_every_answer_after_the_stop_is_announced_ends_its_connection(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(OK)
    async with appliance.connect() as kept, appliance.connect() as busy:
        assert not (await kept.ask(UNKNOWN)).all("Connection")
        appliance.gate.announce_stop()
        for caller in (kept, busy):
            answer = await caller.ask(GET)
            assert (answer.status, answer.one("Connection")) == (200, "close")
            assert await caller.rest() == b""


async def test_drain_ends_a_connection_after_an_answer_that_has_begun(
    appliance: Appliance, upstream: Upstream
) -> None:
    may_end = asyncio.Event()

    async def in_halves(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await may_end.wait()
        connection.write(b"world")

    upstream.script = in_halves
    async with appliance.connect() as caller:
        caller.send(GET)
        await caller.reader.readuntil(b"hello")
        appliance.gate.drain()
        may_end.set()
        assert await caller.rest() == b"world"
    assert not appliance.gate.connections


async def test_a_head_that_began_before_the_drain_is_still_answered(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(GET[:20])
        await until(lambda: any(not c.is_idle for c in appliance.gate.connections))
        appliance.gate.drain()
        caller.send(GET[20:])
        answer = await caller.answer()
        assert (answer.status, answer.one("Connection")) == (200, "close")
        assert await caller.rest() == b""


# --- reloads


async def test_requests_in_flight_outlive_their_upstream(start: Start, upstream: Upstream) -> None:
    """A reload that removes the upstream ends nothing that was admitted before it."""
    may_answer = asyncio.Event()

    async def held_back(connection: Accepted) -> None:
        while await connection.request() is not None:
            await may_answer.wait()
            connection.write(OK)

    upstream.script = held_back
    limits = {"country": {"max_connections": 1, "queue": {"size": 3, "timeout": "1s"}}}
    async with (
        start(upstreams=limits) as appliance,
        appliance.connect() as first,
        appliance.connect() as second,
    ):
        first.send(GET)
        await upstream.received()
        second.send(GET)
        pool = appliance.gate.pools["country"]
        await until(lambda: pool.gauges["waiting"] == 1)
        text = appliance.path.read_text("utf-8")
        appliance.path.write_text(
            text.replace("country:", "other:").replace("upstream: country", "upstream: other")
        )
        result = await appliance.load()
        assert result.applied, result.problems
        may_answer.set()
        assert (await first.answer()).status == 200
        assert (await second.answer()).status in (200, 502, 503)
        assert (await first.ask(GET)).status == 200
        await until(lambda: pool.gauges == {"idle": 0, "active": 0, "waiting": 0})


async def test_a_read_full_of_refused_requests_lets_others_have_their_turn(
    appliance: Appliance, upstream: Upstream
) -> None:
    count = 4000
    async with appliance.connect() as flooding, appliance.connect() as honest:
        flooding.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        answer = await honest.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status == 200
        refused = [exchange for exchange in appliance.exchanges if exchange.reason == "no_route"]
        assert len(refused) < count / 2
        for _ in range(count):
            assert (await flooding.answer()).status == 404


async def test_a_read_full_of_tiny_chunks_lets_others_have_their_turn(
    appliance: Appliance, upstream: Upstream
) -> None:
    count = 30_000
    async with appliance.connect() as flooding, appliance.connect() as honest:
        flooding.send(
            b"POST /open/flood HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1\r\na\r\n" * count
            + b"0\r\n\r\n"
        )
        connection = await upstream.connection()
        answer = await honest.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status == 200
        assert connection.raw.count(b"1\r\na\r\n") < count / 2
        assert (await flooding.answer()).status == 200
        assert [len(request.body) for request in upstream.requests if request.method == "POST"] == [count]


async def test_an_answer_full_of_tiny_chunks_lets_others_have_their_turn(
    appliance: Appliance, upstream: Upstream
) -> None:
    count = 30_000

    async def script(connection: Accepted) -> None:
        while (request := await connection.request()) is not None:
            if request.target == "/open/flood":
                connection.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + b"1\r\na\r\n" * count
                    + b"0\r\n\r\n"
                )
            else:
                connection.write(OK)

    upstream.script = script
    async with appliance.connect() as flooded, appliance.connect() as honest:
        flooded.send(b"GET /open/flood HTTP/1.1\r\nHost: a\r\n\r\n")
        await upstream.received()
        answer = await honest.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status == 200
        assert all(exchange.path != "/open/flood" for exchange in appliance.exchanges)
        assert len((await flooded.answer()).body) == count
