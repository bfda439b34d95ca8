"""Measure how late the event loop runs its timers.

A timer that fires late by L means that something held the loop for about L: the
main risk of a single-threaded process. uvloop's timers count whole milliseconds,
so values below one millisecond mean "none".
"""

import asyncio
from collections.abc import Callable


class LoopLag:
    """Reports the lateness of a periodic timer.

    Args:
        loop: Whose clock and timers are measured.
        report: Called with seconds, never negative, once per interval.
        interval_s: Seconds between two timers.
    """

    __slots__ = ("_due", "_interval_s", "_loop", "_report", "_timer", "last_s")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[float], None],
        *,
        interval_s: float,
    ) -> None:
        self._loop = loop
        self._report = report
        self._interval_s = interval_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.last_s = 0.0
        """The latest measurement in seconds."""

    def start(self) -> None:
        """Begin to measure; call from the loop's thread."""
        self._arm()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due = self._loop.time() + self._interval_s
        self._timer = self._loop.call_at(self._due, self._on_timer)

    def _on_timer(self) -> None:
        self.last_s = max(self._loop.time() - self._due, 0.0)
        self._report(self.last_s)
        self._arm()
