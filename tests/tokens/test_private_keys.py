"""Hold what is made of a PEM key to what jwcrypto makes of the same key written as a JWK."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwk import JWK

from gateway.tokens.key_objects import members_of, public_key_of
from gateway.tokens.key_ring import UnusableKeyError
from gateway.tokens.private_keys import read_key_pair, read_signer

KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "EC": ({"kty": "EC", "crv": "P-256"}, "ES256"),
    "Ed25519": ({"kty": "OKP", "crv": "Ed25519"}, "EdDSA"),
    "RSA": ({"kty": "RSA", "size": 2048}, "RS256"),
    "RSA with PSS": ({"kty": "RSA", "size": 2048}, "PS256"),
    "RSA of an odd length": ({"kty": "RSA", "size": 2049}, "RS256"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pem_key_is_the_key_that_jwcrypto_reads(kind: str) -> None:
    members, alg = KINDS[kind]
    jwk = JWK.generate(**members)
    pem = jwk.export_to_pem(private_key=True, password=None)
    ours = read_key_pair(pem, alg, is_pem=True)
    theirs = read_key_pair(jwk.export_private().encode(), alg, is_pem=False)
    assert ours.signing.kid == ours.verification.kid == jwk.thumbprint()
    assert ours.signing.alg == ours.verification.alg == alg
    assert ours.signing.public_jwk == ours.verification.public_jwk == theirs.verification.public_jwk
    assert ours.verification.work == theirs.verification.work
    assert theirs.verification.verify(b"message", ours.signing.sign(b"message"))
    assert ours.verification.verify(b"message", theirs.signing.sign(b"message"))
    assert read_signer(pem, None).kid == jwk.thumbprint()
    public = jwk.export_public(as_dict=True)
    members = {name: value for name, value in public.items() if name not in ("kid", "alg", "use")}
    assert members_of(public_key_of(members)) == members


def test_a_coordinate_that_begins_with_zero_octets_keeps_its_length() -> None:
    key = ec.derive_private_key(1, ec.SECP256R1())
    while key.public_key().public_numbers().x.bit_length() > 248:
        key = ec.derive_private_key(key.private_numbers().private_value + 1, ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert read_key_pair(pem, "ES256", is_pem=True).signing.kid == JWK.from_pyca(key).thumbprint()


@pytest.mark.parametrize(
    ("key", "part"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "curve"),
        (ec.generate_private_key(ec.BrainpoolP256R1()), "curve"),
        (ed448.Ed448PrivateKey.generate(), "type"),
        (x25519.X25519PrivateKey.generate(), "type"),
        (dsa.generate_private_key(1024), "type"),
    ],
    ids=["P-384", "brainpool", "Ed448", "X25519", "DSA"],
)
def test_a_key_that_we_do_not_use_is_refused_by_name(
    key: ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | x25519.X25519PrivateKey | dsa.DSAPrivateKey,
    part: str,
) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnusableKeyError, match=f"its {part} is not supported"):
        read_key_pair(pem, "ES256", is_pem=True)
    with pytest.raises(UnusableKeyError, match=f"its {part} is not supported"):
        read_signer(pem, None)


def test_a_key_that_cannot_sign_as_it_is_told_is_refused() -> None:
    pem = JWK.generate(kty="EC", crv="P-256").export_to_pem(private_key=True, password=None)
    with pytest.raises(UnusableKeyError, match="cannot be used with EdDSA"):
        read_signer(pem, "EdDSA")
