"""Remember who has lately proven to be which client, so that strangers cannot stand in his way.

Pure: the time is passed in. What is remembered is a pair: a peer group (see
`gateway.policy.peers`) and a client that was proven from there within a day. It lets
nobody in. It only says whose attempt is worth a comparison while strangers have used up
what their common address may fail, and whose check has turns of its own in the queue.

Bounded, with a share for each: only right secrets add pairs, and a client has at most
`CLIENT_ENTRIES`. Into a full table a client with pairs gives up its own oldest; a client
without any gets the place of the pair that was used least recently. So one leaked secret
makes nobody else unknown, from however many addresses it is used.

What is imperfect: a process knows those who proved themselves to it. After a start, or at
another replica, a caller is a stranger until its first login.
"""

from collections import OrderedDict

KNOWN_S = 24 * 3600.0
ENTRIES = 32_768
CLIENT_ENTRIES = 1024


class KnownCallers:
    """The pairs of peer group and client of one process. Not thread-safe: the event loop's own."""

    __slots__ = ("_by_client", "_client_entries", "_entries", "_pairs")

    def __init__(self, entries: int = ENTRIES, client_entries: int = CLIENT_ENTRIES) -> None:
        """Remember at most `entries` pairs, `client_entries` of one client."""
        self._entries = entries
        self._client_entries = client_entries
        self._pairs: OrderedDict[tuple[str, str], float] = OrderedDict()
        """(client, peer) -> until when it is known; the least recently used first."""
        self._by_client: dict[str, OrderedDict[str, None]] = {}
        """Client -> its peers, the least recently used first."""

    def __len__(self) -> int:
        return len(self._pairs)

    def note(self, peer: str, client_id: str, monotonic_now: float) -> None:
        """Remember that `client_id` has proven itself from `peer`."""
        pair = (client_id, peer)
        if pair not in self._pairs:
            self._make_room(client_id, monotonic_now)
        self._pairs[pair] = monotonic_now + KNOWN_S
        self._pairs.move_to_end(pair)
        peers = self._by_client.setdefault(client_id, OrderedDict())
        peers[peer] = None
        peers.move_to_end(peer)

    def includes(self, peer: str, client_id: str, monotonic_now: float) -> bool:
        """Return whether `client_id` has proven itself from `peer` within a day."""
        return self._pairs.get((client_id, peer), 0.0) > monotonic_now

    def _make_room(self, client_id: str, monotonic_now: float) -> None:
        while self._pairs:
            oldest = next(iter(self._pairs))
            if self._pairs[oldest] > monotonic_now:
                break
            self._forget(*oldest)
        own = self._by_client.get(client_id, ())
        if len(own) >= self._client_entries or (own and len(self._pairs) >= self._entries):
            self._forget(client_id, next(iter(own)))
        elif len(self._pairs) >= self._entries:
            self._forget(*next(iter(self._pairs)))

    def _forget(self, client_id: str, peer: str) -> None:
        del self._pairs[client_id, peer]
        peers = self._by_client[client_id]
        del peers[peer]
        if not peers:
            del self._by_client[client_id]
