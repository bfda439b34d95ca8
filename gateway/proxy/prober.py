"""Ask each target of an upstream regularly whether it is well.

A check is one GET on a connection of its own, opened the way requests' connections are:
a target that speaks TLS is verified by it, too. A final answer of 2xx or 3xx in time
passes; anything else fails, but for what this machine lacks, such as descriptors: that
says nothing of the target. The head alone decides; of the body a bounded part is read
over, so that a server that is polite to its callers is not cut off in mid-sentence.

What follows from an outcome is `gateway.proxy.health`. Checks are started by the sweep,
a tenth of the interval earlier or later each time, so that several gateways do not ask
in step.

Sources: RFC 9110 9.2.1 (GET is safe), 15.2 (interim answers).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from gateway.http1.response import BadResponse, ResponseReader
from gateway.proxy.targets import describe_failure, is_own_shortage
from gateway.settings.model import HealthCheckSettings

if TYPE_CHECKING:
    from gateway.proxy.pool import TargetState

_log = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 16 * 1024
BODY_LIMIT_BYTES = 64 * 1024
LINGER_S = 1.0
JITTER = 0.1

Report = Callable[["TargetState", bool, str], None]
"""Take a target's outcome: whether the check passed, and why."""


class Prober:
    """The checks of one upstream's targets."""

    def __init__(self, settings: HealthCheckSettings, host: str | None, *, report: Report) -> None:
        self.settings = settings
        self._host = host
        self._report = report
        self._responses = ResponseReader()
        self._checks: dict[str, asyncio.Task[None]] = {}

    def configure(self, settings: HealthCheckSettings, host: str | None) -> None:
        """Check by these settings from the next check on."""
        self.settings = settings
        self._host = host

    def sweep(self, targets: Iterable[TargetState], monotonic_now: float) -> None:
        """Start the checks that are due; a target is asked once at a time."""
        for target in targets:
            if target.next_check_at > monotonic_now or target.key in self._checks:
                continue
            spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
            target.next_check_at = monotonic_now + self.settings.interval_s * spread
            check = asyncio.get_running_loop().create_task(self._check_guarded(target))
            self._checks[target.key] = check
            check.add_done_callback(partial(self._ended, target.key))

    def close(self) -> None:
        """Stop: outcomes of checks under way are of no interest any more."""
        for check in self._checks.values():
            check.cancel()

    def _ended(self, key: str, check: asyncio.Task[None]) -> None:
        self._checks.pop(key, None)

    async def _check_guarded(self, target: TargetState) -> None:
        """Check `target`. A mistake of ours in doing so says nothing of it: what was known stands."""
        try:
            await self._check(target)
        except Exception:
            _log.exception("a health check failed inside the gateway")

    async def _check(self, target: TargetState) -> None:
        request = (
            f"GET {self.settings.path} HTTP/1.1\r\nHost: {self._host or target.opener.authority}\r\n"
            "User-Agent: sidegate-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("ascii")
        conversation = _Conversation(request, self._responses)
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                await target.opener.open(lambda: conversation)
                status = await conversation.status
        except TimeoutError:
            self._report(target, False, "the health check took too long")
        except (OSError, _NotHttpError) as error:
            if is_own_shortage(error):
                return  # what was known of it stands
            reason = (
                str(error)
                if isinstance(error, _NotHttpError)
                else describe_failure(error, target.opener.place)
            )
            self._report(target, False, f"the health check failed: {reason}")
        else:
            self._report(target, 200 <= status < 400, f"the health check was answered {status}")
            conversation.linger()
        finally:
            if not conversation.lingers:
                conversation.abort()


class _NotHttpError(Exception):
    """The answer to a check is none."""


class _Conversation(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, request: bytes, responses: ResponseReader) -> None:
        loop = asyncio.get_running_loop()
        self.status: asyncio.Future[int] = loop.create_future()
        self.lingers = False
        self._request = request
        self._responses = responses
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        with self._mistakes_told():
            self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        with self._mistakes_told():
            self._fail("the connection was closed before an answer")

    def data_received(self, data: bytes) -> None:
        with self._mistakes_told():
            self._take(data)

    @contextlib.contextmanager
    def _mistakes_told(self) -> Iterator[None]:
        """Hand a mistake of ours to who waits: the loop would close the connection, as if the target had."""
        try:
            yield
        except Exception as error:
            self._end_with(error)
            self.abort()

    def _take(self, data: bytes) -> None:
        if self.status.done():
            self._body_bytes += len(data)
            if self._body_bytes > BODY_LIMIT_BYTES:
                self.abort()
            return
        self._held += data
        while 4 <= (end := self._held.find(b"\r\n\r\n") + 4) <= HEAD_LIMIT_BYTES:
            head = self._responses.read(self._held[:end])
            self._held = self._held[end:]
            if isinstance(head, BadResponse):
                self._fail(head.detail)
                return
            if head.status >= 200:
                self.status.set_result(head.status)
                return
        if len(self._held) > HEAD_LIMIT_BYTES:
            self._fail("the answer's head is too long")

    def _fail(self, detail: str) -> None:
        self._end_with(_NotHttpError(detail))

    def _end_with(self, error: Exception) -> None:
        if not self.status.done():
            self.status.set_exception(error)
            self.status.exception()  # seen: nobody waits for it when opening failed first

    def linger(self) -> None:
        """Leave it to the target to close, for a while."""
        self.lingers = True
        asyncio.get_running_loop().call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
