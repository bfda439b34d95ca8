"""Refuse a share of new requests while the event loop runs late.

Pure. The share follows the loop's lag, measured ten times a second: it grows while the
smoothed lag is above the limit, the faster the further, it stays between half the limit
and the limit, and it falls below. So a single stall (a large reload, a slow disk) costs
nobody anything, a lasting overload is met within seconds, and neither all callers nor
none are refused in turns. A small part is always let through: without it, nobody would
see that the overload is over.

What it cannot do: make requests that are let through cheaper. A refusal costs about half
of a forwarded request, so offered load beyond twice the capacity is for something in front.
"""

MOST = 0.95
"""The largest share that is refused."""
STEP = 0.1
"""How much the share changes per measurement, times how many limits the lag is worth."""
STEEPEST = 4.0
WEIGHT = 0.5
"""Of the newest measurement in the smoothed lag."""


class Shedding:
    """The share of new requests to refuse, and which ones."""

    __slots__ = ("_due", "_smoothed_s", "share")

    def __init__(self) -> None:
        self.share = 0.0
        """From 0 (none) to `MOST`."""
        self._smoothed_s = 0.0
        self._due = 0.0

    def observe(self, lag_s: float, *, limit_s: float) -> None:
        """Take one measurement of the loop's lag; a limit of 0 never sheds."""
        self._smoothed_s += WEIGHT * (lag_s - self._smoothed_s)
        if not limit_s:
            self.share = 0.0
        elif self._smoothed_s > limit_s:
            self.share = min(MOST, self.share + STEP * min(self._smoothed_s / limit_s, STEEPEST))
        elif self._smoothed_s < limit_s / 2:
            self.share = max(0.0, self.share - STEP)

    def refuses(self) -> bool:
        """Return whether this request is among the share: spread evenly, not drawn by lot."""
        self._due += self.share
        if self._due < 1.0:
            return False
        self._due -= 1.0
        return True
