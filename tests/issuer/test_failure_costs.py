"""Count what a failed authentication computes: the same for everybody, by whatever proof."""

import base64
import hashlib
import hmac
import json
import secrets as random_secrets
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from jwcrypto.jwk import JWK

from gateway.clients import assertions, secrets
from gateway.oauth_names import ASSERTION_TYPE, JWT_BEARER
from gateway.settings.model import (
    AssertionSettings,
    ClientSettings,
    LimitSettings,
    PlainSecret,
    Rate,
    Sha256Secret,
    StaticKeySource,
)
from gateway.tokens.base64url import encode_base64url
from gateway.tokens.keys import make_verification_key
from tests.issuer.conftest import EC_RING, NOW, ServedIssuer, basic, make_settings
from tests.support.jws import compact, hs256, make_key

PLATFORM, THREE, LARGEST = "https://one.example", "https://three.example", "https://large.example"
EC = [make_key("ES256", f"ec{number}") for number in range(3)]
SMALL = make_key("RS256", "small")
LARGE_PUBLIC = [
    {"kty": "RSA", "alg": "RS256", "kid": f"large{n}", "e": "AQAB", "n": encode_base64url(modulus).decode()}
    for n, modulus in enumerate(b"\xff" + random_secrets.token_bytes(510) + bytes([odd]) for odd in (1, 3))
]
"""As long as keys of 4096 bits: to find primes for them takes seconds, and nobody signs with these."""
MAC = b"a readable secret of thirty-two bytes or more"


def static(*members: dict[str, Any], named: bool = True) -> StaticKeySource:
    shown = [member if named else {k: v for k, v in member.items() if k != "kid"} for member in members]
    return StaticKeySource(json.dumps({"keys": shown}).encode())


RANDOM = Sha256Secret(b"x" * 16, b"d" * 32)
HAS_BOTH = ClientSettings("both", keys=static(EC[0].public), secrets=(PlainSecret(b"s"),))


def trusted(issuer: str, *sets: StaticKeySource) -> tuple[AssertionSettings, ...]:
    return tuple(AssertionSettings(issuer, keys, subject="a") for keys in sets)


CLIENTS = [
    ClientSettings("bare"),
    ClientSettings("one secret", secrets=(PlainSecret(b"s"),)),
    ClientSettings("many secrets", secrets=(PlainSecret(b"a"), PlainSecret(MAC), RANDOM, RANDOM, RANDOM)),
    ClientSettings("macs", secrets=(PlainSecret(MAC), PlainSecret(MAC[::-1]), PlainSecret(MAC * 2))),
    ClientSettings("one EC", keys=static(EC[0].public)),
    ClientSettings("nameless EC", keys=static(EC[0].public, EC[1].public, named=False)),
    ClientSettings("small RSA", keys=static(SMALL.public)),
    ClientSettings("large RSA", keys=static(*LARGE_PUBLIC, named=False)),
    replace(HAS_BOTH, id="disabled", disabled=True),
    replace(HAS_BOTH, id="other method", auth_methods=frozenset()),
    ClientSettings("one platform", assertions=trusted(PLATFORM, static(EC[0].public))),
    ClientSettings("three platforms", assertions=trusted(THREE, *(static(key.public) for key in EC))),
    ClientSettings("large platform", assertions=trusted(LARGEST, static(*LARGE_PUBLIC))),
]
WHO = ["unknown", *(client.id for client in CLIENTS)]


@pytest.fixture
def served(issuer: ServedIssuer) -> ServedIssuer:
    known = make_settings()
    settings = replace(
        known,
        clients={client.id: client for client in CLIENTS},
        authorizations=(),
        limits=LimitSettings(auth_failures=Rate(0, 60.0)),
    )
    issuer.configure(settings, EC_RING)
    return issuer


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the work of each signature check from now on."""
    works: list[int] = []
    plain = assertions.Effort.verify

    def verify(effort: assertions.Effort, key: Any, assertion: Any) -> bool:
        works.append(key.work)
        return plain(effort, key, assertion)

    monkeypatch.setattr(assertions.Effort, "verify", verify)
    return works


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the length of each text that is hashed to compare secrets and MACs."""
    lengths: list[int] = []

    def sha256(octets: bytes) -> Any:
        lengths.append(len(octets))
        return hashlib.sha256(octets)

    def digest(key: bytes, octets: bytes, name: str) -> bytes:
        lengths.append(len(octets))
        return hmac.digest(key, octets, name)

    monkeypatch.setattr(secrets, "hashlib", SimpleNamespace(sha256=sha256))
    monkeypatch.setattr(
        assertions, "hmac", SimpleNamespace(digest=digest, compare_digest=hmac.compare_digest)
    )
    return lengths


async def post(issuer: ServedIssuer, form: dict[str, str], auth: str | None = None) -> tuple[int, Any]:
    headers = {} if auth is None else {"Authorization": auth}
    async with issuer.http.post(issuer.url + "/oauth2/token", data=form, headers=headers) as answer:
        return answer.status, await answer.json()


CREDENTIALS = {"grant_type": "client_credentials"}


@pytest.mark.parametrize("method", ["Basic", "form"])
async def test_every_wrong_secret_costs_the_same_hashes(
    served: ServedIssuer, hashed: list[int], method: str
) -> None:
    seen = set()
    for who in WHO:
        hashed.clear()
        if method == "Basic":
            status, body = await post(served, CREDENTIALS, basic(who, "w" * 10_000))
        else:
            status, body = await post(
                served, {**CREDENTIALS, "client_id": who, "client_secret": "w" * 10_000}
            )
        assert (status, body["error"]) == (401, "invalid_client")
        seen.add(tuple(hashed))
    assert seen == {(10_016,) * 5}


async def assert_as(served: ServedIssuer, who: str, sign: Callable[[dict[str, Any]], str]) -> tuple[int, Any]:
    claims = {"iss": who, "sub": who, "aud": make_settings().issuer.url, "exp": int(NOW) + 60}
    form = {**CREDENTIALS, "client_assertion_type": ASSERTION_TYPE, "client_assertion": sign(claims)}
    return await post(served, form)


def forge_mac(claims: dict[str, Any]) -> str:
    return compact({"alg": "HS256"}, claims, hs256(b"a guess")).decode()


async def test_every_wrong_mac_costs_the_same_hashes(served: ServedIssuer, hashed: list[int]) -> None:
    counts = set()
    for who in WHO:
        hashed.clear()
        status, body = await assert_as(
            served, who, lambda c: compact({"alg": "HS256"}, c, hs256(b"w")).decode()
        )
        assert (status, body["error"]) == (401, "invalid_client")
        counts.add(len(hashed))
    assert counts == {3}


def forge(alg: str, kid: str | None, octets: int) -> Callable[[dict[str, Any]], str]:
    header = {"alg": alg} if kid is None else {"alg": alg, "kid": kid}
    signature = base64.urlsafe_b64encode(b"\x01" * octets).rstrip(b"=")

    def sign(claims: dict[str, Any]) -> str:
        unsigned = compact(header, claims, lambda _: b"").decode().rpartition(".")[0]
        return f"{unsigned}.{signature.decode()}"

    return sign


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "ES256, a known kid": forge("ES256", "ec0", 64),
    "ES256, no kid": forge("ES256", None, 64),
    "ES256, unknown kid": forge("ES256", "x", 64),
    "RS256, a known kid, its length": forge("RS256", "small", 256),
    "RS256, the length of small ones": forge("RS256", None, 256),
    "RS256, the length of large ones": forge("RS256", None, 512),
    "RS256, no length of any": forge("RS256", "large0", 3),
    "PS256": forge("PS256", None, 256),
    "EdDSA": forge("EdDSA", None, 64),
}


# Algorithm -> the work of one check with the smallest key, and of the dearest failure.
MOST_OF_CLIENTS = {"ES256": (100, 200), "RS256": (47, 274), "PS256": (47, 47), "EdDSA": (100, 100)}
MOST_OF_GRANTS = {"ES256": (100, 300), "RS256": (47, 274), "PS256": (47, 47), "EdDSA": (100, 100)}


@pytest.mark.parametrize("forged", FORGED)
async def test_every_wrong_client_assertion_costs_the_same_work(
    served: ServedIssuer, verified: list[int], forged: str
) -> None:
    works = {}
    for who in WHO:
        verified.clear()
        status, body = await assert_as(served, who, FORGED[forged])
        assert (status, body["error"]) == (401, "invalid_client")
        works[who] = sum(verified)
    decoy, most = MOST_OF_CLIENTS[forged[:5]]
    # Within half of the smallest check there is.
    assert all(abs(work - most) <= decoy / 2 for work in works.values()), works


@pytest.mark.parametrize("forged", FORGED)
async def test_every_wrong_grant_costs_the_same_work(
    served: ServedIssuer, verified: list[int], forged: str
) -> None:
    works = {}
    issuers = [PLATFORM, THREE, LARGEST, "https://unknown.example"]
    for issuer in issuers:
        for subject in ("a", "unknown"):
            verified.clear()
            claims = {"iss": issuer, "sub": subject, "aud": make_settings().issuer.url, "exp": int(NOW) + 60}
            status, body = await post(served, {"grant_type": JWT_BEARER, "assertion": FORGED[forged](claims)})
            assert (status, body["error"]) == (400, "invalid_grant")
            works[issuer, subject] = sum(verified)
    decoy, most = MOST_OF_GRANTS[forged[:5]]
    assert all(abs(work - most) <= decoy / 2 for work in works.values()), works


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
@pytest.mark.parametrize("wrong", ["short", "long", "empty", "too large a number", "in range"])
def test_an_rsa_check_verifies_whatever_the_signature_is(alg: str, wrong: str) -> None:
    key = (
        make_verification_key(SMALL.jwk, "RS256")
        if alg == "RS256"
        else make_verification_key(JWK(**{k: v for k, v in SMALL.public.items() if k != "alg"}), "PS256")
    )
    signature = {
        "short": b"\x01" * 255,
        "long": b"\x00" + b"\x01" * 256,
        "empty": b"",
        "too large a number": b"\xff" * 256,
        "in range": b"\x01" * 256,
    }[wrong]
    assert not key.verify(b"signed", signature)
    if alg == "RS256":
        right = SMALL.sign(b"signed")
        assert key.verify(b"signed", right)
        assert not key.verify(b"signed", b"\x00" + right)
        n = int.from_bytes(base64.urlsafe_b64decode(SMALL.public["n"] + "=="), "big")
        beyond = int.from_bytes(right, "big") + n
        assert not key.verify(b"signed", beyond.to_bytes(257, "big"))
