"""Show how connections are let in: unix sockets, PROXY headers, and a process out of descriptors."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
import stat
import struct
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from gateway.enforce.location import SERVES_GATE
from gateway.proxy.gate import ListenerInfo
from gateway.proxy.listener import Listener, open_sockets
from gateway.settings.model import TcpAddress, UnixAddress
from gateway.views import unready_conditions
from tests.support.appliance import Appliance, configuration
from tests.support.caller import Caller
from tests.support.certificates import Authority
from tests.support.upstream import Upstream
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x10"
    + ip_address("203.0.113.7").packed
    + ip_address("10.0.0.1").packed
    + struct.pack(">HH", 5000, 443)
    + b"\x04\x00\x01\x00"
)
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
FORWARDING = b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"


def proxied(*trusted: str, **listener: Any) -> dict[str, Any]:
    """Return settings of a listener that expects PROXY headers from `trusted`."""
    return {
        "listeners": [{"address": "127.0.0.1:0", "proxy_protocol": True, **listener}],
        "trusted_proxies": list(trusted or ("127.0.0.0/8",)),
    }


@contextlib.asynccontextmanager
async def connected_unix(path: Path) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def forwarded_for(upstream: Upstream) -> str | None:
    return upstream.requests[-1].one("X-Forwarded-For")


# --- PROXY protocol


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_header_names_the_caller(start: Start, upstream: Upstream, header: bytes) -> None:
    async with start(**proxied()) as appliance, appliance.connect() as caller:
        assert (await caller.ask(header + GET, to="GET")).status == 200
        assert forwarded_for(upstream) == "203.0.113.7"
        assert (await caller.ask(FORWARDING)).status == 200
        assert forwarded_for(upstream) == "203.0.113.7", "the caller is nobody we trust"
        assert {exchange.peer for exchange in appliance.exchanges} == {"203.0.113.7"}


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_header_may_come_byte_by_byte(start: Start, upstream: Upstream, header: bytes) -> None:
    async with start(**proxied()) as appliance, appliance.connect() as caller:
        for byte in header:
            caller.send(bytes((byte,)))
            await turns_of_the_loop(3)
        assert appliance.gate.arriving + len(appliance.gate.connections) == 1
        assert (await caller.ask(GET)).status == 200
        assert forwarded_for(upstream) == "203.0.113.7"


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_sender_that_names_nobody_is_the_peer_and_not_believed(
    start: Start, upstream: Upstream, header: bytes
) -> None:
    async with start(**proxied()) as appliance, appliance.connect() as caller:
        assert (await caller.ask(header + FORWARDING, to="GET")).status == 200
        assert forwarded_for(upstream) == "127.0.0.1"


async def test_forwarding_fields_are_believed_by_the_address_in_the_header(
    start: Start, upstream: Upstream
) -> None:
    settings = proxied("127.0.0.0/8", "203.0.113.0/24")
    async with start(**settings) as appliance, appliance.connect() as caller:
        assert (await caller.ask(V1 + FORWARDING, to="GET")).status == 200
        assert forwarded_for(upstream) == "198.51.100.1, 203.0.113.7"


@pytest.mark.parametrize(
    ("header", "proxied_by", "expected"),
    [
        (b"", {}, ["127.0.0.1", "198.51.100.1, 127.0.0.1", "127.0.0.1"]),
        (V1, proxied(), ["203.0.113.7", "198.51.100.1, 203.0.113.7", "203.0.113.7"]),
        (LOCAL, proxied(), ["127.0.0.1", "127.0.0.1", "127.0.0.1"]),  # never believed, whoever is trusted
    ],
)
async def test_a_reload_decides_anew_whom_open_connections_believe(
    start: Start,
    upstream: Upstream,
    header: bytes,
    proxied_by: dict[str, Any],
    expected: list[str],
) -> None:
    trusted_now: list[list[str]] = [["127.0.0.0/8", "203.0.113.0/24"], ["192.0.2.0/24"]]
    async with start(**proxied_by) as appliance, appliance.connect() as caller:
        assert (await caller.ask(header + FORWARDING, to="GET")).status == 200
        seen = [forwarded_for(upstream)]
        for trusted in trusted_now:
            settings = {**proxied_by, "trusted_proxies": trusted}
            await appliance.reload(configuration(**settings), targets={"country": [upstream.port]})
            assert (await caller.ask(FORWARDING)).status == 200
            seen.append(forwarded_for(upstream))
    assert seen == expected


@pytest.mark.parametrize(
    "data",
    [GET, V1[:-2] + b"\n" + GET, b"PROXY TCP4 300.0.113.7 10.0.0.1 5000 443\r\n" + GET, b"\x16\x03\x01"],
)
async def test_anything_else_is_closed_without_an_answer(
    start: Start, upstream: Upstream, data: bytes
) -> None:
    async with start(**proxied()) as appliance, appliance.connect() as caller:
        caller.send(data)
        assert await caller.rest() == b""
        assert +appliance.listeners[0].refused == {"proxy_header": 1}
        assert appliance.gate.arriving == 0
    assert upstream.connections == []


async def test_a_second_header_is_no_header(start: Start, upstream: Upstream) -> None:
    async with start(**proxied()) as appliance, appliance.connect() as caller:
        assert (await caller.ask(V1 + V1 + GET, to="GET")).status == 400
    assert upstream.connections == []


async def test_only_trusted_peers_are_let_in(start: Start, upstream: Upstream) -> None:
    async with start(**proxied("192.0.2.0/24")) as appliance, appliance.connect() as caller:
        caller.send(V1 + GET)
        assert await caller.rest() == b""
        assert +appliance.listeners[0].refused == {"untrusted_proxy": 1}
    assert upstream.connections == []


async def test_a_header_that_does_not_come_is_not_waited_for(start: Start) -> None:
    async with (
        start(**proxied(), limits={"header_timeout": "100ms", "connections": 1}) as appliance,
        appliance.connect() as caller,
    ):
        caller.send(V1[:20])
        await until(lambda: appliance.gate.arriving == 1)
        async with appliance.connect() as one_too_many:
            assert await one_too_many.rest() == b""
        assert await caller.rest() == b""
        assert +appliance.listeners[0].refused == {"limit": 1, "timeout": 1}
        async with appliance.connect() as next_caller:
            assert (await next_caller.ask(V1 + GET, to="GET")).status == 200


async def test_a_sender_that_leaves_is_forgotten(start: Start) -> None:
    async with start(**proxied()) as appliance:
        async with appliance.connect() as caller:
            caller.send(V1[:20])
            await until(lambda: appliance.gate.arriving == 1)
        await until(lambda: appliance.gate.arriving == 0)


@pytest.mark.parametrize("header", [V1, V2])
async def test_tls_may_follow_in_the_same_segment(
    tmp_path: Path, start: Start, upstream: Upstream, header: bytes
) -> None:
    authority = Authority.make("Test Servers")
    authority.server().write(tmp_path, "server")
    settings = proxied(tls={"certificate_file": "server.pem", "key_file": "server.key"})
    async with start(**settings) as appliance:
        answer = await asyncio.to_thread(_ask_behind_header, appliance.port, header, authority)
        assert answer.startswith(b"HTTP/1.1 200")
    assert forwarded_for(upstream) == "203.0.113.7"
    assert upstream.requests[-1].one("X-Forwarded-Proto") == "https"


def _ask_behind_header(port: int, header: bytes, authority: Authority) -> bytes:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        secure.do_handshake()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(header + outgoing.read())
        while True:
            incoming.write(connection.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                secure.do_handshake()
                break
            connection.sendall(outgoing.read())
        secure.write(GET)
        connection.sendall(outgoing.read())
        while True:
            incoming.write(connection.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                return secure.read()


# --- unix sockets


async def test_a_unix_socket(tmp_path: Path, start: Start, upstream: Upstream) -> None:
    path = tmp_path / "gate.sock"
    async with start(listeners=[{"address": "unix:gate.sock"}]) as appliance:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with connected_unix(path) as caller:
            assert (await caller.ask(GET)).status == 200
            assert (await caller.ask(FORWARDING)).status == 200
        assert {request.one("X-Forwarded-For") for request in upstream.requests} == {"unknown"}
        appliance.listeners[0].close()
        assert not path.exists()


async def test_a_unix_socket_with_a_proxy_header(tmp_path: Path, start: Start, upstream: Upstream) -> None:
    settings = {"listeners": [{"address": "unix:gate.sock", "proxy_protocol": True}]}
    async with start(**settings), connected_unix(tmp_path / "gate.sock") as caller:
        assert (await caller.ask(V2 + GET, to="GET")).status == 200
        assert forwarded_for(upstream) == "203.0.113.7"


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))
    left_behind.close()
    (opened,) = open_sockets(UnixAddress(path))
    with opened, pytest.raises(OSError) as raised:
        open_sockets(UnixAddress(path))
    assert raised.value.errno == errno.EADDRINUSE
    path.unlink()
    path.write_text("not a socket")
    with pytest.raises(OSError):
        open_sockets(UnixAddress(path))
    assert path.read_text() == "not a socket"


async def test_the_file_of_somebody_else_is_not_removed(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "gate.sock"
    async with start(listeners=[{"address": "unix:gate.sock"}]):
        path.unlink()
        others = socket.socket(socket.AF_UNIX)
        others.bind(str(path))
    assert path.exists()
    others.close()


async def test_a_unix_socket_that_nobody_finds_any_more_is_not_bound(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "gate.sock"
    async with start(listeners=[{"address": "unix:gate.sock"}]) as appliance:
        listener = appliance.listeners[0]
        assert listener.is_bound
        path.unlink()
        assert not listener.is_bound
        with socket.socket(socket.AF_UNIX) as others:
            others.bind(str(path))
            assert not listener.is_bound


# --- TCP


async def test_whether_a_listener_is_bound_is_asked_of_the_system(appliance: Appliance) -> None:
    listener = appliance.listeners[0]

    def unready() -> str:
        return unready_conditions(appliance.gate, appliance.plane.live, [listener])["listeners"]

    assert (listener.is_bound, unready()) == (True, "")
    appliance.gate.drain()
    assert listener.is_bound
    # As systems do to a process whose network goes: the socket is there, and takes nobody.
    listener.sockets[0].shutdown(socket.SHUT_RDWR)
    assert (listener.is_bound, unready()) == (False, f"not bound: {listener.info.name}")
    listener.close()
    assert not listener.is_bound


async def test_a_listener_that_has_not_begun_to_accept_is_not_bound(appliance: Appliance) -> None:
    sockets = open_sockets(TcpAddress("127.0.0.1", 0))
    listener = Listener(appliance.gate, ListenerInfo("another", SERVES_GATE), sockets)
    assert not listener.is_bound
    listener.start()
    assert listener.is_bound
    listener.abort()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_addresses(start: Start, host: str) -> None:
    written = f"[{host}]:0" if ":" in host else f"{host}:0"
    async with start(listeners=[{"address": written}]) as appliance:
        for listening in appliance.listeners[0].sockets:
            address, port = listening.getsockname()[:2]
            reader, writer = await asyncio.open_connection(address, port)
            assert (await Caller(reader, writer).ask(GET)).status == 200
            writer.transport.abort()


async def test_a_taken_port_is_said() -> None:
    (opened,) = open_sockets(TcpAddress("127.0.0.1", 0))
    with opened, pytest.raises(OSError) as raised:
        open_sockets(TcpAddress("127.0.0.1", opened.getsockname()[1]))
    assert raised.value.errno == errno.EADDRINUSE


async def test_who_reached_the_backlog_before_the_end_is_served(appliance: Appliance) -> None:
    listener = appliance.listeners[0]
    with socket.create_connection(("127.0.0.1", appliance.port)) as late:
        late.setblocking(False)
        late.send(GET)
        listener.close()  # in the same turn of the loop: nothing was accepted yet
        appliance.gate.drain()
        reader, writer = await asyncio.open_connection(sock=late)
        answer = await Caller(reader, writer).answer()
        assert (answer.status, answer.one("Connection")) == (200, "close")
        writer.transport.abort()


async def test_descriptors_that_run_out_pause_accepting(
    appliance: Appliance, caplog: pytest.LogCaptureFixture
) -> None:
    listener = appliance.listeners[0]
    async with appliance.connect() as there:
        assert (await there.ask(GET)).status == 200
        waiting = [socket.socket() for _ in range(3)]
        with _no_more_descriptors():
            for each in waiting:
                each.connect(("127.0.0.1", appliance.port))
                each.send(GET)
            await until(lambda: listener.pauses >= 2)
            assert listener.pauses < 10, "accepting spins"
            assert (await there.ask(GET)).status == 200
        for each in waiting:
            each.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=each)
            assert (await Caller(reader, writer).answer()).status == 200
            writer.transport.abort()
    assert caplog.text.count("accepting pauses") == 1


@contextlib.contextmanager
def _no_more_descriptors() -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
