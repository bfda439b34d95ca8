"""Remember which of our tokens were revoked, until they would have expired anyway.

In memory and exact; what must survive a crash is written by `gateway.state` before
it is added here. Expired entries leave a few at a time with every addition, so that
no call ever sweeps the whole set.

**One token.** A token whose signature was verified is revoked by its `jti`. One that
could not be verified (its key is not here now) is revoked by client and `jti`
together: whoever presents an invented token can name a `jti` of another client, and
must not reach that client's token with it. Both kinds are kept under one text,
`name_of`; no `jti` of ours looks like the second.

**A client.** It can lose everything at once, however much that is: its tokens are
refused by when they were issued. The replicas' clocks are not one clock, so what a
replica ahead of the one that revokes has just issued carries a later time. Therefore
tokens are refused up to `clocks_apart_s` after the second of the revocation, except
those with the *mark* of this very revocation in front of their `jti`, which are newer:
only who knows of the revocation writes it. The mark follows from client and second;
both are in the store already, and each revocation of a client has a later second than
the one before. What is issued by a replica that has not heard yet is refused.

**Bounds.** The table is shared out (`gateway.tokens.shares`); whoever has his share is
told so, and nothing that was added is dropped before it expires. Entries are kept
`kept_s` longer, for clocks that jump ahead and back, as long as there is room.

Sources: RFC 7009 2.1 and 3.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.claims import AccessToken
from gateway.tokens.expiring_names import ExpiringNames
from gateway.tokens.shares import Shares

MAX_REVOCATIONS = 500_000
"""Of all clients together; about 20 MiB, and as many rows in the store."""
CLOCKS_APART_S = 120
"""How far the clocks of two replicas may differ: each may be a minute wrong."""
KEPT_S = 86_400.0
"""How much longer than it lives a token is remembered as revoked, where there is room."""

_PRUNED_PER_ADDITION = 4
_UNVERIFIED = "unverified:"
_MARK_CHARACTERS = 11


class Freshness(Protocol):
    """Says whether revocations that others made can be missing here."""

    def holds(self) -> bool:
        """Return whether every revocation that was answered is known."""


def name_of(client_id: str, jti: str, *, verified: bool) -> str:
    """Return the text under which the revocation of one token is kept.

    Args:
        client_id: Of the token.
        jti: Of the token.
        verified: Whether the token's signature was verified, so that it says whose it is.
    """
    if verified:
        return jti
    digest = hashlib.sha256(len(client_id).to_bytes(4, "big"))
    digest.update(client_id.encode("utf-8", "surrogatepass") + jti.encode("utf-8", "surrogatepass"))
    return _UNVERIFIED + encode_base64url(digest.digest()[:16]).decode()


def _mark_of(client_id: str, issued_until: int) -> str:
    digest = hashlib.sha256(f"{issued_until} {client_id}".encode("utf-8", "surrogatepass")).digest()
    return encode_base64url(digest).decode()[:_MARK_CHARACTERS] + "."


class Revocations:
    """The `jti` of every revoked token that has not expired yet, and the clients that lost theirs."""

    __slots__ = (
        "_clients",
        "_clocks_apart_s",
        "_has_unverified",
        "_kept_s",
        "_names",
        "_shares",
        "generation",
        "lease",
    )

    def __init__(
        self,
        known: Iterable[tuple[str, int]] = (),
        clients: Iterable[tuple[str, int]] = (),
        *,
        limit: int = MAX_REVOCATIONS,
        clocks_apart_s: int = 0,
        kept_s: float = 0.0,
    ) -> None:
        """Start with what is known.

        Args:
            known: Pairs of name (`name_of`) and expiry in epoch seconds.
            clients: Pairs of client and the second in which it lost its tokens.
            limit: How many names those who revoke here may fill together.
            clocks_apart_s: How far the clocks of those who issue may differ.
            kept_s: How much longer than to its expiry a name is kept while there is room.
        """
        self.lease: Freshness | None = None
        """None where nothing can be missing, or where that is accepted for a while."""
        self._clocks_apart_s = clocks_apart_s
        self._kept_s = kept_s
        self._shares = Shares(limit)
        self._clients = {
            client_id: (issued_until, _mark_of(client_id, issued_until))
            for client_id, issued_until in clients
        }
        self._names = ExpiringNames()
        self._has_unverified = False
        self.generation = 0
        """Rises with every new revocation: what was memoised before it must be looked at again."""
        self.learn(known)

    def __len__(self) -> int:
        return len(self._names)

    # --- asking

    def is_revoked(self, jti: str) -> bool:
        """Return whether the token with this `jti` was revoked as one that was verified."""
        return jti in self._names

    def refuses(self, token: AccessToken) -> bool:
        """Return whether this token was revoked, by itself or with all of its client's."""
        if self._names and self._knows(token):
            return True
        clients = self._clients
        if not clients:
            return False
        lost = clients.get(token.client_id)
        return (
            lost is not None
            and token.issued_at <= lost[0] + self._clocks_apart_s
            and not token.jti.startswith(lost[1])
        )

    def _knows(self, token: AccessToken) -> bool:
        names = self._names
        return token.jti in names or (
            self._has_unverified and name_of(token.client_id, token.jti, verified=False) in names
        )

    @property
    def are_complete(self) -> bool:
        """Return whether no revocation is missing that must be known."""
        return self.lease is None or self.lease.holds()

    @property
    def margin_s(self) -> float:
        """Return how long expired names are kept now; stores keep them as long."""
        if len(self._names) * 2 < self._shares.limit:
            return self._kept_s
        return min(self._kept_s, self._clocks_apart_s)

    def is_kept(self, name: str, expires_at: int) -> bool:
        """Return whether `name` is kept until `expires_at` at least."""
        expiry = self._names.expiry(name)
        return expiry is not None and expiry >= expires_at

    def wait_s(self, client_id: str, now: float) -> float:
        """Return in how many seconds this client may revoke one more of its tokens; 0 for now."""
        return self._shares.wait_s(client_id, len(self._names), now)

    def client_revoked_until(self, client_id: str) -> int:
        """Return the second in which this client lost its tokens for the last time; -1 for never."""
        lost = self._clients.get(client_id)
        return -1 if lost is None else lost[0]

    def mark_for(self, client_id: str, issued_at: int) -> str:
        """Return what the `jti` of a token that is issued now must begin with; mostly nothing."""
        lost = self._clients.get(client_id)
        return lost[1] if lost is not None and issued_at <= lost[0] + self._clocks_apart_s else ""

    def next_second(self, client_id: str, now: float) -> int:
        """Return the second under which all of a client's tokens would be revoked now.

        Later than the last one, so that its mark is new.
        """
        return max(int(now), self.client_revoked_until(client_id) + 1)

    def entries(self) -> Iterator[tuple[str, int]]:
        """Yield each revoked token's name and expiry."""
        yield from self._names

    def clients(self) -> Iterator[tuple[str, int]]:
        """Yield each client that lost its tokens, and the second in which it did."""
        for client_id, (issued_until, _) in self._clients.items():
            yield client_id, issued_until

    # --- adding

    def add_client(self, client_id: str, issued_until: int) -> None:
        """Revoke what was issued to a client in this second or before it, and until all know that."""
        if issued_until > self.client_revoked_until(client_id):
            self._clients[client_id] = issued_until, _mark_of(client_id, issued_until)
            self.generation += 1

    def add(self, name: str, expires_at: int, *, now: float, by: str | None = None) -> None:
        """Revoke the token `name`, which expires at `expires_at`, and drop a few expired entries.

        Args:
            name: As `name_of` gives it.
            expires_at: Epoch seconds; a later one replaces an earlier one.
            now: Epoch seconds.
            by: The client whose share it counts to; None for what was taken from the store.
        """
        self.prune(now, limit=_PRUNED_PER_ADDITION)
        if self._names.put(name, expires_at):
            self.generation += 1
            self._has_unverified |= name.startswith(_UNVERIFIED)
            if by is not None:
                # What has expired here is kept for the clocks of others: it counts as long.
                self._shares.add(by, max(expires_at, int(now)) + self._clocks_apart_s, now)

    def learn(self, known: Iterable[tuple[str, int]]) -> None:
        """Add what the store kept, pairs of name and expiry, all at once."""
        for name, expires_at in known:
            if self._names.put(name, expires_at):
                self.generation += 1
                self._has_unverified |= name.startswith(_UNVERIFIED)

    def prune(self, now: float, *, limit: int) -> int:
        """Drop at most `limit` entries whose tokens have expired; return how many were dropped."""
        return self._names.prune(now - self.margin_s, limit=limit)
