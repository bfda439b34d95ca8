"""Send content late behind an answer that has none: it is never the answer to somebody else's request."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.appliance import configuration, running
from tests.support.caller import PATIENCE_S

LATE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
FIRST = {
    "HEAD": (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LATE)),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(LATE)),
    "204": (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "empty": (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "answer"), FIRST.values(), ids=FIRST)
async def test_late_content_is_nobodys_answer(method: bytes, answer: bytes, tmp_path: Path) -> None:
    """The caller's request and the late content are both there when the gate looks, the request first."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.setblocking(False)
        targets = {"country": [upstream.getsockname()[1]]}
        async with (
            asyncio.timeout(PATIENCE_S),
            running(tmp_path, configuration(), targets=targets) as appliance,
        ):
            address = ("127.0.0.1", appliance.port)
            with socket.create_connection(address) as first, socket.create_connection(address) as victim:
                first.setblocking(False)
                victim.setblocking(False)
                await loop.sock_sendall(first, method + b" /open/first HTTP/1.1\r\nHost: a\r\n\r\n")
                accepted, _ = await loop.sock_accept(upstream)
                with accepted:
                    accepted.setblocking(False)
                    await loop.sock_recv(accepted, 4096)
                    await loop.sock_sendall(accepted, answer)
                    assert await loop.sock_recv(first, 4096)
                    victim.send(b"GET /open/victim HTTP/1.1\r\nHost: a\r\n\r\n")
                    accepted.send(LATE)
                    another, _ = await loop.sock_accept(upstream)
                    with another:
                        another.setblocking(False)
                        assert (await loop.sock_recv(another, 4096)).startswith(b"GET /open/victim ")
                        await loop.sock_sendall(another, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
                        assert (await loop.sock_recv(victim, 4096)).endswith(b"\r\n\r\ngood")
