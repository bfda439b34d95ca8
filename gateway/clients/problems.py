"""Name the errors a caller of the issuer can cause.

Values, not exceptions; how one looks on the wire is `gateway.issuer.errors`.

Sources: RFC 6749 5.2, RFC 7009 2.2.1, RFC 7521 4.1.1, RFC 8707 2.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class ErrorCode(StrEnum):
    """The `error` member of an answer."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    NOT_FOUND = "not_found"
    SERVER_ERROR = "server_error"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"


@dataclass(frozen=True, slots=True)
class OAuthProblem:
    """One refusal: its code, and which field is wrong and what is expected."""

    code: ErrorCode
    description: str
    cause: str = field(default="", compare=False)
    """One word for the operator's log, where the caller is told less."""
