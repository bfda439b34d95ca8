"""Judge a signed assertion: a JWT by which a client or a workload says who it is.

One judge for two uses that exclude each other: client authentication
(`private_key_jwt`, `client_secret_jwt`) and the `jwt-bearer` grant. Pure: keys and
the time are passed in. Which client an assertion may stand for, fetching keys and
remembering what was used is `gateway.issuer.assertions`.

The steps, which their caller puts in order:

1. `read_assertion`: shape, type, algorithm, issuer, subject. Depends on the text alone.
2. `check_claims`: audience, times, `jti`, conditions, by the rules of one use.
3. `check_signature`: with the keys of that one issuer (RFC 8725 3.8); it names the key.
   The header only chooses among them by `kid` and `alg`; `jku`, `x5u`, `jwk` and `x5c` are
   never read.
4. `replay_key`: under what name the assertion is remembered as used.

What the signature does not prove is not told: a caller learns the details of step 2
only after step 3.

Replay: an assertion with a `jti` is known by issuer, `jti` and the key that vouches for
it, one without by what was signed. So whoever shares an issuer's name, but not its key,
uses up nothing of it; and one assertion is one, wherever its keys are found. Neither
depends on the signature's bytes, so the (r, n-s) twin of an ECDSA signature, which is as
valid as the original, is the same assertion.

Sources: RFC 7523 2 and 3; RFC 7521 5.2; RFC 8725 3; draft-ietf-oauth-rfc7523bis-11;
SPIFFE JWT-SVID 2.3.
"""

import hashlib
import hmac
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from gateway.clients.conditions import ClaimValues, Conditions
from gateway.reasons import Reason
from gateway.settings.model import MAX_CLOCK_SKEW_S
from gateway.tokens.claims import MAX_TIME
from gateway.tokens.jwt import CompactJwt, JwtProblem, parse_compact
from gateway.tokens.key_ring import ALGORITHMS, VerificationKey
from gateway.tokens.key_sets import KeyMiss, KeySet

HS256 = "HS256"
CLIENT_ASSERTION_TYPES = frozenset({None, "jwt", "client-authentication+jwt"})
GRANT_ASSERTION_TYPES = frozenset({None, "jwt", "jose"})
"""Accepted `typ` values, lower-case, without `application/`. Whatever else a token says
that it is (`at+jwt`, `dpop+jwt`, `logout+jwt` …), it is not an assertion. `JOSE` says no
more than how it is serialized (RFC 7515 4.1.9); a JWT-SVID may say so."""

CLOCKS_APART_S = 60.0
"""How far the clocks of replicas that share a store may differ before a use is forgotten too early."""

BACKDATED_S = 600.0
"""How much earlier than it was issued a platform may say that a token was. Entra ID says five minutes."""

_MAX_TEXT = 1024


class AssertionReason(StrEnum):
    """Why an assertion is not accepted: a closed list, for metrics and logs."""

    MALFORMED = "malformed"
    WRONG_TYPE = Reason.WRONG_TYPE.value
    ALG_NOT_ALLOWED = Reason.ALG_NOT_ALLOWED.value
    WRONG_ISSUER = Reason.WRONG_ISSUER.value
    UNKNOWN_CLIENT = "unknown_client"
    UNKNOWN_IDENTITY = "unknown_identity"
    UNKNOWN_KEY = Reason.UNKNOWN_KEY.value
    BAD_SIGNATURE = Reason.BAD_SIGNATURE.value
    WRONG_AUDIENCE = Reason.WRONG_AUDIENCE.value
    EXPIRED = Reason.EXPIRED.value
    NOT_YET_VALID = Reason.NOT_YET_VALID.value
    TOO_LONG_LIVED = "too_long_lived"
    CLAIM_MISMATCH = Reason.CLAIM_MISMATCH.value
    REPLAYED = Reason.REPLAYED.value
    KEYS_UNAVAILABLE = Reason.KEYS_UNAVAILABLE.value
    STATE_UNAVAILABLE = "state_unavailable"
    TOO_MANY_USES = "too_many_uses"


@dataclass(frozen=True, slots=True)
class AssertionProblem:
    """Why, and which part is wrong and what is expected, for the caller."""

    reason: AssertionReason
    detail: str


@dataclass(frozen=True, slots=True)
class Assertion:
    """One assertion as it was read. Nothing in it is verified."""

    alg: str
    kid: str | None
    issuer: str
    subject: str
    jwt: CompactJwt = field(repr=False)
    values: ClaimValues = field(repr=False, compare=False)
    """The values of its claims, for conditions."""

    @property
    def jti(self) -> str | None:
        """Return the `jti`, whose shape `check_claims` has judged."""
        value = self.jwt.payload.get("jti")
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class AssertionRules:
    """What one use demands of the claims."""

    audiences: frozenset[str]
    """`aud` must be one of these, as its only value."""
    max_lifetime_s: float
    clock_skew_s: float
    allow_missing_exp: bool = False
    require_jti: bool = False
    conditions: Conditions = field(default_factory=lambda: MappingProxyType({}))


def read_assertion(raw: bytes, types: Collection[str | None]) -> Assertion | AssertionProblem:
    """Return the assertion that `raw` spells, or the first thing against it. Never raises on input."""
    jwt = parse_compact(raw)
    if isinstance(jwt, JwtProblem):
        return AssertionProblem(AssertionReason.MALFORMED, str(jwt))
    alg, kid = jwt.header.get("alg"), jwt.header.get("kid")
    if not all(isinstance(jwt.header.get(name, ""), str) for name in ("alg", "kid", "typ")) or alg is None:
        return AssertionProblem(AssertionReason.MALFORMED, "alg, kid and typ can only be texts")
    # RFC 8725 3.1 and 3.2: `none` and every unknown spelling are refused by not being listed.
    if alg not in ALGORITHMS and alg != HS256:
        expected = ", ".join((*ALGORITHMS, HS256))
        return AssertionProblem(AssertionReason.ALG_NOT_ALLOWED, f"alg must be one of {expected}")
    if _short_type(jwt.header.get("typ")) not in types:
        known = " or ".join(sorted(name for name in types if name))
        return AssertionProblem(AssertionReason.WRONG_TYPE, f"typ, where there is one, must be {known}")
    issuer, subject = jwt.payload.get("iss"), jwt.payload.get("sub")
    if not _is_text(issuer) or not _is_text(subject):
        return AssertionProblem(AssertionReason.MALFORMED, "iss and sub must be non-empty texts")
    values = ClaimValues(jwt.payload)
    return Assertion(str(alg), None if kid is None else str(kid), str(issuer), str(subject), jwt, values)


def _short_type(typ: object) -> str | None:
    """Return a media type as RFC 7515 4.1.9 compares it: lower-case, `application/` left out."""
    return None if typ is None else str(typ).lower().removeprefix("application/")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT


def check_claims(assertion: Assertion, rules: AssertionRules, *, now: float) -> AssertionProblem | None:
    """Return the first claim that breaks the rules, or None.

    Order: audience, expiry, start, age, `jti`, conditions.
    """
    payload = assertion.jwt.payload
    return (
        _check_audience(payload, rules.audiences)
        or _check_expiry(payload, rules, now)
        or _check_start(payload, rules, now)
        or _check_age(payload, rules, now)
        or _check_jti(payload, rules)
        or _check_conditions(assertion.values, rules.conditions)
    )


def _check_audience(payload: Mapping[str, object], accepted: frozenset[str]) -> AssertionProblem | None:
    """Return nothing when the values of `aud` are different ones of ours: then nobody else can be meant.

    An assertion that names us among others could be taken to the others, too.
    """
    audience = payload.get("aud")
    values = audience if isinstance(audience, list) else [audience]
    named = {value for value in values if isinstance(value, str) and value in accepted}
    if named and len(named) == len(values):
        return None
    expected = " or ".join(sorted(accepted))
    return AssertionProblem(AssertionReason.WRONG_AUDIENCE, f"aud must be {expected} and nothing else")


def _check_expiry(
    payload: Mapping[str, object], rules: AssertionRules, now: float
) -> AssertionProblem | None:
    if "exp" not in payload and rules.allow_missing_exp:
        return None
    expires_at = _time(payload.get("exp"))
    if expires_at is None:
        return AssertionProblem(AssertionReason.MALFORMED, "exp must be a number of seconds since 1970")
    if expires_at <= now - rules.clock_skew_s:
        return AssertionProblem(AssertionReason.EXPIRED, "exp has passed")
    if expires_at > now + rules.max_lifetime_s + rules.clock_skew_s:
        allowed = f"exp may lie at most {rules.max_lifetime_s:.0f} s ahead"
        return AssertionProblem(AssertionReason.TOO_LONG_LIVED, allowed)
    return None


def _check_start(payload: Mapping[str, object], rules: AssertionRules, now: float) -> AssertionProblem | None:
    for name in ("nbf", "iat"):
        if name not in payload:
            continue
        time = _time(payload[name])
        if time is None:
            return AssertionProblem(
                AssertionReason.MALFORMED, f"{name} must be a number of seconds since 1970"
            )
        if time > now + rules.clock_skew_s:
            return AssertionProblem(AssertionReason.NOT_YET_VALID, f"{name} lies in the future")
        # check_expiry has bounded exp on both sides, so it can be added to.
        expires_at = _time(payload.get("exp"))
        if expires_at is not None and time > expires_at + rules.clock_skew_s:
            return AssertionProblem(AssertionReason.MALFORMED, f"{name} must lie before exp")
    return None


def _check_age(payload: Mapping[str, object], rules: AssertionRules, now: float) -> AssertionProblem | None:
    """Return the age as a problem when nothing so old is taken (RFC 7523 3 (6)).

    Without `exp` it is the only bound.
    """
    issued_at = _time(payload.get("iat"))
    oldest = now - rules.max_lifetime_s - rules.clock_skew_s - BACKDATED_S
    if issued_at is None or issued_at >= oldest:
        return None
    allowed = f"iat may lie at most {rules.max_lifetime_s:.0f} s back"
    return AssertionProblem(AssertionReason.TOO_LONG_LIVED, allowed)


def _check_jti(payload: Mapping[str, object], rules: AssertionRules) -> AssertionProblem | None:
    if "jti" not in payload and not rules.require_jti:
        return None
    if not _is_text(payload.get("jti")):
        return AssertionProblem(AssertionReason.MALFORMED, "jti must be a non-empty text")
    return None


def _check_conditions(values: ClaimValues, conditions: Conditions) -> AssertionProblem | None:
    if values.fulfil(conditions):
        return None
    return AssertionProblem(AssertionReason.CLAIM_MISMATCH, "a claim is not as the configuration demands it")


def _time(value: object) -> float | int | None:
    """Return a NumericDate (RFC 7519 2): any finite number; true and texts are none.

    Never added to: a whole number may be too large for a float.
    """
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class Effort:
    """What the signature checks of one attempt have cost so far."""

    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work = 0

    def verify(self, key: VerificationKey, assertion: Assertion) -> bool:
        """Return whether `key` verifies the assertion's signature."""
        self.work += key.work
        return key.verify(assertion.jwt.signing_input, assertion.jwt.signature)


def check_signature(assertion: Assertion, keys: KeySet, effort: Effort) -> AssertionProblem | str:
    """Return the thumbprint of the key of the set that vouches for the assertion, or why none does."""
    found = keys.find(assertion.kid, assertion.alg)
    if found is KeyMiss.UNKNOWN_KEY:
        return AssertionProblem(AssertionReason.UNKNOWN_KEY, "no key of its issuer has this kid")
    if found is KeyMiss.ALG_NOT_ALLOWED:
        return AssertionProblem(AssertionReason.ALG_NOT_ALLOWED, "the key is not used with this alg")
    assert isinstance(found, tuple)
    for key in found:
        if effort.verify(key, assertion):
            return key.kid
    return AssertionProblem(AssertionReason.BAD_SIGNATURE, "the signature does not verify")


def check_mac(assertion: Assertion, secrets: Sequence[bytes], *, tries: int = 0) -> AssertionProblem | None:
    """Return why no secret vouches for an HS256 assertion, or None; all are tried, also after a match.

    Args:
        assertion: As it was read.
        secrets: What it may be signed with.
        tries: How many MACs are computed at least.
    """
    jwt = assertion.jwt
    matched = False
    for _ in range(tries - len(secrets)):
        hmac.compare_digest(hmac.digest(bytes(32), jwt.signing_input, "sha256"), jwt.signature)
    for secret in secrets:
        mac = hmac.digest(secret, jwt.signing_input, "sha256")
        matched |= hmac.compare_digest(mac, jwt.signature)
    if matched:
        return None
    return AssertionProblem(AssertionReason.BAD_SIGNATURE, "the signature does not verify")


def replay_key(assertion: Assertion, signer: str) -> str:
    """Return the name under which a verified assertion is remembered, one for all its spellings.

    One for all its uses, too: what authenticated a client, or stood for one, stands for no other.
    The second line is the name that it had in the release before, which did not look at the key.

    Args:
        assertion: Verified.
        signer: The key that vouches for it, as `check_signature` returned it.
    """
    named = assertion.jti
    what = named.encode() if named is not None else hashlib.sha256(assertion.jwt.signing_input).digest()
    kind = b"jti" if named is not None else b"signed"
    former = (assertion.issuer.encode(), kind, what)
    return f"assertion:{_digest((signer.encode(), *former))}\nassertion:{_digest(former)}"


def _digest(parts: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # Each part with its length: no two different lists of parts join to one text.
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def replay_until(assertion: Assertion) -> int:
    """Return the second up to which the use of a verified assertion must be remembered.

    The leeway it was judged with does not count: a reload may give more, and another
    replica judges by another clock than the one that remembers.
    """
    expires_at = _time(assertion.jwt.payload.get("exp"))
    if expires_at is None:
        return MAX_TIME
    # check_claims has bounded it, so it fits into a float.
    return math.ceil(expires_at + MAX_CLOCK_SKEW_S + CLOCKS_APART_S)
