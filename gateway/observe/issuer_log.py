"""Write one line per request to the issuer into the process log, a batch at a time.

The lines look like those of `gateway.observe.logs`, but do not go through `logging`:
a token request takes a few hundred microseconds, and a record, its formatter and the
search for credentials would add forty. The search is kept for what a caller wrote,
which stands in the lines of refusals only.

No line holds a control character or a second line, whatever a caller sent.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence

import msgspec

from gateway.observe.access_log import Timestamps, ascii_lines
from gateway.observe.credentials import mask_credentials, mask_tokens
from gateway.observe.issuer_request import CALLERS_TEXT, IssuerRequest
from gateway.observe.line_writer import LineWriter
from gateway.observe.recorder import BATCH_SIZE, FLUSH_AFTER_S

LOGGER = "gateway.issuer"
LEVEL = "info"
_OK = "ok"

logger = logging.getLogger(__name__)


def json_lines() -> Callable[[Sequence[IssuerRequest]], bytes]:
    """Return the encoder of JSON lines; it takes the requests over."""
    encode_lines = msgspec.json.Encoder().encode_lines
    timestamp = Timestamps().format

    def encode(requests: Sequence[IssuerRequest]) -> bytes:
        for request in requests:
            # msgspec writes what is there, and checks types only when it decodes.
            request.at = timestamp(request.at)  # type: ignore[assignment]
            request.level, request.logger = LEVEL, LOGGER
            _mask(request)
        return ascii_lines(encode_lines, requests)

    return encode


def text_lines() -> Callable[[Sequence[IssuerRequest]], bytes]:
    """Return the encoder of lines for people."""
    timestamp = Timestamps().format

    def encode(requests: Sequence[IssuerRequest]) -> bytes:
        lines = []
        for request in requests:
            _mask(request)
            members = msgspec.to_builtins(request)
            head = f"{timestamp(members.pop('time'))} {LEVEL} {LOGGER}: {members.pop('message')}"
            pairs = "".join(f" {name}={json.dumps(value)}" for name, value in members.items())
            lines.append(f"{head}{pairs}\n".replace("\x7f", "\\u007f"))
        return "".join(lines).encode("ascii")

    return encode


def _mask(request: IssuerRequest) -> None:
    """Hide what looks like a credential in what a caller wrote; what was granted are our own names.

    What it was told may repeat scopes that were refused; else it is in our own words, which name parameters.
    """
    if request.result != _OK:
        request.detail = mask_tokens(request.detail)
        for name in CALLERS_TEXT:
            if value := getattr(request, name):
                setattr(request, name, mask_credentials(value))


class IssuerLog:
    """Takes every finished request of one event loop's issuer.

    Args:
        loop: The event loop.
        log_format: `logs.format`.
        writer: Of the process log; None when `logs.level` leaves these lines out.
        on_dropped: Told how many lines of the process log were lost since it was told last.
    """

    __slots__ = ("_encode", "_loop", "_on_dropped", "_pending", "_reported", "_timer", "_writer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log_format: str,
        writer: LineWriter | None,
        on_dropped: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._encode = text_lines() if log_format == "text" else json_lines()
        self._writer = writer
        self._on_dropped = on_dropped
        self._reported = 0
        self._pending: list[IssuerRequest] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, request: IssuerRequest) -> None:
        """Take one request over; it must not be used afterwards."""
        if self._writer is None:
            return
        self._pending.append(request)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_AFTER_S, self._on_timer)
        if len(self._pending) >= BATCH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Hand on what is waiting, now. Never raises: a log must not break what it tells of."""
        pending, self._pending = self._pending, []
        if not pending or self._writer is None:
            return
        try:
            self._writer.write(self._encode(pending), len(pending))
        except Exception:
            logger.exception("a batch of requests to the issuer could not be logged")
        dropped = self._writer.dropped_lines
        if dropped > self._reported:
            self._on_dropped(dropped - self._reported)
            self._reported = dropped

    def close(self) -> None:
        """Hand on the last batch and stop the timer."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
