"""Be a resource service that records every accepted connection and every byte.

What it answers is a script: a coroutine that is given each accepted connection and
reads requests from it, writes bytes to it, closes or resets it.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tests.support.waiting import PATIENCE_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    head: bytes
    """Up to and including the empty line."""
    body: bytes
    """Decoded when it was chunked."""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def fields(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        found = self.all(name)
        assert len(found) <= 1, f"{name} arrived {len(found)} times"
        return found[0] if found else None


class Accepted(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._changed = asyncio.Event()
        self._position = 0
        self.raw = bytearray()
        """Every byte that arrived."""
        self.eof = False
        self.closed = asyncio.Event()
        """Set when the connection is gone, whoever ended it."""
        self.error: Exception | None = None
        """What ended it, when that was no end in order."""

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._upstream.took(self)

    def data_received(self, data: bytes) -> None:
        self.raw += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.eof = True
        self._changed.set()
        return self._upstream.keeps_half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof = True
        self.error = exc
        self._changed.set()
        self.closed.set()

    # --- for scripts

    async def request(self) -> Received | None:
        """Return the next request whole, or None when the gate closed the connection before it."""
        head = await self.head()
        if head is None:
            return None
        body = await self._body(head)
        return self._upstream.keep(Received(head, body))

    async def head(self) -> bytes | None:
        """Return the next request's head alone."""
        try:
            return self._take(await self._find(b"\r\n\r\n") + 4)
        except EOFError:
            return None

    async def body_bytes(self, count: int) -> bytes:
        """Return the next `count` bytes as they arrived, or raise EOFError, which ends the script."""
        while len(self.raw) - self._position < count:
            if not await self._more():
                raise EOFError("the connection ended inside a body")
        return self._take(self._position + count)

    async def _body(self, head: bytes) -> bytes:
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if b"content-length" in fields:
            return await self.body_bytes(int(fields[b"content-length"]))
        body = b""
        while b"transfer-encoding" in fields:
            line_end = await self._find(b"\r\n")
            size = int(self._take(line_end + 2), 16)
            if not size:
                while self._take(await self._find(b"\r\n") + 2) != b"\r\n":
                    pass  # a trailer
                break
            piece = await self.body_bytes(size + 2)
            assert piece.endswith(b"\r\n")
            body += piece[:-2]
        return body

    async def _find(self, wanted: bytes) -> int:
        """Return where `wanted` begins, or raise EOFError, which ends the script."""
        while (end := self.raw.find(wanted, self._position)) < 0:
            if not await self._more():
                raise EOFError("the connection ended")
        return end

    async def _more(self) -> bool:
        if self.eof:
            return False
        self._changed.clear()
        await self._changed.wait()
        return True

    def _take(self, end: int) -> bytes:
        taken = bytes(self.raw[self._position : end])
        self._position = end
        return taken

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        """Close after what was written."""
        self.transport.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


Script = Callable[[Accepted], Awaitable[None]]


def answering(*answers: bytes, close: bool = False) -> Script:
    """Return a script that gives one answer per request, the last one for all that follow."""

    async def script(connection: Accepted) -> None:
        turn = 0
        while await connection.request() is not None:
            connection.write(answers[min(turn, len(answers) - 1)])
            turn += 1
            if close:
                connection.close()
                return

    return script


@dataclass(eq=False)
class Upstream:
    """A listening resource service and what it saw."""

    script: Script = field(default_factory=lambda: answering(OK))
    connections: list[Accepted] = field(default_factory=list)
    """Every connection accepted so far."""
    requests: list[Received] = field(default_factory=list)
    """Every request that scripts read whole."""
    port: int = 0
    keeps_half_open: bool = False
    """After the gate has finished sending, scripts may still write."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    def took(self, connection: Accepted) -> None:
        self.connections.append(connection)
        self._grown.set()

        async def play() -> None:
            with contextlib.suppress(EOFError):
                await self.script(connection)

        task = asyncio.get_running_loop().create_task(play())
        self._tasks.add(task)

    def keep(self, request: Received) -> Received:
        self.requests.append(request)
        self._grown.set()
        return request

    async def connection(self, index: int = 0) -> Accepted:
        """Return the connection accepted as number `index`, once it exists."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.connections) <= index:
                self._grown.clear()
                await self._grown.wait()
        return self.connections[index]

    async def received(self, index: int = 0) -> Received:
        """Return the request read as number `index`, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) <= index:
                self._grown.clear()
                await self._grown.wait()
        return self.requests[index]

    @property
    def seen(self) -> tuple[int, int]:
        """Return how many connections were accepted and how many bytes arrived on all of them."""
        return len(self.connections), sum(len(connection.raw) for connection in self.connections)

    @contextlib.asynccontextmanager
    async def serving(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None, path: Path | None = None
    ) -> AsyncIterator["Upstream"]:
        """Serve on a loopback port, or on a socket at `path`; a script that failed fails the test."""
        loop = asyncio.get_running_loop()
        if path is not None:
            server = await loop.create_unix_server(lambda: Accepted(self), str(path), ssl=tls)
        else:
            server = await loop.create_server(lambda: Accepted(self), "127.0.0.1", port, ssl=tls)
            self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for connection in self.connections:
                connection.transport.abort()
                await connection.closed.wait()
            for task in self._tasks:
                if not task.done():
                    task.cancel()
            outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
