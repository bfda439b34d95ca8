"""Answer introspection and revocation requests: a proven client, and one token that it asks about.

What they decide is pure (`gateway.issuer.introspect`, `gateway.issuer.revoke`); here a revocation is
made durable before it is promised.

Sources: RFC 7009 2; RFC 7662 2.
"""

import logging
import math
from dataclasses import dataclass, field

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient
from gateway.issuer.asked import Asked
from gateway.issuer.errors import NO_STORE, ErrorAnswer, answer_problem, json_answer
from gateway.issuer.forms import missing
from gateway.issuer.introspect import introspect
from gateway.issuer.proofs import authenticate, count_request
from gateway.issuer.revoke import Revocation, find_revocable
from gateway.services import Answer
from gateway.state.interface import StateUnavailableError

_AROUND_TOKENS = " \t\r\n\"'\ufeff\u200b"
"""Quotation marks, byte order mark and zero-width space among it."""
_TOKEN_SCHEMES = frozenset({"bearer", "dpop"})
_DONE = Answer(200, NO_STORE)
_NO_STATE = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the revocation cannot be recorded now; the token is still valid"
)
_NOT_COMPLETE = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "what was revoked elsewhere is not known now; try again shortly"
)
_TOO_MANY_REVOKED = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE,
    "too many tokens of this client are revoked; the operator may revoke all of them at once",
)

_log = logging.getLogger("gateway.issuer")


@dataclass(frozen=True, slots=True)
class _Question:
    """A proven client and the token it asks about."""

    client: RegisteredClient
    raw: bytes = field(repr=False)


async def answer_introspection(asked: Asked) -> Answer | ErrorAnswer:
    """Return what the token says, to whom it concerns."""
    question = await _read(asked)
    if isinstance(question, ErrorAnswer):
        return question
    context = asked.parts.context
    if not context.revocations.are_complete:
        return answer_problem(_NOT_COMPLETE)
    now = context.clock()
    told = introspect(question.raw, question.client, asked.snapshot, context.revocations, now=now)
    return answer_problem(_NOT_COMPLETE) if told is None else json_answer(told)


async def answer_revocation(asked: Asked) -> Answer | ErrorAnswer:
    """Revoke the token; an answer of 200 promises that it is refused from then on."""
    question = await _read(asked)
    if isinstance(question, ErrorAnswer):
        return question
    now = asked.parts.context.clock()
    revocation = find_revocable(question.raw, question.client, asked.snapshot, now=now)
    if isinstance(revocation, OAuthProblem):
        return answer_problem(revocation)
    refused = None
    if revocation is not None:
        refused = await _record(asked, revocation, question.client.id, now)
    return refused or _DONE


async def _record(asked: Asked, revocation: Revocation, client_id: str, now: float) -> ErrorAnswer | None:
    """Make a revocation durable, and return None; or the answer when that cannot be done."""
    revocations, store = asked.parts.context.revocations, asked.parts.context.store
    if revocations.is_kept(revocation.name, revocation.expires_at):
        return None
    wait_s = revocations.wait_s(client_id, now)
    if wait_s:
        return answer_problem(_TOO_MANY_REVOKED, status=429, retry_after_s=math.ceil(wait_s))
    try:
        if revocation.other_issuer is not None:  # first: what is recorded here is not asked for again
            await store.revoke_under(revocation.other_issuer, revocation.name, revocation.expires_at)
        await store.revoke(revocation.name, revocation.expires_at)
    except StateUnavailableError as error:
        _log.error("a revocation was refused: %s", error)
        return answer_problem(_NO_STATE)
    revocations.add(revocation.name, revocation.expires_at, now=now, by=client_id)
    return None


async def _read(asked: Asked) -> _Question | ErrorAnswer:
    proven = await authenticate(asked)
    if isinstance(proven, ErrorAnswer):
        return proven
    limited = count_request(asked, proven.client.id)
    if limited is not None:
        return limited
    token = _strip(asked.form.get("token") or "")
    if not token:
        return answer_problem(missing("token", "send the token that the request is about"))
    return _Question(proven.client, token.encode())


def _strip(token: str) -> str:
    """Return a token without what a file, a form or a field put around or into it.

    A revocation is answered 200 also where there is nothing to do. So neither a line break, nor the
    quotation marks of JSON, nor the scheme of an `Authorization` value may make it nothing: no token
    of ours holds any of them.
    """
    words = token.strip(_AROUND_TOKENS).split()
    if len(words) > 1 and words[0].lower() in _TOKEN_SCHEMES:
        del words[0]
    return "".join(words).strip(_AROUND_TOKENS)
