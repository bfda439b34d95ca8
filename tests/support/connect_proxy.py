"""Be a company proxy: let CONNECT through to where the test says, or refuse it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """What was asked of it, and where it leads."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    heads: list[bytes] = field(default_factory=list)
    """The heads of all requests, whole."""
    ways: dict[str, int] = field(default_factory=dict)
    """`host:port` as asked for -> the local port behind it."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.decode().split("\r\n")[0].split(" ")
            port = self.ways.get(target) if method == "CONNECT" else None
            if port is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            writer.write(self.answer)
            await writer.drain()
            if b" 200 " in self.answer:
                behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.closing(behind_writer):
                    await asyncio.gather(_copy(reader, behind_writer), _copy(behind_reader, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
        sink.write_eof()


@contextlib.asynccontextmanager
async def proxying(**ways: int) -> AsyncIterator[ConnectProxy]:
    """Serve a proxy on loopback."""
    proxy = ConnectProxy(ways=dict(ways))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
