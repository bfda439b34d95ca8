"""Read key sets of others: what is taken, what is passed over, what is refused as a whole."""

import json
from typing import Any

import pytest
from jwcrypto.jwk import JWK

from gateway.tokens.foreign_keys import MAX_KEYS, read_key_set
from gateway.tokens.key_sets import KeyMiss, KeySet, KeySetError
from tests.support.jws import Key, make_key

EC = make_key("ES256", "ec")
RSA = make_key("RS256", "rsa")
ED = make_key("EdDSA", "ed")
OTHER = make_key("ES256", "other")


def document(*members: Any) -> bytes:
    return json.dumps({"keys": list(members)}).encode()


def without(key: Key, *names: str, **changes: Any) -> dict[str, Any]:
    return {**{name: value for name, value in key.public.items() if name not in names}, **changes}


@pytest.mark.parametrize("key", [EC, RSA, ED], ids=lambda key: key.alg)
def test_keys_are_found_by_kid_by_thumbprint_and_by_algorithm(key: Key) -> None:
    keys = read_key_set(document(EC.public, RSA.public, ED.public))
    for kid in (key.kid, key.jwk.thumbprint(), None):
        found = keys.find(kid, key.alg)
        assert isinstance(found, tuple)
        assert [one.kid for one in found] == [key.jwk.thumbprint()]
        assert found[0].verify(b"signed", key.sign(b"signed"))
        assert not found[0].verify(b"other", key.sign(b"signed"))


@pytest.mark.parametrize(
    ("kid", "alg", "miss"),
    [
        ("ec", "RS256", KeyMiss.ALG_NOT_ALLOWED),
        ("rsa", "PS256", KeyMiss.ALG_NOT_ALLOWED),
        ("rsa", "HS256", KeyMiss.ALG_NOT_ALLOWED),
        (None, "HS256", KeyMiss.ALG_NOT_ALLOWED),
        ("EC", "ES256", KeyMiss.UNKNOWN_KEY),
        ("", "ES256", KeyMiss.UNKNOWN_KEY),
        ("../ec", "ES256", KeyMiss.UNKNOWN_KEY),
    ],
)
def test_other_headers_find_nothing(kid: str | None, alg: str, miss: KeyMiss) -> None:
    assert read_key_set(document(EC.public, RSA.public)).find(kid, alg) is miss


def test_a_token_without_kid_is_tried_with_two_keys_only() -> None:
    keys = [make_key("EdDSA", f"ed{number}") for number in range(5)]
    found = read_key_set(document(*(key.public for key in keys))).find(None, "EdDSA")
    assert isinstance(found, tuple)
    assert [key.kid for key in found] == [key.jwk.thumbprint() for key in keys[:2]]


def test_a_token_without_kid_is_tried_with_keys_without_kid_first() -> None:
    named, nameless = make_key("EdDSA", "ed"), make_key("EdDSA", "x")
    keys = read_key_set(document(named.public, EC.public, without(nameless, "kid")))
    found = keys.find(None, "EdDSA")
    assert isinstance(found, tuple)
    assert [key.kid for key in found] == [nameless.jwk.thumbprint(), named.jwk.thumbprint()]
    assert keys.left_out == ()


def kids(keys: KeySet) -> list[str | None]:
    return [entry.kid for entry in keys.keys]


def test_of_keys_without_kid_two_of_an_algorithm_are_taken() -> None:
    nameless = [without(make_key("EdDSA", "x"), "kid") for _ in range(4)]
    keys = read_key_set(document(*nameless[:3], EC.public, nameless[0], nameless[3]))
    assert kids(keys) == [None, None, "ec", None]  # the same key once more is no further key
    assert [reason.partition(":")[0] for reason in keys.left_out] == ["keys[2]", "keys[5]"]
    assert "more than 2 keys of EdDSA without kid" in keys.left_out[0]


def test_one_key_under_many_names_costs_one_verification() -> None:
    many = [without(RSA, kid=f"name {number}") for number in range(200)]
    keys = read_key_set(document(*many))
    assert len(keys.keys) == 200
    for kid in (RSA.jwk.thumbprint(), "name 7", None):
        found = keys.find(kid, "RS256")
        assert isinstance(found, tuple)
        assert len(found) == 1


def test_keys_that_are_too_large_are_left_out_and_the_others_count() -> None:
    large = JWK.generate(kty="RSA", size=4104, kid="large").export_public(as_dict=True)
    keys = read_key_set(document(large, EC.public))
    assert (kids(keys), keys.passed_over) == (["ec"], ())
    assert keys.left_out == ("keys[0]: it is an RSA key of 4104 bits; use 2048 to 4096",)


def test_keys_beyond_the_most_that_are_read_are_left_out() -> None:
    keys = read_key_set(document(EC.public, *[{}] * (MAX_KEYS - 1), RSA.public, ED.public))
    assert kids(keys) == ["ec"]
    assert keys.left_out == (f"keys[{MAX_KEYS}] to keys[{MAX_KEYS + 1}]: of a set, {MAX_KEYS} keys are read",)


def test_different_keys_with_one_kid_are_all_left_out_and_the_others_count() -> None:
    keys = read_key_set(document(without(OTHER, kid="ec"), RSA.public, EC.public))
    assert kids(keys) == ["rsa"]
    (reason,) = keys.left_out
    assert reason.startswith("keys[0], keys[2]: 2 different keys have one kid")
    assert keys.find("ec", "ES256") is KeyMiss.UNKNOWN_KEY
    assert keys.find(EC.jwk.thumbprint(), "ES256") is KeyMiss.UNKNOWN_KEY


def test_one_key_listed_twice_is_one_key() -> None:
    keys = read_key_set(document(EC.public, EC.public))
    assert keys.left_out == ()
    found = keys.find("ec", "ES256")
    assert isinstance(found, tuple)
    assert len(found) == 1


@pytest.mark.parametrize("use", ["sig", "jwt-svid"])
def test_keys_for_signatures_are_taken(use: str) -> None:
    assert len(read_key_set(document(without(EC, use=use))).keys) == 1


def test_an_rsa_key_without_alg_is_rs256_alone() -> None:
    keys = read_key_set(document(without(RSA, "alg")))
    assert isinstance(keys.find("rsa", "RS256"), tuple)
    assert keys.find("rsa", "PS256") is KeyMiss.ALG_NOT_ALLOWED


PASSED_OVER: dict[str, Any] = {
    "no object": "key",
    "no kty": {"kid": "x"},
    "unknown kty": {"kty": "AKP", "kid": "x"},
    "symmetric": {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"},
    "private": json.loads(OTHER.jwk.export_private()),
    "private p": without(RSA, p="AQAB"),
    "for encryption": without(OTHER, use="enc"),
    "for X.509": without(OTHER, use="x509-svid"),
    "use is no text": without(OTHER, use=["sig"]),
    "not for verifying": without(OTHER, key_ops=["sign"]),
    "key_ops is no list": without(OTHER, key_ops="verify"),
    "alg of another type": without(OTHER, alg="RS256"),
    "alg is none": without(OTHER, alg="none"),
    "alg is HS256": without(RSA, kid="x", alg="HS256"),
    "alg is no text": without(OTHER, alg=5),
    "kid is no text": without(OTHER, kid=5),
    "kid is empty": without(OTHER, kid=""),
    "P-384": JWK.generate(kty="EC", crv="P-384").export_public(as_dict=True),
    "secp256k1": JWK.generate(kty="EC", crv="secp256k1").export_public(as_dict=True),
    "X25519": JWK.generate(kty="OKP", crv="X25519").export_public(as_dict=True),
    "RSA of 1024 bits": JWK.generate(kty="RSA", size=1024).export_public(as_dict=True),
    "point off the curve": without(OTHER, y=OTHER.public["x"]),
    "no y": without(OTHER, "y"),
    "x is no text": without(OTHER, x=1),
    "x is no base64url": without(OTHER, x="***"),
    "a large exponent": without(RSA, kid="x", e="AQAAAAE"),
    "an even exponent": without(RSA, kid="x", e="AQAC"),
    "exponent 1": without(RSA, kid="x", e="AQ"),
}


@pytest.mark.parametrize("member", PASSED_OVER.values(), ids=PASSED_OVER)
def test_keys_that_are_not_for_us_are_passed_over(member: Any) -> None:
    keys = read_key_set(document(EC.public, member))
    assert [key.kid for key in keys.keys] == ["ec"]
    assert len(keys.passed_over) == 1
    with pytest.raises(KeySetError, match="no usable key"):
        read_key_set(document(member))


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "JSON"),
        (b"[]", "JSON"),
        (b"\xff", "JSON"),
        (b'{"keys": []}', "no usable key"),
        (b'{"keys": {}}', "array"),
        (b"{}", "array"),
        (b'{"keys": [], "keys": []}', "repeated"),
        (document(EC.public, without(OTHER, kid="ec")), "no usable key: .*one kid"),
        (document(*[{}] * (MAX_KEYS + 1)), "no usable key: .*256 keys are read"),
        (b" " * 600_000, "larger"),
    ],
)
def test_what_is_no_key_set_is_refused(octets: bytes, message: str) -> None:
    with pytest.raises(KeySetError, match=message):
        read_key_set(octets)


def test_a_single_key_is_a_set_of_one() -> None:
    assert [key.kid for key in read_key_set(json.dumps(EC.public).encode()).keys] == ["ec"]


def test_messages_hold_no_key_material() -> None:
    private = json.loads(OTHER.jwk.export_private())
    with pytest.raises(KeySetError) as caught:
        read_key_set(document(private))
    assert not any(str(private[name]) in str(caught.value) for name in ("d", "x", "y"))
