"""Name what the process asks of its state store.

The store keeps what must outlive the process: what was revoked, and what was used.
Each implementation decides where; what is promised is the same: when a call that
records something returns, a crash loses nothing of it.
"""

from typing import Protocol

from gateway.tokens.revocations import Revocations


class StateUnavailableError(Exception):
    """The store cannot do what was asked; the message names it and what to look at."""


class ReplayGuard(Protocol):
    """Remembers what may be used once only. May raise `StateUnavailableError`: then nobody may pass."""

    async def first_use(self, key: str, expires_at: int) -> bool:
        """Return whether `key` was not used before, and remember it.

        Of several callers with one key, in any process that shares the state, one alone
        gets True; and it gets it only when the record is durable.

        Args:
            key: What is used: it names the kind, the issuer and the `jti`, and may be of any length.
                A second line is the name by which processes of the release before remember it. Where
                one of these has done so it is used; another process of this release may write the
                same second line for another first one.
            expires_at: Epoch seconds from which on the key may be forgotten.
        """


class SharedCounters(Protocol):
    """Counts of events, added up over all processes."""

    async def count(self, key: str, window_s: float) -> tuple[int, float]:
        """Count one event; return how many there were in this window, and in how many seconds it ends.

        The window begins with the first event and is `window_s` long.
        """


class StateStore(ReplayGuard, Protocol):
    """Durable revocations. Every method may raise `StateUnavailableError`."""

    async def revoke(self, jti: str, expires_at: int) -> None:
        """Record that a token is revoked, at least until `expires_at`.

        Returns only when the record is durable.

        Args:
            jti: What `gateway.tokens.revocations.name_of` gives.
            expires_at: Epoch seconds; a later one replaces an earlier one.
        """

    async def revoke_under(self, issuer: str, jti: str, expires_at: int) -> None:
        """Record a revocation for processes of another `issuer.url`, where the store keeps these apart.

        Those may be running still, or start with that URL again. Like `revoke` otherwise.

        Args:
            issuer: Their `issuer.url`: the `iss` of a token that was verified.
            jti: As for `revoke`.
            expires_at: As for `revoke`.
        """

    async def revoke_client(self, client_id: str, issued_until: int) -> int:
        """Record that a client lost all of its tokens in that second; return what was recorded before.

        That is the second of the revocation before, or -1. When it is not earlier than
        `issued_until`, nothing has changed. Returns only when the record is durable; it is kept
        for good: there is one for a client.
        """

    async def follow(self, revocations: Revocations) -> None:
        """Add everything that is recorded to `revocations`, and keep adding what others record."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why what is recorded may not stay, in sentences for the operator; empty for no doubt."""

    async def check(self) -> None:
        """Return when the store would take a revocation now."""

    async def close(self) -> None:
        """Finish what was begun and release the store. Later calls fail."""
