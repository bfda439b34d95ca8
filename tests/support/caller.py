"""Be a caller that sends exact bytes and reads answers strictly."""

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from gateway.reasons import Reason
from tests.support.waiting import PATIENCE_S

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [^\r\n]*")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([^\r\n]*)")


@dataclass(frozen=True)
class Answer:
    """One answer, its framing removed."""

    status: int
    head: bytes
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        found = self.all(name)
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        """Return the word that the gate gives for an answer of its own."""
        return self.one("Sidegate-Reason")


MENDING = {
    "missing_scope": {"required_scopes", "token_scopes"},
    "wrong_audience": {"required_audience", "token_audience"},
    "claim_mismatch": {"claim"},
}
"""What a problem document holds besides, by reason: all that its reader needs to mend it."""


def assert_own(answer: Answer, status: int, reason: str) -> None:
    """Hold an answer that the gate made itself to what every such answer has."""
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.one("Content-Type") == "application/problem+json"
    assert answer.one("Date")
    request_id = answer.one("X-Request-Id")
    assert request_id
    problem = answer.json()
    members = {"type", "title", "status", "detail", "reason", "request_id"} | MENDING.get(reason, set())
    assert set(problem) - {"token_scopes_omitted"} == members
    assert problem["type"] == f"urn:sidegate:reason:{reason}"
    assert (problem["status"], problem["reason"], problem["request_id"]) == (status, reason, request_id)
    assert problem["title"] == Reason(reason).summary
    assert problem["detail"]


class ClosedError(Exception):
    """The connection ended where an answer, or more of one, was due; `received` came before."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"closed after {received!r}")
        self.received = received


class Caller:
    """One connection to the gate."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, to: str = "GET") -> Answer:
        """Return the next answer, final or interim, to a request with the method `to`.

        Raises:
            ClosedError: The connection ended before the answer's framing said so.
        """
        async with asyncio.timeout(PATIENCE_S):
            head = await self._until(b"\r\n\r\n", b"")
            line, *lines = head[:-4].split(b"\r\n")
            status_line = _STATUS_LINE.fullmatch(line)
            assert status_line, f"no status line: {line!r}"
            fields = []
            for text in lines:
                matched = _FIELD_LINE.fullmatch(text)
                assert matched, f"no field line: {text!r}"
                fields.append((matched.group(1).decode(), matched.group(2).decode("latin-1")))
            status = int(status_line.group(1))
            answer = Answer(status, head, fields, b"")
            return Answer(status, head, fields, await self._body(answer, to))

    async def _body(self, answer: Answer, method: str) -> bytes:
        length, coding = answer.one("Content-Length"), answer.one("Transfer-Encoding")
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return b""
        if coding is not None:
            assert (coding, length) == ("chunked", None)
            body = b""
            while True:
                size = int(await self._until(b"\r\n", answer.head + body), 16)
                if not size:
                    while await self._until(b"\r\n", answer.head + body) != b"\r\n":
                        pass  # a trailer
                    return body
                piece = await self._exactly(size + 2, answer.head + body)
                assert piece.endswith(b"\r\n")
                body += piece[:-2]
        if length is not None:
            return await self._exactly(int(length), answer.head)
        assert answer.one("Connection") == "close"
        return await self.reader.read()

    async def _until(self, mark: bytes, before: bytes) -> bytes:
        try:
            return await self.reader.readuntil(mark)
        except asyncio.IncompleteReadError as error:
            raise ClosedError(before + error.partial) from None
        except ConnectionError:
            raise ClosedError(before) from None

    async def _exactly(self, count: int, before: bytes) -> bytes:
        try:
            return await self.reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            raise ClosedError(before + error.partial) from None
        except ConnectionError:
            raise ClosedError(before) from None

    async def ask(self, data: bytes, *, to: str | None = None) -> Answer:
        """Send one request and return its answer; the method is read from the request."""
        self.send(data)
        return await self.answer(to=to or data.split(b" ", 1)[0].decode("latin-1"))

    async def rest(self) -> bytes:
        """Return what comes until the gate ends the connection, cleanly or not."""
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    received += data
        return received

    def abort(self) -> None:
        """Vanish, with a reset: an end of sending alone would still await the answer."""
        sock = self.writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Caller]:
    """Connect to the gate on `port`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
