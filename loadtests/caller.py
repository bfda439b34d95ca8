"""Be one caller: fetch tokens and make calls, each with the answer it expects.

A status that was not expected is a failure of the load test, a refusal that was
expected is a success: locust by itself would count every 401 as an error.

Sources: RFC 6749 4.4 (client credentials) and 2.3.1 (Basic), RFC 6750 2.1 (Bearer).
"""

import base64
import os
from collections.abc import Mapping
from urllib.parse import quote_plus

from locust import FastHttpUser

from loadtests import scene


class Caller(FastHttpUser):
    """A service that gets tokens from the issuer and calls through the gate."""

    abstract = True
    connection_timeout = 5.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Read the secret of this run."""
        pair = f"{quote_plus(scene.CLIENT)}:{quote_plus(os.environ[scene.SECRET_VARIABLE])}"
        self.basic = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def fetch_token(self, scope: str = scene.SCOPES) -> str:
        """Return a new access token, or "" when the issuer gave none (which is counted as a failure)."""
        form = {"grant_type": "client_credentials", "audience": scene.AUDIENCE, "scope": scope}
        document = self.post_form(scene.TOKEN_PATH, form)
        token = document.get("access_token", "")
        return token if isinstance(token, str) else ""

    def post_form(self, path: str, form: Mapping[str, str]) -> Mapping[str, object]:
        """Post an authenticated form that must succeed; return the JSON answer, {} for an empty one."""
        with self.client.post(
            path, data=dict(form), headers=self.basic, name=path, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code} instead of 200")
                return {}
            document = response.json() if response.text else {}
            return document if isinstance(document, dict) else {}

    def call(self, method: str, path: str, token: str, *, expect: int = 200, name: str = "") -> None:
        """Make one call through the gate, without a token when it is ""."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self.client.request(
            method, path, headers=headers, name=name or path, catch_response=True
        ) as response:
            if response.status_code == expect:
                response.success()
            else:
                reason = response.headers.get("Sidegate-Reason", "") if response.headers else ""
                response.failure(f"{response.status_code} {reason} instead of {expect}")
