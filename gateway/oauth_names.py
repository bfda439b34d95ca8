"""Name each grant and each way to prove a client once, for the wire, configurations, commands and metrics.

A name that is not here is spelled nowhere else.

Sources: RFC 6749 4.4; RFC 7518 3.2; RFC 7523 2.1 and 2.2; RFC 8693 2.1; RFC 7591 2 and OpenID Connect Core 9
(methods); RFC 8705 2.
"""

from dataclasses import dataclass

_URN = "urn:ietf:params:oauth:grant-type:"


@dataclass(frozen=True, slots=True)
class Grant:
    """One way to ask for a token."""

    grant_type: str
    """As requests spell it."""
    short: str
    """As configurations may spell it, and metrics do."""
    needs: str = ""
    """What a client must have to use it, as a hint; nothing where any client may."""
    available: bool = True


@dataclass(frozen=True, slots=True)
class AuthMethod:
    """One way of a client to prove itself."""

    name: str
    needs: str = ""
    """What a client must have to use it, as a hint; nothing where any stored secret will do."""
    available: bool = True


CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = f"{_URN}jwt-bearer"
GRANTS = (
    Grant(CLIENT_CREDENTIALS, CLIENT_CREDENTIALS),
    Grant(JWT_BEARER, "jwt-bearer", "name its identities under assertions"),
    Grant(f"{_URN}token-exchange", "token-exchange", available=False),
)

MIN_HMAC_SECRET_BYTES = 32
"""Of a secret that signs: RFC 7518 3.2 wants as many as the hash has."""

CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105  # a method
CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105  # a method
CLIENT_SECRET_JWT = "client_secret_jwt"  # noqa: S105  # a method
PRIVATE_KEY_JWT = "private_key_jwt"
AUTH_METHODS = (
    AuthMethod(CLIENT_SECRET_BASIC),
    AuthMethod(CLIENT_SECRET_POST),
    AuthMethod(PRIVATE_KEY_JWT, "name its keys by jwks_uri or jwks"),
    AuthMethod(CLIENT_SECRET_JWT, f"an env: or file: secret of {MIN_HMAC_SECRET_BYTES} bytes or more"),
    AuthMethod("tls_client_auth", available=False),
    AuthMethod("self_signed_tls_client_auth", available=False),
)
"""In the order in which metadata tell them, and commands choose where a client may use several."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523 2.2: the only `client_assertion_type` there is."""


def grant_types() -> tuple[str, ...]:
    """Return the grants that work, as requests spell them."""
    return tuple(grant.grant_type for grant in GRANTS if grant.available)


def auth_methods() -> tuple[str, ...]:
    """Return the methods that work."""
    return tuple(method.name for method in AUTH_METHODS if method.available)


def short_grants() -> dict[str, str]:
    """Return the short name of every grant, by each of its spellings."""
    return {name: grant.short for grant in GRANTS for name in (grant.grant_type, grant.short)}
