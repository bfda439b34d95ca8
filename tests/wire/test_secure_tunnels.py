"""Show tunnels of which one side or both are TLS, where an end of sending is the end of both ways."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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
    directory: Path, authority: Authority, *, listener: str, target: str
) -> AsyncIterator[tuple[Appliance, Caller, Accepted]]:
    """Open one tunnel; yield the appliance and both ends of it."""
    authority.server().write(directory, "server")
    (directory / "ca.pem").write_bytes(authority.pem)
    offered = None
    if target == "https":
        offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        offered.load_cert_chain(directory / "server.pem", directory / "server.key")
    async with Upstream(switching).serving(tls=offered) as upstream:
        country = {"targets": [f"{target}://localhost:{upstream.port}"], "tls": {"ca_file": "ca.pem"}}
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
    piece = bytes(64 * 1024)
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        (connection,) = appliance.gate.connections
        relay = connection.relay
        assert relay is not None
        size = 0
        while connection._transport.get_write_buffer_size() < len(piece):
            far.write(piece)
            size += len(piece)
            await until(lambda sent=size: relay.response_bytes == sent)
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
    piece = bytes(64 * 1024)
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        (connection,) = appliance.gate.connections
        relay = connection.relay
        assert relay is not None
        upstream = relay._connection
        assert upstream is not None
        size, before = 0, len(far.raw)
        while upstream.write_buffer_bytes < len(piece):
            caller.send(piece)
            size += len(piece)
            await until(lambda sent=size: relay.request_bytes == sent)
        caller.writer.close()
        if target == "https" or listener == "tls":
            await until(lambda: ended(appliance))
        await turns_of_the_loop()
        assert not far.closed.is_set()
        far.transport.resume_reading()
        await until(far.closed.is_set)
        assert len(far.raw) - before == size
        await until(lambda: not appliance.gate.connections)
        assert ended(appliance) == [("ok", size, 0)]


@BOTH
@ANY
async def test_an_upstream_that_takes_nothing_of_it_is_cut_off(
    tmp_path: Path,
    authority: Authority,
    listener: str,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.proxy.upstream.LEAVE_CHECK_S", 0.02)
    async with tunnel(tmp_path, authority, listener=listener, target=target) as (appliance, caller, far):
        far.transport.pause_reading()
        (target_state,) = appliance.gate.pools["country"]._targets
        (upstream,) = target_state.connections
        while upstream.write_buffer_bytes < 64 * 1024:
            caller.send(bytes(64 * 1024))
            await turns_of_the_loop()
        caller.abort() if listener == "plain" else caller.writer.close()
        await until(lambda: not target_state.connections)
        assert target_state.active == 0
