"""Run scrypt checks one at a time on a thread of their own, which gives way to the event loop.

A check takes tens of milliseconds and tens of megabytes. One worker bounds what logins
can take from the event loop's processor, a short queue bounds the wait; beyond it the
caller is told to come back. The queue is fair between peers (`gateway.clients.fair_queue`):
whoever floods it displaces himself.

The thread runs at a lower priority. At the same one Linux lets it finish its time slice of
some 3 ms before the event loop is woken up, and every request pays that while anybody
logs in. It is not the lowest one either: the thread holds the interpreter's lock for some
microseconds at the end of each check, and where neighbours want the processor the
event loop would wait until the thread is scheduled once more.

Sources: docs/decisions/0007-let-logins-give-way.md, sched(7), nice(2) (on Linux: of the calling thread).
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from gateway.clients.fair_queue import FairQueue
from gateway.clients.registry import ScryptCost
from gateway.clients.secrets import check_scrypt_secrets
from gateway.settings.model import ScryptSecret

QUEUE_SIZE = 16
NICENESS = 5
"""Added to the process's own: a third of the weight of an equal."""


class OverloadedError(Exception):
    """The queue is full; nothing was computed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Check:
    """A check and who waits for its outcome."""

    compute: Callable[[], bool]
    outcome: asyncio.Future[bool]


class ScryptWorker:
    """One worker thread and its bounded queue."""

    __slots__ = ("_executor", "_is_busy", "_waiting")

    def __init__(self, queue_size: int = QUEUE_SIZE) -> None:
        """Allow `queue_size` checks to wait behind the one that runs."""
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="sidegate-scrypt", initializer=_give_way
        )
        self._waiting = FairQueue[_Check](queue_size)
        self._is_busy = False

    async def check(
        self, given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost], *, peer: str
    ) -> bool:
        """Return whether `given` is one of `stored`; see `check_scrypt_secrets`.

        Args:
            given: The secret as it was sent.
            stored: What it is compared with.
            padding: What a failure computes beyond that.
            peer: Who asks; peers take turns.

        Raises:
            OverloadedError: As many checks as allowed are waiting, and none gives way to this one.
        """
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        check = _Check(partial(check_scrypt_secrets, given, stored, padding), outcome)
        if self._is_busy:
            displaced = self._waiting.put(peer, check)
            if displaced is not None and not displaced.outcome.done():
                displaced.outcome.set_exception(OverloadedError())
        else:
            self._start(check)
        try:
            return await outcome
        finally:
            self._waiting.discard(peer, check)

    def close(self) -> None:
        """Drop what waits and stop the thread after the check that runs."""
        while (check := self._waiting.take()) is not None:
            check.outcome.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self, check: _Check) -> None:
        self._is_busy = True
        computed = asyncio.get_running_loop().run_in_executor(self._executor, check.compute)
        computed.add_done_callback(partial(self._finish, check))

    def _finish(self, check: _Check, computed: asyncio.Future[bool]) -> None:
        # The caller may have gone away; the processor was his until now all the same.
        if not check.outcome.done():
            _copy(computed, check.outcome)
        self._is_busy = False
        while (following := self._waiting.take()) is not None:
            if not following.outcome.done():
                self._start(following)
                break


def _copy(computed: asyncio.Future[bool], outcome: asyncio.Future[bool]) -> None:
    if computed.cancelled():
        outcome.cancel()
    elif (error := computed.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(computed.result())


def _give_way() -> None:
    """Lower the calling thread's priority, where that is possible for a thread alone."""
    if sys.platform == "linux":
        # A sandbox may forbid it: then the checks run as before.
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
