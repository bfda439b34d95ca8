"""Show that callers that dawdle, on purpose or not, are let go in time and cost little until then."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from math import inf

import pytest

from gateway.proxy.downstream import _HOLD_UPSTREAM, SHORT_HEAD_BYTES, DownstreamConnection
from tests.support.appliance import Appliance
from tests.support.caller import Caller, assert_own
from tests.support.upstream import OK, Accepted, Upstream
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

GET = b"GET /open/a HTTP/1.1\r\nHost: a\r\n\r\n"
LONG_FIELD = b"X-Long: " + b"x" * SHORT_HEAD_BYTES + b"\r\n"
LONG_GET = b"GET /open/a HTTP/1.1\r\nHost: a\r\n" + LONG_FIELD + b"A: b\r\nC: d\r\n\r\n"
POST = b"POST /open/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
HEADER_TIMEOUT_S = 10.0
BODY_IDLE_TIMEOUT_S = 30.0
KEEP_ALIVE_TIMEOUT_S = 75.0
RESPONSE_TIMEOUT_S = 30.0
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000


def only(appliance: Appliance) -> DownstreamConnection:
    (connection,) = appliance.gate.connections
    return connection


async def drip(appliance: Appliance, caller: Caller, data: bytes) -> None:
    """Send `data` byte by byte, each in a read of its own."""
    connection = only(appliance)
    for index in range(len(data) - 1):
        caller.send(data[index : index + 1])
        await until(lambda length=index + 1: len(connection._held) == length)
    caller.send(data[-1:])


@contextlib.asynccontextmanager
async def deaf(appliance: Appliance) -> AsyncIterator[socket.socket]:
    """Connect with a small receive buffer and never read."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", appliance.port))
        yield sock


# --- heads


async def test_dripping_does_not_renew_the_deadline_of_a_head(
    appliance: Appliance, upstream: Upstream
) -> None:
    callers = 100
    async with contextlib.AsyncExitStack() as stack:
        dripping = [await stack.enter_async_context(appliance.connect()) for _ in range(callers)]
        await until(lambda: len(appliance.gate.connections) == callers)
        for caller in dripping:
            caller.send(b"G")
        connections = list(appliance.gate.connections)
        await until(lambda: all(connection._held for connection in connections))
        first = [connection.deadline for connection in connections]
        for byte in b"ET /open/a HTTP/1.1\r\nHost: a\r\nX-Drip: x":
            for caller in dripping:
                caller.send(bytes([byte]))
            await turns_of_the_loop()
        assert [connection.deadline for connection in connections] == first
        appliance.let_pass(HEADER_TIMEOUT_S - 5)
        assert len(appliance.gate.connections) == callers
        appliance.let_pass(HEADER_TIMEOUT_S)
        for caller in dripping:
            assert_own(await caller.answer(), 408, "request_timeout")
            assert await caller.rest() == b""
    assert upstream.seen == (0, 0)


async def test_a_head_behind_an_answered_request_has_its_own_deadline(appliance: Appliance) -> None:
    async with appliance.connect() as caller:
        caller.send(GET + b"GET /op")
        assert (await caller.answer()).status == 200
        await until(lambda: only(appliance)._held == b"GET /op")
        appliance.let_pass(HEADER_TIMEOUT_S)
        assert_own(await caller.answer(), 408, "request_timeout")


async def test_a_long_head_that_drips_in_is_read_as_if_it_came_at_once(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        await until(lambda: bool(appliance.gate.connections))
        for _ in range(2):
            await drip(appliance, caller, LONG_GET)
            assert (await caller.answer()).status == 200
    assert [request.one("X-Long") for request in upstream.requests] == ["x" * SHORT_HEAD_BYTES] * 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize(
    ("sound", "spoiled", "status"),
    [
        (b"A: b\r\n", b"A: b\n", 400),
        (b"A: b\r\n", b"A: b\n\r", 400),
        (b"A: b\r\n", b"\nA: b\r\n", 400),
        (b"A: b\r\n", b"A : b\r\n", 400),
        (b"A: b\r\n", b"A: b\r\r\n", 400),
        (b"A: b\r\n", b" A: b\r\n", 400),
        (b"GET /open/a HTTP/1.1\r\n", b"GET /" + b"a" * 300 + b" HTTP/1.1\n", 400),
        (b"GET /open/a HTTP/1.1\r\n", b"GET /" + b"a" * 300 + b" HTTP/9.1\r\n", 505),
        (b"GET /open/a HTTP/1.1\r\n", b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n", 414),
        (b"C: d\r\n", b"C: " + b"d" * 1000 + b"\r\n", 431),
    ],
)
async def test_a_defect_late_in_a_long_head_is_found_however_it_is_cut(
    start: Start, upstream: Upstream, size: int, sound: bytes, spoiled: bytes, status: int
) -> None:
    async with start(limits={"header_bytes": 1024}) as appliance, appliance.connect() as caller:
        await until(lambda: bool(appliance.gate.connections))
        connection = only(appliance)
        for data, expected in ((LONG_GET, 200), (LONG_GET.replace(sound, spoiled, 1), status)):
            for begin in range(0, len(data), size):
                # Straight to where the event loop would hand it over: the cuts are exact.
                if not connection._leaving:
                    connection.data_received(data[begin : begin + size])
            assert (await caller.answer()).status == expected
    assert len(upstream.requests) == 1


# --- bodies


async def test_a_body_that_stops_coming_is_refused_and_dropped_at_the_upstream(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(POST + b"abc")
        connection = await upstream.connection()
        assert await connection.head()
        assert await connection.body_bytes(3) == b"abc"
        appliance.let_pass(BODY_IDLE_TIMEOUT_S)
        assert_own(await caller.answer(), 408, "request_timeout")
        await connection.closed.wait()
        assert await caller.rest() == b""


async def test_a_slow_body_lives_as_long_as_it_comes(appliance: Appliance, upstream: Upstream) -> None:
    async with appliance.connect() as caller:
        caller.send(POST)
        connection = await upstream.connection()
        assert await connection.head()
        downstream = only(appliance)
        for _ in range(5):
            before = downstream.deadline
            caller.send(b"x" * 200)
            assert await connection.body_bytes(200)
            assert before < downstream.deadline < inf
        connection.write(OK)
        assert (await caller.answer()).status == 200


# --- readers


async def test_a_reader_that_never_reads_is_cut_and_frees_its_upstream(
    appliance: Appliance, upstream: Upstream
) -> None:
    async def endless(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not connection.closed.is_set():
            connection.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await turns_of_the_loop()
            if connection.transport.get_write_buffer_size() > 10_000_000:
                await connection.closed.wait()

    upstream.script = endless
    async with deaf(appliance) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, GET)
        connection = await upstream.connection()
        await until(lambda: connection.transport.get_write_buffer_size() > 1_000_000)
        downstream = only(appliance)
        held = downstream._transport.get_write_buffer_size()
        assert held < 2_000_000  # back-pressure: what it does not take stays at the upstream
        appliance.let_pass(BODY_IDLE_TIMEOUT_S)
        await until(lambda: not appliance.gate.connections)
        await connection.closed.wait()
    assert appliance.exchanges[-1].reason == "client_closed"


async def test_answers_that_nobody_reads_do_not_keep_an_idle_connection_for_ever(
    appliance: Appliance, upstream: Upstream
) -> None:
    """Answers below the high-water mark pause nothing; the connection then looks idle."""

    async def big(connection: Accepted) -> None:
        while await connection.request() is not None:
            connection.write(BIG)

    upstream.script = big
    loop = asyncio.get_running_loop()
    async with deaf(appliance) as sock:
        asked = 0
        await until(lambda: bool(appliance.gate.connections))
        downstream = only(appliance)
        while not downstream._transport.get_write_buffer_size():
            await loop.sock_sendall(sock, GET)
            asked += 1
            await until(lambda count=asked: len(appliance.exchanges) == count)
        assert downstream.is_idle
        assert not downstream._hold
        appliance.let_pass(KEEP_ALIVE_TIMEOUT_S)
        assert appliance.gate.connections  # what was answered gets its chance ...
        appliance.let_pass(BODY_IDLE_TIMEOUT_S)
        await until(lambda: not appliance.gate.connections)  # ... and no more than that


# --- paused reading


async def test_a_caller_that_goes_while_reading_is_paused_is_noticed_in_time(
    appliance: Appliance, upstream: Upstream
) -> None:
    async def silent(connection: Accepted) -> None:
        await connection.request()
        await connection.closed.wait()

    upstream.script = silent
    async with appliance.connect() as caller:
        caller.send(GET + GET)  # the second one pauses reading
        await upstream.received()
        await until(lambda: bool(only(appliance)._hold))
        caller.writer.transport.abort()
        await turns_of_the_loop()
        assert appliance.gate.connections  # unseen
        for number in range(2):
            connection = await upstream.connection(number)
            await upstream.received(number)
            appliance.let_pass(RESPONSE_TIMEOUT_S)
            await connection.closed.wait()
        await until(lambda: not appliance.gate.connections)


async def test_a_caller_that_goes_while_its_body_is_not_taken_is_noticed_in_time(
    start: Start, upstream: Upstream
) -> None:
    async def deaf_upstream(connection: Accepted) -> None:
        await connection.head()
        connection.transport.pause_reading()
        await connection.closed.wait()

    upstream.script = deaf_upstream
    async with (
        start(upstreams={"country": {"idle_timeout": "5s"}}) as appliance,
        appliance.connect() as caller,
    ):
        caller.send(b"POST /open/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        connection = await upstream.connection()
        for _ in range(40):
            caller.send(b"x" * 1_000_000)
        await until(lambda: only(appliance)._hold & _HOLD_UPSTREAM)
        await turns_of_the_loop()
        caller.writer.transport.abort()
        await turns_of_the_loop()
        assert appliance.gate.connections  # unseen
        appliance.let_pass(5)
        connection.transport.resume_reading()
        await connection.closed.wait()
        await until(lambda: not appliance.gate.connections)
