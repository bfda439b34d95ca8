"""Read the form of a token, introspection or revocation request. Pure.

Sources: RFC 6749 3.2 and appendix B; RFC 8707 2; WHATWG URL 5.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.tokens.percent import decode_form_text

MAX_BODY_BYTES = 64 * 1024
MAX_PARAMETERS = 100

_REPEATABLE = "resource"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_NEVER_IN_QUERY = frozenset(
    {"client_id", "client_secret", "client_assertion", "assertion", "token", "access_token", "subject_token"}
)
_LONGEST_RAW_NAME = 3 * max(map(len, _NEVER_IN_QUERY))
"""Each character escaped."""


@dataclass(frozen=True, slots=True)
class Form:
    """The parameters of one form; such as were sent empty are left out."""

    values: Mapping[str, str] = field(repr=False)
    resources: tuple[str, ...] = ()

    def get(self, name: str) -> str | None:
        """Return the parameter, or None when it was not sent or sent empty."""
        return self.values.get(name)


def parse_form(body: bytes) -> Form | OAuthProblem:
    """Return the form in `body`, or why it is none. Unknown parameters are kept and harmless.

    A parameter that is sent twice is refused even if unknown or empty (RFC 6749 3.2);
    only `resource` may repeat.
    """
    values: dict[str, str] = {}
    resources: list[str] = []
    try:
        text = body.decode("utf-8")
        pairs = [pair for pair in text.split("&") if pair] if text.count("&") < MAX_PARAMETERS else None
        if pairs is None:
            return _invalid(f"the form has more than {MAX_PARAMETERS} parameters")
        if _BAD_ESCAPE.search(text):
            return _invalid("the form holds a percent sign that begins no escape")
        for pair in pairs:
            raw_name, _, raw_value = pair.partition("=")
            name = decode_form_text(raw_name)
            value = decode_form_text(raw_value)
            if name == _REPEATABLE:
                resources.append(value)
            elif name in values:
                return _invalid(f"{_printable(name)}: is sent more than once")
            else:
                values[name] = value
    except UnicodeDecodeError:
        return _invalid("the form is not UTF-8")
    return Form(
        {name: value for name, value in values.items() if value},
        tuple(resource for resource in resources if resource),
    )


def check_query(raw: str) -> OAuthProblem | None:
    """Return a problem when a query, still encoded, carries what it never may.

    RFC 6749 2.3.1: queries end up in logs and histories.
    """
    if raw.count("&") >= MAX_PARAMETERS:
        return _invalid(f"the query has more than {MAX_PARAMETERS} parameters")
    for pair in raw.split("&"):
        raw_name = pair.partition("=")[0]
        name = unquote_plus(raw_name) if len(raw_name) <= _LONGEST_RAW_NAME else ""
        if name in _NEVER_IN_QUERY:
            return _invalid(f"{name}: must be sent in the form body, never in the URL")
    return None


def missing(name: str, expected: str) -> OAuthProblem:
    """Return the problem of a required parameter that was not sent."""
    return _invalid(f"{name}: is missing; {expected}")


def _invalid(description: str) -> OAuthProblem:
    return OAuthProblem(ErrorCode.INVALID_REQUEST, description)


def _printable(name: str) -> str:
    return name if _PARAMETER_NAME.fullmatch(name) else "a parameter"
