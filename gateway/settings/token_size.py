"""Tell how large the tokens of a client can become, before one is issued.

Pure. An estimate within a few dozen bytes, for warnings: the issuer itself measures each
token (`gateway.issuer.issue`).

Sources: RFC 7515 3.1 and 7.1, RFC 9068 2.
"""

import json

from gateway.settings.model import AuthorizationSettings, ClientSettings, IssuerSettings

_SIGNATURE_BYTES = {"ES256": 86, "EdDSA": 86, "RS256": 342, "PS256": 342}
"""As base64url; RSA keys of more than 2048 bits make a longer one."""
_HEADER_BYTES = 120
_TIMES_AND_JTI = {"iat": 10**10, "nbf": 10**10, "exp": 10**10, "jti": "x" * 22}


def full_token_bytes(
    client: ClientSettings,
    authorization: AuthorizationSettings,
    offered: ClientSettings,
    issuer: IssuerSettings,
) -> int:
    """Return about how large a token of `client` is that holds all that the authorization grants.

    Args:
        client: The client.
        authorization: What it may have.
        offered: The audience: it decides which of the scopes count.
        issuer: How tokens are written.
    """
    scopes = [scope for scope in authorization.scopes if scope in offered.scopes]
    claims = {
        "iss": issuer.url,
        "sub": client.id,
        "client_id": client.id,
        "aud": offered.id,
        **_TIMES_AND_JTI,
        "scope": scopes if issuer.scope_claim_as_array else " ".join(scopes),
        **client.claims,
    }
    # Frozen mappings are written as what they hold.
    payload = json.dumps(claims, ensure_ascii=False, separators=(",", ":"), default=dict)
    payload_bytes = len(payload.encode("utf-8", "surrogatepass"))
    return _HEADER_BYTES + (payload_bytes * 4 + 2) // 3 + _SIGNATURE_BYTES.get(issuer.signing_algorithm, 86)
