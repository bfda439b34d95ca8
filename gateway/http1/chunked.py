"""Read the chunked transfer coding strictly and piece by piece.

The pieces of data come out as they arrive; sizes, extensions and trailers do not:
whatever is forwarded is framed anew by `chunk`. So two readers can disagree about
nothing we pass on. Unlike llhttp, this reader says exactly where a message ends,
which a pipelined next request depends on; `tests/http1/test_chunked.py` holds both
against each other.

Extensions are read over, bounded and dropped (RFC 9112 7.1.1). Trailers are bounded,
held to the field pattern and kept apart: `gateway.http1.forwarding` says which of them pass.

Sources: RFC 9112 7.1.
"""

from gateway.http1 import grammar

LINE_LIMIT_BYTES = 256
"""Of a chunk-size line with its extension."""
EXTENSIONS_LIMIT_BYTES = 16 * 1024
"""Of all size lines beyond 20 bytes each: extensions cannot be used to send without end."""
TRAILER_LIMIT_BYTES = 8 * 1024

PIECES_PER_FEED = 512
"""A read full of one-byte chunks would otherwise hold the event loop for a tenth of a second."""

LAST_CHUNK = b"0\r\n\r\n"


class ChunkError(Exception):
    """The coding is malformed; the text says how, without quoting input."""


class ChunkedReader:
    """Read one chunked body.

    Feed bytes until `done`; what is left over after the end stays in `rest`.
    """

    __slots__ = (
        "_extension_bytes",
        "_held",
        "_in_trailers",
        "_remaining",
        "done",
        "is_behind",
        "rest",
        "trailers",
    )

    def __init__(self) -> None:
        self._held = b""
        """Bytes of an incomplete line, or of the CRLF after a chunk."""
        self._remaining = -1
        """Data bytes left of the current chunk; 0: its CRLF is due; -1: a size line is due."""
        self._extension_bytes = 0
        self._in_trailers = False
        self.done = False
        self.is_behind = False
        """There was more than one feed reads: feed again, with nothing, before anything else."""
        self.rest = b""
        self.trailers = b""
        """The trailer lines, each with its CRLF, once `done`."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of body data in `data`, none of them empty, and at most `PIECES_PER_FEED`.

        Raises:
            ChunkError: The coding is malformed or beyond a limit. Feed nothing more.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        position = 0
        end = len(data)
        self.is_behind = False
        while not self.done:
            if len(pieces) == PIECES_PER_FEED and position < end:
                self._held = data[position:]
                self.is_behind = True
                return pieces
            if self._remaining > 0:
                if position == end:
                    return pieces
                piece = data[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
            elif self._remaining == 0:
                following = data[position : position + 2]
                if following != b"\r\n"[: len(following)]:
                    raise ChunkError("a chunk is longer than its size")
                if len(following) < 2:
                    self._held = following
                    return pieces
                position += 2
                self._remaining = -1
            elif self._in_trailers:
                moved = self._read_trailers(data, position)
                if moved < 0:
                    return pieces
                position = moved
            else:
                moved = self._read_size(data, position)
                if moved < 0:
                    return pieces
                position = moved
        self.rest = data[position:]
        return pieces

    def _read_size(self, data: bytes, position: int) -> int:
        """Read one size line; return the position after it, or -1 when it is incomplete."""
        newline = data.find(b"\n", position, position + LINE_LIMIT_BYTES)
        if newline < 0:
            if len(data) - position >= LINE_LIMIT_BYTES:
                raise ChunkError("a chunk-size line is too long")
            self._held = data[position:]
            return -1
        line = grammar.CHUNK_SIZE_LINE.fullmatch(data, position, newline + 1)
        if line is None:
            raise ChunkError("a chunk-size line is malformed")
        self._extension_bytes += max(0, newline + 1 - position - 20)
        if self._extension_bytes > EXTENSIONS_LIMIT_BYTES:
            raise ChunkError("too many chunk extensions")
        size = int(line.group(1), 16)
        if size:
            self._remaining = size
        else:
            self._in_trailers = True
        return newline + 1

    def _read_trailers(self, data: bytes, position: int) -> int:
        """Read the trailer section whole; return the position after it, or -1 when it is incomplete."""
        if data.startswith(b"\r\n", position):
            self.done = True
            return position + 2
        end = data.find(b"\r\n\r\n", position)
        if end < 0:
            if len(data) - position > TRAILER_LIMIT_BYTES + 3:  # but for the last byte of the end
                raise ChunkError("the trailer section is too long")
            self._held = data[position:]
            return -1
        if end - position > TRAILER_LIMIT_BYTES or not grammar.FIELD_LINES.fullmatch(data, position, end + 4):
            raise ChunkError("the trailer section is malformed")
        self.done = True
        self.trailers = data[position : end + 2]
        return end + 4


def last_chunk(trailers: bytes) -> bytes:
    """Return the end of a chunked body with these trailer lines, which may be none."""
    return b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK


def chunk(data: bytes) -> bytes:
    """Return `data`, not empty, framed as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
