"""Turn JSON Web Keys into things that sign and things that verify.

jwcrypto reads keys, checks `use` and `key_ops` and makes thumbprints; what runs per
request is the `cryptography` key object behind it, called directly (ES256: 61
against 223 µs per verification). Every key is bound to exactly one algorithm and its
strength is checked here, once, when it is loaded. Pure: no I/O, no clock.

Sources: RFC 7518 3.3 to 3.5 and 6; RFC 7638; RFC 8037 3.1; RFC 8725 3.1, 3.2, 3.4.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import assert_never, cast

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from jwcrypto.common import JWException
from jwcrypto.jwk import JWK

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.roca import is_factorable
from gateway.tokens.small_order import is_of_small_order

ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")
"""The signature algorithms that exist here; anything else is refused by name."""

SLOW_TO_SIGN = frozenset({"RS256", "PS256"})
"""Signing with these takes about 0.8 ms: too long for an event loop."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384
MAX_RSA_EXPONENT = 2**32
"""Larger ones are of no use, and make whoever publishes the key decide what a check costs us."""

AT_JWT = "at+jwt"
"""RFC 9068 2.1."""

NO_HEADERS: Mapping[bytes, Mapping[str, object]] = MappingProxyType({})

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]

_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PUBLIC_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_SHA256 = SHA256()
_ECDSA = ec.ECDSA(_SHA256)
_PKCS1 = padding.PKCS1v15()
_TWO = b"\2"
"""Below every modulus, and nobody's signature."""
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=32)


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

    active: SigningKey
    verification: Mapping[str, VerificationKey]
    """kid -> key, the active one included and first."""
    headers: Mapping[bytes, Mapping[str, object]] = field(repr=False)
    """The first segments of our access tokens, one per key -> what they spell."""

    def jwks_document(self) -> dict[str, list[dict[str, str]]]:
        """Return the JWK Set to publish, the active key first."""
        return {"keys": [dict(key.public_jwk) for key in self.verification.values()]}


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
    return encode_base64url(msgspec.json.encode({"alg": alg, "kid": kid, "typ": typ}))


def algorithm_of(jwk: JWK, *, preferred: str) -> str:
    """Return the one algorithm that `jwk` is used with.

    It follows from the key's type; `preferred` only chooses between RS256 and PS256,
    and the key's own `alg` member wins.

    Raises:
        UnusableKeyError: The type, curve or `alg` member fits none of ours.
    """
    possible = _possible_algorithms(jwk)
    declared = jwk.get("alg")
    if declared is not None:
        if declared not in possible:
            raise UnusableKeyError(f"its alg member does not fit; expected {' or '.join(possible)}")
        return str(declared)
    return preferred if preferred in possible else possible[0]


def _possible_algorithms(jwk: JWK) -> tuple[str, ...]:
    if jwk.get("use", "sig") != "sig":
        raise UnusableKeyError("its use member says that it is not for signatures")
    kty, curve = jwk.get("kty"), jwk.get("crv")
    match kty:
        case "EC" if curve == "P-256":
            return ("ES256",)
        case "OKP" if curve == "Ed25519":
            return ("EdDSA",)
        case "RSA":
            return ("RS256", "PS256")
        case "EC" | "OKP":
            raise UnusableKeyError("its curve is not supported; use P-256 or Ed25519")
        case _:
            raise UnusableKeyError("its type is not supported; use EC P-256, RSA or Ed25519")


def key_id(jwk: JWK) -> str:
    """Return the RFC 7638 thumbprint (SHA-256) of `jwk`: our `kid`, whatever its own says."""
    return str(jwk.thumbprint())


def make_signing_key(jwk: JWK, alg: str) -> SigningKey:
    """Return `jwk` as a signing key for `alg`.

    Raises:
        UnusableKeyError: It is not private, too weak, or not meant for signing with `alg`.
    """
    if alg not in _possible_algorithms(jwk):
        raise UnusableKeyError(f"it cannot be used with {alg}")
    if not jwk.has_private:
        raise UnusableKeyError("it holds no private key")
    private = cast(_PrivateKey, _operation_key(jwk, "sign"))
    _check_strength(private)
    return SigningKey(key_id(jwk), alg, _signer(private, alg), _public_jwk(jwk, alg))


def make_verification_key(jwk: JWK, alg: str, *, max_rsa_bits: int = MAX_RSA_BITS) -> VerificationKey:
    """Return the public half of `jwk` as a verification key for `alg`.

    Raises:
        UnusableKeyError: It is too weak, or not meant for verifying with `alg`.
        TooLargeKeyError: It is an RSA key of more than `max_rsa_bits`.
    """
    if alg not in _possible_algorithms(jwk):
        raise UnusableKeyError(f"it cannot be used with {alg}")
    published = _public_jwk(jwk, alg)
    # From the published members alone: `key_ops: [sign]` of a private key says nothing
    # about its public half.
    source = jwk if not jwk.has_private else JWK(**published)
    public = cast(_PublicKey, _operation_key(source, "verify"))
    _check_strength(public, max_rsa_bits=max_rsa_bits)
    return VerificationKey(published["kid"], alg, _verifier(public, alg), published, _work(public))


def _work(key: _PublicKey) -> int:
    """Return about the microseconds of a check: RSA's grow with the square of the bits and with e."""
    if not isinstance(key, rsa.RSAPublicKey):
        return 100
    exponent = key.public_numbers().e
    steps = exponent.bit_length() + exponent.bit_count() - 2  # squarings, multiplications
    return round(17 + 30 * (key.key_size / MIN_RSA_BITS) ** 2 * steps / 17)


def _operation_key(jwk: JWK, operation: str) -> object:
    try:
        return jwk.get_op_key(operation)
    except (JWException, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise UnusableKeyError(
            f"it cannot be used to {operation}; look at its use, key_ops and members"
        ) from error


def _check_strength(key: _PrivateKey | _PublicKey, *, max_rsa_bits: int = MAX_RSA_BITS) -> None:
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


def _public_jwk(jwk: JWK, alg: str) -> Mapping[str, str]:
    kty = str(jwk["kty"])
    members = {name: str(jwk[name]) for name in _PUBLIC_MEMBERS[kty]}
    return MappingProxyType({"kty": kty, "kid": key_id(jwk), "use": "sig", "alg": alg, **members})


def _signer(key: _PrivateKey, alg: str) -> Sign:
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


def _verifier(key: _PublicKey, alg: str) -> Verify:
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
