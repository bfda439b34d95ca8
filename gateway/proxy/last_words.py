"""Read what lies in a socket after a write to it has failed.

Who is sent more than it wants may answer and close without reading on. Its answer and a reset
arrive together; a write that meets the reset ends the transport, which then reads no more. What
the kernel had taken before is still there. Over TLS it is still to be decrypted: the record layer
of the transport outlives its connection, and does nothing any more but what is done here.

Sources: RFC 9112 9.5, 9.6 (an answer before the end of the request, and the reset behind it).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import socket

PIECE_BYTES = 64 * 1024
LIMIT_BYTES = 8 * 1024 * 1024
"""More than the kernel keeps for one socket: who could still send cannot keep us busy."""


def read_last_words(sock: socket.socket, transport: asyncio.Transport) -> Iterator[bytes]:
    """Yield what was said before the end; an empty piece at an end that was said.

    Args:
        sock: Of the transport, not closed and not blocking.
        transport: That failed.
    """
    tls = transport.get_extra_info("ssl_object")
    left = LIMIT_BYTES
    while left > 0:
        try:
            data = os.read(sock.fileno(), PIECE_BYTES)
        except OSError:
            return  # nothing more, or the reset itself
        left -= len(data)
        if tls is None:
            yield data
        elif data:
            yield from _decrypted(data, tls, transport)
        if not data:
            return


def _decrypted(data: bytes, tls: ssl.SSLObject, transport: asyncio.Transport) -> Iterator[bytes]:
    """Yield what the records say that `data` completes; an empty piece at the alert that says the end."""
    records = transport.get_extra_info("uvloop.sslproto")
    if records is None:
        return
    records.get_buffer(PIECE_BYTES)[: len(data)] = data
    records.buffer_updated(len(data))
    while True:
        try:
            text = tls.read(PIECE_BYTES)
        except ssl.SSLError:
            return  # the next record is incomplete, or none
        yield text
        if not text:
            return
