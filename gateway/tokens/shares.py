"""Share a bounded table among those whose entries are in it.

Who may add one holds less than a ninth of what is still free. Alone, that is a tenth
of the table; two who take all they can get an eleventh each, and so on: whatever some
take, the table is never full for the next. (The rule is known from switches that
share the memory of their queues.) Nothing is ever taken away from anybody: an entry
leaves when it expires.

What is kept of each owner is how many of his entries expire when, in steps of a
sixteenth of their remaining life or less, so a few numbers for however many entries.

Sources: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory
Packet Switches" (1998).
"""

from collections import OrderedDict
from itertools import islice

_OTHERS = 9
_STEPS = 16
_SHORTEST_STEP_S = 16
_LOOKED_AT = 2
"""Owners whose expired entries leave the total with each addition."""


class Shares:
    """What each owner holds of one table. Pure: the time is passed in."""

    __slots__ = ("_held", "limit", "total")

    def __init__(self, limit: int) -> None:
        """Share a table of `limit` entries."""
        self.limit = limit
        self.total = 0
        """All entries that owners hold; those that have expired leave it a little later."""
        self._held: OrderedDict[str, dict[int, int]] = OrderedDict()
        """Owner -> second from which entries no longer count -> how many."""

    def held(self, owner: str, now: float) -> int:
        """Return how many entries of `owner` have not expired, or only just."""
        by_end = self._held.get(owner)
        if by_end is None:
            return 0
        for end in [end for end in by_end if end <= now]:
            self.total -= by_end.pop(end)
        if not by_end:
            del self._held[owner]
        return sum(by_end.values())

    def has_plenty(self, owner: str, total: int, now: float) -> bool:
        """Return whether `owner` holds less than half of what it may."""
        return self.held(owner, now) * _OTHERS * 2 < self.limit - total

    def wait_s(self, owner: str, total: int, now: float) -> float:
        """Return in how many seconds `owner` may have room for one more; 0 for now.

        Args:
            owner: Who wants to add an entry.
            total: All entries of the table, whoever's.
            now: Epoch seconds.
        """
        held = self.held(owner, now)
        if held * _OTHERS < self.limit - total:
            return 0.0
        return max(1.0, min(self._held.get(owner, {}), default=now) - now)

    def add(self, owner: str, expires_at: int, now: float) -> None:
        """Count one entry of `owner`."""
        left = max(1, expires_at - int(now))
        step = max(_SHORTEST_STEP_S, 1 << (left // _STEPS).bit_length())
        end = -(-expires_at // step) * step
        by_end = self._held.setdefault(owner, {})
        by_end[end] = by_end.get(end, 0) + 1
        self.total += 1
        for other in list(islice(self._held, _LOOKED_AT)):
            if self.held(other, now):
                self._held.move_to_end(other)
