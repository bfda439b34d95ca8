"""Hold `issuer.rate_limit`: how many requests of one client are answered.

Pure: the time is passed in. Whoever is counted has proven which client it is, so
nobody can use up what another may do, and the table has an entry for each known
client at most. A reload that leaves the rate as it is leaves the counts as they are.
"""

from gateway.policy.token_bucket import TokenBuckets
from gateway.settings.model import Rate


class ClientRateLimit:
    """The recent token, introspection and revocation requests of all clients, in one process."""

    __slots__ = ("_buckets", "_rate")

    def __init__(self) -> None:
        self._rate: Rate | None = None
        self._buckets: TokenBuckets | None = None

    def wait_s(self, client_id: str, rate: Rate | None, monotonic_now: float) -> float:
        """Count one request; return 0, or in how many seconds it may come again and is not counted."""
        if rate != self._rate:
            self._rate = rate
            self._buckets = (
                TokenBuckets(rate.requests, rate.per_s, rate.requests) if rate and rate.requests else None
            )
        if self._buckets is None:
            return 0.0
        left = self._buckets.take(client_id, monotonic_now)
        return self._buckets.wait_s(-left) if left < 0 else 0.0
