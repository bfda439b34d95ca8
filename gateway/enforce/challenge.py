"""Say how a refusal is explained to the caller.

Pure: from a decision to the status, the title, the detail and the fields that go with
them. `gateway.proxy.refusals` writes them as an HTTP answer.

Sources: RFC 6750 3 and 3.1; RFC 9110 11.6.1, 15.5.6; RFC 9457; RFC 6585 4 and
draft-ietf-httpapi-ratelimit-headers-11 (Retry-After, RateLimit, RateLimit-Policy).
"""

import re
from dataclasses import dataclass
from math import ceil

from gateway.enforce.bearer import explain_credentials
from gateway.policy.model import Decision, Exceeded, Reason
from gateway.policy.rate_limits import BAD_TOKENS
from gateway.policy.statuses import STATUS_OF_REASON

DETAILS: dict[Reason, str] = {
    Reason.NO_TOKEN: "This resource needs a bearer token in the Authorization field.",
    Reason.DUPLICATE_AUTHORIZATION: "Send exactly one Authorization field.",
    Reason.MALFORMED_TOKEN: "The bearer token is not a well-formed signed JWT.",
    Reason.BAD_SIGNATURE: "The signature of the token does not verify.",
    Reason.UNKNOWN_KEY: "The token was signed with a key that is not, or no longer, in use here.",
    Reason.ALG_NOT_ALLOWED: "The token's signature algorithm is not the one of its key.",
    Reason.WRONG_TYPE: "The JWT is not an access token (typ at+jwt).",
    Reason.WRONG_ISSUER: "The token was issued by somebody else.",
    Reason.EXPIRED: "The token has expired; get a new one.",
    Reason.NOT_YET_VALID: "The token is not valid yet.",
    Reason.WRONG_AUDIENCE: "The token is meant for another audience.",
    Reason.MISSING_SCOPE: "The token does not grant the scopes that this resource needs.",
    Reason.CLAIM_MISMATCH: "A claim of the token is not what this resource demands.",
    Reason.CLIENT_NOT_ALLOWED: "This client is not, or no longer, authorized for this resource.",
    Reason.CLIENT_DISABLED: "This client is disabled.",
    Reason.REVOKED: "The token was revoked.",
    Reason.NO_ROUTE: "Nothing is published here.",
    Reason.METHOD_NOT_ALLOWED: "This path exists, but not for this method.",
    Reason.BAD_PATH: "The path is ambiguous or malformed.",
    Reason.RATE_LIMITED: "Too many requests; try again later.",
    Reason.OVERLOADED: "Too much is going on; try again soon.",
    Reason.CIRCUIT_OPEN: "The service behind this gateway is not well and is not asked for the moment.",
    Reason.DRAINING: "This gateway is shutting down; try again.",
    Reason.KEYS_UNAVAILABLE: "Tokens cannot be verified at the moment.",
    Reason.UPSTREAM_CONNECT: "The service behind this gateway cannot be reached.",
    Reason.UPSTREAM_TIMEOUT: "The service behind this gateway took too long.",
    Reason.UPSTREAM_RESET: "The service behind this gateway broke the connection.",
    Reason.UPSTREAM_PROTOCOL: "The service behind this gateway answered in a way that is not HTTP.",
    Reason.REQUEST_TIMEOUT: "The request did not arrive in time.",
    Reason.BODY_TOO_LARGE: "The body is larger than this gateway accepts.",
    Reason.HEADER_TOO_LARGE: "The header is larger than this gateway accepts.",
    Reason.URI_TOO_LONG: "The request target is longer than this gateway accepts.",
    Reason.BAD_FRAMING: "The request is not well-formed HTTP/1.1.",
    Reason.EXPECTATION_FAILED: "The only expectation that can be met is 100-continue.",
    Reason.LOOP_DETECTED: "The request came back to the gateway that forwarded it.",
    Reason.INTERNAL: "Something went wrong inside the gateway.",
}

_INVALID_TOKEN = frozenset(
    {
        Reason.MALFORMED_TOKEN,
        Reason.BAD_SIGNATURE,
        Reason.UNKNOWN_KEY,
        Reason.ALG_NOT_ALLOWED,
        Reason.WRONG_TYPE,
        Reason.WRONG_ISSUER,
        Reason.EXPIRED,
        Reason.NOT_YET_VALID,
        Reason.WRONG_AUDIENCE,
        Reason.REVOKED,
    }
)
_RETRY_SOON = frozenset(
    {
        Reason.RATE_LIMITED,
        Reason.OVERLOADED,
        Reason.DRAINING,
        Reason.CIRCUIT_OPEN,
        Reason.KEYS_UNAVAILABLE,
    }
)


_NEEDS_NO_QUOTING = re.compile(r"[ !#-\[\]-~]*").fullmatch

NAMES_IN_ANSWER = 64
NAMES_CHARACTERS = 2048
"""Neither a token of 16 KiB nor a long list of a policy may make answers of 16 KiB and more."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the gate answers instead of the upstream."""

    status: int
    reason: str
    detail: str
    fields: tuple[tuple[bytes, bytes], ...] = ()
    members: tuple[tuple[str, object], ...] = ()
    """What is added to the problem document: needed beside held."""


def refusal_for(decision: Decision, *, authorization: bytes | None = None, query: bytes = b"") -> Refusal:
    """Return the refusal that explains `decision`, which does not permit.

    Args:
        decision: What was decided.
        authorization: The value of the Authorization field, for the form of what was sent; never repeated.
        query: The query, for the names in it; never repeated.
    """
    reason = decision.reason
    general = detail = DETAILS.get(reason, "The request was refused.")
    hint = decision.hint or explain_credentials(reason, authorization, query)
    if hint:
        detail = f"{general} {hint}"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if reason is Reason.METHOD_NOT_ALLOWED:
        fields = ((b"Allow", ", ".join(decision.allowed_methods).encode("ascii")),)
    elif reason is Reason.BAD_PATH and decision.found:
        detail = f"The path is refused: {decision.found}."
    elif decision.exceeded is not None:
        detail, fields = _explain_limit(decision.exceeded)
    elif reason in _RETRY_SOON:
        fields = ((b"Retry-After", b"1"),)
    else:
        challenge = bearer_challenge(decision, general)
        if challenge:
            fields = ((b"WWW-Authenticate", challenge),)
    return Refusal(STATUS_OF_REASON[reason], reason, detail, fields, _needed_and_held(decision))


def _needed_and_held(decision: Decision) -> tuple[tuple[str, object], ...]:
    """Return the members that say what would do and what was there, for tokens that were verified."""
    match decision.reason:
        case Reason.MISSING_SCOPE:
            return (
                *_bounded("required_scopes", decision.needed_scopes),
                *_bounded("token_scopes", decision.held_scopes),
            )
        case Reason.WRONG_AUDIENCE:
            needed = decision.needed_audiences
            required = _bounded("required_audience", needed)
            return (
                *((("required_audience", needed[0]),) if len(needed) == 1 else required),
                ("token_audience", decision.held_audience),
            )
        case Reason.CLAIM_MISMATCH:
            return (("claim", decision.claim),)
        case _:
            return ()


def _bounded(member: str, names: tuple[str, ...]) -> tuple[tuple[str, object], ...]:
    """Return the member that lists names, and one that says how many are left out, if any."""
    shown, omitted = _within_bounds(names)
    return ((member, shown), (f"{member}_omitted", omitted)) if omitted else ((member, shown),)


def _within_bounds(names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Return the first names that fit, and how many are left out."""
    size = 0
    for index, name in enumerate(names):
        size += len(name)
        if index == NAMES_IN_ANSWER or size > NAMES_CHARACTERS:
            return names[:index], len(names) - index
    return names, 0


def _explain_limit(exceeded: Exceeded) -> tuple[str, tuple[tuple[bytes, bytes], ...]]:
    """Return the detail and the fields for a limit that is used up (RFC 6585 4).

    Retry-After and RateLimit say the same whole seconds, at least one.
    """
    detail = "Too many requests; try again later."
    if exceeded.limit == BAD_TOKENS:
        detail = "Too many bad tokens came from your address; tokens not seen before must wait."
    seconds = b"%d" % max(1, ceil(exceeded.retry_after_s))
    name = exceeded.policy.partition(b";")[0]
    return detail, (
        (b"Retry-After", seconds),
        (b"RateLimit-Policy", exceeded.policy),
        (b"RateLimit", name + b";r=0;t=" + seconds),
    )


def bearer_challenge(decision: Decision, detail: str) -> bytes:
    """Return the WWW-Authenticate value, or nothing where none belongs (RFC 6750 3)."""
    realm = decision.route.realm if decision.route is not None else ""
    start = f'Bearer realm="{_quoted(realm)}"'
    match decision.reason:
        case Reason.NO_TOKEN:
            return start.encode("ascii")
        case Reason.DUPLICATE_AUTHORIZATION:
            return f'{start}, error="invalid_request", error_description="{_quoted(detail)}"'.encode("ascii")
        case Reason.MISSING_SCOPE:
            needed, omitted = _within_bounds(decision.needed_scopes)
            # A part of them would be a wrong answer to what is needed; the attribute is optional.
            scope = "" if omitted else f', scope="{_quoted(" ".join(needed))}"'
            return (
                f'{start}, error="insufficient_scope", error_description="{_quoted(detail)}"{scope}'
            ).encode("ascii")
        case reason if reason in _INVALID_TOKEN:
            return f'{start}, error="invalid_token", error_description="{_quoted(detail)}"'.encode("ascii")
        case _:
            return b""


def _quoted(text: str) -> str:
    """Return `text` fit for a quoted-string (RFC 9110 5.6.4): our own names, printable ASCII."""
    if _NEEDS_NO_QUOTING(text):
        return text
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')
