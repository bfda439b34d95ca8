"""Show what the two sides of a WebSocket hear when this process goes away."""

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from gateway.http1.websocket_frames import GOING_AWAY
from tests.support.appliance import Appliance
from tests.support.caller import Caller
from tests.support.upstream import Accepted, Upstream
from tests.support.waiting import PATIENCE_S, turns_of_the_loop, until
from tests.wire.conftest import Start
from tests.wire.test_upgrade import (
    ROUTES,
    bearer,
    open_tunnel,
    switching,
    url,
    with_websocket_server,
)


def frame(opcode: Opcode, payload: bytes, *, masked: bool = False) -> bytes:
    return Frame(opcode, payload).serialize(mask=masked)


LONG = frame(Opcode.BINARY, bytes(1000))
CLOSE = frame(Opcode.CLOSE, b"\x03\xe9")


async def test_a_real_client_and_a_real_server_close_with_1001(tmp_path: Path) -> None:
    async def use(appliance: Appliance, token: str) -> None:
        async with connect(url(appliance), additional_headers=bearer(token), compression="deflate") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            appliance.gate.drain()
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        await until(lambda: appliance.gate.is_drained)
        [exchange] = [exchange for exchange in appliance.exchanges if exchange.status == 101]
        assert exchange.reason == "draining"

    await with_websocket_server(tmp_path, use)


async def tunnel(appliance: Appliance, caller: Caller, upstream: Upstream) -> Accepted:
    await open_tunnel(appliance, caller)
    connection = await upstream.connection()
    connection.raw.clear()
    return connection


async def test_no_frame_is_broken_by_the_close(start: Start, upstream: Upstream) -> None:
    upstream.script = switching
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        connection = await tunnel(appliance, caller, upstream)
        mine = frame(Opcode.TEXT, bytes(300), masked=True)
        connection.write(LONG + LONG[:500])
        caller.send(mine[:7])
        await caller.reader.readexactly(len(LONG) + 500)
        await until(lambda: len(connection.raw) == 7)
        appliance.gate.drain()
        await turns_of_the_loop()
        assert bytes(connection.raw) == mine[:7]
        connection.write(LONG[500:] + LONG)  # the second would be behind our close
        assert await caller.reader.readexactly(len(LONG) - 500 + len(GOING_AWAY)) == LONG[500:] + GOING_AWAY
        caller.send(mine[7:] + mine)
        await until(lambda: len(connection.raw) == len(mine) + 8)
        close = bytes(connection.raw[len(mine) :])
        assert close[:2] == b"\x88\x82"
        assert bytes(octet ^ close[2 + at] for at, octet in enumerate(close[6:])) == b"\x03\xe9"
        caller.send(frame(Opcode.CLOSE, b"\x03\xe9", masked=True))
        await turns_of_the_loop()
        assert appliance.gate.tunnels, "the upstream has not answered"
        connection.write(LONG + CLOSE)
        assert await caller.rest() == b""
        await connection.closed.wait()
        assert len(connection.raw) == len(mine) + 8
        await until(lambda: appliance.exchanges)
        assert appliance.exchanges[0].reason == "draining"


async def test_who_closes_already_hears_no_second_close(start: Start, upstream: Upstream) -> None:
    upstream.script = switching
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        connection = await tunnel(appliance, caller, upstream)
        theirs = frame(Opcode.CLOSE, b"\x0f\xa0")
        connection.write(theirs)
        assert await caller.reader.readexactly(len(theirs)) == theirs
        appliance.gate.drain()
        await until(lambda: len(connection.raw) == 8)  # the caller had not answered: we do
        caller.send(frame(Opcode.CLOSE, b"\x0f\xa0", masked=True))
        assert await caller.rest() == b""
        await connection.closed.wait()
        assert len(connection.raw) == 8


async def test_a_tunnel_that_opens_while_draining_is_told_at_once(start: Start, upstream: Upstream) -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def script(connection: Accepted) -> None:
        await connection.head()
        asked.set()
        await go_on.wait()
        connection.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + LONG
        )

    upstream.script = script
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        caller.send(
            b"GET /socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % await appliance.token()
        )
        await asked.wait()
        appliance.gate.drain()
        go_on.set()
        assert (await caller.answer()).status == 101
        assert await caller.reader.readexactly(len(LONG) + len(GOING_AWAY)) == LONG + GOING_AWAY


async def test_other_protocols_have_no_word_for_it(start: Start, upstream: Upstream) -> None:
    async def script(connection: Accepted) -> None:
        await connection.head()
        connection.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")

    upstream.script = script
    routes = [{**ROUTES[-1], "upgrade": ["chat"]}]
    async with start(routes=routes) as appliance, appliance.connect() as caller:
        caller.send(
            b"GET /socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
            b"Connection: Upgrade\r\nUpgrade: chat\r\n\r\n" % await appliance.token()
        )
        assert (await caller.answer()).status == 101
        appliance.gate.drain()
        connection = await upstream.connection()
        connection.write(b"goes on")
        assert await caller.reader.readexactly(7) == b"goes on"
        assert appliance.gate.tunnels


async def test_who_does_not_answer_is_cut_at_the_end_of_the_drain(start: Start, upstream: Upstream) -> None:
    upstream.script = switching
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        await tunnel(appliance, caller, upstream)
        appliance.gate.drain()
        assert await caller.reader.readexactly(len(GOING_AWAY)) == GOING_AWAY
        await turns_of_the_loop()
        assert not appliance.gate.is_drained
        appliance.gate.close()
        assert await caller.rest() == b""
        await until(lambda: appliance.exchanges)
        [exchange] = appliance.exchanges
        assert exchange.reason == "draining", "the caller had not left: we cut it"


async def test_a_request_that_is_cut_at_the_end_of_the_drain_is_recorded_as_that(
    start: Start, upstream: Upstream
) -> None:
    async def script(connection: Accepted) -> None:
        await connection.head()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    upstream.script = script
    async with start() as appliance, appliance.connect() as stays, appliance.connect() as leaves:
        for caller in (stays, leaves):
            caller.send(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await asyncio.wait_for(caller.reader.readuntil(b"half"), PATIENCE_S)).startswith(
                b"HTTP/1.1 200 "
            )
        appliance.gate.drain()
        leaves.abort()
        await until(lambda: appliance.exchanges)
        assert not appliance.gate.is_drained
        appliance.gate.close()
        await stays.rest()
        await until(lambda: len(appliance.exchanges) == 2)
        assert [exchange.reason for exchange in appliance.exchanges] == ["client_closed", "draining"]
