"""Judge whether a text is a live access token of this issuer.

Pure: no I/O, no clock. The cheap checks come first, so that a flood of foreign or
stale tokens never reaches the signature check. Whether the token was revoked and
what it allows is not judged here (`gateway.tokens.revocations`, `gateway.policy`).

A header's `jku`, `x5u`, `jwk` and `x5c` are never read: keys come from the key ring
alone, and each key fixes its algorithm.

Sources: RFC 9068 4; RFC 7519 4.1 and 7.2; RFC 8725 3.1, 3.2, 3.8, 3.10 and 3.11.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.reasons import Reason
from gateway.tokens.claims import AccessToken, ClaimProblem, read_access_token
from gateway.tokens.jwt import CompactJwt, JwtProblem, parse_compact
from gateway.tokens.key_ring import ALGORITHMS, KeyRing, VerificationKey

_ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_UNTYPED = "jwt"

REFUSED_TOKENS = (
    Reason.MALFORMED_TOKEN,
    Reason.ALG_NOT_ALLOWED,
    Reason.UNKNOWN_KEY,
    Reason.WRONG_TYPE,
    Reason.WRONG_ISSUER,
    Reason.BAD_SIGNATURE,
    Reason.EXPIRED,
    Reason.NOT_YET_VALID,
)
"""What a token can be refused for before it is asked what it is good for."""


def verify_access_token(raw: bytes, *, keys: KeyRing, issuer: str, now: float) -> AccessToken | Reason:
    """Return the verified token, or the first reason against it. Never raises on input.

    Order: size and shape, type and issuer, algorithm, key, claims, expiry, start, signature.
    Type and issuer come before the key, because a token of somebody else is signed with a key
    that is never here. There is no leeway: our own tokens are refused at `exp` and accepted from `nbf` on.

    Args:
        raw: The token as it was presented.
        keys: The issuer's keys.
        issuer: The `iss` that must be equal, byte for byte.
        now: Wall-clock seconds since the epoch.
    """
    token = parse_compact(raw, headers=keys.headers)
    if isinstance(token, JwtProblem):
        return Reason.MALFORMED_TOKEN
    stranger = _judge_kind(token, issuer)
    if stranger is not None:
        return stranger
    key = _find_key(token.header, keys)
    if isinstance(key, Reason):
        return key
    claims = _read_claims(token, key.kid, now)
    if isinstance(claims, Reason):
        return claims
    if not key.verify(token.signing_input, token.signature):
        return Reason.BAD_SIGNATURE
    return claims


@dataclass(frozen=True, slots=True)
class StatedToken:
    """What a text says that has the form of an access token of ours."""

    token: AccessToken
    is_verified: bool
    """Whether a key that is here vouches for it. Without that anybody may have written it."""


def read_stated_token(raw: bytes, *, keys: KeyRing) -> StatedToken | None:
    """Return what `raw` says, whatever the time and whoever signed it; None for no access token.

    For revocation alone: what is not valid yet may be revoked, what cannot be verified now, and what
    bears another `iss`. That follows from a setting, which may be what it was again tomorrow.

    Args:
        raw: The token as it was presented.
        keys: The issuer's keys that are here.
    """
    parsed = parse_compact(raw, headers=keys.headers)
    if isinstance(parsed, JwtProblem):
        return None
    key = _find_key(parsed.header, keys)
    claims = read_access_token(parsed.payload, "" if isinstance(key, Reason) else key.kid)
    if isinstance(claims, ClaimProblem):
        return None
    is_verified = not isinstance(key, Reason) and key.verify(parsed.signing_input, parsed.signature)
    return StatedToken(claims, is_verified)


def _find_key(header: Mapping[str, object], keys: KeyRing) -> VerificationKey | Reason:
    alg, kid = header.get("alg"), header.get("kid")
    if alg not in ALGORITHMS:  # none at all, `none`, HMAC and every other spelling, whatever the kid
        return Reason.ALG_NOT_ALLOWED
    key = keys.verification.get(kid) if isinstance(kid, str) else None
    if key is None:
        return Reason.UNKNOWN_KEY
    if key.alg != alg:
        return Reason.ALG_NOT_ALLOWED
    return key


def _judge_kind(token: CompactJwt, issuer: str) -> Reason | None:
    """Return what is wrong with type or issuer, or None; nothing is verified yet.

    A JWT of no special type (RFC 7519 5.1) that another issuer wrote about somebody is that
    issuer's token. What says of itself that it is something else, or was written by its own
    subject as assertions are (RFC 7523 3), is no access token, whoever wrote it.
    """
    header, found_issuer = token.header, token.payload.get("iss")
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", _UNTYPED)
    if not isinstance(alg, str) or not isinstance(kid, str | None):
        return Reason.MALFORMED_TOKEN
    if found_issuer == issuer and alg not in ALGORITHMS:  # a forgery rather than a mistake
        return Reason.ALG_NOT_ALLOWED
    # RFC 7515 4.1.9: media types compare without case.
    typ = typ.lower() if isinstance(typ, str) else ""
    if typ in _ACCESS_TOKEN_TYPES:
        if not isinstance(found_issuer, str):
            return Reason.MALFORMED_TOKEN
        return None if found_issuer == issuer else Reason.WRONG_ISSUER
    if typ != _UNTYPED or found_issuer in (None, issuer, token.payload.get("sub")):
        return Reason.WRONG_TYPE
    return Reason.WRONG_ISSUER


def _read_claims(token: CompactJwt, kid: str, now: float) -> AccessToken | Reason:
    claims = read_access_token(token.payload, kid)
    if isinstance(claims, ClaimProblem):
        return Reason.MALFORMED_TOKEN
    if now >= claims.expires_at:
        return Reason.EXPIRED
    if now < claims.not_before:
        return Reason.NOT_YET_VALID
    return claims
