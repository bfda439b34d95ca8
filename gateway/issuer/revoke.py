"""Decide what a revocation request revokes. Pure; making it durable is `gateway.issuer.token_questions`.

An answer of 200 promises that the token is refused from then on. So a token counts
that is not valid yet, whose key is not here now, or whose `iss` is not the one of now:
its `nbf` will have come, its key or `issuer.url` may come back, and another replica may
see each of them otherwise already.

Sources: RFC 7009 2.1 and 2.2.
"""

from dataclasses import dataclass

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient
from gateway.enforce.verifier import read_stated_token
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.tokens.revocations import CLOCKS_APART_S, name_of

LONGEST_LIFETIME_S = 366 * 86_400
"""No configuration gives a token a longer one."""

_NOT_THE_CALLERS = OAuthProblem(
    ErrorCode.UNAUTHORIZED_CLIENT, "token: was issued to another client, which alone may revoke it"
)


@dataclass(frozen=True, slots=True)
class Revocation:
    """One token that is to be refused."""

    name: str
    """As `gateway.tokens.revocations.name_of` gives it."""
    expires_at: int
    other_issuer: str | None = None
    """The `iss` of the token where a key here vouches for it and it is not `issuer.url`."""


def find_revocable(
    raw: bytes, caller: RegisteredClient, snapshot: IssuerSnapshot, *, now: float
) -> Revocation | OAuthProblem | None:
    """Return what to revoke, a refusal, or None when there is nothing to do.

    A text that is no access token, or one whose time is over on every replica, needs no
    revocation and is no error (2.2): the caller's wish is already fulfilled.
    `token_type_hint` changes nothing, there is one type.

    What names another client is refused also when it cannot be verified: nothing is done
    about it, so nothing is promised. The refusal tells no more than the text itself.
    """
    stated = read_stated_token(raw, keys=snapshot.keys)
    if stated is None or now >= stated.token.expires_at + CLOCKS_APART_S:
        return None
    token = stated.token
    if token.client_id != caller.id:
        return _NOT_THE_CALLERS
    name = name_of(token.client_id, token.jti, verified=stated.is_verified)
    if not stated.is_verified:
        return Revocation(name, min(token.expires_at, int(now) + LONGEST_LIFETIME_S))
    issuer = token.claims.get("iss")
    is_other = isinstance(issuer, str) and issuer != snapshot.issuer.url
    return Revocation(name, token.expires_at, str(issuer) if is_other else None)
