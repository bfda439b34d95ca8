"""Load issuer and gate together, refusals included, in the proportions of an ordinary day.

Most calls carry a known token. Now and then a caller starts anew, looks a token
up, gives one back, forgets it or reaches too far.
"""

from locust import between, task

from loadtests import scene
from loadtests.caller import Caller


class MixedCaller(Caller):
    """A service with good and bad habits."""

    wait_time = between(0.0, 0.02)

    def on_start(self) -> None:
        """Get the first token."""
        super().on_start()
        self.token = self.fetch_token()

    @task(60)
    def read_country(self) -> None:
        """Read one country."""
        self.call("GET", scene.COUNTRY_PATH, self.token)

    @task(20)
    def read_customer(self) -> None:
        """Read one customer."""
        self.call("GET", scene.CUSTOMER_PATH, self.token)

    @task(5)
    def read_health(self) -> None:
        """Call the public route."""
        self.call("GET", scene.HEALTH_PATH, "")

    @task(5)
    def renew(self) -> None:
        """Get a fresh token."""
        self.token = self.fetch_token()

    @task(2)
    def introspect(self) -> None:
        """Look the own token up."""
        self.post_form(scene.INTROSPECTION_PATH, {"token": self.token})

    @task(2)
    def read_keys(self) -> None:
        """Read the JWKS."""
        self.call("GET", scene.JWKS_PATH, "")

    @task(2)
    def forget_the_token(self) -> None:
        """Call without a token: 401."""
        self.call("GET", scene.COUNTRY_PATH, "", expect=401, name=f"{scene.COUNTRY_PATH} (no token)")

    @task(2)
    def reach_too_far(self) -> None:
        """Write without the scope: 403."""
        self.call(
            "PUT", scene.CUSTOMER_PATH, self.token, expect=403, name=f"{scene.CUSTOMER_PATH} (missing scope)"
        )

    @task(1)
    def revoke(self) -> None:
        """Give a token back; the very next call with it must be 401."""
        token = self.fetch_token(scope="country.read")
        self.call("GET", scene.COUNTRY_PATH, token)
        self.post_form(scene.REVOCATION_PATH, {"token": token})
        self.call("GET", scene.COUNTRY_PATH, token, expect=401, name=f"{scene.COUNTRY_PATH} (revoked)")
