"""Read the claims of our own access tokens into a frozen value.

Pure. Signature and issuer are judged by `gateway.enforce.verifier`; here the
payload's shape is held to what the issuer writes: strict integer times, string
claims, nothing coerced.

Sources: RFC 9068 2.2, RFC 7519 4.1, RFC 6749 3.3.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ISSUED_CLAIMS = frozenset({"iss", "sub", "client_id", "aud", "iat", "nbf", "exp", "jti", "scope"})
"""Claims that the issuer writes into every token, `scope` where there is one."""

RESERVED_CLAIMS = ISSUED_CLAIMS | {"scp", "cnf", "act", "may_act", "typ", "azp", "authorization_details"}
"""Claims that the issuer sets itself, or that would change what a token means: none of a client's."""

MAX_TIME = 253_402_300_799
"""The last second of the year 9999: no time claim lies beyond it."""

SCOPE_CHARACTER = r"[\x21\x23-\x5b\x5d-\x7e]"
"""RFC 6749 3.3."""
_SCOPE_TOKEN = re.compile(rf"{SCOPE_CHARACTER}+")
_SCOPE_LIST = re.compile(rf"{SCOPE_CHARACTER}+(?: {SCOPE_CHARACTER}+)*")


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
    """0 when the token has no `nbf`."""
    expires_at: int
    kid: str
    claims: Mapping[str, object]
    """Every claim of the payload, for `require.claims`."""


@dataclass(frozen=True, slots=True)
class ClaimProblem:
    """The first claim that is not as the issuer writes it."""

    claim: str
    expected: str


class _ClaimError(Exception):
    """Carries a problem out of the readers below; never leaves this module."""

    def __init__(self, claim: str, expected: str) -> None:
        self.problem = ClaimProblem(claim, expected)


def parse_scope(text: str) -> tuple[str, ...] | None:
    """Return the scopes of a space-separated list in order, each once; None when it is malformed.

    RFC 6749 3.3: one or more names of its character set, separated by single spaces.
    """
    if _SCOPE_LIST.fullmatch(text) is None:
        return None
    return tuple(dict.fromkeys(text.split(" ")))


def read_access_token(payload: Mapping[str, object], kid: str) -> AccessToken | ClaimProblem:
    """Return the claims as an `AccessToken`, or the first that is missing or ill-shaped.

    Compares nothing with the outside: not the issuer, not the time. Never raises on input.
    """
    try:
        scope = _scope(payload)
        return AccessToken(
            client_id=_text(payload, "client_id"),
            subject=_text(payload, "sub"),
            audience=_text(payload, "aud"),
            scope=scope,
            scopes=frozenset(scope.split(" ")) if scope is not None else frozenset(),
            jti=_text(payload, "jti"),
            issued_at=_time(payload, "iat"),
            not_before=_time(payload, "nbf") if "nbf" in payload else 0,
            expires_at=_time(payload, "exp"),
            kid=kid,
            claims=MappingProxyType(dict(payload)),
        )
    except _ClaimError as error:
        return error.problem


def _text(payload: Mapping[str, object], claim: str) -> str:
    value = payload.get(claim)
    if type(value) is not str or not value:
        raise _ClaimError(claim, "a non-empty string")
    return value


def _time(payload: Mapping[str, object], claim: str) -> int:
    value = payload.get(claim)
    # `type`, not `isinstance`: a JSON true is an int to Python.
    if type(value) is not int or not 0 <= value <= MAX_TIME:
        raise _ClaimError(claim, "an integer of seconds since the epoch")
    return value


def _scope(payload: Mapping[str, object]) -> str | None:
    if "scope" not in payload:
        return None
    value = payload["scope"]
    if type(value) is str and _SCOPE_LIST.fullmatch(value):
        return value
    if type(value) is list and value and all(_is_scope_token(item) for item in value):
        return " ".join(value)
    raise _ClaimError("scope", "scope names, separated by single spaces or as an array of strings")


def _is_scope_token(value: object) -> bool:
    return type(value) is str and _SCOPE_TOKEN.fullmatch(value) is not None
