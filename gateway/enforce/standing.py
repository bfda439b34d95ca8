"""Say whether a token that was verified still stands. Pure.

The gate asks for each request and for each tunnel that goes on, introspection for its callers:
the same facts, in the same order, and the first that speaks against the token is the reason. They
are of two kinds, which what is remembered of a token is compared with apart:

    of one snapshot     its key is still trusted, its issuer is still this one
    of this moment      it has not expired, it was not revoked, and no revocation can be missing

Its signature, its form and its start were judged when it was verified: nothing takes them away.

Sources: RFC 7519 4.1.4; RFC 7662 2.2 (what active means); RFC 7009 2.
"""

from gateway.reasons import Reason
from gateway.tokens.claims import AccessToken
from gateway.tokens.key_ring import KeyRing
from gateway.tokens.revocations import Revocations

NEVER_CLEARED = -1
"""No generation of revocations: whether it was revoked has not been asked yet."""


def why_fallen(
    token: AccessToken, *, keys: KeyRing | None, issuer: str, revocations: Revocations, now: float
) -> Reason | None:
    """Return the first reason why a verified token is none any more, or None while it stands.

    Args:
        token: It was verified once, under whatever keys and issuer.
        keys: The keys that tokens may be signed with now, or None while there are none.
        issuer: The `iss` that every token must have now.
        revocations: What was revoked.
        now: Wall-clock seconds since the epoch.
    """
    return why_distrusted(token, keys, issuer) or why_over(token, revocations, now)


def why_distrusted(token: AccessToken, keys: KeyRing | None, issuer: str) -> Reason | None:
    """Return what speaks against a verified token under one snapshot, at whatever time."""
    if keys is None or token.kid not in keys.verification:
        return Reason.UNKNOWN_KEY
    return None if token.claims["iss"] == issuer else Reason.WRONG_ISSUER


def why_over(
    token: AccessToken, revocations: Revocations, now: float, cleared: int = NEVER_CLEARED
) -> Reason | None:
    """Return what has taken a verified token away by now, whatever the snapshot.

    Args:
        token: As in `why_fallen`.
        revocations: As in `why_fallen`.
        now: As in `why_fallen`.
        cleared: The generation of the revocations under which it was found not to be revoked.
    """
    if now >= token.expires_at:  # RFC 7519 4.1.4: on or after
        return Reason.EXPIRED
    if cleared != revocations.generation and revocations.refuses(token):
        return Reason.REVOKED
    lease = revocations.lease
    return Reason.KEYS_UNAVAILABLE if lease is not None and not lease.holds() else None
