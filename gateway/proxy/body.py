"""Follow the body of one request: where it ends, and how long it has become.

Pure. Data comes out as it arrives; framing does not.

Sources: RFC 9112 6.2, 6.3, 7.1.
"""

from gateway.http1.chunked import ChunkedReader


class CountedBody:
    """A body whose length the head told."""

    __slots__ = ("done", "remaining", "rest")

    trailers = b""
    """A counted body has none."""
    is_behind = False
    """It takes all it is given."""

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the body data in `data`; what is beyond the end stays in `rest`."""
        excess = len(data) - self.remaining
        if excess >= 0:
            self.done = True
            if excess:
                self.rest = data[self.remaining :]
                data = data[: self.remaining]
            self.remaining = 0
        else:
            self.remaining = -excess
        return [data] if data else []


class LimitedChunkedBody:
    """A chunked body; `too_large` once its data exceeds the limit (0 = none)."""

    __slots__ = ("_limit", "_reader", "_taken", "too_large")

    def __init__(self, limit_bytes: int) -> None:
        self._reader = ChunkedReader()
        self._limit = limit_bytes
        self._taken = 0
        self.too_large = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the body data in `data`. Raises ChunkError."""
        pieces = self._reader.feed(data)
        if self._limit:
            for piece in pieces:
                self._taken += len(piece)
            self.too_large = self._taken > self._limit
        return pieces

    @property
    def done(self) -> bool:
        """Whether the last chunk and the trailers were read."""
        return self._reader.done

    @property
    def is_behind(self) -> bool:
        """Whether there was more than one feed reads."""
        return self._reader.is_behind

    @property
    def trailers(self) -> bytes:
        """The trailer lines, once done."""
        return self._reader.trailers

    @property
    def rest(self) -> bytes:
        """What came behind the end."""
        return self._reader.rest


RequestBody = CountedBody | LimitedChunkedBody
