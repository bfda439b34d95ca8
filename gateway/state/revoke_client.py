"""Revoke everything that a client holds, under a second that no revocation of it had before.

Why the second must be a new one is told in `gateway.tokens.revocations`.
"""

from gateway.state.interface import StateStore, StateUnavailableError
from gateway.tokens.revocations import Revocations

_ATTEMPTS = 16


async def revoke_client(client_id: str, store: StateStore, revocations: Revocations, *, now: float) -> int:
    """Return the second under which all tokens of `client_id` are revoked, once that is durable.

    Raises:
        StateUnavailableError: It could not be recorded; nothing was revoked.
    """
    second = revocations.next_second(client_id, now)
    for _ in range(_ATTEMPTS):
        recorded = await store.revoke_client(client_id, second)
        if recorded < second:
            revocations.add_client(client_id, second)
            return second
        # Another process revokes them, too: its tokens are newer than its revocation, not than ours.
        second = recorded + 1
    raise StateUnavailableError("others revoke the tokens of this client at the same time; try again")
