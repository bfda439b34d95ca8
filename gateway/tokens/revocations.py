"""Remember which of our tokens were revoked, until they would have expired anyway.

In memory and exact; what must survive a crash is written by `gateway.state` before
it is added here. Expired entries leave a few at a time with every addition, so that
no call ever sweeps the whole set.

Sources: RFC 7009 2.1 and 3.
"""

import heapq
from collections.abc import Iterable

_PRUNED_PER_ADDITION = 4


class Revocations:
    """The `jti` of every revoked token that has not expired yet."""

    __slots__ = ("_by_expiry", "_expiry", "generation")

    def __init__(self, known: Iterable[tuple[str, int]] = ()) -> None:
        """Start with `known`: pairs of `jti` and expiry in epoch seconds."""
        self._expiry: dict[str, int] = dict(known)
        self._by_expiry: list[tuple[int, str]] = [(expiry, jti) for jti, expiry in self._expiry.items()]
        heapq.heapify(self._by_expiry)
        self.generation = 0
        """Rises with every new revocation: what was memoised before it must be looked at again."""

    def __len__(self) -> int:
        return len(self._expiry)

    def is_revoked(self, jti: str) -> bool:
        """Return whether the token with this `jti` was revoked."""
        return jti in self._expiry

    def add(self, jti: str, expires_at: int, *, now: float) -> None:
        """Revoke the token `jti`, which expires at `expires_at`, and drop a few expired entries."""
        self.prune(now, limit=_PRUNED_PER_ADDITION)
        if jti not in self._expiry:
            self._expiry[jti] = expires_at
            heapq.heappush(self._by_expiry, (expires_at, jti))
            self.generation += 1

    def prune(self, now: float, *, limit: int) -> int:
        """Drop at most `limit` entries whose tokens have expired; return how many were dropped."""
        dropped = 0
        while dropped < limit and self._by_expiry and self._by_expiry[0][0] <= now:
            _, jti = heapq.heappop(self._by_expiry)
            del self._expiry[jti]
            dropped += 1
        return dropped
