"""Keep what the limits must know beyond one request: who is here, what was counted, how late we are.

The policy says whether a caller may; here is whether there is room: connections per
peer, rate limits, the loop's lag. What is kept outlives snapshots and is bounded: peers
by their open connections, rate limits by their tables (`gateway.policy.token_bucket`).
What a single connection may do is bounded by `gateway.proxy.downstream`'s deadlines.
"""

from collections import Counter
from collections.abc import Callable

from gateway.http1.memo import Memo
from gateway.http1.request import FieldBlock
from gateway.policy.peers import forwarded_address, peer_group
from gateway.proxy.shedding import Shedding

CONNECTIONS_PER_PEER = "connections_per_peer"
"""The name of the limit in metrics."""
LINGERING = 64
"""Connections beyond a limit that are told so; further ones are cut, so that telling costs little."""
FORWARDED_ENTRIES = 1024
FORWARDED_BYTES = 256
"""Longer X-Forwarded-For values are read anew each time: they are rare, and memory stays bounded."""


class Admission:
    """The state of one gate's limits."""

    __slots__ = ("_connections", "_forwarded", "_latest", "refused", "shedding")

    def __init__(self) -> None:
        self.shedding = Shedding()
        self.refused: Counter[tuple[str, str]] = Counter()
        """(route's name or nothing, limit) -> what was refused, for the metrics to take."""
        self._connections: dict[str, int] = {}
        self._forwarded: Memo[bytes, str] = Memo(FORWARDED_ENTRIES)
        self._latest: tuple[FieldBlock | None, str | None] = (None, None)
        """The fields that were asked about last, and whom they count for: one request asks twice."""

    def enter(self, peer: str) -> int:
        """Note one more connection of `peer`; return how many it has now."""
        count = self._connections[peer] = self._connections.get(peer, 0) + 1
        return count

    def leave(self, peer: str) -> None:
        """Note that a connection of `peer` has gone."""
        count = self._connections.get(peer, 0)
        if count > 1:
            self._connections[peer] = count - 1
        else:
            self._connections.pop(peer, None)

    def forwarded_peer(self, block: FieldBlock, is_trusted: Callable[[str], bool]) -> str | None:
        """Return whom a trusted proxy's request counts for, or None when the proxy does not say."""
        if block is self._latest[0]:
            return self._latest[1]
        values = [value for lower, _, value in block.fields if lower == b"x-forwarded-for"]
        peer = self._forwarded_group(values, is_trusted) if values else None
        self._latest = (block, peer)
        return peer

    def _forwarded_group(self, values: list[bytes], is_trusted: Callable[[str], bool]) -> str | None:
        key = b",".join(values)
        known = self._forwarded.recall(key) if len(key) <= FORWARDED_BYTES else None
        if known is None:
            address = forwarded_address(values, is_trusted)
            known = "" if address is None else peer_group(address)
            if len(key) <= FORWARDED_BYTES:
                self._forwarded.remember(key, known)
        return known or None

    def forget_forwarded(self) -> None:
        """Forget whom requests count for: other proxies are trusted now."""
        self._forwarded = Memo(FORWARDED_ENTRIES)
        self._latest = (None, None)

    def take_refused(self) -> list[tuple[tuple[str, str], int]]:
        """Return what was refused since the last call."""
        taken = list(self.refused.items())
        self.refused.clear()
        return taken
