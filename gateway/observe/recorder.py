"""Collect finished requests and hand them on in batches.

The hot path calls `record`, which appends to a list. A batch goes to the metrics
and to the access log when it is full, or a tenth of a second after its first
request. An idle process has no timer running.
"""

import asyncio
import logging

from gateway.observe.access_log import Encode
from gateway.observe.exchange import Exchange
from gateway.observe.line_writer import LineWriter
from gateway.observe.metrics import Metrics

BATCH_SIZE = 256
FLUSH_AFTER_S = 0.1

logger = logging.getLogger(__name__)


class AccessLog:
    """Encodes batches and gives them to a writer. Exchanges given to it may be changed by the encoder."""

    __slots__ = ("_encode", "_reported", "_writer")

    def __init__(self, encode: Encode, writer: LineWriter) -> None:
        self._encode = encode
        self._writer = writer
        self._reported = 0

    def write(self, exchanges: list[Exchange]) -> None:
        """Queue one line per exchange."""
        self._writer.write(self._encode(exchanges), len(exchanges))

    def reopen(self) -> None:
        """Open the file by its name again before the next line; nothing for a descriptor."""
        self._writer.reopen()

    def take_dropped(self) -> int:
        """Return how many lines were lost since the last call."""
        dropped = self._writer.dropped_lines
        news, self._reported = dropped - self._reported, dropped
        return news


class Recorder:
    """Takes every finished request of one event loop.

    Args:
        metrics: Fed first.
        access_log: None when `logs.access` is off.
    """

    __slots__ = ("_access_log", "_loop", "_metrics", "_pending", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, metrics: Metrics, access_log: AccessLog | None
    ) -> None:
        self._loop = loop
        self._metrics = metrics
        self._access_log = access_log
        self._pending: list[Exchange] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, exchange: Exchange) -> None:
        """Take one exchange over; it must not be used afterwards."""
        pending = self._pending
        pending.append(exchange)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_AFTER_S, self._on_timer)
        if len(pending) >= BATCH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Hand on what is waiting, now. Never raises: counting must not break what is counted."""
        pending = self._pending
        if not pending:
            return
        self._pending = []
        try:
            self._metrics.absorb(pending)
            if self._access_log is not None:
                self._access_log.write(pending)
                dropped = self._access_log.take_dropped()
                if dropped:
                    self._metrics.access_log_dropped(dropped)
        except Exception:
            logger.exception("a batch of finished requests could not be recorded")

    def reopen_log(self) -> None:
        """Go on in the file that has the access log's name now: logrotate moved the old one away."""
        self.flush()
        if self._access_log is not None:
            self._access_log.reopen()

    def close(self) -> None:
        """Hand on the last batch and stop the timer."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
