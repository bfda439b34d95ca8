"""Recognise Ed25519 points for which anybody can sign, and no key that somebody made."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwcrypto.jwk import JWK

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.key_ring import UnusableKeyError
from gateway.tokens.keys import make_verification_key
from gateway.tokens.small_order import is_of_small_order
from tests.support.jws import make_key

P = 2**255 - 19
SIGN = 1 << 255
EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
"""The y of a point of order 8."""
SMALL = [y | sign for y in (0, 1, P - 1, P, P + 1, EIGHTH, P - EIGHTH) for sign in (0, SIGN)]
FORGED = bytes([1]) + bytes(31) + bytes(32)
"""R is the neutral element and S is 0: signs whatever has a hash that makes nothing of the key."""


def spelled(y: int) -> bytes:
    return y.to_bytes(32, "little")


@pytest.mark.parametrize("y", SMALL)
def test_every_spelling_of_a_point_of_small_order_is_recognised(y: int) -> None:
    assert is_of_small_order(spelled(y))
    jwk = JWK(kty="OKP", crv="Ed25519", x=encode_base64url(spelled(y)).decode())
    with pytest.raises(UnusableKeyError, match="anybody"):
        make_verification_key(jwk, "EdDSA")


def test_anybody_could_sign_for_one() -> None:
    Ed25519PublicKey.from_public_bytes(spelled(1)).verify(FORGED, b"whatever")


def test_a_key_that_somebody_made_is_none() -> None:
    for _ in range(200):
        key = make_key("EdDSA").jwk.get_op_key("verify")
        assert not is_of_small_order(key.public_bytes_raw())
    assert not is_of_small_order(spelled(EIGHTH + 1))
