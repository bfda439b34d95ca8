"""Show tunnels of which one side or both are TLS, where an end of sending is the end of both ways."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.proxy.upstream import LEAVE_LIMIT_BYTES, LEAVE_LIMIT_S, UpstreamConnection
from tests.support.appliance import Appliance, configuration, running
from tests.support.caller import Caller
from tests.support.certificates import Authority
from tests.support.upstream import Accepted, Upstream
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.test_upgrade import ROUTES, open_tunnel, switching

BOTH = pytest.mark.parametrize("listener", ["plain", "tls"])
ANY = pytest.mark.parametrize("target", ["http", "https"])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("Tunnels")


@contextlib.asynccontextmanager
async def tunnel(
    directory: Path,
    authority: Authority,
    *,
    listener: str,
    target: str,
    keeps_half_open: bool = False,
    max_connections: int = 0,
) -> AsyncIterator[tuple[Appliance, Caller, Accepted]]:
    """Open one tunnel; yield the appliance and both ends of it."""
    authority.server().write(directory, "server")
    (directory / "ca.pem").write_bytes(authority.pem)
    offered = None
    if target == "https":
        offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        offered.load_cert_chain(directory / "server.pem", directory / "server.key")
    async with Upstream(switching, keeps_half_open=keeps_half_open).serving(tls=offered) as upstream:
        country = {
            "targets": [f"{target}://localhost:{upstream.port}"],
            "tls": {"ca_file": "ca.pem"},
            "max_connections": max_connections,
        }
        if target == "http":
            del country["tls"]
        settings = configuration(routes=ROUTES, upstreams={"country": country})
        if listener == "tls":
            pair = {"certificate_file": "server.pem", "key_file": "server.key"}
            settings["listeners"] = [{"address": "127.0.0.1:0", "tls": pair}]
        async with running(directory, settings, targets={}) as appliance:
            trusted = ssl.create_default_context(cadata=authority.pem.decode())
            secure = {"ssl": trusted, "server_hostname": "localhost"} if listener == "tls" else {}
            reader, writer = await asyncio.open_connection("127.0.0.1", appliance.port, **secure)
            try:
                caller = Caller(reader, writer)
                await open_tunnel(appliance, caller)
                yield appliance, caller, await upstream.connection()
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


def ended(appliance: Appliance) -> list[tuple[str, int, int]]:
    """Return reason and bytes both ways of each tunnel that was recorded."""
    return [
        (exchange.reason, exchange.request_bytes, exchange.response_bytes)
        for exchange in appliance.exchanges
        if exchange.status == 101
    ]


def reading(caller: Caller, *, on: bool) -> None:
    """Let the caller take what comes, or nothing of it."""
    transport = caller.reader._transport  # type: ignore[attr-defined]
    transport.resume_reading() if on else transport.pause_reading()


def upstream_of(appliance: Appliance) -> UpstreamConnection:
    """Return the gate's end of the connection to the upstream."""
    (target,) = appliance.gate.pools["country"]._targets
    (connection,) = target.connections
    return connection


async def fill(appliance: Appliance, caller: Caller) -> int:
    """Send until the gate holds more than a piece that the upstream does not take; return how much."""
    (connection,) = appliance.gate.connections
    relay = connection.relay
    assert relay is not None
    upstream = upstream_of(appliance)
    piece = bytes(64 * 1024)
    size = 0
    while upstream.write_buffer_bytes < len(piece):
        caller.send(piece)
        size += len(piece)
        await until(lambda sent=size: relay.request_bytes == sent)
    return size


async def fill_caller(appliance: Appliance, far: Accepted) -> int:
    """The other way round."""
    (connection,) = appliance.gate.connections
    relay = connection.relay
    assert relay is not None
    piece = bytes(64 * 1024)
    size = 0
    while connection._transport.get_write_buffer_size() < len(piece):
        far.write(piece)
        size += len(piece)
        await until(lambda sent=size: relay.response_bytes == sent)
    return size


async def leave(appliance: Appliance, caller: Caller, far: Accepted) -> None:
    """Close in order; where that is a half-close to the gate, speak until it sees that nobody is there."""
    caller.writer.close()
    gate = appliance.gate
    await until(lambda: not gate.tunnels or all(each.has_ended for each in gate.connections))
    while gate.tunnels:
        far.write(b"anybody?")
        await turns_of_the_loop()
    await until(lambda: not gate.connections)


@BOTH
@ANY
async def test_a_tunnel_ends_when_its_caller_goes_away(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        caller.send(b"last words")
        caller.writer.close()
        await until(far.closed.is_set)
        assert bytes(far.raw).endswith(b"\r\n\r\nlast words")
        await until(lambda: not appliance.gate.tunnels and not appliance.gate.connections)
        assert ended(appliance) == [("ok", 10, 0)]


@BOTH
@ANY
async def test_a_tunnel_ends_when_its_upstream_goes_away(
    tmp_path: Path, authority: Authority, listener: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.write(b"farewell")
        far.close()
        assert await caller.rest() == b"farewell"
        caller.writer.close()
        await until(lambda: not appliance.gate.tunnels and not appliance.gate.connections)
        assert ended(appliance) == [("ok", 0, 8)]
    assert "eof_received" not in caplog.text


@BOTH
@ANY
async def test_a_slow_reader_gets_all_that_came_before_the_upstream_closed(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    """Half a minute in which it takes nothing is what `body_idle_timeout` grants, here as everywhere."""
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        size = await fill_caller(appliance, far)
        far.close()
        await until(far.closed.is_set)
        await turns_of_the_loop()
        appliance.let_pass(29)
        await turns_of_the_loop()
        caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await caller.rest()) == size
        caller.writer.close()
        await until(lambda: not appliance.gate.connections)


@BOTH
@ANY
async def test_a_slow_upstream_gets_all_that_came_before_the_caller_closed(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        before = len(far.raw)
        size = await fill(appliance, caller)
        caller.writer.close()
        if target == "https" or listener == "tls":
            await until(lambda: ended(appliance))
        await turns_of_the_loop()
        assert not far.closed.is_set()
        far.transport.resume_reading()
        await until(far.closed.is_set)
        assert len(far.raw) - before == size
        assert far.error is None
        await until(lambda: not appliance.gate.connections)
        assert ended(appliance) == [("ok", size, 0)]


@BOTH
@ANY
async def test_an_upstream_that_speaks_meanwhile_gets_all_of_it_as_well(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    """A byte that finds nobody who reads it comes back as a reset, which takes what is not read yet."""
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        before = len(far.raw)
        caller.send(bytes(50_000))
        (connection,) = appliance.gate.connections
        relay = connection.relay
        assert relay is not None
        await until(lambda: relay.request_bytes == 50_000)
        await leave(appliance, caller, far)
        for _ in range(3):
            far.write(b"and another thing")
            await turns_of_the_loop()
        assert not far.closed.is_set()
        assert appliance.gate.leaving
        assert not appliance.gate.is_drained
        far.transport.resume_reading()
        await until(far.closed.is_set)
        assert len(far.raw) - before == 50_000
        assert far.error is None
        await until(lambda: appliance.gate.is_drained)


@BOTH
@ANY
async def test_a_caller_that_speaks_meanwhile_gets_all_of_it_as_well(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        reading(caller, on=False)
        far.write(bytes(50_000))
        far.close()
        await until(far.closed.is_set)
        for _ in range(3):
            caller.send(b"and another thing")
            await turns_of_the_loop()
        await until(lambda: ended(appliance))
        assert ended(appliance)[0][0] == "ok"
        reading(caller, on=True)
        assert await asyncio.wait_for(caller.reader.read(), 10) == bytes(50_000)


@BOTH
async def test_an_upstream_that_has_taken_all_of_it_and_does_not_close_is_left(
    tmp_path: Path, authority: Authority, listener: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target="http", keeps_half_open=True) as (
        appliance,
        caller,
        far,
    ):
        caller.send(b"last words")
        await leave(appliance, caller, far)
        upstream = upstream_of(appliance)
        await until(lambda: far.eof)
        appliance.let_pass(LEAVE_LIMIT_S - 0.5)
        far.write(b"tick")  # talking on is no reason to wait longer
        await turns_of_the_loop()
        assert appliance.gate.leaving == {upstream}
        appliance.let_pass(LEAVE_LIMIT_S + 0.5)
        await until(lambda: upstream.is_closed)
        assert not appliance.gate.leaving
        assert upstream.target.active == 0


async def test_one_that_only_lingers_makes_room_for_a_request(tmp_path: Path, authority: Authority) -> None:
    async with tunnel(
        tmp_path, authority, listener="plain", target="http", keeps_half_open=True, max_connections=1
    ) as (appliance, caller, far):
        caller.send(b"last words")
        await leave(appliance, caller, far)
        lingering = upstream_of(appliance)
        await until(lambda: far.eof)
        async with appliance.connect() as another:
            await open_tunnel(appliance, another)
        assert lingering.is_closed
        assert not appliance.gate.leaving


@BOTH
async def test_what_an_upstream_says_to_nobody_is_bounded(
    tmp_path: Path, authority: Authority, listener: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target="http", keeps_half_open=True) as (
        appliance,
        caller,
        far,
    ):
        await leave(appliance, caller, far)
        upstream = upstream_of(appliance)
        far.write(bytes(LEAVE_LIMIT_BYTES // 2))
        await until(lambda: not far.transport.get_write_buffer_size())
        await turns_of_the_loop()
        assert not upstream.is_closed
        far.write(bytes(LEAVE_LIMIT_BYTES))
        await until(lambda: upstream.is_closed)
        assert not appliance.gate.leaving


@BOTH
@ANY
async def test_an_upstream_that_takes_nothing_of_it_is_cut_off(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        await fill(appliance, caller)
        upstream = upstream_of(appliance)
        await leave(appliance, caller, far)
        appliance.let_pass(29)
        await turns_of_the_loop()
        assert not upstream.is_closed
        appliance.let_pass(31)
        await until(lambda: upstream.is_closed)
        assert upstream.target.active == 0
        assert not appliance.gate.leaving
        far.transport.resume_reading()
        await until(far.closed.is_set)
        assert isinstance(far.error, ConnectionResetError)


@BOTH
@ANY
async def test_an_upstream_that_takes_it_slowly_is_not_cut_off(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        before = len(far.raw)
        size = await fill(appliance, caller)
        upstream = upstream_of(appliance)
        await leave(appliance, caller, far)
        upstream._backlog = upstream.write_buffer_bytes + 1  # it has taken something since it was asked
        appliance.let_pass(31)
        await turns_of_the_loop()
        assert not upstream.is_closed
        far.transport.resume_reading()
        await until(far.closed.is_set)
        assert len(far.raw) - before == size
        assert far.error is None


@BOTH
@ANY
async def test_a_caller_that_takes_nothing_of_it_is_cut_off(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    """And can tell: an end in order would make a whole of what it has."""
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        reading(caller, on=False)
        await fill_caller(appliance, far)
        far.close()
        await until(far.closed.is_set)
        await turns_of_the_loop()
        if appliance.gate.tunnels:  # a half-close passed through: the caller might go on
            appliance.let_pass(301)
        appliance.let_pass(31)
        await until(lambda: not appliance.gate.connections)
        reading(caller, on=True)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(caller.reader.read(), 10)


@BOTH
@ANY
async def test_an_upstream_that_breaks_off_does_not_look_whole(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.write(b"half a message")
        assert await asyncio.wait_for(caller.reader.readexactly(14), 10) == b"half a message"
        far.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(caller.reader.read(), 10)
        assert ended(appliance) == [("upstream_reset", 0, 14)]


@BOTH
@ANY
async def test_a_caller_that_breaks_off_does_not_look_whole(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        caller.send(b"half a message")
        await until(lambda: far.raw.endswith(b"half a message"))
        caller.abort()
        await until(far.closed.is_set)
        assert isinstance(far.error, ConnectionResetError)
        assert ended(appliance) == [("client_closed", 14, 0)]
        await until(lambda: not appliance.gate.leaving)


@BOTH
async def test_an_upstream_that_ends_without_closure_alert_does_not_look_whole(
    tmp_path: Path, authority: Authority, listener: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target="https") as (appliance, caller, far):
        far.write(b"half a message")
        assert await asyncio.wait_for(caller.reader.readexactly(14), 10) == b"half a message"
        far.transport.abort()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(caller.reader.read(), 10)
        assert ended(appliance) == [("upstream_reset", 0, 14)]


@ANY
async def test_a_caller_that_ends_without_closure_alert_does_not_look_whole(
    tmp_path: Path, authority: Authority, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener="tls", target=target) as (appliance, caller, far):
        caller.send(b"half a message")
        await until(lambda: far.raw.endswith(b"half a message"))
        caller.writer.transport.abort()
        await until(far.closed.is_set)
        assert isinstance(far.error, ConnectionResetError)
        assert ended(appliance) == [("client_closed", 14, 0)]


@BOTH
@ANY
async def test_without_permission_nothing_more_is_sent_and_neither_side_looks_whole(
    tmp_path: Path, authority: Authority, listener: str, target: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        before = len(far.raw)
        size = await fill(appliance, caller)
        upstream = upstream_of(appliance)
        held = upstream.write_buffer_bytes
        (only,) = appliance.gate.tunnels
        only.judge_again(time.time() + 86_400)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(caller.reader.read(), 10)
        far.transport.resume_reading()
        await until(far.closed.is_set)
        assert len(far.raw) - before <= size - held
        assert isinstance(far.error, ConnectionResetError)
        assert ended(appliance) == [("expired", size, 0)]
        assert appliance.gate.is_drained


@BOTH
async def test_the_end_of_the_process_cuts_what_is_still_leaving(
    tmp_path: Path, authority: Authority, listener: str
) -> None:
    async with tunnel(tmp_path, authority, listener=listener, target="http", keeps_half_open=True) as (
        appliance,
        caller,
        far,
    ):
        await leave(appliance, caller, far)
        assert not appliance.gate.is_drained
        appliance.gate.close()
        await until(lambda: appliance.gate.is_drained)


async def test_an_upstream_whose_last_bytes_the_caller_did_not_take_is_read_on(
    tmp_path: Path, authority: Authority
) -> None:
    async with tunnel(tmp_path, authority, listener="plain", target="http", keeps_half_open=True) as (
        appliance,
        caller,
        far,
    ):
        reading(caller, on=False)
        caller.send(b"last words")
        caller.writer.write_eof()
        await until(lambda: far.eof)
        upstream = upstream_of(appliance)
        while not upstream.is_paused:
            far.write(bytes(64 * 1024))
            await turns_of_the_loop()
        far.write(b"more that waits to be read")
        caller.abort()
        await until(lambda: appliance.gate.leaving)
        far.close()
        await until(lambda: upstream.is_closed)
        assert [reason for reason, _, _ in ended(appliance)] == ["ok"]


async def test_what_an_upstream_said_in_order_stays_whole_when_the_caller_is_silent_after_it(
    tmp_path: Path, authority: Authority
) -> None:
    async with tunnel(tmp_path, authority, listener="plain", target="http") as (appliance, caller, far):
        reading(caller, on=False)
        upstream = upstream_of(appliance)
        size = await fill_caller(appliance, far)
        far.close()
        await until(lambda: upstream._saw_end)
        appliance.let_pass(301)
        assert ended(appliance) == [("upstream_timeout", 0, size)]
        await turns_of_the_loop()
        reading(caller, on=True)
        assert len(await asyncio.wait_for(caller.reader.read(), 10)) == size
