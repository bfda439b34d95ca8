"""Remember which of our tokens were revoked, until they would have expired anyway.

In memory and exact; what must survive a crash is written by `gateway.state` before
it is added here. Expired entries leave a few at a time with every addition, so that
no call ever sweeps the whole set.

A client can lose everything at once: then its tokens are refused by when they were
issued, however many there are.

Sources: RFC 7009 2.1 and 3.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol

from gateway.tokens.claims import AccessToken

_PRUNED_PER_ADDITION = 4


class Freshness(Protocol):
    """Says whether revocations that others made can be missing here."""

    def holds(self) -> bool:
        """Return whether every revocation that was answered is known."""


class Revocations:
    """The `jti` of every revoked token that has not expired yet, and the clients that lost theirs."""

    __slots__ = ("_by_expiry", "_clients", "_expiry", "generation", "lease")

    def __init__(
        self, known: Iterable[tuple[str, int]] = (), clients: Iterable[tuple[str, int]] = ()
    ) -> None:
        """Start with what is known.

        Args:
            known: Pairs of `jti` and expiry in epoch seconds.
            clients: Pairs of client and the last second of issue that is revoked.
        """
        self._clients: dict[str, int] = dict(clients)
        self.lease: Freshness | None = None
        """None where nothing can be missing, or where that is accepted for a while."""
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

    def refuses(self, token: AccessToken) -> bool:
        """Return whether this token was revoked, by itself or with all of its client's."""
        if token.jti in self._expiry:
            return True
        clients = self._clients
        if not clients:
            return False
        return token.issued_at <= clients.get(token.client_id, -1)

    @property
    def are_complete(self) -> bool:
        """Return whether no revocation is missing that must be known."""
        return self.lease is None or self.lease.holds()

    def client_revoked_until(self, client_id: str) -> int:
        """Return the last second of issue for which this client's tokens are revoked; -1 for none."""
        return self._clients.get(client_id, -1)

    def add_client(self, client_id: str, issued_until: int) -> None:
        """Revoke every token of a client that was issued in this second or before it."""
        if issued_until > self.client_revoked_until(client_id):
            self._clients[client_id] = issued_until
            self.generation += 1

    def entries(self) -> Iterator[tuple[str, int]]:
        """Yield each revoked token's `jti` and expiry."""
        yield from self._expiry.items()

    def clients(self) -> Iterator[tuple[str, int]]:
        """Yield each client that lost its tokens, and the last second of issue that is revoked."""
        yield from self._clients.items()

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
