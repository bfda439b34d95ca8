"""Keep nothing beyond the process: the `memory:` state store.

The live set of revocations is `gateway.tokens.revocations`, so the store has nothing
to hold; a restart forgets every revocation and every used assertion, which is what
`memory:` asks for.
"""

import hashlib
import heapq
import time
from collections.abc import Callable

from gateway.state.interface import StateUnavailableError
from gateway.tokens.revocations import Revocations

MAX_USED = 1_000_000
"""Used keys that are remembered at once (about 150 octets each); beyond it nothing is let through."""

_PRUNED_PER_USE = 4


class MemoryReplayGuard:
    """A `gateway.state.interface.ReplayGuard` of one process.

    Expired keys leave a few at a time with every use, so that no call sweeps them all.
    """

    __slots__ = ("_by_expiry", "_clock", "_limit", "_used")

    def __init__(self, clock: Callable[[], float] = time.time, *, limit: int = MAX_USED) -> None:
        """Begin with nothing used; `clock` returns epoch seconds."""
        self._clock = clock
        self._limit = limit
        self._used: set[bytes] = set()
        self._by_expiry: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._used)

    async def first_use(self, key: str, expires_at: int) -> bool:
        """Return whether `key` was not used before; see `ReplayGuard.first_use`."""
        now = self._clock()
        for _ in range(_PRUNED_PER_USE):
            if not self._by_expiry or self._by_expiry[0][0] > now:
                break
            self._used.discard(heapq.heappop(self._by_expiry)[1])
        # A key is a caller's text: what is kept of it has one size.
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        if digest in self._used:
            return False
        if len(self._used) >= self._limit:
            raise StateUnavailableError("memory: as many keys are in use as may be remembered")
        self._used.add(digest)
        heapq.heappush(self._by_expiry, (expires_at, digest))
        return True


class MemoryStore(MemoryReplayGuard):
    """A `gateway.state.interface.StateStore` that keeps no revocation: they are in the process anyway."""

    __slots__ = ()

    async def revoke(self, jti: str, expires_at: int) -> None:
        """Return at once."""

    async def revoke_under(self, issuer: str, jti: str, expires_at: int) -> None:
        """Return at once: what the process knows holds for every URL."""

    async def revoke_client(self, client_id: str, issued_until: int) -> int:
        """Return at once that there was none before."""
        return -1

    async def follow(self, revocations: Revocations) -> None:
        """Return at once."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return nothing: that it is gone with the process is what `memory:` says."""
        return ()

    async def check(self) -> None:
        """Return at once."""

    async def close(self) -> None:
        """Return at once."""
