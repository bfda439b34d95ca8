"""Keep nothing beyond the process: the `memory:` state store.

The live set of revocations is `gateway.tokens.revocations`, so there is nothing to
hold here; a restart forgets every revocation, which is what `memory:` asks for.
"""


class MemoryStore:
    """A `gateway.state.interface.StateStore` that remembers nothing."""

    __slots__ = ()

    async def revoke(self, jti: str, expires_at: int) -> None:
        """Return at once."""

    async def load(self) -> list[tuple[str, int]]:
        """Return no revocations."""
        return []

    async def check(self) -> None:
        """Return at once."""

    async def close(self) -> None:
        """Return at once."""
