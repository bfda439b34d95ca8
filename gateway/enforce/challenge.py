"""Say how a refusal is explained to the caller.

Pure: from a decision to the detail, the fields and the members that go with its reason, whose
row in `gateway.reasons` says the rest. `gateway.proxy.refusals` writes them as an HTTP answer.

Sources: RFC 6750 3 and 3.1; RFC 9110 11.6.1, 15.5.6; RFC 9457; RFC 6585 4 and
draft-ietf-httpapi-ratelimit-headers-11 (Retry-After, RateLimit, RateLimit-Policy).
"""

import re
from dataclasses import dataclass, replace
from math import ceil

from gateway.enforce.bearer import explain_credentials
from gateway.http1.request import BadRequest
from gateway.policy.model import Decision, Exceeded, RouteLabel
from gateway.policy.rate_limits import BAD_TOKENS
from gateway.reasons import Challenge, Reason

_NEEDS_NO_QUOTING = re.compile(r"[ !#-\[\]-~]*").fullmatch

# Members of an enum cost a look-up through its metaclass each time; refusals come in crowds.
_NONE, _WANTED, _INSUFFICIENT_SCOPE = Challenge.NONE, Challenge.WANTED, Challenge.INSUFFICIENT_SCOPE

NAMES_IN_ANSWER = 64
NAMES_CHARACTERS = 2048
"""Neither a token of 16 KiB nor a long list of a policy may make answers of 16 KiB and more."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the gate answers instead of the upstream."""

    status: int
    reason: Reason
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
    detail = reason.detail
    hint = decision.hint or explain_credentials(reason, authorization, query)
    if hint:
        detail = f"{detail} {hint}"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if reason is Reason.METHOD_NOT_ALLOWED:
        fields = ((b"Allow", ", ".join(decision.allowed_methods).encode("ascii")),)
    elif reason is Reason.BAD_PATH and decision.found:
        detail = f"The path is refused: {decision.found}."
    elif decision.exceeded is not None:
        detail, fields = _explain_limit(decision.exceeded)
    elif reason.retry_soon:
        fields = ((b"Retry-After", b"1"),)
    else:
        challenge = bearer_challenge(decision)
        if challenge:
            fields = ((b"WWW-Authenticate", challenge),)
    return Refusal(reason.status, reason, detail, fields, _needed_and_held(decision))


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
    detail = Reason.RATE_LIMITED.detail
    if exceeded.limit == BAD_TOKENS:
        detail = "Too many bad tokens came from your address; tokens not seen before must wait."
    seconds = b"%d" % max(1, ceil(exceeded.retry_after_s))
    name = exceeded.policy.partition(b";")[0]
    return detail, (
        (b"Retry-After", seconds),
        (b"RateLimit-Policy", exceeded.policy),
        (b"RateLimit", name + b";r=0;t=" + seconds),
    )


def refusal_for_head(problem: BadRequest) -> Refusal:
    """Return the refusal for a head that is no request."""
    return Refusal(problem.status, problem.reason, f"The request is refused: {problem.detail}.")


def refusal_for_length(limit_bytes: int, route: RouteLabel | None) -> Refusal:
    """Return the refusal for a body that is longer than all bodies may be here."""
    refusal = refusal_for(Decision(Reason.BODY_TOO_LARGE, route))
    return replace(refusal, detail=f"The body is larger than the {limit_bytes} bytes that are taken here.")


def bearer_challenge(decision: Decision) -> bytes:
    """Return the WWW-Authenticate value, or nothing where none belongs (RFC 6750 3)."""
    challenge = decision.reason.challenge
    if challenge is _NONE:
        return b""
    realm = decision.route.realm if decision.route is not None else ""
    value = f'Bearer realm="{_quoted(realm)}"'
    if challenge is not _WANTED:
        value += f', error="{challenge.value}", error_description="{_quoted(decision.reason.detail)}"'
    if challenge is _INSUFFICIENT_SCOPE:
        needed, omitted = _within_bounds(decision.needed_scopes)
        # A part of them would be a wrong answer to what is needed; the attribute is optional.
        value += "" if omitted else f', scope="{_quoted(" ".join(needed))}"'
    return value.encode("ascii")


def _quoted(text: str) -> str:
    """Return `text` fit for a quoted-string (RFC 9110 5.6.4): our own names, printable ASCII."""
    if _NEEDS_NO_QUOTING(text):
        return text
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')
