"""Take the answers of key servers in small steps, and not without end.

Whoever serves the keys of one client must not hold up all others. The HTTP client parses
whatever one read brings before the loop turns again, and waits behind any number of interim
answers. What costs time there are heads and chunks, so their lines are counted before they
are parsed, and heads are parsed a few at a time.

What an answer may be is `gateway.tokens.jwks_client`.

Sources: RFC 9110 15.2 (interim answers); RFC 9112 7.1 (chunks).
"""

import socket
import ssl
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp import StreamReader
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from gateway.names import addresses_of
from gateway.tokens.foreign_keys import MAX_SET_BYTES

MAX_INTERIM = 8
"""1xx answers on one connection."""
MAX_LINES = 8192
"""Received on one connection, which carries a few answers: of heads, chunks and bodies together."""
MAX_WIRE_BYTES = 4 * MAX_SET_BYTES
"""Received on one connection."""
STEP_BYTES = 1024
"""Parsed at once: what is behind an interim answer too many is not parsed at all."""


class TooMuchError(aiohttp.ClientError):
    """A key server sent more than any honest one."""


class _Resolver(AbstractResolver):
    """Finds the addresses of a name in every family; aiohttp connects to the first that answers."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`, whatever `family` asks for."""
        return [
            ResolveResult(
                hostname=host, host=place[0], port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, place in await addresses_of(host, port)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class KeyServerConnector(aiohttp.TCPConnector):
    """Makes such connections.

    Args:
        context: The authorities that are trusted.
        options: As `aiohttp.TCPConnector` takes them.
    """

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(ssl=context, resolver=_Resolver(), **options)
        self._factory = cast(Any, partial(_Answers, loop=self._loop))


class _Answers(ResponseHandler):
    """One connection."""

    _body: StreamReader | None = None
    _gave_up = False
    _interim = 0
    _lines = 0
    _wire_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived step by step, unless it is too much."""
        self._wire_bytes += len(data)
        self._lines += data.count(b"\n")
        if self._wire_bytes > MAX_WIRE_BYTES or self._lines > MAX_LINES:
            self._give_up("more octets or lines than a key set has")
        for start in range(0, len(data), STEP_BYTES):
            if not self._gave_up:
                super().data_received(data[start : start + STEP_BYTES])

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take one parsed head, unless it is one interim answer too many."""
        message, payload = data
        self._body = payload
        self._interim += message.code < 200
        if self._interim > MAX_INTERIM:
            self._give_up("too many interim answers")
        else:
            super().feed_data(data, size)

    def _give_up(self, what: str) -> None:
        if self._gave_up:
            return
        self._gave_up = True
        error = TooMuchError(f"the key server sent {what}")
        self.set_exception(error)
        if self._body is not None:
            self._body.set_exception(error)
        if self.transport is not None:
            self.transport.abort()
