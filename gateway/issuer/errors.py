"""Give every error of the issuer its status and its JSON body. Pure.

Sources: RFC 6749 5.2, RFC 9110 11.6.1 and 15.5, RFC 7009 2.2.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.services import Answer

BASIC_CHALLENGE = 'Basic realm="sidegate"'

NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
JSON_TYPE = ("Content-Type", "application/json")
_JSON = (*NO_STORE, JSON_TYPE)

_STATUS: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.INVALID_CLIENT: 401,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.SERVER_ERROR: 500,
        ErrorCode.TEMPORARILY_UNAVAILABLE: 503,
    }
)
_NOT_IN_DESCRIPTION = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """One error as it goes out."""

    code: ErrorCode
    status: int
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()
    """Beyond content type and cache control."""
    description: str = ""
    cause: str = ""
    """One word for the operator's log."""

    def as_answer(self) -> Answer:
        """Return it as it goes out; what is recorded is the OAuth error."""
        return Answer(self.status, (*NO_STORE, *self.fields, JSON_TYPE), self.body, self.code.value)


def json_answer(body: bytes) -> Answer:
    """Return an answer that nobody may keep."""
    return Answer(200, _JSON, body)


def answer_problem(
    problem: OAuthProblem, *, status: int | None = None, allow: str = "", retry_after_s: int = _RETRY_AFTER_S
) -> ErrorAnswer:
    """Return the answer for `problem`.

    Args:
        problem: What is wrong.
        status: The status, where it does not follow from the code (400 for most).
        allow: The value of `Allow`, for 405.
        retry_after_s: The value of `Retry-After`, for 429 and 503.
    """
    status = _STATUS.get(problem.code, 400) if status is None else status
    # RFC 6749 5.2 forbids quotes, backslashes and everything that is not printable ASCII.
    description = _NOT_IN_DESCRIPTION.sub("?", problem.description)
    body = msgspec.json.encode(
        {
            "error": problem.code.value,
            "error_description": description,
            "messages": [description],
            "status": status,
        }
    )
    fields: list[tuple[str, str]] = []
    if status == 401:
        # Sent with every 401, not only to callers that tried Basic: HTTP demands a challenge.
        fields.append(("WWW-Authenticate", BASIC_CHALLENGE))
    if status in (429, 503):
        fields.append(("Retry-After", str(retry_after_s)))
    if allow:
        fields.append(("Allow", allow))
    return ErrorAnswer(problem.code, status, body, tuple(fields), description, problem.cause)
