"""Read the key sets of others: public keys that vouch for clients and workloads.

A key set comes from a file, a URL or the configuration and is judged as a whole once,
when it is read; fetching it is `gateway.tokens.jwks_client`. Pure: no I/O, no clock.

What is taken and what is not:

1. Keys that are not for us are passed over, as RFC 7517 5 wants: unknown types and
   curves, keys for encryption, keys too weak, symmetric keys (a published secret is
   none, and an RSA key must never become an HMAC secret), keys that give away their
   private half (whoever can read the set could sign).
2. Every key has exactly one algorithm (RFC 8725 3.1). It follows from the type; an
   RSA key without `alg` is RS256.
3. Two keys with one `kid` make the set ambiguous, so it is refused as a whole: which
   key is meant would depend on the order of a list.
4. A token names its key by `kid`, or by the key's RFC 7638 thumbprint. A token without
   `kid` is tried with the few keys of its algorithm.

Sources: RFC 7517 4 and 5; RFC 7638; RFC 8725 3.1, 3.8; SPIFFE JWT-SVID and bundle (`use`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jwcrypto.common import JWException
from jwcrypto.jwk import JWK

from gateway.tokens.jwt import JwtProblem, parse_json_object
from gateway.tokens.keys import (
    UnusableKeyError,
    VerificationKey,
    algorithm_of,
    make_verification_key,
)

MAX_SET_BYTES = 512 * 1024
MAX_KEYS = 256
MAX_TRIED = 4
"""How many keys a token without `kid` may be tried with."""
MAX_KID = 512
"""Characters; a key with a longer name is not taken."""

_PUBLIC_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SIGNATURE_USES = ("sig", "jwt-svid")
_WITHOUT_ALG = "RS256"


class KeySetError(ValueError):
    """Say why a text is no key set that can be used; the message never holds key material."""


class KeyMiss(StrEnum):
    """Why a set has no key for a token."""

    UNKNOWN_KEY = "unknown_key"
    ALG_NOT_ALLOWED = "alg_not_allowed"


@dataclass(frozen=True, slots=True, eq=False)
class ForeignKey:
    """One public key under the name that its owner gave it."""

    kid: str | None
    key: VerificationKey
    """Its own `kid` is the thumbprint."""


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The usable keys of one set. Compared by identity."""

    keys: tuple[ForeignKey, ...]
    passed_over: tuple[str, ...] = field(default=())
    """Why keys were not taken, one text per key, for people."""

    def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...] | KeyMiss:
        """Return the keys that may have signed a token with this header; never an empty tuple.

        Args:
            kid: The token's `kid`, untrusted: it is compared and nothing else.
            alg: The token's `alg`, one of ours.
        """
        if kid is not None:
            named = [entry.key for entry in self.keys if kid in (entry.kid, entry.key.kid)]
            if not named:
                return KeyMiss.UNKNOWN_KEY
            fitting = tuple(key for key in named if key.alg == alg)
            return fitting or KeyMiss.ALG_NOT_ALLOWED
        fitting = tuple(entry.key for entry in self.keys if entry.key.alg == alg)
        if not fitting:
            return KeyMiss.ALG_NOT_ALLOWED
        return fitting if len(fitting) <= MAX_TRIED else KeyMiss.UNKNOWN_KEY


def read_key_set(octets: bytes) -> KeySet:
    """Return the usable keys of a JWK Set; a single JWK is a set of one.

    Raises:
        KeySetError: It is no JWK Set, is ambiguous, or holds no usable key.
    """
    if len(octets) > MAX_SET_BYTES:
        raise KeySetError(f"is larger than {MAX_SET_BYTES // 1024} KiB")
    document = parse_json_object(octets)
    if isinstance(document, JwtProblem):
        raise KeySetError("is not a JSON object without repeated members")
    members = document.get("keys", [document] if "kty" in document else None)
    if not isinstance(members, list):
        raise KeySetError("has no array `keys`")
    if len(members) > MAX_KEYS:
        raise KeySetError(f"holds more than {MAX_KEYS} keys")
    keys: list[ForeignKey] = []
    passed_over: list[str] = []
    for index, member in enumerate(members):
        try:
            keys.append(_read_key(member))
        except UnusableKeyError as reason:
            passed_over.append(f"keys[{index}]: {reason}")
    if not keys:
        because = f": {'; '.join(passed_over[:3])}" if passed_over else ""
        raise KeySetError(f"holds no usable key{because}")
    named = [entry.kid for entry in keys if entry.kid is not None]
    if len(set(named)) != len(named):
        raise KeySetError("holds two keys with one `kid`")
    return KeySet(tuple(keys), tuple(passed_over))


def _read_key(member: object) -> ForeignKey:
    """Return one key of a set, made of its public members alone."""
    if not isinstance(member, Mapping):
        raise UnusableKeyError("it is not a JSON object")
    kid, kty = member.get("kid"), member.get("kty")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise UnusableKeyError(f"its kid is not a text of 1 to {MAX_KID} characters")
    if not isinstance(kty, str) or kty not in _PUBLIC_MEMBERS:
        raise UnusableKeyError("its type is not supported; use EC P-256, RSA or Ed25519")
    if not _PRIVATE_MEMBERS.isdisjoint(member):
        raise UnusableKeyError("it gives away its private half, so anybody could sign with it")
    if member.get("use", "sig") not in _SIGNATURE_USES:
        raise UnusableKeyError("its use member says that it is not for signatures")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeyError("its key_ops member says that it is not for verifying")
    public = {name: member.get(name) for name in _PUBLIC_MEMBERS[kty]}
    if not all(isinstance(value, str) for value in public.values()):
        raise UnusableKeyError(f"its members {', '.join(public)} are not all there as text")
    alg = member.get("alg")
    if alg is not None:
        public["alg"] = alg if isinstance(alg, str) else ""
    try:
        jwk = JWK(kty=kty, **public)
        return ForeignKey(kid, make_verification_key(jwk, algorithm_of(jwk, preferred=_WITHOUT_ALG)))
    except UnusableKeyError:
        raise
    except (JWException, ValueError, TypeError) as error:
        raise UnusableKeyError("its members do not make a key") from error
