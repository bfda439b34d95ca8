"""Attack the verifier with tables: every refusal beside a token that differs only in the defect."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from gateway.enforce.verifier import verify_access_token
from gateway.reasons import Reason
from gateway.tokens.claims import AccessToken
from gateway.tokens.jwt import MAX_TOKEN_BYTES
from gateway.tokens.key_ring import KeyRing, SigningKey, make_key_ring
from gateway.tokens.keys import make_signing_key, make_verification_key
from gateway.tokens.signing import sign_compact

NOW = 1_700_000_000.0
ISSUER = "https://issuer.example"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

EC_JWK = JWK.generate(kty="EC", crv="P-256")
OTHER_EC_JWK = JWK.generate(kty="EC", crv="P-256")
RSA_JWK = JWK.generate(kty="RSA", size=2048)
ED_JWK = JWK.generate(kty="OKP", crv="Ed25519")


def signing_key(jwk: JWK, alg: str) -> SigningKey:
    return make_signing_key(jwk, alg)


EC_KEY = signing_key(EC_JWK, "ES256")
RING: KeyRing = make_key_ring(
    EC_KEY,
    [
        make_verification_key(EC_JWK, "ES256"),
        make_verification_key(RSA_JWK, "RS256"),
        make_verification_key(ED_JWK, "EdDSA"),
    ],
)
SIGNERS = {
    "ES256": EC_KEY,
    "RS256": signing_key(RSA_JWK, "RS256"),
    "PS256": signing_key(RSA_JWK, "PS256"),
    "EdDSA": signing_key(ED_JWK, "EdDSA"),
}


def base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def unbase64url(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def payload(**changes: object) -> dict[str, object]:
    claims: dict[str, object] = {
        "iss": ISSUER,
        "sub": "reader",
        "client_id": "reader",
        "aud": "country-service",
        "iat": int(NOW) - 10,
        "nbf": int(NOW) - 10,
        "exp": int(NOW) + 60,
        "jti": "4f6a",
        "scope": "country.read",
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not DROP}


def header(**changes: object) -> dict[str, object]:
    members: dict[str, object] = {"alg": "ES256", "kid": EC_KEY.kid, "typ": "at+jwt"} | changes
    return {name: value for name, value in members.items() if value is not DROP}


DROP = object()


def signed(header_json: bytes | Mapping[str, object], payload_json: bytes | Mapping[str, object]) -> bytes:
    """Return the token with exactly these parts, properly signed by our ES256 key."""
    head = header_json if isinstance(header_json, bytes) else json.dumps(header_json).encode()
    body = payload_json if isinstance(payload_json, bytes) else json.dumps(payload_json).encode()
    signing_input = base64url(head) + b"." + base64url(body)
    return signing_input + b"." + base64url(EC_KEY.sign(signing_input))


def with_signature(change: Callable[[bytes], bytes]) -> bytes:
    signing_input, _, signature = signed(header(), payload()).rpartition(b".")
    return signing_input + b"." + base64url(change(unbase64url(signature)))


def judge(raw: bytes, now: float = NOW) -> AccessToken | Reason:
    return verify_access_token(raw, keys=RING, issuer=ISSUER, now=now)


def hs256(secret: bytes) -> bytes:
    """Return a token whose HMAC is made with public key material (RS/HS confusion)."""
    signing_input = (
        base64url(json.dumps(header(alg="HS256")).encode()) + b"." + base64url(json.dumps(payload()).encode())
    )
    return signing_input + b"." + base64url(hmac.new(secret, signing_input, hashlib.sha256).digest())


def respelled_last_character(raw: bytes) -> bytes:
    """Return `raw` with other stray bits in the last character of its payload segment."""
    head, body, signature = raw.split(b".")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(body[-1:]) + 1]
    return b".".join([head, body[:-1] + bytes([other]), signature])


def signature_of(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


PUBLIC = EC_JWK.export_public(as_dict=True)
ATTACKER_PUBLIC = OTHER_EC_JWK.export_public(as_dict=True)
ATTACKER = signing_key(OTHER_EC_JWK, "ES256")


def by_attacker(**changes: object) -> bytes:
    signing_input = (
        base64url(json.dumps(header(**changes)).encode()) + b"." + base64url(json.dumps(payload()).encode())
    )
    return signing_input + b"." + base64url(ATTACKER.sign(signing_input))


def unsigned(alg: str) -> bytes:
    return (
        base64url(json.dumps(header(alg=alg)).encode())
        + b"."
        + base64url(json.dumps(payload()).encode())
        + b"."
    )


def padded_to(size: int) -> bytes:
    """Return a good token of exactly `size` bytes, or one more or two where base64 has no such length."""
    filler = 0
    while len(token := signed(header(), payload(filler="x" * filler))) < size:
        filler += max(1, (size - len(token)) * 3 // 4 - 2)
    return token


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


GOOD = signed(header(), payload())
# JSON whose base64url ends with unused bits, so that it has a second spelling.
LOOSE = next(
    token
    for filler in range(3)
    if len((token := signed(header(), payload(filler="x" * filler))).split(b".")[1]) % 4 != 0
)
PAYLOAD_TEXT = json.dumps(payload()).encode()


@dataclass(frozen=True)
class Attack:
    name: str
    raw: bytes
    reason: Reason
    twin: bytes = field(default=GOOD, repr=False)
    now: float = NOW


ATTACKS = [
    # shape
    Attack("empty", b"", Reason.MALFORMED_TOKEN),
    Attack("two segments", GOOD.rpartition(b".")[0], Reason.MALFORMED_TOKEN),
    Attack("four segments", GOOD + b".x", Reason.MALFORMED_TOKEN),
    Attack("five segments, as JWE", GOOD + b".YQ.YQ", Reason.MALFORMED_TOKEN),
    Attack("space in front", b" " + GOOD, Reason.MALFORMED_TOKEN),
    Attack("newline behind", GOOD + b"\n", Reason.MALFORMED_TOKEN),
    Attack("padding", GOOD + b"=", Reason.MALFORMED_TOKEN),
    Attack("standard base64 alphabet", GOOD.replace(b".", b"+", 1) + b".", Reason.MALFORMED_TOKEN),
    Attack("non-ASCII byte", GOOD[:-1] + b"\xc3", Reason.MALFORMED_TOKEN),
    Attack("NUL byte", GOOD[:-1] + b"\x00", Reason.MALFORMED_TOKEN),
    Attack("impossible base64 length", GOOD.replace(b".", b"A.", 1), Reason.MALFORMED_TOKEN),
    Attack(
        "stray bits in the payload segment", respelled_last_character(LOOSE), Reason.MALFORMED_TOKEN, LOOSE
    ),
    Attack(
        "too large", padded_to(MAX_TOKEN_BYTES + 1), Reason.MALFORMED_TOKEN, padded_to(MAX_TOKEN_BYTES - 4)
    ),
    # JSON
    Attack("header is an array", signed(b"[]", payload()), Reason.MALFORMED_TOKEN),
    Attack("payload is a string", signed(header(), b'"x"'), Reason.MALFORMED_TOKEN),
    Attack("payload with trailing text", signed(header(), PAYLOAD_TEXT + b"x"), Reason.MALFORMED_TOKEN),
    Attack(
        "payload with a byte order mark",
        signed(header(), b"\xef\xbb\xbf" + PAYLOAD_TEXT),
        Reason.MALFORMED_TOKEN,
    ),
    Attack(
        "payload in UTF-16", signed(header(), PAYLOAD_TEXT.decode().encode("utf-16")), Reason.MALFORMED_TOKEN
    ),
    Attack(
        "payload not UTF-8", signed(header(), PAYLOAD_TEXT.replace(b"4f6a", b"\xff")), Reason.MALFORMED_TOKEN
    ),
    Attack(
        "lone surrogate",
        signed(header(), PAYLOAD_TEXT.replace(b"4f6a", rb"\ud800")),
        Reason.MALFORMED_TOKEN,
        signed(header(), PAYLOAD_TEXT.replace(b"4f6a", rb"\ud83d\ude00")),
    ),
    Attack(
        "duplicate claim",
        signed(header(), PAYLOAD_TEXT[:-1] + b', "sub": "writer"}'),
        Reason.MALFORMED_TOKEN,
    ),
    Attack(
        "duplicate claim, one escaped",
        signed(header(), PAYLOAD_TEXT[:-1] + rb', "s\u0075b": "writer"}'),
        Reason.MALFORMED_TOKEN,
    ),
    Attack(
        "duplicate member inside a claim",
        signed(header(), PAYLOAD_TEXT[:-1] + b', "x": {"a": 1, "a": 2}}'),
        Reason.MALFORMED_TOKEN,
        signed(header(), PAYLOAD_TEXT[:-1] + b', "x": {"a": 1, "b": 2}}'),
    ),
    Attack(
        "duplicate header member",
        signed(json.dumps(header()).encode()[:-1] + b', "alg": "none"}', payload()),
        Reason.MALFORMED_TOKEN,
    ),
    Attack(
        "nested too deeply",
        signed(header(), payload(x=nested(17))),
        Reason.MALFORMED_TOKEN,
        signed(header(), payload(x=nested(15))),
    ),
    Attack(
        "nested without end",
        signed(header(), b'{"x": ' + b"[" * 6000 + b"]" * 6000 + b"}"),
        Reason.MALFORMED_TOKEN,
        signed(header(), payload(x=[[] for _ in range(2000)])),
    ),
    Attack("NaN claim", signed(header(), PAYLOAD_TEXT[:-1] + b', "x": NaN}'), Reason.MALFORMED_TOKEN),
    Attack(
        "infinite claim",
        signed(header(), PAYLOAD_TEXT[:-1] + b', "x": 1e400}'),
        Reason.MALFORMED_TOKEN,
        signed(header(), PAYLOAD_TEXT[:-1] + b', "x": 1e40}'),
    ),
    Attack(
        "number of 5000 digits",
        signed(header(), PAYLOAD_TEXT[:-1] + b', "x": ' + b"9" * 5000 + b"}"),
        Reason.MALFORMED_TOKEN,
        signed(header(), PAYLOAD_TEXT[:-1] + b', "x": ' + b"9" * 50 + b"}"),
    ),
    # header
    Attack("crit", signed(header(crit=["exp"]), payload()), Reason.MALFORMED_TOKEN),
    Attack("empty crit", signed(header(crit=[]), payload()), Reason.MALFORMED_TOKEN),
    Attack("b64 false", signed(header(b64=False), payload()), Reason.MALFORMED_TOKEN),
    Attack("b64 true", signed(header(b64=True), payload()), Reason.MALFORMED_TOKEN),
    Attack("no alg", signed(header(alg=DROP), payload()), Reason.MALFORMED_TOKEN),
    Attack("alg is a list", signed(header(alg=["ES256"]), payload()), Reason.MALFORMED_TOKEN),
    Attack("kid is a number", signed(header(kid=1), payload()), Reason.MALFORMED_TOKEN),
    Attack("none", unsigned("none"), Reason.ALG_NOT_ALLOWED),
    Attack("None", unsigned("None"), Reason.ALG_NOT_ALLOWED),
    Attack("NONE", unsigned("NONE"), Reason.ALG_NOT_ALLOWED),
    Attack("nOnE, signed", signed(header(alg="nOnE"), payload()), Reason.ALG_NOT_ALLOWED),
    Attack("empty alg", unsigned(""), Reason.ALG_NOT_ALLOWED),
    Attack("es256 in lower case", signed(header(alg="es256"), payload()), Reason.ALG_NOT_ALLOWED),
    Attack("HS256 with our public key in PEM", hs256(EC_JWK.export_to_pem()), Reason.ALG_NOT_ALLOWED),
    Attack("HS256 with our public key as JWK", hs256(json.dumps(PUBLIC).encode()), Reason.ALG_NOT_ALLOWED),
    Attack("ES384", signed(header(alg="ES384"), payload()), Reason.ALG_NOT_ALLOWED),
    Attack("RS256 named for an EC key", signed(header(alg="RS256"), payload()), Reason.ALG_NOT_ALLOWED),
    Attack(
        "PS256 with a key that is for RS256",
        sign_compact(SIGNERS["PS256"], payload()),
        Reason.ALG_NOT_ALLOWED,
        sign_compact(SIGNERS["RS256"], payload()),
    ),
    Attack("no kid", signed(header(kid=DROP), payload()), Reason.UNKNOWN_KEY),
    Attack("empty kid", signed(header(kid=""), payload()), Reason.UNKNOWN_KEY),
    Attack("kid of a path", signed(header(kid="../../dev/null"), payload()), Reason.UNKNOWN_KEY),
    Attack("kid of an injection", signed(header(kid="' OR 1=1 --"), payload()), Reason.UNKNOWN_KEY),
    Attack("kid of another key", signed(header(kid=ATTACKER.kid), payload()), Reason.UNKNOWN_KEY),
    Attack("embedded jwk", by_attacker(jwk=ATTACKER_PUBLIC), Reason.BAD_SIGNATURE),
    Attack(
        "embedded jwk under its own kid",
        by_attacker(jwk=ATTACKER_PUBLIC, kid=ATTACKER.kid),
        Reason.UNKNOWN_KEY,
    ),
    Attack("jku", by_attacker(jku="http://127.0.0.1:1/jwks"), Reason.BAD_SIGNATURE),
    Attack("x5u", by_attacker(x5u="http://127.0.0.1:1/x5u"), Reason.BAD_SIGNATURE),
    Attack("no typ", signed(header(typ=DROP), payload()), Reason.WRONG_TYPE),
    Attack("typ JWT", signed(header(typ="JWT"), payload()), Reason.WRONG_TYPE),
    Attack(
        "typ of a client assertion",
        signed(header(typ="client-authentication+jwt"), payload()),
        Reason.WRONG_TYPE,
    ),
    Attack("typ of a DPoP proof", signed(header(typ="dpop+jwt"), payload()), Reason.WRONG_TYPE),
    Attack("typ is a list", signed(header(typ=["at+jwt"]), payload()), Reason.WRONG_TYPE),
    Attack("typ with a space", signed(header(typ="at+jwt "), payload()), Reason.WRONG_TYPE),
    # issuer and times
    Attack("another issuer", signed(header(), payload(iss="https://other.example")), Reason.WRONG_ISSUER),
    Attack("issuer with a slash", signed(header(), payload(iss=ISSUER + "/")), Reason.WRONG_ISSUER),
    Attack("issuer in upper case", signed(header(), payload(iss=ISSUER.upper())), Reason.WRONG_ISSUER),
    Attack("issuer is a list", signed(header(), payload(iss=[ISSUER])), Reason.MALFORMED_TOKEN),
    Attack("no issuer", signed(header(), payload(iss=DROP)), Reason.MALFORMED_TOKEN),
    Attack("expired this second", GOOD, Reason.EXPIRED, GOOD, NOW + 60),
    Attack("expired long ago", signed(header(), payload(exp=1)), Reason.EXPIRED),
    Attack(
        "not valid before the next second",
        signed(header(), payload(nbf=int(NOW) + 1)),
        Reason.NOT_YET_VALID,
        signed(header(), payload(nbf=int(NOW))),
    ),
    *[
        Attack(
            f"{claim} {label}",
            signed(
                header(),
                json.dumps(payload())
                .replace(f'"{claim}": {payload()[claim]}', f'"{claim}": {text}')
                .encode(),
            ),
            Reason.MALFORMED_TOKEN,
        )
        for claim in ("exp", "iat", "nbf")
        for label, text in {
            "as a string": '"1700000060"',
            "with a fraction": "1700000060.5",
            "as a whole float": "1700000060.0",
            "true": "true",
            "null": "null",
            "negative": "-1",
            "beyond the year 9999": "253402300800",
            "of 40 digits": "9" * 40,
            "in an array": "[1700000060]",
        }.items()
    ],
    *[
        Attack(f"no {claim}", signed(header(), payload(**{claim: DROP})), Reason.MALFORMED_TOKEN)
        for claim in ("sub", "client_id", "aud", "iat", "exp", "jti")
    ],
    Attack("two audiences", signed(header(), payload(aud=["a", "country-service"])), Reason.MALFORMED_TOKEN),
    Attack("audience in a list", signed(header(), payload(aud=["country-service"])), Reason.MALFORMED_TOKEN),
    Attack("empty audience", signed(header(), payload(aud="")), Reason.MALFORMED_TOKEN),
    Attack("audience is an object", signed(header(), payload(aud={"a": "b"})), Reason.MALFORMED_TOKEN),
    Attack("jti is a number", signed(header(), payload(jti=7)), Reason.MALFORMED_TOKEN),
    Attack("scope is null", signed(header(), payload(scope=None)), Reason.MALFORMED_TOKEN),
    Attack(
        "empty scope",
        signed(header(), payload(scope="")),
        Reason.MALFORMED_TOKEN,
        signed(header(), payload(scope=DROP)),
    ),
    Attack(
        "scope with two spaces",
        signed(header(), payload(scope="a  b")),
        Reason.MALFORMED_TOKEN,
        signed(header(), payload(scope="a b")),
    ),
    Attack("scope with a tab", signed(header(), payload(scope="a\tb")), Reason.MALFORMED_TOKEN),
    Attack(
        "scope array with a number",
        signed(header(), payload(scope=["a", 1])),
        Reason.MALFORMED_TOKEN,
        signed(header(), payload(scope=["a", "b"])),
    ),
    Attack("scope array with two in one", signed(header(), payload(scope=["a b"])), Reason.MALFORMED_TOKEN),
    # signature
    Attack("no signature", with_signature(lambda _: b""), Reason.BAD_SIGNATURE),
    Attack("r = s = 0", with_signature(lambda _: bytes(64)), Reason.BAD_SIGNATURE),
    Attack("r = 0", with_signature(lambda s: bytes(32) + s[32:]), Reason.BAD_SIGNATURE),
    Attack("s = 0", with_signature(lambda s: s[:32] + bytes(32)), Reason.BAD_SIGNATURE),
    Attack(
        "r = n",
        with_signature(lambda s: signature_of(P256_ORDER, int.from_bytes(s[32:], "big"))),
        Reason.BAD_SIGNATURE,
    ),
    Attack(
        "s = n",
        with_signature(lambda s: signature_of(int.from_bytes(s[:32], "big"), P256_ORDER)),
        Reason.BAD_SIGNATURE,
    ),
    Attack("r = s = n", with_signature(lambda _: signature_of(P256_ORDER, P256_ORDER)), Reason.BAD_SIGNATURE),
    Attack("r = s = 1", with_signature(lambda _: signature_of(1, 1)), Reason.BAD_SIGNATURE),
    Attack("63 bytes", with_signature(lambda s: s[:-1]), Reason.BAD_SIGNATURE),
    Attack("65 bytes", with_signature(lambda s: s + b"\0"), Reason.BAD_SIGNATURE),
    Attack("leading zero", with_signature(lambda s: b"\0" + s), Reason.BAD_SIGNATURE),
    Attack(
        "DER",
        with_signature(
            lambda s: encode_dss_signature(int.from_bytes(s[:32], "big"), int.from_bytes(s[32:], "big"))
        ),
        Reason.BAD_SIGNATURE,
    ),
    Attack("r and s swapped", with_signature(lambda s: s[32:] + s[:32]), Reason.BAD_SIGNATURE),
    Attack("one bit flipped", with_signature(lambda s: bytes([s[0] ^ 1]) + s[1:]), Reason.BAD_SIGNATURE),
    Attack(
        "signature of another payload",
        signed(header(), payload(sub="x")).rpartition(b".")[0] + b"." + GOOD.rpartition(b".")[2],
        Reason.BAD_SIGNATURE,
    ),
    Attack("signed by another key", by_attacker(), Reason.BAD_SIGNATURE),
    *[
        Attack(
            f"{alg} signature with a flipped bit",
            (t := sign_compact(SIGNERS[alg], payload())).rpartition(b".")[0]
            + b"."
            + base64url(bytes([(s := unbase64url(t.rpartition(b".")[2]))[0] ^ 1]) + s[1:]),
            Reason.BAD_SIGNATURE,
            t,
        )
        for alg in ("RS256", "EdDSA")
    ],
    Attack(
        "RS256 signature cut short",
        (t := sign_compact(SIGNERS["RS256"], payload())).rpartition(b".")[0]
        + b"."
        + base64url(unbase64url(t.rpartition(b".")[2])[:-1]),
        Reason.BAD_SIGNATURE,
        t,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_refused_for_its_reason_and_its_twin_is_accepted(attack: Attack) -> None:
    assert judge(attack.raw, attack.now) is attack.reason
    assert isinstance(judge(attack.twin), AccessToken)


def test_the_table_covers_every_reason_of_the_verifier() -> None:
    assert {attack.reason for attack in ATTACKS} == {
        Reason.MALFORMED_TOKEN,
        Reason.UNKNOWN_KEY,
        Reason.ALG_NOT_ALLOWED,
        Reason.WRONG_TYPE,
        Reason.WRONG_ISSUER,
        Reason.EXPIRED,
        Reason.NOT_YET_VALID,
        Reason.BAD_SIGNATURE,
    }
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 40


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_access_token_types_compare_without_case(typ: str) -> None:
    assert isinstance(judge(signed(header(typ=typ), payload())), AccessToken)


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_every_key_of_the_ring_verifies_with_its_algorithm(alg: str) -> None:
    token = judge(sign_compact(SIGNERS[alg], payload()))
    assert isinstance(token, AccessToken)
    assert token.kid == SIGNERS[alg].kid


def test_a_verified_token_says_what_it_holds() -> None:
    token = judge(signed(header(), payload(scope=["b", "a"], tenant={"id": 1})))
    assert isinstance(token, AccessToken)
    assert (token.client_id, token.subject, token.audience) == ("reader", "reader", "country-service")
    assert (token.scope, token.scopes) == ("b a", {"a", "b"})
    assert (token.issued_at, token.not_before, token.expires_at) == (NOW - 10, NOW - 10, NOW + 60)
    assert (token.jti, token.kid) == ("4f6a", EC_KEY.kid)
    assert token.claims["tenant"] == {"id": 1}


def test_a_token_without_nbf_has_no_lower_bound() -> None:
    token = judge(signed(header(), payload(nbf=DROP)))
    assert isinstance(token, AccessToken)
    assert token.not_before == 0


def test_the_high_s_twin_of_a_token_has_its_jti() -> None:
    twin = with_signature(
        lambda s: signature_of(int.from_bytes(s[:32], "big"), P256_ORDER - int.from_bytes(s[32:], "big"))
    )
    token = judge(twin)
    assert isinstance(token, AccessToken)
    assert token.jti == "4f6a"


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert isinstance(judge(raw), Reason)


JSON_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), JSON_VALUES),
    st.dictionaries(
        st.sampled_from(["iss", "exp", "nbf", "iat", "aud", "scope", "sub"]), JSON_VALUES, min_size=1
    ),
)
def test_no_members_make_it_raise(header_changes: dict[str, Any], payload_changes: dict[str, Any]) -> None:
    # Signed by a stranger, so nothing that is drawn can be accepted by accident.
    head = json.dumps(header(**header_changes)).encode("utf-8", "replace")
    body = json.dumps(payload(**payload_changes)).encode("utf-8", "replace")
    signing_input = base64url(head) + b"." + base64url(body)
    raw = signing_input + b"." + base64url(ATTACKER.sign(signing_input))
    assert isinstance(judge(raw), Reason)


# --- tokens of others, and other kinds of tokens: named also when their key is nobody's we know

FOREIGN = "https://keycloak.example/realms/a"
KUBERNETES = "https://kubernetes.default.svc.cluster.local"


def by_stranger(head: dict[str, object], claims: dict[str, object]) -> bytes:
    """Return a token that its own issuer signed with a key that is not here."""
    head = {"alg": "ES256", "kid": ATTACKER.kid} | head
    signing_input = base64url(json.dumps(head).encode()) + b"." + base64url(json.dumps(claims).encode())
    return signing_input + b"." + base64url(ATTACKER.sign(signing_input))


@pytest.mark.parametrize(
    ("head", "claims", "reason"),
    [
        # of another issuer
        ({"typ": "JWT"}, payload(iss=FOREIGN), Reason.WRONG_ISSUER),
        ({"typ": "jwt"}, payload(iss=FOREIGN), Reason.WRONG_ISSUER),
        ({"typ": "at+jwt"}, payload(iss=FOREIGN), Reason.WRONG_ISSUER),
        ({"typ": "at+jwt"}, payload(iss=ISSUER + "/"), Reason.WRONG_ISSUER),
        ({"typ": "at+jwt", "kid": "known-nowhere"}, payload(iss=FOREIGN), Reason.WRONG_ISSUER),
        ({"typ": "at+jwt", "alg": "HS256"}, payload(iss=FOREIGN), Reason.WRONG_ISSUER),
        ({}, {"iss": KUBERNETES, "sub": "system:serviceaccount:a:b", "aud": ["x"]}, Reason.WRONG_ISSUER),
        ({"typ": "JWT", "alg": "RS512"}, payload(iss=FOREIGN), Reason.WRONG_ISSUER),
        # of another kind
        ({"typ": "JWT"}, payload(iss="reader", sub="reader", aud=ISSUER), Reason.WRONG_TYPE),
        ({}, payload(iss="reader", sub="reader", aud=ISSUER), Reason.WRONG_TYPE),
        ({"alg": "HS256"}, payload(iss="reader", sub="reader", aud=ISSUER), Reason.WRONG_TYPE),
        ({"typ": "client-authentication+jwt"}, payload(iss="reader", sub="reader"), Reason.WRONG_TYPE),
        ({"typ": "dpop+jwt"}, {"jti": "1", "htm": "GET", "htu": "https://a.example"}, Reason.WRONG_TYPE),
        ({"typ": "logout+jwt"}, payload(iss=FOREIGN), Reason.WRONG_TYPE),
        ({"typ": ["at+jwt"]}, payload(iss=FOREIGN), Reason.WRONG_TYPE),
        ({"typ": "JWT"}, payload(), Reason.WRONG_TYPE),
        ({"typ": "JWT"}, payload(iss=DROP), Reason.WRONG_TYPE),
        # ours, as far as it says
        ({"typ": "at+jwt"}, payload(), Reason.UNKNOWN_KEY),
        ({"typ": "AT+JWT"}, payload(), Reason.UNKNOWN_KEY),
        ({"typ": "at+jwt", "alg": "none"}, payload(), Reason.ALG_NOT_ALLOWED),
        ({"typ": "at+jwt"}, payload(iss=7), Reason.MALFORMED_TOKEN),
        ({"typ": "at+jwt", "kid": 7}, payload(iss=FOREIGN), Reason.MALFORMED_TOKEN),
    ],
)
def test_what_is_not_ours_is_named(
    head: dict[str, object], claims: dict[str, object], reason: Reason
) -> None:
    assert judge(by_stranger(head, claims)) is reason
