"""Let an assertion count once, and let nobody use up what others need for that.

What was used is remembered by the store (`gateway.state`); whose it was is counted
here, so that the assertions of one client or platform cannot close the table to
others (`gateway.tokens.shares`). While its owner holds less than half of his share,
a use is remembered a day longer than it could count again, for clocks that jump.
"""

import logging
import math
from dataclasses import dataclass

from gateway.clients.assertions import Assertion, AssertionReason, replay_key, replay_until
from gateway.clients.identities import Keys
from gateway.issuer.context import IssuerContext
from gateway.settings.model import RemoteKeySource
from gateway.state.interface import StateUnavailableError
from gateway.tokens.revocations import KEPT_S

CLIENT_ASSERTION = "client_assertion"
GRANT_ASSERTION = "grant_assertion"
KINDS = (CLIENT_ASSERTION, GRANT_ASSERTION)
"""What an assertion is for: the closed list of the metric label."""

_log = logging.getLogger("gateway.issuer")


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why an assertion does not count."""

    reason: AssertionReason
    retry_after_s: int | None = None
    """When it may count; None where that is not known."""


def owner_of(issuer: str, keys: Keys | None) -> str:
    """Return in whose name uses are counted: who has these keys, not who only has this name."""
    if isinstance(keys, RemoteKeySource):
        return f"{issuer}\n{keys.uri}"
    return issuer if keys is None else f"{issuer}\n{keys.keys[0].key.kid}"


async def note_use(
    assertion: Assertion, signer: str, owner: str, context: IssuerContext, *, kind: str, now: float
) -> Unusable | None:
    """Return None at the first use, else why not; without an answer of the store it is no first use.

    Args:
        assertion: Verified, and in order.
        signer: The key that vouches for it, as `check_signature` returned it.
        owner: As `owner_of` returned it.
        context: What the issuer works with.
        kind: The metric's label.
        now: Epoch seconds.
    """
    uses, until = context.uses, replay_until(assertion)
    wait_s = uses.wait_s(owner, uses.total, now)
    if wait_s:
        return Unusable(AssertionReason.TOO_MANY_USES, math.ceil(wait_s))
    if uses.has_plenty(owner, uses.total, now):
        until += int(KEPT_S)
    try:
        first = await context.replay.first_use(replay_key(assertion, signer), until)
    except StateUnavailableError as error:
        _log.error("an assertion was refused, because its use cannot be remembered: %s", error)
        return Unusable(AssertionReason.STATE_UNAVAILABLE)
    if not first:
        context.observer.replay_rejected(kind)
        return Unusable(AssertionReason.REPLAYED)
    uses.add(owner, until, now)
    return None
