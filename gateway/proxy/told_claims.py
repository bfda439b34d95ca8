"""Remember what upstreams are told of the claims of verified tokens, and count what is left out.

How a claim reads as a field is `gateway.http1.claim_fields`. The lines of a token are made when
the first request with it goes to an upstream that wants any, and kept beside the token for as
long as the configuration stays the same: a warm request pays nothing for them.
"""

from collections import Counter

from gateway.enforce.token_cache import VerifiedToken
from gateway.http1.claim_fields import ClaimFields, LeftOut, write_claim_lines

UPSTREAMS_PER_TOKEN = 8
TOLD_BYTES_PER_TOKEN = 4096
"""Of the lines that are kept beside a token, if no upstream alone is told more."""


class ToldClaims:
    """The claims that the upstreams of one gate are told. Not thread-safe: the event loop's own."""

    __slots__ = ("_left_out",)

    def __init__(self) -> None:
        self._left_out: Counter[tuple[str, LeftOut]] = Counter()

    def lines(self, upstream: str, fields: ClaimFields, verified: VerifiedToken) -> bytes:
        """Return the lines for `upstream`, each with CRLF; remembered with the token.

        Args:
            upstream: Its name, for the count.
            fields: What it is told.
            verified: The token of the request.
        """
        told = verified.told
        known = told.get(fields)
        if known is not None:
            return known
        made = write_claim_lines(fields, verified.token.claims)
        self._left_out.update((upstream, cause) for cause in made.left_out)
        if len(told) >= UPSTREAMS_PER_TOKEN or _bytes_of(*told.values(), made.lines) > TOLD_BYTES_PER_TOKEN:
            told = {}
        verified.told = {**told, fields: made.lines}
        return made.lines

    def take_left_out(self) -> list[tuple[tuple[str, LeftOut], int]]:
        """Return how many claims were left out since the last call, by upstream and cause."""
        taken = list(self._left_out.items())
        self._left_out.clear()
        return taken


def _bytes_of(*lines: bytes) -> int:
    return sum(map(len, lines))
