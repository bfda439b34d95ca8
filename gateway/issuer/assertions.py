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
    Effort,
    check_claims,
    check_mac,
    check_signature,
    read_assertion,
)
from gateway.clients.authenticate import (
    NOT_PROVEN,
    AuthFailure,
    AuthReason,
    PresentedAssertion,
    ProvenClient,
    admit_proven,
)
from gateway.clients.failure_costs import MAX_KEY_SETS
from gateway.clients.identities import Keys, TrustedIdentity
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient, Registry
from gateway.issuer.context import IssuerContext
from gateway.issuer.endpoints import token_urls
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.issuer.uses import CLIENT_ASSERTION, GRANT_ASSERTION, Unusable, note_use, owner_of
from gateway.oauth_names import CLIENT_SECRET_JWT, JWT_BEARER, PRIVATE_KEY_JWT
from gateway.settings.model import IssuerSettings
from gateway.tokens.jwks_client import KeysUnavailableError
from gateway.tokens.key_sets import KeySet

GRANT_METHOD = "jwt-bearer"
"""How failures of the grant are labelled beside the methods of client authentication."""

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
_TOO_MANY_USES = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE,
    "too many assertions of this issuer are in use that count once; let them expire sooner",
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
    registry, effort = snapshot.registry, Effort()
    try:
        signer = await _check_client_signature(
            assertion, client, registry, context, caller, effort, may_fetch=claims_problem is None
        )
    except KeysUnavailableError:
        return AuthFailure(method, AssertionReason.KEYS_UNAVAILABLE, _NO_KEYS, client.id)
    if isinstance(signer, AssertionProblem):
        registry.client_failure.spend_rest(assertion, effort, context.key_sets.tries(), snapshot.decoys)
    if client is registry.nobody:
        return AuthFailure(method, AssertionReason.UNKNOWN_CLIENT, NOT_PROVEN)
    if isinstance(signer, AssertionProblem):
        return AuthFailure(method, signer.reason, NOT_PROVEN, client.id)
    if claims_problem is not None:
        return replace(_client_failure(method, claims_problem), client_id=client.id)
    admitted = admit_proven(client, method)
    if isinstance(admitted, AuthFailure) or not client.single_use_assertions or assertion.jti is None:
        return admitted
    owner = owner_of(client.id, None)
    unusable = await note_use(assertion, signer, owner, context, kind=CLIENT_ASSERTION, now=caller.now)
    if unusable is None:
        return admitted
    replayed = _client_failure(method, AssertionProblem(unusable.reason, "jti was used before"))
    return _use_failure(unusable, replayed, client.id)


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
    registry, effort = snapshot.registry, Effort()
    trusting = registry.identities.find(
        assertion.issuer, assertion.subject, assertion.values, client_id=client_id
    )
    failure = AuthFailure(GRANT_METHOD, AssertionReason.UNKNOWN_IDENTITY, _UNTRUSTED)
    proven: list[tuple[TrustedIdentity, str]] = []
    checked: dict[Keys, AuthFailure | str] = {}
    for identity, problem in _choose(assertion, trusting, snapshot, caller.now):
        if identity.keys not in checked:
            if len(checked) == MAX_KEY_SETS:
                continue  # whoever is among so many platforms of one name says `client_id`
            checked[identity.keys] = await _check_identity(
                assertion, identity, problem, effort, context, caller
            )
        outcome = checked[identity.keys]
        if isinstance(outcome, AuthFailure):
            failure = outcome
        else:
            proven.append((identity, outcome))
    if not proven:
        if failure.problem is _UNTRUSTED:
            registry.grant_failure.spend_rest(assertion, effort, context.key_sets.tries(), snapshot.decoys)
        return failure
    if len({identity.client_id for identity, _ in proven}) > 1:
        several = OAuthProblem(
            ErrorCode.INVALID_REQUEST, "client_id: is missing; several clients trust this identity"
        )
        return AuthFailure(GRANT_METHOD, AuthReason.SEVERAL_METHODS, several)
    return await _admit_identity(assertion, *proven[0], snapshot, context, caller)


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
    effort: Effort,
    context: IssuerContext,
    caller: Caller,
) -> AuthFailure | str:
    """Return the key that vouches for it, or the failure."""
    try:
        signer = await _check_public_key(
            assertion, identity.keys, context, caller, effort, may_fetch=claims_problem is None
        )
    except KeysUnavailableError:
        return AuthFailure(GRANT_METHOD, AssertionReason.KEYS_UNAVAILABLE, _NO_KEYS, identity.client_id)
    if isinstance(signer, AssertionProblem):
        return AuthFailure(GRANT_METHOD, signer.reason, _UNTRUSTED, identity.client_id)
    if claims_problem is not None:
        return replace(_grant_failure(claims_problem), client_id=identity.client_id)
    return signer


async def _admit_identity(
    assertion: Assertion,
    identity: TrustedIdentity,
    signer: str,
    snapshot: IssuerSnapshot,
    context: IssuerContext,
    caller: Caller,
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
        owner = owner_of(assertion.issuer, identity.keys)
        unusable = await note_use(assertion, signer, owner, context, kind=GRANT_ASSERTION, now=caller.now)
        if unusable is not None:
            replayed = _grant_failure(AssertionProblem(unusable.reason, "it was used before"))
            return _use_failure(unusable, replayed, client.id)
    return ProvenClient(client, GRANT_METHOD)


# --- rules


def _client_rules(client: RegisteredClient, snapshot: IssuerSnapshot) -> AssertionRules:
    issuer = snapshot.issuer
    ours = frozenset({issuer.url} | token_urls(issuer))  # made for everybody: the time must not tell for whom
    return AssertionRules(
        ours if client.legacy_audience else frozenset({issuer.url}),
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
    registry: Registry,
    context: IssuerContext,
    caller: Caller,
    effort: Effort,
    *,
    may_fetch: bool,
) -> AssertionProblem | str:
    """Return the key that vouches for it, or why none does."""
    if assertion.alg == HS256:
        problem = check_mac(assertion, client.hmac_secrets, tries=registry.mac_tries)
        return (problem or HS256) if client.hmac_secrets else _NO_KEY
    if client.keys is None:
        return _NO_KEY
    return await _check_public_key(assertion, client.keys, context, caller, effort, may_fetch=may_fetch)


_NO_KEY = AssertionProblem(AssertionReason.UNKNOWN_KEY, "the client has no key for this")


async def _check_public_key(
    assertion: Assertion,
    keys: Keys,
    context: IssuerContext,
    caller: Caller,
    effort: Effort,
    *,
    may_fetch: bool,
) -> AssertionProblem | str:
    """Return the key that vouches for the assertion, or why none does; raises KeysUnavailableError."""
    if not isinstance(keys, KeySet):
        keys = await context.key_sets.find(
            keys,
            assertion.kid,
            assertion.alg,
            may_fetch=may_fetch and context.may_fetch_keys(caller.peer),
        )
    signer = check_signature(assertion, keys, effort)
    if isinstance(signer, AssertionProblem):
        context.on_bad_assertion(caller.peer)
    return signer


# --- answers


def _use_failure(unusable: Unusable, replayed: AuthFailure, client_id: str) -> AuthFailure:
    """Return the failure of an assertion that does not count; `replayed` is for one that did before."""
    match unusable.reason:
        case AssertionReason.REPLAYED:
            return replace(replayed, client_id=client_id)
        case AssertionReason.TOO_MANY_USES:
            problem = _TOO_MANY_USES
        case _:
            problem = _NO_STATE
    return AuthFailure(replayed.method, unusable.reason, problem, client_id, unusable.retry_after_s)


def _client_failure(method: str, problem: AssertionProblem) -> AuthFailure:
    told = OAuthProblem(ErrorCode.INVALID_CLIENT, f"client_assertion: {problem.detail}")
    return AuthFailure(method, problem.reason, told)


def _grant_failure(problem: AssertionProblem) -> AuthFailure:
    told = OAuthProblem(ErrorCode.INVALID_GRANT, f"assertion: {problem.detail}")
    return AuthFailure(GRANT_METHOD, problem.reason, told)
