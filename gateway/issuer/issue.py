"""Write the reply that carries a new access token, or refuse one that is too large. Pure.

Sources: RFC 6749 5.1.
"""

import msgspec

from gateway.clients.authorization import Grant
from gateway.clients.problems import ErrorCode, OAuthProblem


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
