"""Introspect and revoke over a socket, by owner, audience and stranger."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from gateway.settings.model import AuthorizationSettings
from gateway.state.interface import StateUnavailableError
from gateway.state.memory import MemoryStore
from gateway.tokens.base64url import decode_base64url, encode_base64url
from gateway.tokens.signing import sign_compact
from tests.issuer.conftest import AUTHORIZATIONS, BASIC, EC_RING, NOW, ServedIssuer, basic, make_settings

AUDIENCE = basic("country-service", "cs")
STRANGER = basic("stranger", "stranger-secret")
INTROSPECT = ("/oauth2/introspect", "/v1/introspect")
REVOKE = ("/oauth2/revoke", "/v1/revoke")
INACTIVE = {"active": False}


async def send(
    issuer: ServedIssuer, path: str, form: Any, auth: str | None = BASIC, method: str = "POST"
) -> tuple[aiohttp.ClientResponse, bytes]:
    headers = {"Authorization": auth} if auth else {}
    async with issuer.http.request(method, issuer.url + path, data=form, headers=headers) as answer:
        return answer, await answer.read()


async def ask(issuer: ServedIssuer, token: str, auth: str = BASIC) -> Any:
    answer, body = await send(issuer, "/oauth2/introspect", {"token": token}, auth)
    assert answer.status == 200
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(body)


@pytest.mark.parametrize("auth", [BASIC, AUDIENCE], ids=["owner", "audience"])
async def test_owner_and_audience_see_what_the_token_says(issuer: ServedIssuer, auth: str) -> None:
    token = await issuer.token(scope="country.read")
    answer = await ask(issuer, token, auth)
    assert answer.pop("jti") == issuer.issued[0][1].jti
    assert answer == {
        "active": True,
        "iss": "https://issuer.example",
        "sub": "reader",
        "client_id": "reader",
        "aud": "country-service",
        "scope": "country.read",
        "token_type": "Bearer",
        "iat": int(NOW),
        "nbf": int(NOW),
        "exp": int(NOW) + 14400,
        "tenant": "acme",
    }


async def test_others_see_nothing_unless_any_client_may_ask(issuer: ServedIssuer) -> None:
    token = await issuer.token()
    assert await ask(issuer, token, STRANGER) == INACTIVE
    issuer.configure(make_settings(introspection_by_any_client=True), EC_RING)
    assert (await ask(issuer, token, STRANGER))["active"] is True


async def test_a_token_without_scopes_has_no_scope_member(issuer: ServedIssuer) -> None:
    assert "scope" not in await ask(issuer, await issuer.token())


async def test_a_token_is_inactive_from_its_expiry_on(issuer: ServedIssuer) -> None:
    token = await issuer.token()
    issuer.now = int(NOW) + 14399.9
    assert (await ask(issuer, token))["active"] is True
    issuer.now = int(NOW) + 14400
    assert await ask(issuer, token) == INACTIVE


@pytest.mark.parametrize("change", ["signature", "garbage", "issuer", "type"])
async def test_what_is_no_token_of_ours_is_inactive(issuer: ServedIssuer, change: str) -> None:
    token = await issuer.token()
    claims = dict(issuer.issued[0][1].claims)
    texts = {
        "signature": token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BAAAAAAA"),
        "garbage": "né pas \x00 un jeton",
        "issuer": sign_compact(EC_RING.active, {**claims, "iss": "https://other.example"}).decode(),
        "type": sign_compact(EC_RING.active, claims, typ="JWT").decode(),
    }
    assert (await ask(issuer, sign_compact(EC_RING.active, claims).decode()))["active"] is True
    assert await ask(issuer, texts[change]) == INACTIVE


async def test_a_right_that_was_edited_away_is_gone_for_live_tokens(issuer: ServedIssuer) -> None:
    writer = basic("writer", "writer-secret")
    token = await issuer.token(writer, scope="country.write country.read")
    settings = make_settings()

    def authorize(*entries: AuthorizationSettings) -> None:
        issuer.configure(replace(settings, authorizations=entries), EC_RING)

    authorize(AuthorizationSettings("writer", "country-service", ("country.read",)))
    assert (await ask(issuer, token, writer))["scope"] == "country.read"
    authorize(AuthorizationSettings("writer", "country-service", ("country.read",), until=NOW))
    assert await ask(issuer, token, writer) == INACTIVE
    authorize()
    assert await ask(issuer, token, writer) == INACTIVE
    authorize(*AUTHORIZATIONS)
    assert (await ask(issuer, token, writer))["scope"] == "country.write country.read"
    disabled = {**settings.clients, "writer": replace(settings.clients["writer"], disabled=True)}
    issuer.configure(replace(settings, clients=disabled), EC_RING)
    assert await ask(issuer, token, AUDIENCE) == INACTIVE


@pytest.mark.parametrize("path", REVOKE)
@pytest.mark.parametrize(
    "hint", [{}, {"token_type_hint": "refresh_token"}, {"token_type_hint": "access_token"}]
)
async def test_a_revoked_token_is_inactive(issuer: ServedIssuer, path: str, hint: dict[str, str]) -> None:
    token, other = await issuer.token(), await issuer.token()
    answer, body = await send(issuer, path, {"token": token, **hint})
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "0")
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    assert "Content-Type" not in answer.headers
    assert "Server" not in answer.headers
    assert await ask(issuer, token) == INACTIVE
    assert (await ask(issuer, other))["active"] is True
    again, _ = await send(issuer, path, {"token": token})
    assert again.status == 200
    assert len(issuer.revocations) == 1


async def test_the_high_s_twin_is_revoked_with_its_token(issuer: ServedIssuer) -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    token = await issuer.token()
    head, _, signature = token.encode().rpartition(b".")
    octets = decode_base64url(signature)
    assert octets is not None
    flipped = (order - int.from_bytes(octets[32:], "big")).to_bytes(32, "big")
    twin = (head + b"." + encode_base64url(octets[:32] + flipped)).decode()
    assert (await ask(issuer, twin))["active"] is True
    await send(issuer, "/oauth2/revoke", {"token": token})
    assert await ask(issuer, twin) == INACTIVE


async def test_unknown_and_expired_tokens_are_revoked_already(issuer: ServedIssuer) -> None:
    token = await issuer.token()
    issuer.now += 20_000
    for text in ("unknown", token, token + "x"):
        answer, body = await send(issuer, "/oauth2/revoke", {"token": text}, STRANGER)
        assert (answer.status, body) == (200, b"")
    assert len(issuer.revocations) == 0


@pytest.mark.parametrize("auth", [STRANGER, AUDIENCE], ids=["stranger", "audience"])
async def test_another_clients_token_stays_alive(issuer: ServedIssuer, auth: str) -> None:
    token = await issuer.token()
    answer, body = await send(issuer, "/oauth2/revoke", {"token": token}, auth)
    assert answer.status == 400
    assert json.loads(body)["error"] == "unauthorized_client"
    assert (await ask(issuer, token))["active"] is True


async def test_a_revocation_that_is_not_durable_is_not_answered_200(issuer: ServedIssuer) -> None:
    class Full(MemoryStore):
        async def revoke(self, jti: str, expires_at: int) -> None:
            raise StateUnavailableError("/var/lib/secret-path: disk full")

    token = await issuer.token()
    issuer.store = Full()
    answer, body = await send(issuer, "/oauth2/revoke", {"token": token})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert json.loads(body)["error"] == "temporarily_unavailable"
    assert b"secret-path" not in body
    assert (await ask(issuer, token))["active"] is True


async def test_the_store_is_asked_before_the_revocation_takes_effect(issuer: ServedIssuer) -> None:
    seen: list[tuple[str, int, bool]] = []

    class Watching(MemoryStore):
        async def revoke(self, jti: str, expires_at: int) -> None:
            seen.append((jti, expires_at, issuer.revocations.is_revoked(jti)))

    issuer.store = Watching()
    token = await issuer.token()
    await send(issuer, "/oauth2/revoke", {"token": token})
    announced = issuer.issued[0][1]
    assert seen == [(announced.jti, announced.expires_at, False)]
    assert issuer.revocations.is_revoked(announced.jti)


@pytest.mark.parametrize("path", [*INTROSPECT, *REVOKE])
@pytest.mark.parametrize(
    ("method", "form", "auth", "status", "code"),
    [
        ("POST", {"token": "x"}, None, 401, "invalid_client"),
        ("POST", {"token": "x"}, basic("reader", "wrong"), 401, "invalid_client"),
        ("POST", {"token": "x"}, basic("nobody", "wrong"), 401, "invalid_client"),
        ("POST", {}, None, 401, "invalid_client"),
        ("POST", {"other": "x"}, BASIC, 400, "invalid_request"),
        ("POST", {"token": ""}, BASIC, 400, "invalid_request"),
        ("POST", [("token", "x"), ("token", "x")], BASIC, 400, "invalid_request"),
        ("POST", b"token=x", BASIC, 415, "invalid_request"),
        ("POST", {"token": "x", "client_secret": "s"}, BASIC, 400, "invalid_request"),
        ("GET", None, BASIC, 405, "invalid_request"),
    ],
)
async def test_refusals(
    issuer: ServedIssuer, path: str, method: str, form: Any, auth: str | None, status: int, code: str
) -> None:
    data = aiohttp.FormData(form) if isinstance(form, list) else form
    if form == {}:
        data = {"other": "x"}
    answer, body = await send(issuer, path, data, auth, method)
    error = json.loads(body)
    assert (answer.status, error["error"], error["status"]) == (status, code, status)
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("path", [*INTROSPECT, *REVOKE])
async def test_a_token_in_the_query_is_refused(issuer: ServedIssuer, path: str) -> None:
    answer, body = await send(issuer, path + "?token=x", {"token": "x"})
    assert (answer.status, json.loads(body)["error"]) == (400, "invalid_request")


async def test_a_secret_in_the_form_authenticates(issuer: ServedIssuer) -> None:
    form = {"token": await issuer.token(), "client_id": "reader", "client_secret": "reader-secret"}
    _, body = await send(issuer, "/v1/introspect", form, None)
    assert json.loads(body)["active"] is True
    answer, _ = await send(issuer, "/v1/revoke", form, None)
    assert answer.status == 200
    _, body = await send(issuer, "/v1/introspect", form, None)
    assert json.loads(body) == INACTIVE
