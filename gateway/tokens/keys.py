"""Read JSON Web Keys: make of them things that sign and things that verify.

jwcrypto reads keys and checks `use` and `key_ops`; strength and use of the key object behind
it are `gateway.tokens.key_objects`. Pure: no I/O, no clock.

Sources: RFC 7517 4; RFC 7518 6; RFC 7638; RFC 8037 2; RFC 8725 3.1.
"""

from collections.abc import Mapping
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from jwcrypto.common import JWException
from jwcrypto.jwk import JWK

from gateway.tokens.jwt import JwtProblem, parse_json_object
from gateway.tokens.key_members import PUBLIC_MEMBERS
from gateway.tokens.key_objects import (
    MAX_RSA_BITS,
    WRONG_CURVE,
    WRONG_TYPE,
    PrivateKey,
    PublicKey,
    choose_algorithm,
    make_signing,
    make_verification,
    thumbprint_of,
)
from gateway.tokens.key_ring import SigningKey, UnusableKeyError, VerificationKey


def read_jwk(octets: bytes) -> JWK:
    """Return the JSON Web Key that `octets` hold.

    Raises:
        UnusableKeyError: It is none.
    """
    members = parse_json_object(octets)
    if isinstance(members, JwtProblem):
        raise UnusableKeyError(f"it is not a JWK: {members.value}")
    try:
        return JWK(**members)
    except (JWException, ValueError, TypeError) as error:
        raise UnusableKeyError("its members do not make a valid JWK") from error


def algorithm_of(jwk: JWK, *, preferred: str) -> str:
    """Return the one algorithm that `jwk` is used with.

    It follows from the key's type; `preferred` only chooses between RS256 and PS256,
    and the key's own `alg` member wins.

    Raises:
        UnusableKeyError: The type, curve or `alg` member fits none of ours.
    """
    return choose_algorithm(_possible_algorithms(jwk), jwk.get("alg"), preferred=preferred)


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
            raise UnusableKeyError(WRONG_CURVE)
        case _:
            raise UnusableKeyError(WRONG_TYPE)


def key_id(jwk: JWK) -> str:
    """Return the RFC 7638 thumbprint (SHA-256) of `jwk`: our `kid`, whatever its own says."""
    return thumbprint_of(_public_members(jwk))


def make_signing_key(jwk: JWK, alg: str) -> SigningKey:
    """Return `jwk` as a signing key for `alg`.

    Raises:
        UnusableKeyError: It is not private, too weak, or not meant for signing with `alg`.
    """
    if alg not in _possible_algorithms(jwk):
        raise UnusableKeyError(f"it cannot be used with {alg}")
    if not jwk.has_private:
        raise UnusableKeyError("it holds no private key")
    private = cast(PrivateKey, _operation_key(jwk, "sign"))
    return make_signing(private, alg, _public_members(jwk))


def make_verification_key(jwk: JWK, alg: str, *, max_rsa_bits: int = MAX_RSA_BITS) -> VerificationKey:
    """Return the public half of `jwk` as a verification key for `alg`.

    Raises:
        UnusableKeyError: It is too weak, or not meant for verifying with `alg`.
        TooLargeKeyError: It is an RSA key of more than `max_rsa_bits`.
    """
    if alg not in _possible_algorithms(jwk):
        raise UnusableKeyError(f"it cannot be used with {alg}")
    members = _public_members(jwk)
    # From the public members alone: `key_ops: [sign]` of a private key says nothing about its
    # public half.
    source = jwk if not jwk.has_private else JWK(use="sig", alg=alg, **members)
    public = cast(PublicKey, _operation_key(source, "verify"))
    return make_verification(public, alg, members, max_rsa_bits=max_rsa_bits)


def _operation_key(jwk: JWK, operation: str) -> object:
    try:
        return jwk.get_op_key(operation)
    except (JWException, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise UnusableKeyError(
            f"it cannot be used to {operation}; look at its use, key_ops and members"
        ) from error


def _public_members(jwk: JWK) -> Mapping[str, str]:
    kty = str(jwk["kty"])
    return {"kty": kty} | {name: str(jwk[name]) for name in PUBLIC_MEMBERS[kty]}
