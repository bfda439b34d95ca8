"""Send tokens with odd headers, or with white space around them, wherever tokens are taken."""

import json
from typing import Any

import pytest

from gateway.clients.assertions import AssertionProblem, read_assertion
from gateway.enforce.verifier import verify_access_token
from gateway.reasons import Reason
from gateway.tokens.base64url import encode_base64url
from tests.issuer.conftest import BASIC, EC_RING, NOW, ServedIssuer

KID = EC_RING.active.kid
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MEMBER_VALUES: list[object] = [None, True, 7, 1.5, "", "none", [], ["ES256"], [KID], {}, {"a": []}]
HEADERS: list[dict[str, object]] = [
    {},
    {"kid": KID},
    {"typ": "at+jwt"},
    *({"kid": KID, "typ": "at+jwt", "alg": value} for value in MEMBER_VALUES),
    *({"alg": "ES256", "typ": "at+jwt", "kid": value} for value in MEMBER_VALUES),
    *({"alg": "ES256", "kid": KID, "typ": value} for value in MEMBER_VALUES),
]
odd_headers = pytest.mark.parametrize(
    "header", HEADERS, ids=lambda header: json.dumps(header).replace(KID, "ours")
)


def with_header(header: object, jti: str = "one", client_id: str = "reader") -> str:
    """Return a token of ours with another header and no good signature."""
    claims = {
        "iss": "https://issuer.example",
        "sub": client_id,
        "client_id": client_id,
        "aud": "country-service",
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
        "jti": jti,
    }
    head, body = (encode_base64url(json.dumps(part).encode()).decode() for part in (header, claims))
    return f"{head}.{body}.AA"


async def post(issuer: ServedIssuer, path: str, auth: str | None = BASIC, **form: str) -> tuple[int, Any]:
    headers = {"Authorization": auth} if auth else {}
    async with issuer.http.post(issuer.url + path, data=form, headers=headers) as answer:
        body = await answer.read()
        return answer.status, json.loads(body) if body else None


@odd_headers
async def test_an_odd_header_is_no_fault_of_ours(issuer: ServedIssuer, header: dict[str, object]) -> None:
    token = with_header(header)
    assert await post(issuer, "/oauth2/introspect", token=token) == (200, {"active": False})
    assert await post(issuer, "/oauth2/revoke", token=token) == (200, None)
    assert len(issuer.revocations) == 1, "it names the caller, so what was promised is kept"
    status, body = await post(issuer, "/oauth2/revoke", token=with_header(header, client_id="writer"))
    assert (status, body["error"]) == (400, "unauthorized_client")
    judged = verify_access_token(token.encode(), keys=EC_RING, issuer="https://issuer.example", now=NOW)
    assert isinstance(judged, Reason)


@odd_headers
async def test_an_odd_header_makes_no_assertion(issuer: ServedIssuer, header: dict[str, object]) -> None:
    assertion = with_header(header)
    read = read_assertion(assertion.encode(), {None, "jwt", "client-authentication+jwt"})
    assert isinstance(read, AssertionProblem) or header.get("alg") == "ES256"
    by_client = {"client_assertion": assertion, "client_assertion_type": CLIENT_ASSERTION}
    for path, form in (
        ("/oauth2/token", {"grant_type": "client_credentials", **by_client}),
        ("/oauth2/token", {"grant_type": JWT_BEARER, "assertion": assertion}),
        ("/oauth2/introspect", {"token": "x", **by_client}),
        ("/oauth2/revoke", {"token": "x", **by_client}),
    ):
        status, body = await post(issuer, path, auth=None, **form)
        assert status in (400, 401, 429), body
        assert body["error"] != "server_error"


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "\ufeff {} ", "\t{}\n\n", "\n{}", "\u00a0{}\u2028"])
async def test_white_space_around_a_token_is_not_part_of_it(issuer: ServedIssuer, around: str) -> None:
    token, kept = await issuer.token(), await issuer.token()
    _, body = await post(issuer, "/oauth2/introspect", token=around.format(token))
    assert body["active"] is True
    assert await post(issuer, "/oauth2/revoke", token=around.format(token)) == (200, None)
    assert await post(issuer, "/oauth2/introspect", token=token) == (200, {"active": False})
    _, body = await post(issuer, "/oauth2/introspect", token=around.format(kept))
    assert body["active"] is True


@pytest.mark.parametrize(
    "around",
    [
        "Bearer {}",
        "bearer  {}\n",
        "DPoP {}",
        '"{}"',
        "'{}'\r\n",
        '"Bearer {}"',
        "Bearer '{}'",
        "\u200b{}\u200b",
    ],
)
async def test_neither_quotation_marks_nor_a_scheme_are_part_of_a_token(
    issuer: ServedIssuer, around: str
) -> None:
    """Whoever copies a member of JSON or an Authorization value is told 200 as well."""
    token = await issuer.token()
    _, body = await post(issuer, "/oauth2/introspect", token=around.format(token))
    assert body["active"] is True
    assert await post(issuer, "/oauth2/revoke", token=around.format(token)) == (200, None)
    assert await post(issuer, "/oauth2/introspect", token=token) == (200, {"active": False})


@pytest.mark.parametrize("width", [1, 64, 76])
async def test_a_token_that_is_broken_into_lines_is_one(issuer: ServedIssuer, width: int) -> None:
    token = await issuer.token()
    lines = "\r\n ".join(token[at : at + width] for at in range(0, len(token), width))
    assert await post(issuer, "/oauth2/revoke", token=lines) == (200, None)
    assert await post(issuer, "/oauth2/introspect", token=token) == (200, {"active": False})


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
async def test_white_space_alone_is_no_token(issuer: ServedIssuer, path: str) -> None:
    status, body = await post(issuer, path, token=" \r\n")
    assert (status, body["error"]) == (400, "invalid_request")
    assert "token" in body["error_description"]
