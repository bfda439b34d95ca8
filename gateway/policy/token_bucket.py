"""Count events against a rate, by key, within bounded memory.

Pure: the time is passed in; what a full bucket means for a request is the caller's.

The theory of it. A bucket holds at most `burst` tokens and gains `requests` of them
per period; an event takes one. Per key only one number is kept: the moment at which
the bucket would be full again. (This is the generic cell rate algorithm: the same
sums, without a timer and without rounding at the edge of a window.) A bucket that is
full is the same as none, so it is forgotten without loss.

The table is bounded, and forgetting a bucket that is not full gives its tokens back.
So that nobody empties his own record by filling the table, room is made where it costs
least: of the oldest `LOOK` entries the one that would be full first goes. Keys used
once to push others out are the first of those, and an exhausted bucket goes only where
`LOOK` neighbours are as exhausted: that takes at least `LOOK` times the requests that a
reset gives back, from as many different keys.

Sources: ITU-T I.371 Annex A (GCRA, virtual scheduling).
"""

from collections import OrderedDict
from itertools import islice

ENTRIES = 8192
"""Buckets of one table that are not full; about 1 MiB."""
LOOK = 16
"""How many of the oldest entries are looked at to make room."""

_ROUNDING = 1e-6
"""Tokens; what sums of floats may be off by."""


class TokenBuckets:
    """One bucket per key, all with the same rate.

    Args:
        requests: Tokens gained per period, at least 1.
        per_s: The period in seconds, above 0.
        burst: The most tokens a bucket holds, at least 1.
        entries: The most buckets that are remembered.
    """

    __slots__ = ("_burst", "_entries", "_full_at", "_interval_s")

    def __init__(self, requests: int, per_s: float, burst: int, *, entries: int = ENTRIES) -> None:
        self._interval_s = per_s / requests
        self._burst = burst
        self._entries = entries
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, monotonic_now: float) -> float:
        """Take one token and return how many are left.

        A negative number means that there was none and nothing was taken: -x says that
        x tokens are missing, which are there after `wait_s(-x)` seconds.
        """
        full_at = self._full_at.get(key, 0.0)
        begin = max(monotonic_now, full_at)
        after = begin + self._interval_s
        left = self._burst - (after - monotonic_now) / self._interval_s
        if left < -_ROUNDING:
            return left
        if full_at == 0.0 and len(self._full_at) >= self._entries:
            self._make_room(monotonic_now)
        self._full_at[key] = after
        return max(0.0, left)

    def missing(self, key: str, monotonic_now: float) -> float:
        """Return how many tokens (or parts of one) are missing for one more; 0 for none. Takes nothing."""
        full_at = self._full_at.get(key, 0.0)
        if full_at <= monotonic_now:
            return 0.0
        missing = (full_at - monotonic_now) / self._interval_s + 1 - self._burst
        return missing if missing > _ROUNDING else 0.0

    def wait_s(self, tokens: float) -> float:
        """Return in how many seconds a bucket gains `tokens`."""
        return tokens * self._interval_s

    def prune(self, monotonic_now: float, *, limit: int) -> None:
        """Forget full buckets among the `limit` entries that were not looked at for longest."""
        table = self._full_at
        for key, full_at in list(islice(table.items(), limit)):
            if full_at <= monotonic_now:
                del table[key]
            else:
                table.move_to_end(key)

    def __len__(self) -> int:
        return len(self._full_at)

    def _make_room(self, monotonic_now: float) -> None:
        table = self._full_at
        oldest = list(islice(table.items(), LOOK))
        victim = min(oldest, key=_moment)[0]
        for key, full_at in oldest:
            if full_at <= monotonic_now or key is victim:
                del table[key]
            else:
                table.move_to_end(key)


def _moment(entry: tuple[str, float]) -> float:
    return entry[1]
