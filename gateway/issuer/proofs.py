"""Have a request prove which client it comes from, and count it for that client.

What is compared and in whose turn is `gateway.issuer.logins`; here is what a request presents, what
is noted of it for the log, and how a failure is answered.

Sources: RFC 6749 2.3 and 5.2; RFC 6585 4 (429).
"""

import math

from multidict import istr

from gateway.clients.assertions import Assertion
from gateway.clients.authenticate import (
    AuthFailure,
    PresentedAssertion,
    PresentedSecret,
    ProvenClient,
    read_credentials,
)
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.scrypt_worker import OverloadedError
from gateway.issuer.asked import Asked
from gateway.issuer.assertions import GRANT_METHOD, Caller, method_of, read_client_assertion
from gateway.issuer.errors import ErrorAnswer, answer_problem
from gateway.issuer.logins import SLOWED_DOWN, SlowedDown, claimed_client
from gateway.observe.issuer_request import IssuerRequest, cut

AUTHORIZATION = istr("Authorization")

BUSY = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the issuer is busy; try again shortly", cause="overloaded"
)
_TOO_MANY_FAILURES = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "too many failed client authentications from here; try again later"
)
_TOO_MANY_REQUESTS = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "more requests of this client than issuer.rate_limit allows"
)


async def authenticate(asked: Asked) -> ProvenClient | ErrorAnswer:
    """Return the client that the request proves to come from, or the answer to what it is not."""
    entry, context = asked.entry, asked.parts.context
    entry.unverified_client = cut(asked.form.get("client_id"))
    proof = _read_proof(asked)
    if isinstance(proof, AuthFailure):
        return refuse_client(asked, proof)
    if isinstance(proof, Assertion):
        entry.auth_method = method_of(proof)
        note_assertion(entry, proof)
    else:
        entry.auth_method = proof.method
    entry.unverified_client = cut(claimed_client(proof))
    try:
        proven = await asked.parts.logins.prove(proof, asked.snapshot, caller_of(asked))
    except OverloadedError:
        return answer_problem(BUSY)
    if isinstance(proven, SlowedDown):
        context.observer.auth_failure(entry.auth_method, SLOWED_DOWN)
        entry.cause = SLOWED_DOWN
        return answer_problem(_TOO_MANY_FAILURES, status=429, retry_after_s=proven.retry_after_s)
    if isinstance(proven, AuthFailure):
        return refuse_client(asked, proven)
    if isinstance(proof, Assertion) and not _is_for(proof, asked.snapshot.issuer.url):
        context.observer.legacy_audience(proven.client.id)
    entry.auth_method = proven.method
    note_proven(entry, proven)
    return proven


def count_request(asked: Asked, client_id: str) -> ErrorAnswer | None:
    """Count a request of a proven client; return the answer when it is one too many."""
    parts = asked.parts
    wait_s = parts.rate_limit.wait_s(client_id, asked.snapshot.issuer.rate_limit, parts.context.stopwatch())
    if not wait_s:
        return None
    return answer_problem(_TOO_MANY_REQUESTS, status=429, retry_after_s=math.ceil(wait_s))


def caller_of(asked: Asked) -> Caller:
    """Return who asks, and when."""
    return Caller(asked.request.caller.address, asked.parts.context.clock())


def refuse_client(asked: Asked, failure: AuthFailure) -> ErrorAnswer:
    """Return the answer to a proof that failed, after log and metrics were told why."""
    entry = asked.entry
    if failure.method != GRANT_METHOD:
        entry.auth_method = failure.method
    entry.cause = failure.reason.value
    if failure.client_id != entry.client:
        entry.unverified_client = failure.client_id or entry.unverified_client
    asked.parts.context.observer.auth_failure(failure.method, failure.reason.value)
    if failure.retry_after_s is not None:
        return answer_problem(failure.problem, status=429, retry_after_s=failure.retry_after_s)
    return answer_problem(failure.problem)


def note_assertion(entry: IssuerRequest, assertion: Assertion) -> None:
    """Note what an assertion says, of which nothing is verified."""
    entry.unverified_iss, entry.unverified_sub = cut(assertion.issuer), cut(assertion.subject)
    entry.unverified_kid = cut(assertion.kid)


def note_proven(entry: IssuerRequest, proven: ProvenClient) -> None:
    """Put the name of a proven client in the place of what was only said."""
    entry.client = proven.client.id
    entry.unverified_client = entry.unverified_iss = entry.unverified_sub = entry.unverified_kid = ""


def _read_proof(asked: Asked) -> PresentedSecret | Assertion | AuthFailure:
    """Return the one secret or assertion by which the caller says who it is; nothing is compared yet."""
    presented = read_credentials(asked.request.fields.getall(AUTHORIZATION, ()), asked.form.values)
    return read_client_assertion(presented) if isinstance(presented, PresentedAssertion) else presented


def _is_for(assertion: Assertion, audience: str) -> bool:
    return assertion.jwt.payload.get("aud") in (audience, [audience])
