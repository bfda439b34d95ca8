"""Read the claims of our own access tokens into a frozen value.

Pure. The signature is already verified (`gateway.tokens.jwt`); here the payload's
shape is held to what the issuer writes: strict integer times, string claims,
nothing coerced.

Sources: RFC 9068 2.2, RFC 7519 4.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class AccessToken:
    """The verified claims of one access token. Compared by identity."""

    client_id: str
    subject: str
    audience: str
    scope: str | None
    """The scopes as granted, separated by single spaces; None when the token has no scope claim."""
    scopes: frozenset[str]
    jti: str
    issued_at: int
    not_before: int
    expires_at: int
    kid: str
    claims: Mapping[str, object]
    """Every claim of the payload, for `require.claims`."""
