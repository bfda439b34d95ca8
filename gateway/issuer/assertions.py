"""Have a caller prove itself by a signed assertion: as a client, or as an identity.

Two uses, two error codes, one order of steps. `gateway.clients.assertions` judges the
text; here keys are found, used assertions remembered, and refusals worded:

1. What the text alone tells (shape, type, algorithm) is refused precisely.
2. Whose it is: `iss` names the client, or the identities that trust this issuer. An
   assertion is only ever checked with the keys of its own issuer.
3. Its claims are judged, its signature is verified. A caller whose signature does not
   verify gets one answer, whatever else was wrong and whether the client or identity
   exists; unknown ones cost a verification, too.
4. Only then: what is wrong with the claims, with the client, and was it used before.

Keys are fetched for an unknown `kid` only when everything else about the assertion is
in order, and not for peers that sent too many bad ones.

Sources: RFC 7521 4.1.1, 4.2.1; RFC 7523 2 and 3; RFC 6749 5.2; draft-ietf-oauth-rfc7523bis-11.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.clients.assertions import (
    CLIENT_ASSERTION_TYPES,
    GRANT_ASSERTION_TYPES,
    HS256,
    Assertion,
    AssertionProblem,
    AssertionReason,
    AssertionRules,
    check_claims,
    check_mac,
    check_signature,
    read_assertion,
    replay_key,
    replay_until,
    spend_verification,
)
from gateway.clients.authenticate import (
    NOT_PROVEN,
    AuthFailure,
    AuthReason,
    PresentedAssertion,
    ProvenClient,
    admit_proven,
)
from gateway.clients.identities import Keys, TrustedIdentity
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import (
    CLIENT_SECRET_JWT,
    JWT_BEARER,
    PRIVATE_KEY_JWT,
    RegisteredClient,
)
from gateway.issuer.context import IssuerContext
from gateway.issuer.endpoints import token_urls
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.settings.model import IssuerSettings
from gateway.state.interface import StateUnavailableError
from gateway.tokens.foreign_keys import KeySet
from gateway.tokens.jwks_client import KeysUnavailableError

GRANT_METHOD = "jwt-bearer"
"""How failures of the grant are labelled beside the methods of client authentication."""

_log = logging.getLogger("gateway.issuer")

_UNTRUSTED = OAuthProblem(
    ErrorCode.INVALID_GRANT,
    "assertion: no client trusts it: issuer, subject or claims are unknown, or the signature is wrong",
)
_NO_KEYS = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the keys of the assertion's issuer cannot be fetched now; try again"
)
_NO_STATE = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "it cannot be checked now whether the assertion was used before"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of whoever presents an assertion."""

    peer: str
    now: float


def read_client_assertion(presented: PresentedAssertion) -> Assertion | AuthFailure:
    """Return the assertion by which its `issuer` wants to be authenticated; nothing is verified.

    What the text alone tells is refused here, before anything is looked up.
    """
    assertion = read_assertion(presented.raw, CLIENT_ASSERTION_TYPES)
    if isinstance(assertion, AssertionProblem):
        return _client_failure(presented.method, assertion)
    method = method_of(assertion)
    if assertion.issuer != assertion.subject:
        wrong = AssertionProblem(AssertionReason.WRONG_ISSUER, "iss and sub must both be the client id")
        return _client_failure(method, wrong)
    if presented.client_id not in (None, assertion.issuer):
        # RFC 7521 4.2: a client_id that is sent as well must be that of the assertion.
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "client_id: is not the client of the assertion")
        return AuthFailure(method, AuthReason.SEVERAL_METHODS, problem)
    return assertion


def method_of(assertion: Assertion) -> str:
    """Return the name of the method by which an assertion authenticates its client."""
    return CLIENT_SECRET_JWT if assertion.alg == HS256 else PRIVATE_KEY_JWT


async def prove_client(
    assertion: Assertion, snapshot: IssuerSnapshot, context: IssuerContext, caller: Caller
) -> ProvenClient | AuthFailure:
    """Return the client that `assertion` proves, or the failure (`invalid_client`).

    Args:
        assertion: As `read_client_assertion` returned it.
        snapshot: The current configuration.
        context: What the issuer works with.
        caller: Who asks, and when.
    """
    method = method_of(assertion)
    client = snapshot.registry.clients.get(assertion.issuer, snapshot.registry.nobody)
    rules = _client_rules(client, snapshot)
    claims_problem = check_claims(assertion, rules, now=caller.now)
    try:
        unproven = await _check_client_signature(
            assertion, client, snapshot, context, caller, may_fetch=claims_problem is None
        )
    except KeysUnavailableError:
        return AuthFailure(method, AssertionReason.KEYS_UNAVAILABLE, _NO_KEYS, client.id)
    if client is snapshot.registry.nobody:
        return AuthFailure(method, AssertionReason.UNKNOWN_CLIENT, NOT_PROVEN)
    if unproven is not None:
        return AuthFailure(method, unproven.reason, NOT_PROVEN, client.id)
    if claims_problem is not None:
        return replace(_client_failure(method, claims_problem), client_id=client.id)
    admitted = admit_proven(client, method)
    if isinstance(admitted, AuthFailure) or not client.single_use_assertions or assertion.jti is None:
        return admitted
    used = await _note_use(assertion, "client_assertion", context)
    if used is None:
        return admitted
    if used is AssertionReason.STATE_UNAVAILABLE:
        return AuthFailure(method, used, _NO_STATE, client.id)
    return replace(
        _client_failure(method, AssertionProblem(used, "jti was used before")), client_id=client.id
    )


def read_grant_assertion(raw: bytes) -> Assertion | AuthFailure:
    """Return the assertion in `raw` by which an identity asks for a token; nothing is verified."""
    assertion = read_assertion(raw, GRANT_ASSERTION_TYPES)
    if isinstance(assertion, AssertionProblem):
        return _grant_failure(assertion)
    if assertion.alg == HS256:
        # Nobody shares a secret with us in this use; a public key must never become one.
        return _grant_failure(
            AssertionProblem(AssertionReason.ALG_NOT_ALLOWED, "alg must be one of the asymmetric algorithms")
        )
    return assertion


async def prove_identity(
    assertion: Assertion,
    client_id: str | None,
    snapshot: IssuerSnapshot,
    context: IssuerContext,
    caller: Caller,
) -> ProvenClient | AuthFailure:
    """Return the client that the identity in `assertion` may act as, or the failure (`invalid_grant`).

    Args:
        assertion: As `read_grant_assertion` returned it.
        client_id: The only client that is meant: one that authenticated as well, or the
            `client_id` that was sent. None: whichever trusts the identity.
        snapshot: The current configuration.
        context: What the issuer works with.
        caller: Who asks, and when.
    """
    trusting = snapshot.registry.identities.find(
        assertion.issuer, assertion.subject, assertion.values, client_id=client_id
    )
    if not trusting:
        spend_verification(assertion, snapshot.registry.decoys)
    failure = AuthFailure(GRANT_METHOD, AssertionReason.UNKNOWN_IDENTITY, _UNTRUSTED)
    proven: list[TrustedIdentity] = []
    checked: dict[Keys, AuthFailure | None] = {}
    for identity, problem in _choose(assertion, trusting, snapshot, caller.now):
        if identity.keys not in checked:
            checked[identity.keys] = await _check_identity(
                assertion, identity, problem, snapshot.registry.decoys, context, caller
            )
        refused = checked[identity.keys]
        if refused is None:
            proven.append(identity)
        else:
            failure = refused
    if not proven:
        return failure
    if len({identity.client_id for identity in proven}) > 1:
        several = OAuthProblem(
            ErrorCode.INVALID_REQUEST, "client_id: is missing; several clients trust this identity"
        )
        return AuthFailure(GRANT_METHOD, AuthReason.SEVERAL_METHODS, several)
    return await _admit_identity(assertion, proven[0], snapshot, context)


def _choose(
    assertion: Assertion, trusting: Iterable[TrustedIdentity], snapshot: IssuerSnapshot, now: float
) -> list[tuple[TrustedIdentity, AssertionProblem | None]]:
    """Return the identities that the claims fit; if there is none, the first with what does not fit.

    That one is for telling a caller with a good signature what is wrong. Of many identities
    that one issuer and condition could mean, only these are worth a signature check.
    """
    ours = frozenset({snapshot.issuer.url} | token_urls(snapshot.issuer))
    judged = []
    for identity in trusting:
        rules = _grant_rules(identity, snapshot.issuer, ours)
        judged.append((identity, check_claims(assertion, rules, now=now)))
    fitting = [each for each in judged if each[1] is None]
    return fitting or judged[:1]


async def _check_identity(
    assertion: Assertion,
    identity: TrustedIdentity,
    claims_problem: AssertionProblem | None,
    decoys: KeySet,
    context: IssuerContext,
    caller: Caller,
) -> AuthFailure | None:
    try:
        unproven = await _check_public_key(
            assertion, identity.keys, context, caller, may_fetch=claims_problem is None
        )
    except KeysUnavailableError:
        return AuthFailure(GRANT_METHOD, AssertionReason.KEYS_UNAVAILABLE, _NO_KEYS, identity.client_id)
    if unproven is not None:
        if unproven.reason is not AssertionReason.BAD_SIGNATURE:
            spend_verification(assertion, decoys)
        return AuthFailure(GRANT_METHOD, unproven.reason, _UNTRUSTED, identity.client_id)
    if claims_problem is not None:
        return replace(_grant_failure(claims_problem), client_id=identity.client_id)
    return None


async def _admit_identity(
    assertion: Assertion,
    identity: TrustedIdentity,
    snapshot: IssuerSnapshot,
    context: IssuerContext,
) -> ProvenClient | AuthFailure:
    client = snapshot.registry.clients[identity.client_id]
    if client.disabled:
        problem = OAuthProblem(ErrorCode.INVALID_GRANT, "the client is disabled")
        return AuthFailure(GRANT_METHOD, AuthReason.DISABLED, problem, client.id)
    if JWT_BEARER not in client.grants:
        problem = OAuthProblem(
            ErrorCode.UNAUTHORIZED_CLIENT, f"grant_type: the client may not use {JWT_BEARER}"
        )
        return AuthFailure(GRANT_METHOD, AuthReason.METHOD_NOT_ALLOWED, problem, client.id)
    if identity.settings.single_use:
        used = await _note_use(assertion, "grant_assertion", context)
        if used is AssertionReason.STATE_UNAVAILABLE:
            return AuthFailure(GRANT_METHOD, used, _NO_STATE, client.id)
        if used is not None:
            replayed = _grant_failure(AssertionProblem(used, "it was used before"))
            return replace(replayed, client_id=client.id)
    return ProvenClient(client, GRANT_METHOD)


# --- rules


def _client_rules(client: RegisteredClient, snapshot: IssuerSnapshot) -> AssertionRules:
    issuer = snapshot.issuer
    audiences = {issuer.url}
    if client.legacy_audience:
        audiences |= token_urls(issuer)
    return AssertionRules(
        frozenset(audiences),
        issuer.assertion_max_lifetime_s,
        issuer.clock_skew_s,
        require_jti=client.require_jti,
    )


def _grant_rules(identity: TrustedIdentity, issuer: IssuerSettings, ours: frozenset[str]) -> AssertionRules:
    settings = identity.settings
    return AssertionRules(
        ours if settings.audience is None else frozenset({settings.audience}),
        issuer.assertion_max_lifetime_s,
        issuer.clock_skew_s,
        allow_missing_exp=settings.allow_missing_exp,
        conditions=identity.conditions,
    )


# --- signatures


async def _check_client_signature(
    assertion: Assertion,
    client: RegisteredClient,
    snapshot: IssuerSnapshot,
    context: IssuerContext,
    caller: Caller,
    *,
    may_fetch: bool,
) -> AssertionProblem | None:
    if assertion.alg == HS256:
        problem = check_mac(assertion, client.hmac_secrets or (bytes(32),))
        return problem if client.hmac_secrets else _NO_KEY
    decoys = snapshot.registry.decoys
    if client.keys is None:
        spend_verification(assertion, decoys)
        return _NO_KEY
    problem = await _check_public_key(assertion, client.keys, context, caller, may_fetch=may_fetch)
    if problem is not None and problem.reason is not AssertionReason.BAD_SIGNATURE:
        spend_verification(assertion, decoys)
    return problem


_NO_KEY = AssertionProblem(AssertionReason.UNKNOWN_KEY, "the client has no key for this")


async def _check_public_key(
    assertion: Assertion, keys: Keys, context: IssuerContext, caller: Caller, *, may_fetch: bool
) -> AssertionProblem | None:
    """Return why no key vouches for the assertion, or None; raises KeysUnavailableError."""
    if not isinstance(keys, KeySet):
        keys = await context.key_sets.find(
            keys,
            assertion.kid,
            assertion.alg,
            may_fetch=may_fetch and context.may_fetch_keys(caller.peer),
        )
    problem = check_signature(assertion, keys)
    if problem is not None:
        context.on_bad_assertion(caller.peer)
    return problem


# --- replay


async def _note_use(assertion: Assertion, kind: str, context: IssuerContext) -> AssertionReason | None:
    """Return None at the first use, else why not; without an answer of the store it is no first use."""
    try:
        first = await context.replay.first_use(replay_key(assertion), replay_until(assertion))
    except StateUnavailableError as error:
        _log.error("an assertion was refused, because its use cannot be remembered: %s", error)
        return AssertionReason.STATE_UNAVAILABLE
    if first:
        return None
    context.observer.replay_rejected(kind)
    return AssertionReason.REPLAYED


def _client_failure(method: str, problem: AssertionProblem) -> AuthFailure:
    told = OAuthProblem(ErrorCode.INVALID_CLIENT, f"client_assertion: {problem.detail}")
    return AuthFailure(method, problem.reason, told)


def _grant_failure(problem: AssertionProblem) -> AuthFailure:
    told = OAuthProblem(ErrorCode.INVALID_GRANT, f"assertion: {problem.detail}")
    return AuthFailure(GRANT_METHOD, problem.reason, told)
