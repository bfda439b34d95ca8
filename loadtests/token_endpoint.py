"""Load the token endpoint: every caller asks for one token after the other."""

from locust import task

from loadtests.caller import Caller


class TokenCaller(Caller):
    """A service that keeps no token."""

    @task
    def fetch(self) -> None:
        """Get one token."""
        self.fetch_token()
