"""Let oauthlib and requests-oauthlib get tokens from the running process."""

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error, ServiceApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.journeys.conftest import Appliance
from tests.support.jws import Key
from tests.third_parties.conftest import SECRET


@pytest.fixture(autouse=True)
def _plain_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.mark.parametrize("in_form", [False, True])
def test_client_credentials(process: Appliance, in_form: bool) -> None:
    url = f"http://127.0.0.1:{process.port}/oauth2/token"
    with OAuth2Session(client=BackendApplicationClient("caller", scope=["country.read"])) as session:
        if in_form:
            token = session.fetch_token(url, client_secret=SECRET, include_client_id=True)
        else:
            token = session.fetch_token(url, auth=HTTPBasicAuth("caller", SECRET))
    assert (token["token_type"], list(token["scope"])) == ("Bearer", ["country.read"])


def test_errors_are_understood(process: Appliance) -> None:
    url = f"http://127.0.0.1:{process.port}/oauth2/token"
    with (
        OAuth2Session(client=BackendApplicationClient("caller")) as session,
        pytest.raises(OAuth2Error, match="invalid_client"),
    ):
        session.fetch_token(url, auth=HTTPBasicAuth("caller", "wrong"))


def test_the_jwt_bearer_grant(process: Appliance, rsa_key: Key) -> None:
    """oauthlib signs with RS256 and knows no jti: each of its assertions still counts once."""
    issuer = f"http://127.0.0.1:{process.port}"
    pem = rsa_key.jwk.export_to_pem(private_key=True, password=None).decode()
    client = ServiceApplicationClient(
        "", private_key=pem, issuer="https://platform.example", subject="job", audience=issuer
    )
    body = client.prepare_request_body(scope="country.read")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    first, again = (
        requests.post(f"{issuer}/oauth2/token", data=body, headers=headers, timeout=5) for _ in range(2)
    )
    assert client.parse_request_body_response(first.text)["token_type"] == "Bearer"
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
