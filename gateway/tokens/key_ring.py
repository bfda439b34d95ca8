"""Hold keys that sign and keys that verify, each bound to one algorithm, and the issuer's ring of them.

The keys are made by `gateway.tokens.key_objects` and `gateway.tokens.keys`: whoever only hands keys
on, or names an algorithm, loads no library of cryptography. Pure: no I/O, no clock.

Sources: RFC 7515 4; RFC 7518 3.1; RFC 7638; RFC 9068 2.1.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from types import MappingProxyType

from gateway.tokens.base64url import encode_base64url

ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")
"""The signature algorithms that exist here; anything else is refused by name."""

SLOW_TO_SIGN = frozenset({"RS256", "PS256"})
"""Signing with these takes about 0.8 ms: too long for an event loop."""

AT_JWT = "at+jwt"
"""RFC 9068 2.1."""

NO_HEADERS: Mapping[bytes, Mapping[str, object]] = MappingProxyType({})

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]


class UnusableKeyError(ValueError):
    """Say why a key cannot be used here; the message never holds key material."""


class TooLargeKeyError(UnusableKeyError):
    """Say that a key is larger than whoever loads it takes."""


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A public key, bound to one algorithm."""

    kid: str
    alg: str
    verify: Verify = field(repr=False)
    """(signing input, signature) -> whether the signature is valid. Never raises on input."""
    public_jwk: Mapping[str, str] = field(repr=False)
    """As published: `kty kid use alg` and the public members."""
    work: int = 100
    """How long a check takes, whatever the signature, beside other keys of its algorithm."""


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key, bound to one algorithm."""

    kid: str
    alg: str
    sign: Sign = field(repr=False)
    """Signing input -> signature as a JWS carries it."""
    public_jwk: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class KeyRing:
    """The issuer's keys: one signs, all verify. Compared by identity."""

    active: SigningKey | None
    """None in an empty ring: nothing is signed, and nothing verifies."""
    verification: Mapping[str, VerificationKey]
    """kid -> key, the active one included and first."""
    headers: Mapping[bytes, Mapping[str, object]] = field(repr=False)
    """The first segments of our access tokens, one per key -> what they spell."""

    def jwks_document(self) -> dict[str, list[dict[str, str]]]:
        """Return the JWK Set to publish, the active key first."""
        return {"keys": [dict(key.public_jwk) for key in self.verification.values()]}


def make_empty_ring() -> KeyRing:
    """Return the ring of a directory that holds no key any more."""
    return KeyRing(None, MappingProxyType({}), MappingProxyType({}))


def make_key_ring(active: SigningKey, verification: Iterable[VerificationKey]) -> KeyRing:
    """Return the ring that signs with `active` and verifies with `verification`.

    Raises:
        ValueError: `active` has no counterpart in `verification`.
    """
    keys = {key.kid: key for key in verification}
    if active.kid not in keys:
        raise ValueError("the active key is not among the verification keys")
    ordered = {active.kid: keys[active.kid], **keys}
    headers: dict[bytes, Mapping[str, object]] = {
        protected_header(key.alg, key.kid, AT_JWT): MappingProxyType(
            {"alg": key.alg, "kid": key.kid, "typ": AT_JWT}
        )
        for key in ordered.values()
    }
    return KeyRing(active, MappingProxyType(ordered), MappingProxyType(headers))


def protected_header(alg: str, kid: str, typ: str) -> bytes:
    """Return the first segment of a compact token as we write it (RFC 7515 4)."""
    a, k, t = encode_basestring(alg), encode_basestring(kid), encode_basestring(typ)
    return encode_base64url(f'{{"alg":{a},"kid":{k},"typ":{t}}}'.encode())
