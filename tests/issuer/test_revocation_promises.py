"""Hold a 200 of the revocation endpoint to its promise: the token is refused from then on."""

import json
from typing import Any

import pytest
from jwcrypto.jwk import JWK

from gateway.enforce.verifier import verify_access_token
from gateway.tokens.base64url import encode_base64url
from gateway.tokens.claims import AccessToken
from gateway.tokens.revocations import CLOCKS_APART_S, MAX_REVOCATIONS
from gateway.tokens.signing import sign_compact
from tests.issuer.conftest import BASIC, EC_RING, NOW, ServedIssuer, basic, make_ring, make_settings

WRITER = basic("writer", "writer-secret")
OTHER_RING = make_ring(JWK.generate(kty="EC", crv="P-256"), "ES256")
CLAIMS: dict[str, object] = {
    "iss": "https://issuer.example",
    "sub": "reader",
    "client_id": "reader",
    "aud": "country-service",
    "iat": int(NOW),
    "nbf": int(NOW),
    "exp": int(NOW) + 3600,
    "jti": "one",
    "scope": "country.read",
}


def sign(ring: Any = EC_RING, **changes: object) -> str:
    return sign_compact(ring.active, CLAIMS | changes).decode()


def unsigned(alg: str = "none", kid: str | None = None, **changes: object) -> str:
    header = {"alg": alg, "typ": "at+jwt"} | ({} if kid is None else {"kid": kid})
    head, body = (encode_base64url(json.dumps(part).encode()).decode() for part in (header, CLAIMS | changes))
    return f"{head}.{body}.{'' if alg == 'none' else 'AAAA'}"


async def revoke(issuer: ServedIssuer, token: str, auth: str = BASIC) -> tuple[int, Any]:
    headers = {"Authorization": auth}
    async with issuer.http.post(
        issuer.url + "/oauth2/revoke", data={"token": token}, headers=headers
    ) as answer:
        body = await answer.read()
        issuer.retry_after = answer.headers.get("Retry-After")
        return answer.status, json.loads(body) if body else None


def is_accepted(issuer: ServedIssuer, token: str, ring: Any = EC_RING, now: float | None = None) -> bool:
    """Return what the gate would say: verified, and not revoked."""
    at = issuer.now if now is None else now
    read = verify_access_token(token.encode(), keys=ring, issuer="https://issuer.example", now=at)
    return isinstance(read, AccessToken) and not issuer.revocations.refuses(read)


async def test_a_token_that_is_not_valid_yet_is_revoked(issuer: ServedIssuer) -> None:
    token = sign(nbf=int(NOW) + 30, iat=int(NOW) + 30)
    assert is_accepted(issuer, token, now=NOW + 31)
    assert await revoke(issuer, token) == (200, None)
    assert not is_accepted(issuer, token, now=NOW + 31)


async def test_a_token_whose_key_is_away_is_revoked_when_the_key_is_back(issuer: ServedIssuer) -> None:
    token, kept = sign(), sign(jti="two")
    issuer.configure(make_settings(), OTHER_RING)
    assert await revoke(issuer, token) == (200, None)
    issuer.configure(make_settings(), EC_RING)
    assert not is_accepted(issuer, token)
    assert is_accepted(issuer, kept)
    assert len(issuer.revocations) == 1


async def test_a_token_that_is_over_here_and_not_yet_elsewhere_is_revoked(issuer: ServedIssuer) -> None:
    for late, recorded in ((CLOCKS_APART_S - 1, 1), (CLOCKS_APART_S, 1)):
        token = sign(exp=int(NOW) - late, jti=f"late {late}", iat=int(NOW) - 900, nbf=int(NOW) - 900)
        issuer.now = int(NOW)
        assert await revoke(issuer, token) == (200, None)
        assert len(issuer.revocations) == recorded


@pytest.mark.parametrize(
    "invented",
    [
        unsigned(jti="one"),
        unsigned("ES256", EC_RING.active.kid, jti="one"),
        unsigned("ES256", "unknown", jti="one"),
        unsigned("HS256", jti="one"),
        sign(OTHER_RING, jti="one"),
    ],
    ids=["none", "known kid", "unknown kid", "symmetric", "another key"],
)
async def test_an_invented_token_reaches_nobody_else(issuer: ServedIssuer, invented: str) -> None:
    theirs = sign(client_id="writer", sub="writer", jti="one")
    assert await revoke(issuer, invented) == (200, None)
    assert is_accepted(issuer, theirs)
    assert await revoke(issuer, theirs, WRITER) == (200, None)
    assert await revoke(issuer, invented) == (200, None)
    issuer.revocations.prune(NOW + 3599, limit=100)
    assert not is_accepted(issuer, theirs, now=NOW + 3599)


async def test_a_shorter_invented_expiry_does_not_end_a_revocation(issuer: ServedIssuer) -> None:
    token = sign()
    issuer.configure(make_settings(), OTHER_RING)
    shortened = unsigned("ES256", "unknown", exp=int(NOW) + 5)
    assert await revoke(issuer, shortened) == (200, None)
    assert await revoke(issuer, token) == (200, None)
    issuer.revocations.prune(NOW + 3599, limit=100)
    issuer.configure(make_settings(), EC_RING)
    assert not is_accepted(issuer, token, now=NOW + 3599)


async def test_what_could_not_be_verified_is_not_kept_for_ever(issuer: ServedIssuer) -> None:
    assert await revoke(issuer, unsigned(exp=253_402_300_799)) == (200, None)
    ((_, expiry),) = issuer.revocations.entries()
    assert NOW + 365 * 86_400 <= expiry <= NOW + 367 * 86_400


@pytest.mark.parametrize("ring", [EC_RING, OTHER_RING], ids=["verified", "unverified"])
async def test_what_names_another_client_is_refused_and_nothing_is_recorded(
    issuer: ServedIssuer, ring: Any
) -> None:
    theirs = sign(ring, client_id="writer", sub="writer")
    status, body = await revoke(issuer, theirs)
    assert (status, body["error"]) == (400, "unauthorized_client")
    assert is_accepted(issuer, theirs, ring)
    assert len(issuer.revocations) == 0


async def test_a_token_of_a_former_url_stays_revoked_when_the_url_is_back(issuer: ServedIssuer) -> None:
    for url, ring in (("https://new.example", EC_RING), ("https://newer.example", OTHER_RING)):
        token, kept = sign(jti=f"one {url}"), sign(jti=f"two {url}")
        issuer.configure(make_settings(url=url), ring)
        assert await revoke(issuer, token) == (200, None)
        issuer.configure(make_settings(), EC_RING)
        assert not is_accepted(issuer, token)
        assert is_accepted(issuer, kept)


@pytest.mark.parametrize("iss", ["https://other.example", "", None, 7, ["https://issuer.example"]])
async def test_whatever_the_iss_a_token_is_recorded_and_reaches_nobody_else(
    issuer: ServedIssuer, iss: object
) -> None:
    theirs = sign(client_id="writer", sub="writer")
    assert await revoke(issuer, unsigned(iss=iss)) == (200, None)
    assert len(issuer.revocations) == 1
    assert not is_accepted(issuer, sign())
    assert is_accepted(issuer, theirs)
    for token in (sign(iss=iss, client_id="writer"), unsigned(iss=iss, client_id="writer")):
        status, body = await revoke(issuer, token)
        assert (status, body["error"]) == (400, "unauthorized_client")
    assert is_accepted(issuer, theirs)


@pytest.mark.parametrize(
    "foreign",
    [sign(jti=7), unsigned(client_id=None), unsigned(iss="https://other.example", jti=None), "a.b.c", "é"],
)
async def test_what_is_no_access_token_is_done_with(issuer: ServedIssuer, foreign: str) -> None:
    assert await revoke(issuer, foreign) == (200, None)
    assert len(issuer.revocations) == 0


# --- all tokens of a client


@pytest.mark.parametrize("ahead_s", [0, 59, 60])
async def test_a_revoked_client_loses_what_a_clock_ahead_issued_and_gets_new_tokens_at_once(
    issuer: ServedIssuer, ahead_s: int
) -> None:
    issuer.now = NOW + ahead_s
    before = await issuer.token()
    issuer.now = NOW
    for _ in range(3):
        second = issuer.revocations.next_second("reader", NOW - 60)
        issuer.revocations.add_client("reader", second)
        assert not is_accepted(issuer, before, now=NOW + 90)
        before = await issuer.token()
        assert is_accepted(issuer, before)
        issuer.now += 1
    assert await revoke(issuer, before) == (200, None)
    assert not is_accepted(issuer, before)
    assert is_accepted(issuer, await issuer.token(WRITER))
    issuer.now = NOW + 3 * CLOCKS_APART_S
    assert "." not in issuer.issued[0][1].jti
    assert is_accepted(issuer, await issuer.token())
    assert "." not in issuer.issued[-1][1].jti


# --- a share for each


async def test_beyond_its_share_a_client_is_told_when_to_come_back(issuer: ServedIssuer) -> None:
    for number in range(MAX_REVOCATIONS // 10):
        issuer.revocations.add(f"filled {number}", int(NOW) + 600, now=NOW, by="reader")
    token = await issuer.token()
    status, body = await revoke(issuer, token)
    assert (status, body["error"]) == (429, "temporarily_unavailable")
    assert issuer.retry_after is not None
    assert 600 <= int(issuer.retry_after) < 900
    assert is_accepted(issuer, token), "it was not answered 200"
    theirs = await issuer.token(WRITER)
    assert await revoke(issuer, theirs, WRITER) == (200, None)
    assert not is_accepted(issuer, theirs)
    issuer.now += 900
    assert await revoke(issuer, token) == (200, None)
