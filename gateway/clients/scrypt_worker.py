"""Run scrypt checks one at a time on a thread of their own.

A check takes tens of milliseconds and tens of megabytes. One worker bounds what
logins can take from the event loop's processor, a short queue bounds the wait;
beyond it the caller is told to come back.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.clients.registry import ScryptCost
from gateway.clients.secrets import check_scrypt_secrets
from gateway.settings.model import ScryptSecret

QUEUE_SIZE = 16


class OverloadedError(Exception):
    """The queue is full; nothing was computed."""


class ScryptWorker:
    """One worker thread and its bounded queue."""

    __slots__ = ("_executor", "_pending", "_queue_size")

    def __init__(self, queue_size: int = QUEUE_SIZE) -> None:
        """Allow `queue_size` checks to wait behind the one that runs."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sidegate-scrypt")
        self._queue_size = queue_size
        self._pending = 0

    async def check(
        self, given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost]
    ) -> bool:
        """Return whether `given` is one of `stored`; see `check_scrypt_secrets`.

        Raises:
            OverloadedError: As many checks as allowed are waiting.
        """
        if self._pending > self._queue_size:
            raise OverloadedError
        self._pending += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, check_scrypt_secrets, given, stored, padding)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Drop what waits and stop the thread after the check that runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
