"""List attacks on signed tokens, each beside an honest token that differs only in the defect.

An attack is a function from a `Carrier` (one of the three places where a JWT is taken:
client assertion, grant assertion, access token at the gate) to a token. Its twin is the
carrier's honest token, unless the row names another.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.tokens.base64url import decode_base64url, encode_base64url
from tests.support.jws import Key, compact, hs256, make_key

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ATTACKER = make_key("ES256", "attacker")
RSA_ATTACKER = make_key("RS256", "rsa-attacker")
ED_ATTACKER = make_key("EdDSA", "ed-attacker")
DROP = object()


@dataclass(frozen=True)
class Carrier:
    """One place where a token is taken, and what an honest one looks like there."""

    name: str
    key: Key
    typ: str | None
    claims: Callable[[], dict[str, Any]]
    elsewhere: str = ""
    """An address that only tokens name; whoever asks it is recorded."""

    def header(self, **changes: Any) -> dict[str, Any]:
        members = {"alg": self.key.alg, "kid": self.key.kid, "typ": self.typ or DROP, **changes}
        return {name: value for name, value in members.items() if value is not DROP}

    def payload(self, **changes: Any) -> dict[str, Any]:
        members = {**self.claims(), **changes}
        return {name: value for name, value in members.items() if value is not DROP}

    def signed(self, header: Mapping[str, Any] | bytes | None = None, payload: Any = None) -> bytes:
        """Return a token with exactly these parts, properly signed."""
        return self.key.compact(
            self.header() if header is None else header, self.payload() if payload is None else payload
        )


Make = Callable[[Carrier], bytes]


def honest(carrier: Carrier) -> bytes:
    return carrier.signed()


@dataclass(frozen=True)
class Attack:
    """One row. `reason` is our word for it; `at` maps a carrier to another word."""

    name: str
    make: Make
    reason: str
    at: Mapping[str, str]
    twin: Make = honest

    def expected(self, carrier: str) -> str:
        word = self.at.get(carrier, self.reason)
        return "malformed_token" if carrier == "access" and word == "malformed" else word


def row(name: str, reason: str, make: Make, twin: Make = honest, **at: str) -> Attack:
    return Attack(name, make, reason, at, twin)


# --- the ways to build them


def _header(**changes: Any) -> Make:
    return lambda carrier: carrier.signed(carrier.header(**changes))


def _unsigned(alg: str) -> Make:
    return lambda carrier: compact(carrier.header(alg=alg), carrier.payload())


def _mac(secret: Callable[[Carrier], bytes], **changes: Any) -> Make:
    return lambda carrier: compact(
        carrier.header(alg="HS256", **changes), carrier.payload(), hs256(secret(carrier))
    )


def _pem(carrier: Carrier) -> bytes:
    return bytes(carrier.key.jwk.export_to_pem())


def _der(carrier: Carrier) -> bytes:
    public = carrier.key.jwk.get_op_key("verify")
    return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _jwk(carrier: Carrier) -> bytes:
    return json.dumps(carrier.key.jwk.export_public(as_dict=True)).encode()


def _by(key: Key, **changes: Any) -> Make:
    return lambda carrier: key.compact(carrier.header(alg=key.alg, **changes), carrier.payload())


def _pointing(member: str, **changes: Any) -> Make:
    """Return the attacker's token that says where to find the attacker's key."""
    return lambda carrier: ATTACKER.compact(
        carrier.header(**{member: carrier.elsewhere}, **changes), carrier.payload()
    )


def _signature(change: Callable[[bytes], bytes]) -> Make:
    def make(carrier: Carrier) -> bytes:
        signing_input, _, signature = honest(carrier).rpartition(b".")
        octets = decode_base64url(signature)
        assert octets is not None
        return signing_input + b"." + encode_base64url(change(octets))

    return make


def _pair(r: int | None, s: int | None) -> Make:
    def change(octets: bytes) -> bytes:
        return (octets[:32] if r is None else r.to_bytes(32, "big")) + (
            octets[32:] if s is None else s.to_bytes(32, "big")
        )

    return _signature(change)


def _to_der(octets: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(octets[:32], "big"), int.from_bytes(octets[32:], "big"))


def _text(change: Callable[[bytes], bytes]) -> Make:
    return lambda carrier: change(honest(carrier))


def _segments(change: Callable[[list[bytes]], list[bytes]]) -> Make:
    return _text(lambda raw: b".".join(change(raw.split(b"."))))


def _json(part: str, change: Callable[[bytes], bytes]) -> Make:
    """Change the JSON text of header or payload, and sign what comes out."""

    def make(carrier: Carrier) -> bytes:
        header, payload = json.dumps(carrier.header()).encode(), json.dumps(carrier.payload()).encode()
        if part == "header":
            return carrier.signed(change(header), payload)
        return carrier.signed(header, change(payload))

    return make


def _twice(member: bytes) -> Callable[[bytes], bytes]:
    return lambda text: text[:-1] + b", " + member + b"}"


def _member(member: bytes) -> Callable[[bytes], bytes]:
    return lambda text: text[:-1] + b', "further": ' + member + b"}"


def _padded(segment: bytes) -> bytes:
    return segment + b"=" * (-len(segment) % 4 or 4)


def _stray_bits(raw: bytes) -> bytes:
    """Return the token with another spelling of its signature's last octet."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(raw[-1:])
    return raw[:-1] + bytes([alphabet[last ^ 1]])


def _modified(carrier: Carrier) -> bytes:
    head, _, signature = honest(carrier).split(b".")
    return b".".join([head, encode_base64url(json.dumps(carrier.payload(admin=True)).encode()), signature])


EMBEDDED = ATTACKER.jwk.export_public(as_dict=True)

# --- the table for every carrier: header, key, signature, encoding

EVERYWHERE = (
    *(
        row(f"alg {alg!r} without signature", "alg_not_allowed", _unsigned(alg))
        for alg in ("none", "None", "NONE", "nOnE", "none ", "")
    ),
    row("alg none with a good signature", "alg_not_allowed", _header(alg="none")),
    row("alg none, typed as nothing", "alg_not_allowed", lambda c: compact({"alg": "none"}, c.payload())),
    row("HMAC with our public key as PEM", "alg_not_allowed", _mac(_pem), client="unknown_key"),
    row("HMAC with our public key as DER", "alg_not_allowed", _mac(_der), client="unknown_key"),
    row("HMAC with our public key as JWK", "alg_not_allowed", _mac(_jwk), client="unknown_key"),
    row("HMAC with nothing", "alg_not_allowed", _mac(lambda _: b""), client="unknown_key"),
    row("HMAC with zeros", "alg_not_allowed", _mac(lambda _: bytes(32)), client="unknown_key"),
    row("HMAC without kid", "alg_not_allowed", _mac(_pem, kid=DROP), client="unknown_key"),
    *(
        row(f"alg {alg!r}", "alg_not_allowed", _header(alg=alg))
        for alg in (
            "es256",
            "ES256 ",
            "ES384",
            "ES512",
            "ES256K",
            "HS384",
            "RS512",
            "Ed25519",
            "ECDH-ES",
            "dir",
        )
    ),
    row("alg of another of our types", "alg_not_allowed", _header(alg="RS256")),
    row("alg of a third type", "alg_not_allowed", _header(alg="EdDSA")),
    row("alg missing", "malformed", _header(alg=DROP)),
    row("alg null", "malformed", _header(alg=None)),
    row("alg a list", "malformed", _header(alg=["ES256"])),
    row("alg a number", "malformed", _header(alg=256)),
    row("embedded jwk", "unknown_key", _by(ATTACKER, kid="attacker", jwk=EMBEDDED)),
    row("embedded jwk under our kid", "bad_signature", _by(ATTACKER, jwk=EMBEDDED)),
    row("embedded jwk, no kid", "bad_signature", _by(ATTACKER, kid=DROP, jwk=EMBEDDED), access="unknown_key"),
    row(
        "embedded symmetric jwk",
        "alg_not_allowed",
        _mac(lambda _: b"k" * 32, jwk={"kty": "oct", "k": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}),
        client="unknown_key",
    ),
    row("jku of the attacker", "unknown_key", _pointing("jku", kid="attacker")),
    row("jku under our kid", "bad_signature", _pointing("jku")),
    row("x5u of the attacker", "unknown_key", _pointing("x5u", kid="attacker")),
    row("x5c of the attacker", "bad_signature", _by(ATTACKER, x5c=["MIIB"])),
    *(
        row(f"kid {kid[:24]!r}", "unknown_key", _header(kid=kid))
        for kid in (
            "../../../../../../dev/null",
            "/proc/sys/kernel/randomize_va_space",
            "' UNION SELECT 'key' --",
            "x'; DROP TABLE keys; --",
            "|/usr/bin/id",
            "$(id)",
            "http://127.0.0.1/jwks",
            "k\x00",
            "*",
            "",
            "k" * 4000,
            "\U0001f511",
            "__class__",
        )
    ),
    row("kid a number", "malformed", _header(kid=1)),
    row("kid a list", "malformed", _header(kid=["k"])),
    row("kid an object", "malformed", _header(kid={"$ne": ""})),
    row("crit of an unknown extension", "malformed", _header(crit=["exp"], exp=1)),
    row("crit empty", "malformed", _header(crit=[])),
    row("crit null", "malformed", _header(crit=None)),
    row("b64 false", "malformed", _header(b64=False, crit=["b64"])),
    row("b64 false without crit", "malformed", _header(b64=False)),
    row("b64 true", "malformed", _header(b64=True)),
    row("alg twice", "malformed", _json("header", _twice(b'"alg": "none"'))),
    row("alg twice, once escaped", "malformed", _json("header", _twice(b'"\\u0061lg": "none"'))),
    row("kid twice", "malformed", _json("header", _twice(b'"kid": "attacker"'))),
    row("sub twice", "malformed", _json("payload", _twice(b'"sub": "admin"'))),
    row("exp twice", "malformed", _json("payload", _twice(b'"exp": 99999999999'))),
    row(
        "a member twice deep inside",
        "malformed",
        _json("payload", _member(b'[{"a": 1, "a": 2}]')),
        _json("payload", _member(b'[{"a": 1, "b": 2}]')),
    ),
    row("r = s = 0", "bad_signature", _pair(0, 0)),
    row("r = 0", "bad_signature", _pair(0, None)),
    row("s = 0", "bad_signature", _pair(None, 0)),
    row("r = s = 1", "bad_signature", _pair(1, 1)),
    row("r = n", "bad_signature", _pair(ORDER, None)),
    row("s = n", "bad_signature", _pair(None, ORDER)),
    row("r = s = n", "bad_signature", _pair(ORDER, ORDER)),
    row("r = n, s = 0", "bad_signature", _pair(ORDER, 0)),
    row("r and s at their largest", "bad_signature", _pair(2**256 - 1, 2**256 - 1)),
    row(
        "r - n would do",
        "bad_signature",
        _signature(lambda o: ((int.from_bytes(o[:32], "big") + ORDER) % 2**256).to_bytes(32, "big") + o[32:]),
    ),
    row("DER", "bad_signature", _signature(_to_der)),
    row("one octet less", "bad_signature", _signature(lambda octets: octets[:-1])),
    row("one octet more", "bad_signature", _signature(lambda octets: octets + b"\x00")),
    row("one octet before", "bad_signature", _signature(lambda octets: b"\x00" + octets)),
    row("the signature twice", "bad_signature", _signature(lambda octets: octets * 2)),
    row("r and s exchanged", "bad_signature", _signature(lambda octets: octets[32:] + octets[:32])),
    row("one bit", "bad_signature", _signature(lambda octets: octets[:-1] + bytes([octets[-1] ^ 1]))),
    row("no signature", "bad_signature", _signature(lambda _: b"")),
    row("RSA signature under our kid", "alg_not_allowed", _by(RSA_ATTACKER)),
    row("Ed25519 signature under our kid", "alg_not_allowed", _by(ED_ATTACKER)),
    row("another key", "bad_signature", _by(ATTACKER)),
    row("claims exchanged", "bad_signature", _modified),
    row(
        "header exchanged",
        "bad_signature",
        _segments(
            lambda p: [
                encode_base64url(
                    json.dumps({**json.loads(decode_base64url(p[0]) or b""), "more": 1}).encode()
                ),
                p[1],
                p[2],
            ]
        ),
    ),
    row("header padded", "malformed", _segments(lambda p: [_padded(p[0]), p[1], p[2]])),
    row("payload padded", "malformed", _segments(lambda p: [p[0], _padded(p[1]), p[2]])),
    row("signature padded", "malformed", _segments(lambda p: [p[0], p[1], _padded(p[2])])),
    row("signature cut", "malformed", _segments(lambda p: [p[0], p[1], p[2][:-1]])),
    row("stray bits behind the signature", "malformed", _text(_stray_bits)),
    row("the standard alphabet", "malformed", _segments(lambda p: [p[0], p[1], b"+/" + p[2][2:]])),
    row("two segments", "malformed", _segments(lambda p: p[:2])),
    row("four segments", "malformed", _segments(lambda p: [*p, p[2]])),
    row("five segments", "malformed", _segments(lambda p: [p[0], b"", *p])),
    row("no payload", "malformed", _segments(lambda p: [p[0], b"", p[2]])),
    row("no header", "malformed", _segments(lambda p: [b"", p[1], p[2]])),
    row("not a token", "malformed", lambda _: b"secret"),
    row(
        "JSON serialisation",
        "malformed",
        _text(
            lambda raw: (
                json.dumps(
                    dict(zip(("protected", "payload", "signature"), raw.decode().split("."), strict=True))
                )
                .replace(" ", "")
                .encode()
            )
        ),
    ),
    row(
        "a huge token",
        "malformed",
        lambda c: c.signed(payload=c.payload(further="x" * 13_000)),
        lambda c: c.signed(payload=c.payload(further="x" * 3_000)),
    ),
    row(
        "nested deeply",
        "malformed",
        _json("payload", _member(b"[" * 500 + b"]" * 500)),
        _json("payload", _member(b"[" * 10 + b"]" * 10)),
    ),
    row("a token in a token", "malformed", lambda c: c.key.compact(c.header(cty="JWT"), honest(c))),
    row("payload a list", "malformed", lambda c: c.signed(payload=json.dumps([c.payload()]).encode())),
    row("header a list", "malformed", lambda c: c.signed(json.dumps([c.header()]).encode())),
    row("payload a text", "malformed", lambda c: c.signed(payload=b'"sub"')),
    row("byte order mark", "malformed", _json("payload", lambda text: b"\xef\xbb\xbf" + text)),
    row(
        "not UTF-8",
        "malformed",
        _json("payload", lambda text: text.replace(b'"iss"', b'"\xff": 1, "iss"', 1)),
    ),
    row("UTF-16", "malformed", _json("payload", lambda text: text.decode().encode("utf-16-le"))),
    row(
        "half a surrogate pair",
        "malformed",
        _json("payload", _member(b'"\\ud800"')),
        _json("payload", _member(b'"\\ud83d\\ude00"')),
    ),
    row("something behind the JSON", "malformed", _json("payload", lambda text: text + b"{}")),
    row("a comment in the JSON", "malformed", _json("payload", lambda text: b"/**/" + text)),
    row("NaN somewhere", "malformed", _json("payload", _member(b"NaN")), _json("payload", _member(b"1"))),
    row("Infinity somewhere", "malformed", _json("payload", _member(b"-Infinity"))),
    row(
        "1e400 somewhere",
        "malformed",
        _json("payload", _member(b"1e400")),
        _json("payload", _member(b"1e40")),
    ),
    row(
        "a number of 5000 digits",
        "malformed",
        _json("payload", _member(b"9" * 5000)),
        _json("payload", _member(b"9" * 50)),
    ),
    *(
        row(f"typ {typ!r}", "wrong_type", _header(typ=typ))
        for typ in (
            "dpop+jwt",
            "application/DPOP+jwt",
            "logout+jwt",
            "secevent+jwt",
            "jwk-set+json",
            "JOSE+JSON",
            "",
        )
    ),
    row("typ a number", "malformed", _header(typ=1), access="wrong_type"),
)


# --- the table for a client whose key is RSA: the classic confusion, and what else RSA allows


def _number(change: Callable[[int, int], int], size: int = 256) -> Make:
    """Change the signature as a number, given it and the modulus."""

    def make(carrier: Carrier) -> bytes:
        n = carrier.key.jwk.get_op_key("verify").public_numbers().n
        return _signature(lambda s: change(int.from_bytes(s, "big"), n).to_bytes(size, "big"))(carrier)

    return make


RSA = (
    row("none", "alg_not_allowed", _unsigned("none")),
    *(
        row(f"HMAC with the public RSA key as {word}", "unknown_key", _mac(secret, **changes))
        for word, secret, changes in (
            ("PEM", _pem, {}),
            ("PEM without its last line break", lambda c: _pem(c).rstrip(), {}),
            ("DER", _der, {}),
            ("JWK", _jwk, {}),
            ("PEM, without kid", _pem, {"kid": DROP}),
        )
    ),
    *(row(f"alg {alg}", "alg_not_allowed", _header(alg=alg)) for alg in ("PS256", "RS384", "RS512", "RS1")),
    row("ES256 signature under an RSA kid", "alg_not_allowed", _by(ATTACKER)),
    row("another RSA key", "bad_signature", _by(RSA_ATTACKER)),
    row("signature 0", "bad_signature", _number(lambda s, n: 0)),
    row("signature 1", "bad_signature", _number(lambda s, n: 1)),
    row("signature n - 1", "bad_signature", _number(lambda s, n: n - 1)),
    row("signature n", "bad_signature", _number(lambda s, n: n)),
    row("signature -s", "bad_signature", _number(lambda s, n: n - s)),
    row("signature + n", "bad_signature", _number(lambda s, n: s + n, 257)),
    row("an octet 0 before", "bad_signature", _number(lambda s, n: s, 257)),
    row("an octet 0 behind", "bad_signature", _signature(lambda octets: octets + b"\x00")),
    row("one octet less", "bad_signature", _signature(lambda octets: octets[:-1])),
    row("no signature", "bad_signature", _signature(lambda _: b"")),
)


def _claim(name: str, value: Any) -> Make:
    return lambda carrier: carrier.signed(payload=carrier.payload(**{name: value}))


def _in(name: str, seconds: float) -> Make:
    """Return a token with a time so far from now; now is when it is used, not when tests are collected."""
    return lambda carrier: carrier.signed(payload=carrier.payload(**{name: int(time.time()) + seconds}))


def _raw(name: str, text: bytes | Callable[[int], str]) -> Make:
    """Return a token in which the claim's value is exactly this JSON text, which may depend on now."""

    def make(carrier: Carrier) -> bytes:
        value = text if isinstance(text, bytes) else text(int(time.time())).encode()
        whole = json.dumps(carrier.payload(**{name: "VALUE"})).encode()
        return carrier.signed(payload=whole.replace(b'"VALUE"', value))

    return make


# --- claims of assertions: any finite number is a time, the audience is us alone


def assertion_claims(ours: str) -> tuple[Attack, ...]:
    """Return the rows about the claims of both kinds of assertions."""
    return (
        row("exp a text", "malformed", _raw("exp", lambda now: f'"{now + 50}"'), _in("exp", 50)),
        row("exp true", "malformed", _claim("exp", True)),
        row("exp null", "malformed", _claim("exp", None)),
        row("exp a list", "malformed", _raw("exp", lambda now: f"[{now + 50}]")),
        row("exp NaN", "malformed", _raw("exp", b"NaN")),
        row("exp 1e400", "malformed", _raw("exp", b"1e400")),
        row("exp missing", "malformed", _claim("exp", DROP)),
        row("exp 0", "expired", _claim("exp", 0)),
        row(
            "exp negative",
            "expired",
            _raw("exp", lambda now: f"-{now}"),
            _raw("exp", lambda now: f"{now + 50}.75"),
        ),
        row(
            "exp very negative",
            "expired",
            _raw("exp", b"-" + b"9" * 400),
            _raw("exp", lambda now: f"{(now + 50) / 1e9}e9"),
        ),
        row("exp a minute and a half ago", "expired", _in("exp", -90), _in("exp", -30)),
        row("exp a day ahead", "too_long_lived", _in("exp", 86400), _in("exp", 3500)),
        row("exp 1e300", "too_long_lived", _raw("exp", b"1e300")),
        row("exp of 400 digits", "too_long_lived", _raw("exp", b"9" * 400)),
        row("nbf ahead", "not_yet_valid", _in("nbf", 120), _in("nbf", 30)),
        row("nbf of 400 digits", "not_yet_valid", _raw("nbf", b"9" * 400), _raw("nbf", b"-" + b"9" * 400)),
        row("nbf a text", "malformed", _raw("nbf", lambda now: f'"{now}"'), _in("nbf", -0.5)),
        row("nbf null", "malformed", _claim("nbf", None)),
        row("iat ahead", "not_yet_valid", _in("iat", 120), _in("iat", 30)),
        row("iat a text", "malformed", _raw("iat", lambda now: f'"{now}"'), _in("iat", -0.5)),
        row("iat false", "malformed", _claim("iat", False), _claim("iat", DROP)),
        row("jti a number", "malformed", _claim("jti", 7)),
        row("jti empty", "malformed", _claim("jti", "")),
        row("jti null", "malformed", _claim("jti", None)),
        row("aud missing", "wrong_audience", _claim("aud", DROP)),
        row("aud another", "wrong_audience", _claim("aud", "https://other.example")),
        row(
            "aud us among others",
            "wrong_audience",
            _claim("aud", [ours, "https://other.example"]),
            _claim("aud", [ours]),
        ),
        row("aud us twice", "wrong_audience", _claim("aud", [ours, ours])),
        row("aud nobody", "wrong_audience", _claim("aud", [])),
        row("aud in another case", "wrong_audience", _claim("aud", ours.upper())),
        row("aud with a slash", "wrong_audience", _claim("aud", ours + "/")),
        row("aud longer", "wrong_audience", _claim("aud", ours + ".attacker.example")),
        row("aud in a list in a list", "wrong_audience", _claim("aud", [[ours]])),
        row("aud an object", "wrong_audience", _claim("aud", {ours: True})),
        row("aud true", "wrong_audience", _claim("aud", True)),
        row("aud of an access token", "wrong_audience", _claim("aud", "country-service")),
        row("sub missing", "malformed", _claim("sub", DROP)),
        row("sub empty", "malformed", _claim("sub", "")),
        row("sub a list", "malformed", _claim("sub", ["caller"])),
        row("sub somebody else", "wrong_issuer", _claim("sub", "admin"), grant="unknown_identity"),
        row("iss missing", "malformed", _claim("iss", DROP)),
        row("iss a list", "malformed", _claim("iss", ["https://platform.example"])),
        row(
            "iss somebody else",
            "wrong_issuer",
            _claim("iss", "https://other.example"),
            grant="unknown_identity",
        ),
        row("typed as an access token", "wrong_type", _header(typ="at+jwt"), _header(typ="JWT")),
        row("typed as an access token in full", "wrong_type", _header(typ="application/at+jwt")),
        row("typ null", "malformed", _header(typ=None)),
    )


# --- claims of our own access tokens: strict whole numbers, one audience


def access_claims() -> tuple[Attack, ...]:
    """Return the rows about the claims of access tokens at the gate."""
    return (
        row("exp a text", "malformed", _raw("exp", lambda now: f'"{now + 50}"')),
        row("exp a fraction", "malformed", _raw("exp", lambda now: f"{now + 50}.5")),
        row("exp with an exponent", "malformed", _raw("exp", b"4e9")),
        row("exp true", "malformed", _claim("exp", True)),
        row("exp NaN", "malformed", _raw("exp", b"NaN")),
        row("exp negative", "malformed", _claim("exp", -1)),
        row("exp beyond the year 9999", "malformed", _claim("exp", 10**12)),
        row("exp missing", "malformed", _claim("exp", DROP)),
        row("exp now", "expired", _in("exp", 0)),
        row("nbf ahead, without leeway", "not_yet_valid", _in("nbf", 30), _in("nbf", 0)),
        row("iat a text", "malformed", _raw("iat", lambda now: f'"{now}"')),
        row("jti missing", "malformed", _claim("jti", DROP)),
        row("client_id missing", "malformed", _claim("client_id", DROP)),
        row("iss another", "wrong_issuer", _claim("iss", "https://platform.example")),
        row(
            "iss with a slash",
            "wrong_issuer",
            lambda c: c.signed(payload=c.payload(iss=c.claims()["iss"] + "/")),
        ),
        row("aud a list", "malformed", _claim("aud", ["country-service"])),
        row("aud another", "wrong_audience", _claim("aud", "caller")),
        row(
            "scope with two spaces",
            "malformed",
            _claim("scope", "country.read  country.write"),
            _claim("scope", "country.read country.write"),
        ),
        row("scope of another", "missing_scope", _claim("scope", "country.write")),
        row("a client that is none", "client_disabled", _claim("client_id", "nobody")),
        row("typed as a JWT", "wrong_type", _header(typ="JWT"), _header(typ="application/AT+jwt")),
        row("typed as an assertion", "wrong_type", _header(typ="client-authentication+jwt")),
        row("not typed", "wrong_type", _header(typ=DROP)),
        row("typ null", "wrong_type", _header(typ=None)),
    )
