"""Hold keys to their algorithm, their strength and the exact shape of a signature."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from gateway.tokens.base64url import decode_base64url, encode_base64url
from gateway.tokens.key_ring import UnusableKeyError, make_key_ring
from gateway.tokens.keys import algorithm_of, make_signing_key, make_verification_key

EC = JWK.generate(kty="EC", crv="P-256")
RSA = JWK.generate(kty="RSA", size=2048)
ED = JWK.generate(kty="OKP", crv="Ed25519")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

EVERY = pytest.mark.parametrize(
    ("jwk", "alg"),
    [(EC, "ES256"), (RSA, "RS256"), (RSA, "PS256"), (ED, "EdDSA")],
    ids=["ES256", "RS256", "PS256", "EdDSA"],
)


@EVERY
def test_what_is_signed_verifies_and_nothing_else_does(jwk: JWK, alg: str) -> None:
    signing, verification = make_signing_key(jwk, alg), make_verification_key(jwk, alg)
    signature = signing.sign(b"message")
    assert verification.verify(b"message", signature)
    assert not verification.verify(b"messagf", signature)
    for position in range(0, len(signature), 7):
        broken = bytearray(signature)
        broken[position] ^= 0x80
        assert not verification.verify(b"message", bytes(broken))
    for wrong in (b"", signature[:-1], signature + b"\0", b"\0" + signature):
        assert not verification.verify(b"message", wrong)


@EVERY
def test_jwcrypto_agrees_both_ways(jwk: JWK, alg: str) -> None:
    signing, verification = make_signing_key(jwk, alg), make_verification_key(jwk, alg)
    theirs = JWS(b"payload")
    theirs.add_signature(jwk, None, json.dumps({"alg": alg}))
    head, body, signature = theirs.serialize(compact=True).encode().split(b".")
    assert verification.verify(head + b"." + body, decode_base64url(signature) or b"")
    ours = JWS()
    ours.allowed_algs = [alg]
    ours.deserialize(
        b".".join([head, body, encode_base64url(signing.sign(head + b"." + body))]).decode(), jwk
    )
    assert ours.is_valid


@EVERY
def test_kid_is_the_thumbprint_and_the_published_key_holds_nothing_private(jwk: JWK, alg: str) -> None:
    public = make_signing_key(jwk, alg).public_jwk
    assert public["kid"] == JWK(**jwk.export_public(as_dict=True)).thumbprint()
    assert (public["use"], public["alg"]) == ("sig", alg)
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(public)
    assert make_verification_key(jwk, alg).public_jwk == public


def test_a_foreign_kid_is_replaced_by_the_thumbprint() -> None:
    named = JWK(**{**EC.export(as_dict=True), "kid": "../../etc/passwd"})
    assert make_signing_key(named, "ES256").kid == make_signing_key(EC, "ES256").kid


@pytest.mark.parametrize("make", [make_signing_key, make_verification_key])
@pytest.mark.parametrize(
    ("jwk", "alg", "message"),
    [
        (JWK.generate(kty="RSA", size=1024), "RS256", "1024 bits"),
        (JWK.generate(kty="EC", crv="P-384"), "ES256", "P-256"),
        (JWK.generate(kty="EC", crv="secp256k1"), "ES256", "P-256"),
        (JWK.generate(kty="OKP", crv="Ed448"), "EdDSA", "Ed25519"),
        (JWK.generate(kty="OKP", crv="X25519"), "EdDSA", "Ed25519"),
        (JWK.generate(kty="oct", size=256), "ES256", "type"),
        (EC, "RS256", "RS256"),
        (RSA, "ES256", "ES256"),
        (ED, "none", "none"),
        (JWK.generate(kty="EC", crv="P-256", use="enc"), "ES256", "use"),
    ],
)
def test_weak_and_unfit_keys_are_refused(make: object, jwk: JWK, alg: str, message: str) -> None:
    with pytest.raises(UnusableKeyError, match=message):
        make(jwk, alg)  # type: ignore[operator]


def test_a_public_key_cannot_sign_but_verifies() -> None:
    public = JWK(**EC.export_public(as_dict=True))
    assert make_verification_key(public, "ES256").kid == make_signing_key(EC, "ES256").kid
    with pytest.raises(UnusableKeyError, match="no private key"):
        make_signing_key(public, "ES256")


def test_a_private_key_for_signing_only_has_a_public_half_that_verifies() -> None:
    jwk = JWK(**{**EC.export(as_dict=True), "key_ops": ["sign"]})
    signature = make_signing_key(jwk, "ES256").sign(b"m")
    assert make_verification_key(jwk, "ES256").verify(b"m", signature)


@pytest.mark.parametrize(
    ("jwk", "preferred", "expected"),
    [
        (EC, "PS256", "ES256"),
        (ED, "ES256", "EdDSA"),
        (RSA, "ES256", "RS256"),
        (RSA, "RS256", "RS256"),
        (RSA, "PS256", "PS256"),
        (JWK(**{**RSA.export(as_dict=True), "alg": "PS256"}), "RS256", "PS256"),
    ],
)
def test_the_algorithm_follows_from_the_key(jwk: JWK, preferred: str, expected: str) -> None:
    assert algorithm_of(jwk, preferred=preferred) == expected


def test_an_alg_member_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UnusableKeyError, match="RS256 or PS256"):
        algorithm_of(JWK(**{**RSA.export(as_dict=True), "alg": "RS512"}), preferred="RS256")


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 0), (0, 1), (1, 0), (P256_ORDER, 1), (1, P256_ORDER), (P256_ORDER, P256_ORDER), (2**256 - 1, 1)],
)
def test_signatures_out_of_range_are_refused(r: int, s: int) -> None:
    verification = make_verification_key(EC, "ES256")
    assert not verification.verify(b"m", r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def test_a_der_signature_is_refused() -> None:
    signature = make_signing_key(EC, "ES256").sign(b"m")
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    assert not make_verification_key(EC, "ES256").verify(b"m", der)


def test_the_jwks_begins_with_the_active_key() -> None:
    keys = [make_verification_key(EC, "ES256"), make_verification_key(ED, "EdDSA")]
    ring = make_key_ring(make_signing_key(ED, "EdDSA"), keys)
    assert [key["kid"] for key in ring.jwks_document()["keys"]] == [keys[1].kid, keys[0].kid]
    with pytest.raises(ValueError, match="active"):
        make_key_ring(make_signing_key(RSA, "RS256"), keys)


def test_no_representation_shows_a_key() -> None:
    key = make_signing_key(EC, "ES256")
    ring = make_key_ring(key, [make_verification_key(EC, "ES256")])
    private = EC.export(as_dict=True)["d"]
    assert private not in repr(key) + repr(ring) + str(ring.jwks_document())
