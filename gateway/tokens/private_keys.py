"""Read the text of one private key, PEM (PKCS#8) or JWK, and make new ones.

Where the texts lie is `gateway.tokens.keyfiles`. No I/O; a new key is random.

A JWK is read by `gateway.tokens.keys`, which is imported when there is one, and jwcrypto with it:
most key directories hold PEM alone, and a command that runs for a moment need not load it for them.

Sources: RFC 5958 (PKCS#8); RFC 7517.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.tokens.key_objects import (
    WRONG_TYPE,
    PrivateKey,
    algorithms_of,
    make_signing,
    make_verification,
    members_of,
)
from gateway.tokens.key_ring import SigningKey, UnusableKeyError, VerificationKey

_GENERATED: Mapping[str, dict[str, Any]] = {
    "ES256": {"kty": "EC", "crv": "P-256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    "RS256": {"kty": "RSA", "size": 3072},
    "PS256": {"kty": "RSA", "size": 3072},
}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves of one key, bound to one algorithm."""

    signing: SigningKey = field(repr=False)
    verification: VerificationKey = field(repr=False)


def read_key_pair(octets: bytes, algorithm: str, *, is_pem: bool) -> KeyPair:
    """Return both halves of the private key that `octets` hold.

    Args:
        octets: PEM or a JWK.
        algorithm: What it is used with where its type leaves a choice, and a JWK none.
        is_pem: Which of both it is.

    Raises:
        UnusableKeyError: It is no private key, or none that we use.
    """
    if is_pem:
        key = _load_pem(octets)
        public = key.public_key()
        members, alg = members_of(public), _choose(key, algorithm)
        return KeyPair(make_signing(key, alg, members), make_verification(public, alg, members))
    from gateway.tokens.keys import algorithm_of, make_signing_key, make_verification_key, read_jwk

    jwk = read_jwk(octets)
    alg = algorithm_of(jwk, preferred=algorithm)
    return KeyPair(make_signing_key(jwk, alg), make_verification_key(jwk, alg))


def read_signer(octets: bytes, algorithm: str | None) -> SigningKey:
    """Return the private key that `octets` hold, PEM or a JWK whose `kid` is kept.

    Args:
        octets: PEM or a JWK.
        algorithm: What to sign with; None for the one that the key's type has (RS256 for RSA).

    Raises:
        UnusableKeyError: It is no private key, or none that signs so.
    """
    if octets.lstrip().startswith(b"-----BEGIN"):
        return _signer(_load_pem(octets), algorithm)
    from gateway.tokens.keys import algorithm_of, make_signing_key, read_jwk

    jwk = read_jwk(octets)
    key = make_signing_key(jwk, algorithm or algorithm_of(jwk, preferred="RS256"))
    return replace(key, kid=str(jwk.get("kid") or key.kid))


def generate_key_text(algorithm: str) -> tuple[str, bytes]:
    """Return the `kid` and the PEM of a new key for `algorithm`."""
    from jwcrypto.jwk import JWK

    from gateway.tokens.keys import key_id

    jwk = JWK.generate(**_GENERATED[algorithm])
    return key_id(jwk), jwk.export_to_pem(private_key=True, password=None)


def _signer(key: PrivateKey, algorithm: str | None) -> SigningKey:
    if algorithm is not None and algorithm not in algorithms_of(key):
        raise UnusableKeyError(f"it cannot be used with {algorithm}")
    return make_signing(key, _choose(key, algorithm), members_of(key.public_key()))


def _choose(key: PrivateKey, preferred: str | None) -> str:
    possible = algorithms_of(key)
    return preferred if preferred in possible else possible[0]


def _load_pem(octets: bytes) -> PrivateKey:
    if b"BEGIN ENCRYPTED" in octets or b"4,ENCRYPTED" in octets:
        raise UnusableKeyError(
            "it is encrypted, which is not available in this version (decrypt: openssl pkey)"
        )
    try:
        key = load_pem_private_key(octets, password=None)
    except UnsupportedAlgorithm as error:
        raise UnusableKeyError(WRONG_TYPE) from error
    except (ValueError, TypeError) as error:
        raise UnusableKeyError("it is not a private key in PEM form (PKCS#8)") from error
    algorithms_of(key)
    return cast(PrivateKey, key)
