"""Hold key sets to what issuers are known to publish: the good keys count, the odd ones are named.

Each row is one oddity beside two good keys. Taken are spellings that can mean one thing only.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from jwcrypto.common import base64url_decode
from jwcrypto.jwk import JWK

from gateway.tokens.foreign_keys import MAX_SET_BYTES, read_key_set
from gateway.tokens.key_sets import KeySetError
from tests.support.jws import Key, make_key

EC = make_key("ES256", "ec")
RSA = make_key("RS256", "rsa")
ED = make_key("EdDSA", "ed")
ODD = make_key("RS256", "odd")
ODD_EC = make_key("ES256", "odd")
ODD_ED = make_key("EdDSA", "odd")


def changed(key: Key, *names: str, **changes: Any) -> dict[str, Any]:
    return {**{name: value for name, value in key.public.items() if name not in names}, **changes}


def octets(key: Key, name: str) -> bytes:
    decoded: bytes = base64url_decode(key.public[name])
    return decoded


def spelled(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def short_point() -> Key:
    """Return a key whose x begins with a zero octet: one of 256."""
    while True:
        key = make_key("ES256", "odd")
        if octets(key, "x")[0] == 0:
            return key


SHORT = short_point()

TAKEN: dict[str, tuple[Key, dict[str, Any]]] = {
    "members that nobody knows": (ODD, changed(ODD, issuer="https://a.example", nbf=1, ext=True, created={})),
    "a certificate chain and its thumbprints": (
        ODD,
        changed(ODD, x5c=["MIIC"], x5t="abc", **{"x5t#S256": "def", "x5u": "https://a.example/x"}),
    ),
    "a certificate chain that is none": (ODD, changed(ODD, x5c="MIIC", x5t=5)),
    "no alg": (ODD, changed(ODD, "alg")),
    "no use": (ODD, changed(ODD, "use")),
    "padding behind n and e": (ODD, changed(ODD, n=ODD.public["n"] + "==", e="AQAB====="[:4] + "")),
    "padding behind x": (ODD_ED, changed(ODD_ED, x=ODD_ED.public["x"] + "=")),
    "plain base64": (ODD, changed(ODD, n=b64encode(octets(ODD, "n")).decode())),
    "a zero octet before n": (ODD, changed(ODD, n=spelled(b"\0" + octets(ODD, "n")))),
    "zero octets before e": (ODD, changed(ODD, e="AAEAAQ")),
    "a zero octet before x and y": (
        ODD_EC,
        changed(ODD_EC, **{name: spelled(b"\0" + octets(ODD_EC, name)) for name in ("x", "y")}),
    ),
    "a zero octet that x should have": (SHORT, changed(SHORT, x=spelled(octets(SHORT, "x")[1:]))),
    "use is null": (ODD, changed(ODD, use=None)),
    "alg is null": (ODD, changed(ODD, alg=None)),
    "key_ops is null": (ODD, changed(ODD, key_ops=None)),
    "private members are null": (ODD, changed(ODD, d=None, p=None, q=None, k=None)),
    "key_ops to verify": (ODD, changed(ODD, key_ops=["verify"])),
    "key_ops to sign and verify, twice": (ODD, changed(ODD, key_ops=["sign", "verify", "verify"])),
    "a number too large for a float": (ODD, changed(ODD, big=10**400)),
    "an expiry of its own": (ODD, changed(ODD, exp=1, iat=0)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_odd_keys_that_mean_one_thing_only_count(name: str) -> None:
    key, member = TAKEN[name]
    keys = read_key_set(json.dumps({"keys": [EC.public, member, RSA.public]}).encode())
    assert [entry.kid for entry in keys.keys] == ["ec", "odd", "rsa"]
    assert keys.passed_over == ()
    for kid in ("odd", key.jwk.thumbprint()):  # RFC 7638: whoever spelled it, it is this key
        found = keys.find(kid, key.alg)
        assert isinstance(found, tuple)
        assert found[0].kid == key.jwk.thumbprint()
        assert found[0].verify(b"signed", key.sign(b"signed"))


NAMED: dict[str, tuple[Any, str]] = {
    "use is enc": (changed(ODD, use="enc"), "use"),
    "use in capitals": (changed(ODD, use="SIG"), "use"),
    "an unknown type": ({"kty": "AKP", "kid": "odd", "alg": "ML-DSA-44", "pub": "AA"}, "type"),
    "a type in small letters": (changed(ODD, kty="rsa"), "type"),
    "no type": (changed(ODD, "kty"), "type"),
    "an unknown curve": (changed(ODD_EC, crv="P-256K"), "curve"),
    "secp256k1": (JWK.generate(kty="EC", crv="secp256k1").export_public(as_dict=True), "curve"),
    "P-521": (JWK.generate(kty="EC", crv="P-521").export_public(as_dict=True), "curve"),
    "Ed448": (JWK.generate(kty="OKP", crv="Ed448").export_public(as_dict=True), "curve"),
    "an unknown alg": (changed(ODD, alg="RS999"), "alg"),
    "RSA-OAEP": (changed(ODD, alg="RSA-OAEP"), "alg"),
    "ECDH-ES": (changed(ODD_EC, alg="ECDH-ES+A256KW"), "alg"),
    "a kid that is a number": (changed(ODD, kid=7), "kid"),
    "an empty kid": (changed(ODD, kid=""), "kid"),
    "a kid that is far too long": (changed(ODD, kid="k" * 1000), "kid"),
    "key_ops to encrypt": (changed(ODD, key_ops=["encrypt"]), "key_ops"),
    "key_ops is empty": (changed(ODD, key_ops=[]), "key_ops"),
    "key_ops is a text": (changed(ODD, key_ops="verify"), "key_ops"),
    "a weak RSA key": (JWK.generate(kty="RSA", size=1024).export_public(as_dict=True), "1024 bits"),
    "a symmetric key": ({"kty": "oct", "kid": "odd", "k": "c2VjcmV0", "alg": "HS256"}, "type"),
    "a private member": (json.loads(ODD.jwk.export_private()), "private"),
    "only a certificate chain": (changed(ODD, "n", "e", x5c=["MIIC"]), "n, e"),
    "e is a number": (changed(ODD, e=65537), "n, e"),
    "n is null": (changed(ODD, n=None), "n, e"),
    "n with a line break": (changed(ODD, n=ODD.public["n"][:64] + "\n" + ODD.public["n"][64:]), "base64url"),
    "n is zero": (changed(ODD, n="AAAA"), "zero"),
    "x too long": (changed(ODD_EC, x=spelled(b"\1" + octets(ODD_EC, "x"))), "key"),
    "a point for which anybody can sign": (changed(ODD_ED, x=spelled(bytes(32))), "anybody"),
    "half a character in its kid": (changed(ODD, kid="\ud83d"), "kid"),
    "half a character in its alg": (changed(ODD, alg="RS256\udc00"), "alg"),
    "no object": ("odd", "JSON object"),
    "null": (None, "JSON object"),
    "a list": ([ODD.public], "JSON object"),
}


@pytest.mark.parametrize("name", NAMED)
def test_odd_keys_that_cannot_be_used_are_named_and_the_others_count(name: str) -> None:
    member, word = NAMED[name]
    keys = read_key_set(json.dumps({"keys": [EC.public, member, RSA.public]}).encode())
    assert [entry.kid for entry in keys.keys] == ["ec", "rsa"]
    (reason,) = keys.passed_over
    assert reason.startswith("keys[1]: ")
    assert word in reason


@pytest.mark.parametrize("key", [ODD, ODD_EC, ODD_ED], ids=lambda key: key.alg)
@pytest.mark.parametrize("private_first", [True, False])
@pytest.mark.parametrize("changes", [{}, {"kid": "other"}, {"kid": 7}, {"use": "enc"}, {"alg": "RSA-OAEP"}])
def test_a_key_whose_private_half_stands_in_the_set_counts_nowhere_in_it(
    key: Key, private_first: bool, changes: dict[str, Any]
) -> None:
    """Whoever can read the set could sign with it, under whatever name it is listed once more."""
    private = {**json.loads(key.jwk.export_private()), **changes}
    padded = {name: value + "=" if name in ("n", "x") else value for name, value in key.public.items()}
    members = [private, padded] if private_first else [padded, private]
    keys = read_key_set(json.dumps({"keys": [EC.public, *members, RSA.public]}).encode())
    assert [entry.kid for entry in keys.keys] == ["ec", "rsa"]
    assert len(keys.passed_over) == 2
    assert any("private half" in reason and "keys[" in reason for reason in keys.passed_over)


def test_half_a_character_elsewhere_in_a_key_changes_nothing() -> None:
    text = json.dumps({"keys": [EC.public, changed(ODD, name="\ud83d")], "title": "\udc00"})
    assert [entry.kid for entry in read_key_set(text.encode()).keys] == ["ec", "odd"]


def test_a_key_that_repeats_a_member_is_named_and_the_others_count() -> None:
    """RFC 7517 4: which of the two is meant depends on who reads it."""
    good, odd = json.dumps(EC.public), json.dumps(ODD.public)
    repeated = odd.replace("{", '{"kid": "other", ', 1)
    keys = read_key_set(f'{{"keys": [{good}, {repeated}]}}'.encode())
    assert [entry.kid for entry in keys.keys] == ["ec"]
    assert "repeated" in keys.passed_over[0]
    within = odd.replace("{", '{"meta": {"a": 1, "a": 2}, ', 1)
    assert len(read_key_set(f'{{"keys": [{good}, {within}]}}'.encode()).keys) == 2


GOOD = json.dumps({"keys": [EC.public]})


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        b"\r\n\t " + GOOD.encode() + b"\n\n  \r\n",
        GOOD.replace("}", ', "keys_url": null}').encode()[:-1].replace(b', "keys_url": null', b"", 1) + b"}",
        json.dumps({"issuer": "https://a.example", "keys": [EC.public], "exp": 10**400}).encode(),
        json.dumps(EC.public).encode(),
        json.dumps({"keys": [EC.public]}, indent=4).encode(),
        GOOD.replace("ES256", "\\u0045S256").encode(),
    ],
)
def test_odd_texts_of_good_sets(text: bytes) -> None:
    assert [entry.kid for entry in read_key_set(text).keys] == ["ec"]


@pytest.mark.parametrize(
    "text",
    [
        b"// the keys\n" + GOOD.encode(),
        GOOD.encode() + b"x",
        GOOD.encode("utf-16"),
        GOOD.replace("]", ",]").encode(),
        f'{{"keys": [], {GOOD[1:]}'.encode(),
        json.dumps({"keys": {"ec": EC.public}}).encode(),
        json.dumps({"keys": None}).encode(),
        json.dumps([EC.public]).encode(),
        json.dumps({"ec": "-----BEGIN CERTIFICATE-----"}).encode(),
        b'{"keys": []}',
        GOOD.encode() + b" " * MAX_SET_BYTES,
        b'{"keys": NaN}',
    ],
)
def test_texts_that_are_no_key_set(text: bytes) -> None:
    with pytest.raises(KeySetError):
        read_key_set(text)
