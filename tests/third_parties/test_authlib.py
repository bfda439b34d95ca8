"""Let Authlib authenticate with keys and with a signed secret against the running process."""

import pytest
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT
from joserfc.jwk import ECKey, RSAKey

from tests.journeys.conftest import Appliance
from tests.support.jws import Key
from tests.third_parties.conftest import SECRET


@pytest.fixture(autouse=True)
def _plain_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


def discover(process: Appliance) -> dict[str, str]:
    url = f"http://127.0.0.1:{process.port}/.well-known/oauth-authorization-server"
    return dict(requests.get(url, timeout=5).json())


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_private_key_jwt(process: Appliance, key: Key, rsa_key: Key, alg: str) -> None:
    used = {"ES256": key, "RS256": rsa_key}[alg]
    metadata = discover(process)
    assert alg in metadata["token_endpoint_auth_signing_alg_values_supported"]
    kind = {"ES256": ECKey, "RS256": RSAKey}[alg]
    secret = kind.import_key(used.jwk.export_private(as_dict=True))
    method = PrivateKeyJWT(metadata["issuer"], headers={"kid": used.kid}, alg=alg)
    with OAuth2Session("signer", secret, token_endpoint_auth_method=method, scope="country.read") as session:
        token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        assert (token["token_type"], token["scope"]) == ("Bearer", "country.read")
        again = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        assert again["access_token"] != token["access_token"]


@pytest.mark.parametrize(("client", "accepted"), [("signer", False), ("older", True)])
def test_the_token_endpoint_as_audience_is_for_clients_with_legacy_audience(
    process: Appliance, key: Key, client: str, accepted: bool
) -> None:
    metadata = discover(process)
    secret = ECKey.import_key(key.jwk.export_private(as_dict=True))
    method = PrivateKeyJWT(headers={"kid": key.kid}, alg="ES256")  # what Authlib does by itself
    with OAuth2Session(client, secret, token_endpoint_auth_method=method) as session:
        if accepted:
            assert session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        else:
            with pytest.raises(OAuthError, match="aud must be"):
                session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")


def test_client_secret_jwt(process: Appliance) -> None:
    metadata = discover(process)
    method = ClientSecretJWT(metadata["issuer"], alg="HS256")
    with OAuth2Session("caller", SECRET, token_endpoint_auth_method=method) as session:
        token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert token["token_type"] == "Bearer"
