"""Let well-known client libraries use the issuer the way their users do."""

import asyncio
from typing import Any

import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session

from tests.issuer.conftest import EC_RING, SECRET, ServedIssuer, make_settings


@pytest.fixture(autouse=True)
def _plain_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("document", ["oauth-authorization-server", "openid-configuration"])
async def test_authlib_discovers_obtains_introspects_and_revokes(
    issuer: ServedIssuer, method: str, document: str
) -> None:
    issuer.configure(make_settings(url=issuer.url), EC_RING)
    issuer_url = issuer.url

    def use() -> tuple[Any, Any, Any, Any]:
        metadata = requests.get(f"{issuer_url}/.well-known/{document}", timeout=5).json()
        with OAuth2Session(
            "reader", SECRET, scope="country.read", token_endpoint_auth_method=method
        ) as session:
            token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
            before = session.introspect_token(metadata["introspection_endpoint"], token["access_token"])
            revoked = session.revoke_token(metadata["revocation_endpoint"], token["access_token"])
            after = session.introspect_token(metadata["introspection_endpoint"], token["access_token"])
            return token, before.json(), revoked, after.json()

    token, before, revoked, after = await asyncio.to_thread(use)
    assert (token["token_type"], token["scope"], token["expires_in"]) == ("Bearer", "country.read", 14400)
    assert before["active"] is True
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert after == {"active": False}


async def test_pyjwt_verifies_a_token_through_the_key_set(issuer: ServedIssuer) -> None:
    issuer.configure(make_settings(url=issuer.url), EC_RING)
    token = await issuer.token(scope="country.read")
    metadata_url = f"{issuer.url}/.well-known/oauth-authorization-server"

    def verify() -> Any:
        jwks_uri = requests.get(metadata_url, timeout=5).json()["jwks_uri"]
        key = jwt.PyJWKClient(jwks_uri).get_signing_key_from_jwt(token)
        return jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience="country-service",
            issuer=issuer.url,
            options={"verify_exp": False, "require": ["exp", "iat", "sub", "jti", "client_id"]},
        )

    claims = await asyncio.to_thread(verify)
    assert (claims["sub"], claims["scope"]) == ("reader", "country.read")
