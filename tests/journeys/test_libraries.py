"""Show that standard libraries get and verify tokens with nothing but the issuer's documents."""

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session


def test_authlib_gets_a_token_through_the_metadata_document(appliance):
    issuer = f"http://127.0.0.1:{appliance.port}"
    metadata = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=10).json()
    assert metadata["issuer"] == issuer
    with OAuth2Session(
        "caller", "caller-secret", scope="country.read", token_endpoint=metadata["token_endpoint"]
    ) as session:
        token = session.fetch_token(grant_type="client_credentials")
        assert token["token_type"] == "Bearer"
        answer = session.get(f"{issuer}/ms-system/country/code/AUS")
        assert (answer.status_code, answer.json()["name"]) == (200, "AUSTRALIA")
        introspected = session.introspect_token(metadata["introspection_endpoint"], token["access_token"])
        assert introspected.json()["active"] is True
        assert session.revoke_token(metadata["revocation_endpoint"], token["access_token"]).status_code == 200
        assert session.get(f"{issuer}/ms-system/country/code/AUS").status_code == 401


def test_pyjwt_verifies_a_token_through_the_key_set(appliance):
    issuer = f"http://127.0.0.1:{appliance.port}"
    metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=10).json()
    token = appliance.token()
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="country-service", issuer=issuer)
    assert (claims["client_id"], claims["scope"]) == ("caller", "country.read")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
