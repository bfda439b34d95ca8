"""Turn key objects of `cryptography` into things that sign and things that verify.

What runs per request is the key object, called directly (ES256: 61 against 223 µs per
verification by way of jwcrypto). Every key is bound to exactly one algorithm and its
strength is checked here, once, when it is loaded. Key objects made of JSON Web Keys come
from `gateway.tokens.keys`. Pure: no I/O, no clock.

Sources: RFC 7518 3.3 to 3.5 and 6; RFC 7638; RFC 8037 2 and 3.1; RFC 8725 3.1, 3.2, 3.4.
"""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.tokens.base64url import decode_base64url, encode_base64url
from gateway.tokens.key_ring import (
    Sign,
    SigningKey,
    TooLargeKeyError,
    UnusableKeyError,
    VerificationKey,
    Verify,
)
from gateway.tokens.roca import is_factorable
from gateway.tokens.small_order import is_of_small_order

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384
MAX_RSA_EXPONENT = 2**32
"""Larger ones are of no use, and make whoever publishes the key decide what a check costs us."""
WRONG_CURVE = "its curve is not supported; use P-256 or Ed25519"
WRONG_TYPE = "its type is not supported; use EC P-256, RSA or Ed25519"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_CURVES = frozenset({("EC", "P-256"), ("OKP", "Ed25519")})
_P256_OCTETS = 32
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SHA256 = SHA256()
_ECDSA = ec.ECDSA(_SHA256)
_PKCS1 = padding.PKCS1v15()
_TWO = b"\2"
"""Below every modulus, and nobody's signature."""
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=32)


def algorithms_of(key: object) -> tuple[str, ...]:
    """Return the algorithms that a key object can be used with.

    Raises:
        UnusableKeyError: There is none of ours.
    """
    match key:
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            if not isinstance(key.curve, ec.SECP256R1):
                raise UnusableKeyError(WRONG_CURVE)
            return ("ES256",)
        case ed25519.Ed25519PrivateKey() | ed25519.Ed25519PublicKey():
            return ("EdDSA",)
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            return ("RS256", "PS256")
        case _:
            raise UnusableKeyError(WRONG_TYPE)


def members_of(key: PublicKey) -> dict[str, str]:
    """Return `kty` and the public members of a key as a JSON Web Key has them (RFC 7518 6.2.1, 6.3.1)."""
    match key:
        case ec.EllipticCurvePublicKey():
            point = key.public_numbers()
            return {"kty": "EC", "crv": "P-256", "x": _coordinate(point.x), "y": _coordinate(point.y)}
        case ed25519.Ed25519PublicKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": _spelled(key.public_bytes_raw())}
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            return {"kty": "RSA", "n": _shortest(numbers.n), "e": _shortest(numbers.e)}
        case _:
            assert_never(key)


def public_key_of(members: Mapping[str, str]) -> PublicKey:
    """Return the key that `members` spell: what `members_of` returns, or the same of another key.

    Raises:
        UnusableKeyError: They make no key, or none that we use.
    """
    curve = members.get("crv")
    if curve is not None and (members["kty"], curve) not in _CURVES:
        raise UnusableKeyError(WRONG_CURVE)
    values = {name: _octets(text) for name, text in members.items() if name not in ("kty", "crv")}
    try:
        match members["kty"]:
            case "EC":
                x, y = int.from_bytes(values["x"], "big"), int.from_bytes(values["y"], "big")
                return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            case "OKP":
                return ed25519.Ed25519PublicKey.from_public_bytes(values["x"])
            case _:
                e, n = int.from_bytes(values["e"], "big"), int.from_bytes(values["n"], "big")
                return rsa.RSAPublicNumbers(e, n).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKeyError("its members do not make a key") from error


def _octets(text: str) -> bytes:
    octets = decode_base64url(text.encode("ascii"))
    assert octets is not None, "whoever reads members brings them into their one spelling"
    return octets


def choose_algorithm(possible: tuple[str, ...], declared: object, *, preferred: str) -> str:
    """Return the one algorithm that a key is used with.

    Args:
        possible: What its type allows.
        declared: Its own `alg` member, which wins; None where it has none.
        preferred: Chooses among several.

    Raises:
        UnusableKeyError: The `alg` member fits none.
    """
    if declared is not None:
        if declared not in possible:
            raise UnusableKeyError(f"its alg member does not fit; expected {' or '.join(possible)}")
        return str(declared)
    return preferred if preferred in possible else possible[0]


def _coordinate(number: int) -> str:
    return _spelled(number.to_bytes(_P256_OCTETS, "big"))


def _shortest(number: int) -> str:
    return _spelled(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _spelled(octets: bytes) -> str:
    return encode_base64url(octets).decode("ascii")


def thumbprint_of(members: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint (SHA-256) of a key: our `kid`, whatever its own says.

    Args:
        members: `kty` and the public members, and nothing else.
    """
    text = json.dumps(dict(members), separators=(",", ":"), sort_keys=True)
    return _spelled(hashlib.sha256(text.encode("ascii")).digest())


def make_signing(key: PrivateKey, alg: str, members: Mapping[str, str]) -> SigningKey:
    """Return a private key as a signing key for `alg`, one of `algorithms_of(key)`.

    Args:
        key: The key.
        alg: The algorithm it is bound to.
        members: Its public half, as `members_of` returns it.

    Raises:
        UnusableKeyError: It is too weak.
    """
    _check_strength(key)
    published = _published(members, alg)
    return SigningKey(published["kid"], alg, _signer(key, alg), published)


def make_verification(
    key: PublicKey, alg: str, members: Mapping[str, str], *, max_rsa_bits: int = MAX_RSA_BITS
) -> VerificationKey:
    """Return a public key as a verification key for `alg`, one of `algorithms_of(key)`.

    Args:
        key: The key.
        alg: The algorithm it is bound to.
        members: The same key, as `members_of` returns it.
        max_rsa_bits: How large an RSA key may be.

    Raises:
        UnusableKeyError: It is too weak.
        TooLargeKeyError: It is an RSA key of more than `max_rsa_bits`.
    """
    _check_strength(key, max_rsa_bits=max_rsa_bits)
    published = _published(members, alg)
    return VerificationKey(published["kid"], alg, _verifier(key, alg), published, _work(key))


def _published(members: Mapping[str, str], alg: str) -> Mapping[str, str]:
    kid = thumbprint_of(members)
    return MappingProxyType({"kty": members["kty"], "kid": kid, "use": "sig", "alg": alg, **members})


def _work(key: PublicKey) -> int:
    """Return about the microseconds of a check: RSA's grow with the square of the bits and with e."""
    if not isinstance(key, rsa.RSAPublicKey):
        return 100
    exponent = key.public_numbers().e
    steps = exponent.bit_length() + exponent.bit_count() - 2  # squarings, multiplications
    return round(17 + 30 * (key.key_size / MIN_RSA_BITS) ** 2 * steps / 17)


def _check_strength(key: PrivateKey | PublicKey, *, max_rsa_bits: int = MAX_RSA_BITS) -> None:
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= max_rsa_bits:
            why = f"it is an RSA key of {key.key_size} bits; use {MIN_RSA_BITS} to {max_rsa_bits}"
            raise TooLargeKeyError(why) if key.key_size > max_rsa_bits else UnusableKeyError(why)
        public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
        numbers = public.public_numbers()
        if numbers.e >= MAX_RSA_EXPONENT:
            raise UnusableKeyError("its public exponent is too large; 65537 is usual")
        if is_factorable(numbers.n):
            raise UnusableKeyError("it was made by a broken generator (CVE-2017-15361); make another")
    elif isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise UnusableKeyError("its curve is not supported; use P-256")
    elif isinstance(key, ed25519.Ed25519PublicKey):
        if is_of_small_order(key.public_bytes_raw()):
            raise UnusableKeyError("it is a point of small order: anybody could sign for it")
    elif not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UnusableKeyError("its type is not supported; use EC P-256, RSA or Ed25519")


def _signer(key: PrivateKey, alg: str) -> Sign:
    match key:
        case ec.EllipticCurvePrivateKey():
            return lambda signing_input: _sign_es256(key, signing_input)
        case ed25519.Ed25519PrivateKey():
            return key.sign
        case rsa.RSAPrivateKey():
            scheme = _PSS if alg == "PS256" else _PKCS1
            return lambda signing_input: key.sign(signing_input, scheme, _SHA256)
        case _:
            assert_never(key)


def _sign_es256(key: ec.EllipticCurvePrivateKey, signing_input: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(signing_input, _ECDSA))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _verifier(key: PublicKey, alg: str) -> Verify:
    match key:
        case ec.EllipticCurvePublicKey():
            return lambda signing_input, signature: _verify_es256(key, signing_input, signature)
        case ed25519.Ed25519PublicKey():
            return lambda signing_input, signature: _verify_eddsa(key, signing_input, signature)
        case rsa.RSAPublicKey():
            scheme = _PSS if alg == "PS256" else _PKCS1
            modulus = key.public_numbers().n
            return lambda signing_input, signature: _verify_rsa(
                key, modulus, scheme, signing_input, signature
            )
        case _:
            assert_never(key)


def _verify_es256(key: ec.EllipticCurvePublicKey, signing_input: bytes, signature: bytes) -> bool:
    # RFC 7518 3.4: exactly 64 octets. The ranges are checked by us as well: a verifier
    # that took r = s = 0 would accept one signature for every message ("psychic").
    if len(signature) != 64:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        return False
    try:
        key.verify(encode_dss_signature(r, s), signing_input, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _verify_eddsa(key: ed25519.Ed25519PublicKey, signing_input: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, signing_input)
    except InvalidSignature:
        return False
    return True


def _verify_rsa(
    key: rsa.RSAPublicKey,
    modulus: int,
    scheme: padding.AsymmetricPadding,
    signing_input: bytes,
    signature: bytes,
) -> bool:
    # What is no number below the modulus is refused by the library at a third of the cost, and the
    # time would tell how large the key is, or whether it is the one that a caller had in mind.
    size = (key.key_size + 7) // 8
    is_fitting = len(signature) == size and int.from_bytes(signature, "big") < modulus
    try:
        key.verify(signature if is_fitting else _TWO.rjust(size, b"\0"), signing_input, scheme, _SHA256)
    except InvalidSignature:
        return False
    return is_fitting
