"""Find the bearer token of a request, or say why none was found.

Only the Authorization field is looked at, never query or body (RFC 6750 2.2 and 2.3
are not offered).

Sources: RFC 6750 2.1; RFC 9110 11.4 (the scheme is case-insensitive).
"""

import re

from gateway.http1.grammar import BEARER
from gateway.reasons import Reason
from gateway.tokens.jwt import MAX_TOKEN_BYTES

_BEARER_SCHEME = re.compile(rb"(?i:bearer)(?:[ \t]|$)")


def bearer_token(authorization: bytes | None, count: int) -> bytes | Reason:
    """Return the token, or the reason there is none.

    `no_token` when the field is absent or has another scheme (RFC 6750 3.1: the
    challenge then carries no error), `duplicate_authorization` when there are several
    fields, `malformed_token` when what follows the scheme is not one token.
    """
    if authorization is None:
        return Reason.NO_TOKEN
    if count > 1:
        return Reason.DUPLICATE_AUTHORIZATION
    match = BEARER.fullmatch(authorization)
    if match is None:
        return Reason.MALFORMED_TOKEN if _BEARER_SCHEME.match(authorization) else Reason.NO_TOKEN
    return match.group(1) or Reason.MALFORMED_TOKEN


_TOKEN_IN_QUERY = re.compile(
    rb"(?:^\??|[&;])(?:access_token|id_token|token|bearer|bearer_token|jwt|authorization)=", re.IGNORECASE
)
_OTHER_SCHEMES = {
    scheme.lower(): scheme
    for scheme in ("ApiKey", "Basic", "Digest", "DPoP", "JWT", "MAC", "Negotiate", "NTLM", "OAuth", "Token")
}
"""Schemes that may be named to the caller: what stands in front of a space might be a secret."""


def explain_credentials(reason: Reason, authorization: bytes | None, query: bytes) -> str:
    """Return what is wrong with the form of what was sent, or nothing.

    The answer repeats nothing of it: neither a token nor a scheme that is not generally known.

    Args:
        reason: Why there is no token, or no good one.
        authorization: The value of the Authorization field.
        query: With or without its question mark.
    """
    if reason is Reason.MALFORMED_TOKEN:
        if authorization is not None and len(authorization) > len(b"Bearer ") + MAX_TOKEN_BYTES:
            return f"It is larger than {MAX_TOKEN_BYTES} bytes, which is the most that is looked at."
        return ""
    if reason is not Reason.NO_TOKEN:
        return ""
    if authorization is not None:
        first, space, _ = authorization.partition(b" ")
        if not space:
            return "The Authorization field names no scheme: write Bearer and a space before the token."
        scheme = _OTHER_SCHEMES.get(first.decode("latin-1").lower())
        return (
            f"The Authorization field has {f'scheme {scheme}' if scheme else 'another scheme'}, not Bearer."
        )
    if _TOKEN_IN_QUERY.search(query):
        return "A token in the query is not read."
    return ""
