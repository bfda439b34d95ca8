"""Write the claims of a new access token and the reply that carries it. Pure.

Sources: RFC 9068 2 and 3, RFC 6749 5.1, RFC 7519 4.1.
"""

import msgspec

from gateway.clients.authorization import Grant
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient
from gateway.settings.model import IssuerSettings


def build_claims(
    client: RegisteredClient, grant: Grant, issuer: IssuerSettings, *, jti: str, now: float
) -> dict[str, object]:
    """Return the payload of a token for `client`, issued at `now` rounded down to a second."""
    issued_at = int(now)
    claims: dict[str, object] = {
        "iss": issuer.url,
        "sub": client.id,
        "client_id": client.id,
        "aud": grant.audience,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + grant.lifetime_s,
        "jti": jti,
    }
    if grant.scopes:
        claims["scope"] = list(grant.scopes) if issuer.scope_claim_as_array else " ".join(grant.scopes)
    # The registry keeps no extra claim that the issuer decides itself.
    claims.update(client.claims)
    return claims


def refuse_size(raw: bytes, most_bytes: int) -> OAuthProblem | None:
    """Return the problem of a token that the gate would not take; its scopes and claims make it so large."""
    if len(raw) <= most_bytes:
        return None
    return OAuthProblem(
        ErrorCode.INVALID_SCOPE,
        f"scope: the token would have {len(raw)} bytes, and {most_bytes} are taken at most; "
        "ask for fewer scopes at a time",
        cause="token_too_large",
    )


def token_reply(raw: bytes, grant: Grant) -> bytes:
    """Return the JSON body for the issued token `raw`; no scopes, no `scope`."""
    reply: dict[str, object] = {
        "access_token": raw.decode("ascii"),
        "token_type": "Bearer",
        "expires_in": grant.lifetime_s,
    }
    if grant.scopes:
        reply["scope"] = " ".join(grant.scopes)
    return msgspec.json.encode(reply)
