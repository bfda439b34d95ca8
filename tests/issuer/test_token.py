"""Ask the token endpoint over a socket: what is issued, and every way to be refused."""

import asyncio
import base64
import json
import re
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from jwcrypto.jwk import JWK

from gateway.enforce.verifier import verify_access_token
from gateway.settings.model import AuthorizationSettings
from gateway.tokens.claims import AccessToken
from gateway.tokens.jwt import CompactJwt, parse_compact
from tests.issuer.conftest import (
    AUTHORIZATIONS,
    BASIC,
    EC_RING,
    NOW,
    SECRET,
    ServedIssuer,
    basic,
    make_ring,
    make_settings,
    scrypt_client,
)

FORM = {"grant_type": "client_credentials"}


async def post(
    issuer: ServedIssuer,
    data: Any = FORM,
    *,
    path: str = "/oauth2/token",
    auth: str | None = BASIC,
    method: str = "POST",
    headers: Any = None,
) -> tuple[aiohttp.ClientResponse, Any]:
    headers = {**({"Authorization": auth} if auth else {}), **(headers or {})}
    async with issuer.http.request(method, issuer.url + path, data=data, headers=headers) as answer:
        return answer, json.loads(await answer.read())


async def test_a_token_holds_what_rfc_9068_asks_for(issuer: ServedIssuer) -> None:
    answer, body = await post(issuer, {**FORM, "scope": "country.read"})
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    assert answer.headers["Content-Type"] == "application/json"
    assert "Server" not in answer.headers
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 14400, "country.read")
    token = parse_compact(body["access_token"].encode())
    assert isinstance(token, CompactJwt)
    assert token.header == {"alg": "ES256", "kid": EC_RING.active.kid, "typ": "at+jwt"}
    jti = token.payload.pop("jti")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", str(jti))
    assert token.payload == {
        "iss": "https://issuer.example",
        "sub": "reader",
        "client_id": "reader",
        "aud": "country-service",
        "iat": int(NOW),
        "nbf": int(NOW),
        "exp": int(NOW) + 14400,
        "scope": "country.read",
        "tenant": "acme",
    }


async def test_every_token_has_its_own_jti_and_is_announced_verified(issuer: ServedIssuer) -> None:
    raws = [(await issuer.token(scope="country.read")).encode() for _ in range(3)]
    assert [raw for raw, _ in issuer.issued] == raws
    assert len({token.jti for _, token in issuer.issued}) == 3
    for raw, announced in issuer.issued:
        verified = verify_access_token(raw, keys=EC_RING, issuer="https://issuer.example", now=NOW)
        assert isinstance(verified, AccessToken)
        assert [getattr(verified, name) for name in AccessToken.__slots__] == [
            getattr(announced, name) for name in AccessToken.__slots__
        ]


async def test_without_scope_there_is_no_scope(issuer: ServedIssuer) -> None:
    _, body = await post(issuer)
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert "scope" not in issuer.issued[0][1].claims


async def test_default_scopes_are_granted_and_said(issuer: ServedIssuer) -> None:
    _, body = await post(issuer, auth=basic("writer", "writer-secret"))
    assert (body["scope"], body["expires_in"]) == ("country.write", 3600)


async def test_the_scope_claim_may_be_an_array(issuer: ServedIssuer) -> None:
    issuer.configure(make_settings(scope_claim_as_array=True), EC_RING)
    _, body = await post(issuer, {**FORM, "scope": "country.read"})
    assert body["scope"] == "country.read"
    assert issuer.issued[0][1].claims["scope"] == ["country.read"]


@pytest.mark.parametrize(
    ("kty", "alg"),
    [
        ({"kty": "RSA", "size": 2048}, "RS256"),
        ({"kty": "RSA", "size": 2048}, "PS256"),
        ({"kty": "OKP", "crv": "Ed25519"}, "EdDSA"),
    ],
    ids=["RS256", "PS256", "EdDSA"],
)
async def test_every_algorithm_issues_tokens_that_verify(issuer: ServedIssuer, kty: Any, alg: str) -> None:
    ring = make_ring(JWK.generate(**kty), alg)
    issuer.configure(make_settings(), ring)
    raw = (await issuer.token()).encode()
    assert isinstance(
        verify_access_token(raw, keys=ring, issuer="https://issuer.example", now=NOW), AccessToken
    )


@pytest.mark.parametrize(
    "form",
    [
        {"audience": "country-service"},
        {"resource": "https://orders.example/api"},
        {"resource": "https://orders.example/api", "audience": "https://orders.example/api"},
        [("resource", "https://orders.example/api"), ("resource", "https://orders.example/api")],
        {"audience": "", "resource": "", "scope": ""},
        {"unknown": "ignored", "scope": "country.read"},
    ],
)
async def test_accepted_forms(issuer: ServedIssuer, form: Any) -> None:
    pairs = [*FORM.items(), *(form.items() if isinstance(form, dict) else form)]
    answer, body = await post(issuer, aiohttp.FormData(pairs))
    assert answer.status == 200, body


@pytest.mark.parametrize("path", ["/oauth2/token", "/v1/token"])
async def test_a_secret_may_come_in_the_form(issuer: ServedIssuer, path: str) -> None:
    form = {**FORM, "client_id": "reader", "client_secret": SECRET}
    answer, _ = await post(issuer, form, auth=None, path=path)
    assert answer.status == 200
    assert issuer.observer.requests == [("client_credentials", "client_secret_post", "reader", "ok")]
    assert issuer.observer.issued == [("reader", "country-service", "client_credentials", 14400)]


async def test_odd_ids_and_secrets_work_form_encoded_in_basic_and_in_the_form(issuer: ServedIssuer) -> None:
    credentials = base64.b64encode(b"odd+client%3A%25%2B%2F:p%3A%25%2B+%2Fw").decode()
    answer, body = await post(issuer, auth=None, headers={"Authorization": f"Basic {credentials}"})
    assert answer.status == 200, body
    form = {**FORM, "client_id": "odd client:%+/", "client_secret": "p:%+ /w"}
    answer, body = await post(issuer, form, auth=None)
    assert answer.status == 200, body


async def test_scrypt_secrets_are_accepted_and_refused(issuer: ServedIssuer) -> None:
    settings = make_settings()
    settings = replace(
        settings,
        clients={**settings.clients, "person": scrypt_client("person", b"chosen")},
        authorizations=(*AUTHORIZATIONS, AuthorizationSettings("person", "country-service")),
    )
    issuer.configure(settings, EC_RING)
    answer, _ = await post(issuer, auth=basic("person", "chosen"))
    assert answer.status == 200
    for client_id in ("person", "reader", "unknown"):
        answer, body = await post(issuer, auth=basic(client_id, "chosen-not"))
        assert (answer.status, body["error"]) == (401, "invalid_client")


async def test_a_flood_of_slow_logins_locks_nobody_else_out(issuer: ServedIssuer) -> None:
    settings = make_settings()
    settings = replace(
        settings,
        clients={**settings.clients, "person": scrypt_client("person", b"chosen", n=2**14)},
        authorizations=(*AUTHORIZATIONS, AuthorizationSettings("person", "country-service")),
    )
    issuer.configure(settings, EC_RING)
    flood = [asyncio.create_task(post(issuer, auth=basic("person", "guess"))) for _ in range(40)]
    await asyncio.wait(flood, timeout=10, return_when=asyncio.FIRST_COMPLETED)

    quick, _ = await post(issuer)
    assert quick.status == 200
    elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=elsewhere) as http:
        slow, _ = await post(replace(issuer, http=http), auth=basic("person", "chosen"))
    assert slow.status == 200
    assert sum(not task.done() for task in flood) >= 20

    outcomes = [
        (answer.status, answer.headers.get("Retry-After")) for answer, _ in await asyncio.gather(*flood)
    ]
    assert set(outcomes) <= {(401, None), (503, "1")}  # 503: not begun with within 5 s
    assert (401, None) in outcomes


def form_error(code: str, status: int, mention: str, data: Any, **how: Any) -> Any:
    return pytest.param(code, status, mention, data, how, id=f"{code}: {mention}")


SECRET_FORM = {"client_id": "reader", "client_secret": SECRET}

REFUSED = [
    form_error("invalid_request", 400, "grant_type", {"scope": "country.read"}),
    form_error("invalid_request", 400, "grant_type", {"grant_type": ""}),
    form_error("unsupported_grant_type", 400, "grant_type", {"grant_type": "password"}),
    form_error("unsupported_grant_type", 400, "grant_type", {"grant_type": "authorization_code"}, auth=None),
    form_error("unsupported_grant_type", 400, "grant_type", {"grant_type": "Client_Credentials"}),
    form_error("invalid_request", 400, "scope", "grant_type=client_credentials&scope=a&scope=a"),
    form_error("invalid_request", 400, "scope", "grant_type=client_credentials&scope=&scope=country.read"),
    form_error(
        "invalid_request", 400, "grant_type", "grant_type=client_credentials&grant_type=client_credentials"
    ),
    form_error("invalid_request", 400, "audience", "grant_type=client_credentials&audience=a&audience=a"),
    form_error("invalid_request", 400, "foo", "grant_type=client_credentials&foo=1&foo=2"),
    form_error("invalid_request", 400, "a parameter", "grant_type=client_credentials&%22%5c=1&%22%5c=2"),
    form_error("invalid_request", 400, "percent", "grant_type=client_credentials&scope=%zz"),
    form_error("invalid_request", 400, "UTF-8", "grant_type=client_credentials&scope=%ff"),
    form_error("invalid_request", 400, "UTF-8", b"grant_type=client_credentials&scope=\xff"),
    form_error("invalid_request", 400, "100", "grant_type=client_credentials" + "&a=1" * 100),
    form_error("invalid_request", 413, "larger", "grant_type=client_credentials&x=" + "y" * 65536),
    form_error("invalid_request", 400, "client_secret", {**FORM, **SECRET_FORM}),
    form_error("invalid_request", 400, "client_secret", {**FORM, "client_secret": SECRET}),
    form_error("invalid_request", 400, "client_id", {**FORM, "client_secret": SECRET}, auth=None),
    form_error("invalid_request", 400, "client_id", {**FORM, "client_id": "writer"}),
    form_error("invalid_client", 401, "authentication", FORM, auth=None),
    form_error("invalid_client", 401, "authentication", {**FORM, "client_id": "reader"}, auth=None),
    form_error("invalid_client", 401, "unknown client or wrong secret", FORM, auth=basic("reader", "x")),
    form_error("invalid_client", 401, "unknown client or wrong secret", FORM, auth=basic("nobody", "x")),
    form_error("invalid_client", 401, "unknown client or wrong secret", FORM, auth=basic("off", "x")),
    form_error("invalid_client", 401, "disabled", FORM, auth=basic("off", "s")),
    form_error("invalid_client", 401, "Basic", FORM, auth=None, headers={"Authorization": "Bearer abc"}),
    form_error("unauthorized_client", 400, "grant_type", FORM, auth=basic("no grants", "s")),
    form_error("invalid_target", 400, "audience", {**FORM, "audience": "unknown"}),
    form_error("invalid_target", 400, "audience", {**FORM, "audience": "writer"}),
    form_error(
        "invalid_target",
        400,
        "audience",
        FORM | {"audience": "country-service"},
        auth=basic("stranger", "stranger-secret"),
    ),
    form_error("invalid_target", 400, "resource", {**FORM, "resource": "country-service"}),
    form_error(
        "invalid_target",
        400,
        "resource",
        {**FORM, "audience": "country-service", "resource": "https://orders.example/api"},
    ),
    form_error("invalid_request", 400, "audience", FORM, auth=basic("stranger", "stranger-secret")),
    form_error("invalid_scope", 400, "country.write", {**FORM, "scope": "country.write"}),
    form_error("invalid_scope", 400, "scope", {**FORM, "scope": "country.read  country.read"}),
    form_error("invalid_scope", 400, "orders.read", {**FORM, "scope": "country.read orders.read"}),
    form_error(
        "invalid_request",
        415,
        "Content-Type",
        '{"grant_type": "client_credentials"}',
        headers={"Content-Type": "application/json"},
    ),
    form_error(
        "invalid_request",
        415,
        "Content-Type",
        "grant_type=client_credentials",
        headers={"Content-Type": "text/plain"},
    ),
    form_error(
        "invalid_request",
        415,
        "Content-Type",
        "grant_type=client_credentials",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-16"},
    ),
    *(
        form_error(
            "invalid_request",
            415,
            "Content-Type",
            "grant_type=client_credentials",
            headers={"Content-Type": "application/x-www-form-urlencoded" + more},
        )
        for more in ("; boundary=x", "; charset=utf-8; charset=utf-8", ";" * 8000, ";" + '"(' * 4000)
    ),
    *(
        form_error(
            "invalid_request",
            415,
            "Content-Encoding",
            "grant_type=client_credentials",
            headers={"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": coding},
        )
        for coding in ("gzip", "identity, gzip", "," * 8000)
    ),
    form_error("invalid_request", 400, "client_secret", FORM, path="/v1/token?a=1&client%5Fsecret=x"),
    form_error("invalid_request", 400, "query", FORM, path="/v1/token?" + "a&" * 100),
    form_error("invalid_request", 400, "client_secret", FORM, path="/v1/token?client_secret=x"),
    form_error("invalid_request", 400, "client_id", FORM, path="/v1/token?client_id=reader"),
    form_error("invalid_request", 400, "assertion", FORM, path="/v1/token?assertion="),
    form_error("invalid_request", 405, "POST", None, method="GET"),
    form_error("invalid_request", 405, "POST", FORM, method="PUT"),
    form_error("not_found", 404, "endpoint", FORM, path="/v1/tokens"),
    form_error("not_found", 404, "endpoint", FORM, path="/v1/token/"),
    form_error("not_found", 404, "endpoint", FORM, path="/"),
]


@pytest.mark.parametrize(("code", "status", "mention", "data", "how"), REFUSED)
async def test_refusals(
    issuer: ServedIssuer, code: str, status: int, mention: str, data: Any, how: Any
) -> None:
    if isinstance(data, str | bytes):
        how = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}, **how}
    answer, body = await post(issuer, data, **how)
    assert (answer.status, body["error"]) == (status, code), body
    assert set(body) == {"error", "error_description", "messages", "status"}
    description = body["error_description"]
    assert mention in description
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", description)
    assert (body["messages"], body["status"]) == ([description], status)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    assert "Server" not in answer.headers
    assert (answer.headers.get("WWW-Authenticate") == 'Basic realm="sidegate"') == (status == 401)
    assert (answer.headers.get("Allow") == "POST") == (status == 405)
    assert SECRET not in description
    assert issuer.issued == []


async def test_checks_run_in_the_contracts_order(issuer: ServedIssuer) -> None:
    """Each row repairs the first defect of the row before."""
    wrong = basic("reader", "wrong")
    json_type = {"Content-Type": "application/json"}
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    rows: list[tuple[str, Any, Any, Any, int, str]] = [
        ("GET", json_type, "a=1&a=1&grant_type=x", wrong, 405, "invalid_request"),
        ("POST", json_type, "a=1&a=1&grant_type=x", wrong, 415, "invalid_request"),
        ("POST", form_type, "a=1&a=1&grant_type=x", wrong, 400, "invalid_request"),
        ("POST", form_type, "a=1&grant_type=x", wrong, 400, "unsupported_grant_type"),
        ("POST", form_type, "grant_type=client_credentials&audience=x&scope=x", wrong, 401, "invalid_client"),
        ("POST", form_type, "grant_type=client_credentials&audience=x&scope=x", BASIC, 400, "invalid_target"),
        ("POST", form_type, "grant_type=client_credentials&scope=x", BASIC, 400, "invalid_scope"),
        ("POST", form_type, "grant_type=client_credentials", BASIC, 200, ""),
    ]
    for method, headers, data, auth, status, code in rows:
        answer, body = await post(issuer, data, auth=auth, method=method, headers=headers)
        assert (answer.status, body.get("error", "")) == (status, code)


async def test_unknown_client_and_wrong_secret_get_the_same_answer(issuer: ServedIssuer) -> None:
    unknown, unknown_body = await post(issuer, auth=basic("nobody", "x"))
    wrong, wrong_body = await post(issuer, auth=basic("reader", "x"))
    assert unknown_body == wrong_body
    told = [
        {name: value for name, value in answer.headers.items() if name not in ("Date", "X-Request-ID")}
        for answer in (unknown, wrong)
    ]
    assert told[0] == told[1]
    assert issuer.observer.failures == [
        ("client_secret_basic", "unknown_client"),
        ("client_secret_basic", "wrong_secret"),
    ]


async def test_the_observer_hears_known_names_only(issuer: ServedIssuer) -> None:
    await post(issuer, {"grant_type": "made-up"}, auth=basic("made-up", "x"))
    await post(issuer, auth=basic("made-up", "x"))
    await post(issuer, {})
    await post(issuer, {**FORM, "scope": "x"})
    assert issuer.observer.requests == [
        ("_OTHER", "none", "_none_", "unsupported_grant_type"),
        ("client_credentials", "client_secret_basic", "_none_", "invalid_client"),
        ("_none_", "none", "_none_", "invalid_request"),
        ("client_credentials", "client_secret_basic", "reader", "invalid_scope"),
    ]


async def test_an_internal_error_tells_nothing(
    issuer: ServedIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @property
        def endpoints(self) -> Any:
            raise RuntimeError("-".join(("secret", "detail")))

    issuer.snapshot = Broken()  # type: ignore[assignment]
    answer, body = await post(issuer)
    assert (answer.status, body["error"], body["error_description"]) == (
        500,
        "server_error",
        "internal error",
    )
    assert "RuntimeError" in caplog.text
    assert "secret-detail" not in caplog.text


async def test_neither_secrets_nor_tokens_are_logged(
    issuer: ServedIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="gateway")
    raw = await issuer.token()
    await post(issuer, auth=basic("reader", "not-the-secret"))
    assert "wrong_secret" in caplog.text
    assert "not-the-secret" not in caplog.text
    assert raw not in caplog.text
    assert SECRET not in caplog.text


async def test_a_path_prefix_moves_every_endpoint_at_the_next_request(issuer: ServedIssuer) -> None:
    issuer.configure(make_settings(path_prefix="/auth"), EC_RING)
    moved, _ = await post(issuer, path="/auth/oauth2/token")
    gone, _ = await post(issuer, path="/oauth2/token")
    assert (moved.status, gone.status) == (200, 404)
