"""Read the published documents: complete, cacheable, and at every place where clients look."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from jwcrypto.jwk import JWK, JWKSet

from gateway.issuer.endpoints import Endpoint, endpoint_url, issuer_paths
from gateway.settings.model import IssuerSettings, ListenerSettings, RouteSettings, Settings, TcpAddress
from gateway.tokens.key_ring import make_key_ring
from gateway.tokens.keys import make_signing_key, make_verification_key
from tests.issuer.conftest import EC_RING, ServedIssuer, make_settings

JWKS = ("/.well-known/jwks.json", "/oauth2/jwks")
SERVER = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
DOCUMENTS = (*JWKS, SERVER, OPENID)


async def get(
    issuer: ServedIssuer, path: str, method: str = "GET", **headers: str
) -> tuple[aiohttp.ClientResponse, bytes]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with issuer.http.request(method, issuer.url + path, headers=sent) as answer:
        return answer, await answer.read()


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_documents_are_cacheable_json(issuer: ServedIssuer, path: str) -> None:
    answer, body = await get(issuer, path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert "Server" not in answer.headers
    assert isinstance(json.loads(body), dict)
    head, nothing = await get(issuer, path, "HEAD")
    assert (head.status, nothing) == (200, b"")
    of_get, of_head = (
        {name: value for name, value in each.headers.items() if name not in ("Date", "X-Request-ID")}
        for each in (answer, head)
    )
    assert of_head == of_get


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_known_document_is_not_sent_again(issuer: ServedIssuer, path: str) -> None:
    first, body = await get(issuer, path)
    etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", "*", f'"other", {etag}'):
        answer, nothing = await get(issuer, path, If_None_Match=known)
        assert (answer.status, nothing) == (304, b"")
        assert answer.headers["ETag"] == etag
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert "Content-Type" not in answer.headers
    for unknown in ('"other"', etag.strip('"'), ""):
        answer, again = await get(issuer, path, If_None_Match=unknown)
        assert (answer.status, again) == (200, body)


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_documents_are_only_read(issuer: ServedIssuer, path: str, method: str) -> None:
    answer, body = await get(issuer, path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["error"] == "invalid_request"


async def test_the_entity_tag_changes_with_the_document(issuer: ServedIssuer) -> None:
    before, _ = await get(issuer, SERVER)
    issuer.configure(make_settings(url="https://other.example"), EC_RING)
    after, _ = await get(issuer, SERVER)
    assert before.headers["ETag"] != after.headers["ETag"]


async def test_the_key_set_holds_public_keys_only(issuer: ServedIssuer) -> None:
    ec, rsa, ed = (
        JWK.generate(kty="EC", crv="P-256"),
        JWK.generate(kty="RSA", size=2048),
        JWK.generate(kty="OKP", crv="Ed25519"),
    )
    ring = make_key_ring(
        make_signing_key(rsa, "RS256"),
        [make_verification_key(k, a) for k, a in ((ec, "ES256"), (rsa, "RS256"), (ed, "EdDSA"))],
    )
    issuer.configure(make_settings(), ring)
    answers = [await get(issuer, path) for path in JWKS]
    assert answers[0][1] == answers[1][1]
    assert answers[0][0].headers["Access-Control-Allow-Origin"] == "*"
    keys: list[dict[str, Any]] = json.loads(answers[0][1])["keys"]
    assert [set(key) for key in keys] == [
        {"kty", "kid", "use", "alg", "n", "e"},
        {"kty", "kid", "use", "alg", "crv", "x", "y"},
        {"kty", "kid", "use", "alg", "crv", "x"},
    ]
    assert [(key["kty"], key["use"], key["alg"]) for key in keys] == [
        ("RSA", "sig", "RS256"),
        ("EC", "sig", "ES256"),
        ("OKP", "sig", "EdDSA"),
    ]
    for key in JWKSet.from_json(answers[0][1]):
        assert not key.has_private
        assert key["kid"] == key.thumbprint()


async def test_the_metadata_is_complete(issuer: ServedIssuer) -> None:
    _, body = await get(issuer, SERVER)
    methods = ["client_secret_basic", "client_secret_post", "private_key_jwt", "client_secret_jwt"]
    algorithms = ["ES256", "RS256", "PS256", "EdDSA", "HS256"]
    assert json.loads(body) == {
        "issuer": "https://issuer.example",
        "token_endpoint": "https://issuer.example/oauth2/token",
        "jwks_uri": "https://issuer.example/.well-known/jwks.json",
        "introspection_endpoint": "https://issuer.example/oauth2/introspect",
        "revocation_endpoint": "https://issuer.example/oauth2/revoke",
        "response_types_supported": [],
        "grant_types_supported": [
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        "scopes_supported": ["country.read", "country.write", "orders.read"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    }
    _, openid = await get(issuer, OPENID)
    assert json.loads(openid) == {
        **json.loads(body),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


async def test_metadata_is_also_at_the_path_inserted_place(issuer: ServedIssuer) -> None:
    issuer.configure(make_settings(url="https://issuer.example/ms-auth", path_prefix="/ms-auth"), EC_RING)
    below, body = await get(issuer, "/ms-auth" + SERVER)
    inserted, same = await get(issuer, SERVER + "/ms-auth")
    openid, _ = await get(issuer, OPENID + "/ms-auth")
    at_root, _ = await get(issuer, SERVER)
    assert (below.status, inserted.status, openid.status, at_root.status) == (200, 200, 200, 404)
    assert body == same
    assert json.loads(body)["token_endpoint"] == "https://issuer.example/ms-auth/oauth2/token"
    assert json.loads(body)["issuer"] == "https://issuer.example/ms-auth"


@pytest.mark.parametrize(
    ("url", "prefix", "expected"),
    [
        ("https://i.example", "", "https://i.example/oauth2/token"),
        ("https://i.example/", "", "https://i.example/oauth2/token"),
        ("https://i.example", "/auth", "https://i.example/auth/oauth2/token"),
        ("https://i.example/auth", "/auth", "https://i.example/auth/oauth2/token"),
        ("https://i.example/auth/", "/auth", "https://i.example/auth/oauth2/token"),
        ("https://i.example/outer", "", "https://i.example/outer/oauth2/token"),
        ("https://i.example/outer", "/auth", "https://i.example/outer/auth/oauth2/token"),
        ("https://i.example/outer/auth", "/auth", "https://i.example/outer/auth/oauth2/token"),
    ],
)
def test_endpoint_urls(url: str, prefix: str, expected: str) -> None:
    assert endpoint_url(IssuerSettings(url=url, path_prefix=prefix), Endpoint.TOKEN) == expected


def test_the_issuers_paths_are_exactly_those_it_serves() -> None:
    names = {
        "/v1/token",
        "/oauth2/token",
        "/.well-known/jwks.json",
        "/oauth2/jwks",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/v1/introspect",
        "/oauth2/introspect",
        "/v1/revoke",
        "/oauth2/revoke",
    }
    assert issuer_paths(Settings()) == names
    moved = {"/a" + name for name in names}
    for url, found in {
        "https://i.example/a": {SERVER + "/a", OPENID + "/a"},
        # Whoever knows only the URL looks at its own well-known places, wherever the endpoints are.
        "https://i.example": {SERVER, OPENID},
        "https://i.example/b": {SERVER + "/b", OPENID + "/b", "/b" + OPENID},
    }.items():
        settings = Settings(issuer=IssuerSettings(url=url, path_prefix="/a"))
        assert issuer_paths(settings) == moved | found, url


ROUTED = [
    ({"path": OPENID}, False),
    ({"path": "/.well-known/**"}, False),
    ({"path": "/.well-known/**", "host": "app.example"}, False),
    ({"path": "/{a}/openid-configuration"}, False),
    ({"path": "/**", "host": "app.example"}, False),
    ({"path": "/**"}, True),
    ({"path": "/.well-known/other"}, True),
    ({"path": "/api/**"}, True),
]


@pytest.mark.parametrize(("route", "served"), ROUTED)
def test_beyond_its_prefix_the_metadata_yield_to_routes(route: dict[str, str], served: bool) -> None:
    routes = (RouteSettings(name="r", upstream="u", **route),)
    both = (ListenerSettings(TcpAddress("127.0.0.1", 1)),)
    issuer = IssuerSettings(url="https://i.example", path_prefix="/a")
    together = issuer_paths(Settings(issuer=issuer, routes=routes, listeners=both))
    assert (OPENID in together) is served
    assert "/a" + OPENID in together  # its own place is nobody else's
    apart = (
        replace(both[0], serves_gate=False),
        ListenerSettings(TcpAddress("127.0.0.1", 2), serves_issuer=False),
    )
    assert OPENID in issuer_paths(Settings(issuer=issuer, routes=routes, listeners=apart))
