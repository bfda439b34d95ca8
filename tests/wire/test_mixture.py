"""Mix at random what callers and upstreams can do to each other, and show that nothing of it stays behind.

Plain and TLS on either side, tunnels, half-closes, resets, early, broken and endless answers, bodies
that stop or are malformed. That each request gets its own answer is shown in `test_adversarial`; here
the gate is looked at: no exception inside it, and in the end no connection, tunnel or place in a pool
that is still held.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
import struct
from pathlib import Path
from typing import cast

import pytest

from tests.support.appliance import Appliance, configuration, running
from tests.support.certificates import Authority
from tests.support.waiting import turns_of_the_loop, until

SOAK = "SIDEGATE_SOAK" in os.environ
CALLERS = 4000 if SOAK else 240
AT_ONCE = 40

SOCKET = {
    "name": "socket",
    "path": "/socket",
    "upstream": "country",
    "access": "public",
    "upgrade": ["websocket"],
}
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
ANSWERS = [
    *(OK, OK, OK, OK[:-2], OK[:30], OK + b"junk", b"", b"nonsense\r\n\r\n"),
    *(LARGE + bytes(1_000_000), LARGE + bytes(1000), LARGE + bytes(1_000_001)),
    *(
        CHUNKED + b"1\r\na\r\n" * 3000 + end
        for end in (b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"0\r\n", b"z\r\n")
    ),
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + OK,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
    b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
]


class Moody(asyncio.Protocol):
    """One connection to an upstream that answers without having read what it was asked."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._is_tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def eof_received(self) -> bool:
        return self._chance.random() < 0.3 and self._transport.can_write_eof()

    def data_received(self, data: bytes) -> None:
        chance = self._chance
        if self._transport.is_closing():
            return
        if self._is_tunnel:
            self._transport.write(chance.choice([data, data, data, bytes(300_000), b""]))
        elif b"Upgrade: websocket\r\n" in data and chance.random() < 0.7:
            self._is_tunnel = True
            self._transport.write(SWITCH + chance.choice([b"", b"first words"]))
        elif b"\r\n\r\n" in data or chance.random() < 0.1:
            self._transport.write(chance.choice(ANSWERS))
        end = chance.random()
        if end < 0.1:
            self._transport.close()
        elif end < 0.15:
            self._transport.abort()


def request(chance: random.Random) -> bytes:
    """Return a request that is mostly a good one."""
    path = chance.choice([b"/open/x"] * 4 + [b"/socket"] * 3 + [b"/read/x", b"/oauth2/jwks", b"/nowhere"])
    method = chance.choice([b"GET", b"GET", b"HEAD", b"DELETE", b"POST", b"PUT"])
    version = chance.choice([b"1.1"] * 9 + [b"1.0"])
    lines = [b"%b %b HTTP/%b" % (method, path, version), b"Host: a"]
    for line in (
        *(b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Max-Forwards: 0"),
        *(b"Connection: TE\r\nTE: trailers", b"Host: b", b" folded", b"X: \x00"),
    ):
        if chance.random() < 0.03:
            lines.append(line)
    body = b""
    size = chance.choice([1, 5, 1000, 70_000, 400_000])
    if path == b"/socket":
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
    elif method in (b"POST", b"PUT") and chance.random() < 0.5:
        lines.append(b"Content-Length: %d" % size)
        body = bytes(size)
    elif method in (b"POST", b"PUT"):
        lines.append(b"Transfer-Encoding: chunked")
        body = chance.choice([b"1\r\na\r\n" * 2000, b"%x\r\n%b\r\n" % (size, bytes(size))])
        body += chance.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"z\r\n", b""])
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random) -> None:
    """Send requests in pieces, and leave in one way or another."""
    for _ in range(chance.randrange(1, 5)):
        data = b"".join(request(chance) for _ in range(chance.choice([1, 1, 1, 2, 5, 30])))
        if chance.random() < 0.2:
            data = data[: chance.randrange(len(data))]
        while data:
            size = chance.choice([1, 10, 100, 5000, 1_000_000])
            writer.write(data[:size])
            data = data[size:]
            if len(data) < 3000 or chance.random() < 0.05:
                await asyncio.sleep(0)
        await turns_of_the_loop(chance.choice([0, 0, 10, 100]))
        if chance.random() < 0.3:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await reader.read(100_000)
    end = chance.random()
    if end < 0.3 and writer.can_write_eof():
        writer.write_eof()
        await turns_of_the_loop(chance.choice([0, 10, 100]))
    elif end < 0.5 and (sock := writer.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif end < 0.8:
        writer.close()
        await turns_of_the_loop(chance.choice([0, 10, 100]))


async def call(port: int, tls: ssl.SSLContext | None, chance: random.Random) -> None:
    """Be one caller; whatever becomes of its connection is fine."""
    name = "localhost" if tls is not None else None
    with contextlib.suppress(OSError, RuntimeError):  # uvloop's word for a connection that is gone
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
        try:
            await converse(reader, writer, chance)
        finally:
            writer.transport.abort()
            await writer.wait_closed()


async def nothing_is_left(appliance: Appliance) -> None:
    gate = appliance.gate
    pool = gate.pools["country"]

    def is_quiet() -> bool:
        appliance.let_pass(3600.0)
        return not (gate.connections or gate.tunnels or pool.gauges["active"] or pool.gauges["waiting"])

    await until(is_quiet)
    assert gate.arriving == 0
    assert gate.in_flight_by_route() == {}
    # Those that a tunnel left take what it still had for them, and then their leave.
    await until(lambda: pool._total == pool.gauges["idle"])
    assert sum(len(target.connections) for target in pool._targets) == pool._total


@pytest.mark.parametrize("target", ["http", "https"])
async def test_nothing_of_a_mixture_stays_behind(
    tmp_path: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(f"mixture {target}")
    authority = Authority.make("Mixture")
    authority.server().write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    trusted = ssl.create_default_context(cadata=authority.pem.decode())
    moody: list[Moody] = []

    def accept() -> Moody:
        moody.append(Moody(chance))
        return moody[-1]

    server = await asyncio.get_running_loop().create_server(
        accept, "127.0.0.1", 0, ssl=offered if target == "https" else None
    )
    port = server.sockets[0].getsockname()[1]
    country = {"targets": [f"{target}://localhost:{port}"], "max_connections": 30, "queue": {"size": 8}}
    if target == "https":
        country["tls"] = {"ca_file": "ca.pem"}
    settings = configuration(upstreams={"country": country}, limits={"loop_lag": "1h"})
    settings["routes"].append(SOCKET)
    pair = {"certificate_file": "server.pem", "key_file": "server.key"}
    settings["listeners"] = [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "tls": pair}]
    try:
        async with running(tmp_path, settings, targets={}) as appliance:
            ways = [(appliance.ports[0], None), (appliance.ports[1], trusted)]
            for _ in range(0, CALLERS, AT_ONCE):
                await asyncio.gather(*(call(*chance.choice(ways), chance) for _ in range(AT_ONCE)))
                appliance.let_pass(chance.choice([0.0, 0.0, 31.0, 301.0]))
            await nothing_is_left(appliance)
            seen = {exchange.reason for exchange in appliance.exchanges}
            assert seen >= {"public", "client_closed", "upstream_reset", "upstream_protocol", "bad_framing"}
            assert {exchange.status for exchange in appliance.exchanges} >= {0, 101, 200, 400, 502}
            assert all(exchange.overhead_s >= 0.0 for exchange in appliance.exchanges)
    finally:
        server.close()
        for connection in moody:
            connection._transport.abort()
        await turns_of_the_loop()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
