"""Follow where the frames of a WebSocket begin and end, without looking at what they carry.

Needed for one thing: a frame of our own (a close frame, when we go away) may stand between two
frames and never inside one. A direction is followed from its first byte on, because a place in
the middle cannot be found later. What is followed costs a step per frame; a read full of tiny
frames would hold the event loop, so beyond a bound the direction is lost for good, and then
nothing of ours is put into it. Pure.

Sources: RFC 6455 5.2 (framing), 5.5 (control frames stand between fragments), 5.5.1, 7.4.1 (1001).
"""

FRAMES_PER_READ = 4096
"""About 3 ms of small frames, twice that of larger ones."""
LONGEST_HEAD = 14

GOING_AWAY = b"\x88\x02\x03\xe9"
"""A close frame with code 1001, as a server sends it."""

_CLOSE = 0x8
_MASKED = 0x80
_LENGTH = 0x7F
_SIXTEEN_BITS, _SIXTY_FOUR_BITS = 126, 127


def masked_going_away(key: bytes) -> bytes:
    """Return the same frame as a client sends it (RFC 6455 5.3).

    Args:
        key: Four octets that nobody can foretell.
    """
    payload = bytes(octet ^ mask for octet, mask in zip(GOING_AWAY[2:], key, strict=False))
    return b"\x88\x82" + key + payload


class FrameReader:
    """One direction of one WebSocket."""

    __slots__ = ("_begun", "_head", "_left", "closes", "is_lost")

    def __init__(self) -> None:
        self._head = b""
        """The bytes of a frame's head that is incomplete."""
        self._left = 0
        """Bytes of the current frame that are still to come."""
        self._begun = False
        """The current frame is a close frame."""
        self.closes = False
        """A close frame has been seen whole: nothing may follow it."""
        self.is_lost = False
        """Where frames begin is not known any more."""

    @property
    def is_between(self) -> bool:
        """Return whether the next byte begins a frame."""
        return not self._head and not self._left and not self.is_lost

    def feed(self, data: bytes) -> None:
        """Follow `data`."""
        self._follow(data, stops=False)

    def next_end(self, data: bytes) -> int:
        """Return how much of `data` belongs to the current frame, and follow that; -1 when it goes on."""
        return self._follow(data, stops=True)

    def _follow(self, data: bytes, *, stops: bool) -> int:
        position, size, frames = 0, len(data), 0
        while position < size and not self.is_lost:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                position += step
            elif self._head or size - position < LONGEST_HEAD:
                position = self._read_head(data, position)
            else:
                second = data[position + 1]
                length = second & _LENGTH
                end = position + (6 if second & _MASKED else 2) + length
                if length >= _SIXTEEN_BITS:
                    position = self._read_head(data, position)
                else:  # the usual small frame, at a fifth of the cost
                    self._begun = data[position] & 0x0F == _CLOSE
                    self._left = max(0, end - size)
                    position = min(end, size)
            if not self._left and not self._head:
                self.closes = self.closes or self._begun
                frames += 1
                if stops and not self.is_lost:
                    return position
                self.is_lost = self.is_lost or frames >= FRAMES_PER_READ
        return -1

    def _read_head(self, data: bytes, position: int) -> int:
        """Read a frame's head, as far as it is there; return where it ends."""
        head = self._head + data[position : position + LONGEST_HEAD - len(self._head)]
        size = 2
        if len(head) >= 2:
            length = head[1] & _LENGTH
            extended = {_SIXTEEN_BITS: 2, _SIXTY_FOUR_BITS: 8}.get(length, 0)
            size += extended + (4 if head[1] & _MASKED else 0)
        if len(head) < size:
            self._head = head
            return len(data)
        if extended:
            length = int.from_bytes(head[2 : 2 + extended], "big")
        self._begun = head[0] & 0x0F == _CLOSE
        self._left = length
        position += size - len(self._head)
        self._head = b""
        return position
