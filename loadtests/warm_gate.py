"""Load the gate with tokens that it knows: every caller gets one token and uses it for many calls."""

from locust import task

from loadtests import scene
from loadtests.caller import Caller


class WarmCaller(Caller):
    """A well-behaved service that keeps its token until it expires."""

    def on_start(self) -> None:
        """Get the one token."""
        super().on_start()
        self.token = self.fetch_token()

    @task
    def read_country(self) -> None:
        """Read one country."""
        self.call("GET", scene.COUNTRY_PATH, self.token)
