"""Write the claims of a new access token. Pure.

Sources: RFC 9068 2 and 3, RFC 7519 4.1.
"""

from gateway.clients.authorization import Grant
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
