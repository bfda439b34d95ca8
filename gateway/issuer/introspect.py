"""Tell an authenticated client whether a token is live, and what it says. Pure.

Active means what the gate would mean: verified, not revoked, and still backed by an
authorization of its client. Everything else is the one answer `{"active": false}`,
which gives no reason and does not tell whether the token exists.

Sources: RFC 7662 2.1, 2.2 and 4.
"""

from collections.abc import Container

import msgspec

from gateway.clients.registry import RegisteredClient
from gateway.enforce.standing import why_fallen
from gateway.enforce.verifier import verify_access_token
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.policy.model import Grants
from gateway.reasons import Reason
from gateway.tokens.claims import AccessToken
from gateway.tokens.revocations import Revocations

INACTIVE = b'{"active":false}'


def introspect(
    raw: bytes, caller: RegisteredClient, snapshot: IssuerSnapshot, revocations: Revocations, *, now: float
) -> bytes | None:
    """Return the JSON body that `caller` gets for the token `raw`; None where a revocation may be missing."""
    keys, issuer = snapshot.keys, snapshot.issuer.url
    token = verify_access_token(raw, keys=keys, issuer=issuer, now=now)
    if not isinstance(token, AccessToken):
        return INACTIVE
    fallen = why_fallen(token, keys=keys, issuer=issuer, revocations=revocations, now=now)
    if fallen is not None:
        return None if fallen is Reason.KEYS_UNAVAILABLE else INACTIVE
    may_ask = snapshot.issuer.introspection_by_any_client or caller.id in (token.client_id, token.audience)
    live_scopes = find_live_scopes(token, snapshot.registry.grants, now)
    if not may_ask or live_scopes is None:
        return INACTIVE
    return msgspec.json.encode(_describe(token, live_scopes))


def find_live_scopes(token: AccessToken, grants: Grants, now: float) -> frozenset[str] | None:
    """Return the token's scopes that its client is still granted; None when nothing backs the token."""
    client = grants.get(token.client_id)
    if client is None or client.disabled:
        return None
    audience = client.audiences.get(token.audience)
    if audience is None or (audience.until is not None and now >= audience.until):
        return None
    return token.scopes & audience.scopes


def _describe(token: AccessToken, live_scopes: Container[str]) -> dict[str, object]:
    # The token's own claims first: none of them can replace a member below.
    answer: dict[str, object] = dict(token.claims)
    answer.pop("scope", None)
    answer |= {
        "active": True,
        "client_id": token.client_id,
        "sub": token.subject,
        "aud": token.audience,
        "token_type": "Bearer",
        "exp": token.expires_at,
        "iat": token.issued_at,
        "jti": token.jti,
    }
    scope = [name for name in (token.scope or "").split(" ") if name in live_scopes]
    if scope:
        answer["scope"] = " ".join(scope)
    return answer
