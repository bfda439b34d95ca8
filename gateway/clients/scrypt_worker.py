"""Run scrypt checks one at a time on a thread of their own, which gives way to the event loop.

A check takes tens of milliseconds and tens of megabytes. One worker bounds what logins
can take from the event loop's processor, a queue with a deadline bounds the wait; beyond
either the caller is told to come back.

1. A secret that was right before is recognised at once (`gateway.clients.secret_memo`),
   also while it waits: it neither queues nor computes.
2. Half of the places and every other turn are for known callers, which proved themselves
   from where they are within a day (`gateway.clients.known_callers`); the other half is
   for strangers. Whoever has half a queue for himself has all the turns.
3. Each half is fair (`gateway.clients.fair_queue`): strangers take turns by peer, known
   callers by client and, for one client, by peer. Whoever floods displaces himself, and
   one right secret takes one client's turns, from however many addresses.

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
import secrets
import sys
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from gateway.clients.failure_costs import ScryptCost
from gateway.clients.fair_queue import FairQueue
from gateway.clients.secret_memo import SecretMemo
from gateway.clients.secrets import check_scrypt_secrets
from gateway.settings.model import ScryptSecret

QUEUE_SIZE = 128
"""Places for known callers, and as many for strangers."""
WAIT_S = 5.0
"""Whoever was not begun with by then is told to come back."""
NICENESS = 5
"""Added to the process's own: a third of the weight of an equal."""


class OverloadedError(Exception):
    """There is no place in the queue, or the turn did not come in time; nothing was computed."""


@dataclass(slots=True, eq=False)
class _Check:
    """A check and who waits for its outcome."""

    compute: Callable[[], ScryptSecret | None]
    mark: bytes
    stored: Sequence[ScryptSecret]
    outcome: asyncio.Future[bool]
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a check waits: for its owner's turn, and within the owner for its part's."""

    queue: FairQueue[_Check]
    owner: str
    part: str = ""


class ScryptWorker:
    """One worker thread and its bounded queue."""

    __slots__ = ("_executor", "_is_busy", "_known", "_memo", "_strangers", "_wait_s", "_was_known")

    def __init__(self, queue_size: int = QUEUE_SIZE, *, wait_s: float = WAIT_S) -> None:
        """Allow `queue_size` checks of strangers, and as many of known callers, to wait for `wait_s`."""
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="sidegate-scrypt", initializer=_give_way
        )
        self._wait_s = wait_s
        self._strangers = FairQueue[_Check](queue_size)
        self._known = FairQueue[_Check](queue_size)
        self._was_known = False
        """Whether the last turn was a known caller's."""
        self._is_busy = False
        self._memo = SecretMemo(secrets.token_bytes(32))

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
            OverloadedError: There is no place that another peer has more need to give up, or the turn
                did not come in time.
        """
        return await self._check(given, stored, padding, _Place(self._strangers, peer))

    def reserved_for(self, client_id: str, *, sparing: bool = False) -> "ReservedChecks":
        """Return what checks the secrets of a client that was proven from the asking peer lately.

        Args:
            client_id: The client.
            sparing: Whether to compute no more than what can still turn out to match, so that failures
                cost what they happen to cost. For whoever is told nothing by that.
        """
        return ReservedChecks(self, client_id, sparing=sparing)

    async def check_reserved(
        self,
        given: bytes,
        stored: Sequence[ScryptSecret],
        padding: Sequence[ScryptCost],
        *,
        peer: str,
        client_id: str,
        sparing: bool,
    ) -> bool:
        """Return whether `given` is one of `stored`, in the known callers' turns; see `reserved_for`."""
        place = _Place(self._known, client_id, peer)
        if not sparing:
            return await self._check(given, stored, padding, place)
        now = asyncio.get_running_loop().time()
        if self._memo.recognises(self._memo.mark(given), stored, now):
            return True
        unsure = self._memo.unremembered(stored, now)
        return bool(unsure) and await self._check(given, unsure, (), place)

    def keep_only(self, configured: Set[ScryptSecret]) -> None:
        """Forget what was remembered of secrets that are no longer configured."""
        self._memo.keep_only(configured)

    def close(self) -> None:
        """Drop what waits and stop the thread after the check that runs."""
        while (check := self._take()) is not None:
            check.outcome.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _check(
        self, given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost], place: _Place
    ) -> bool:
        loop = asyncio.get_running_loop()
        mark = self._memo.mark(given)
        if self._memo.recognises(mark, stored, loop.time()):
            return True
        check = _Check(
            partial(check_scrypt_secrets, given, stored, padding), mark, stored, loop.create_future()
        )
        if self._is_busy:
            displaced = place.queue.put(place.owner, check, place.part)
            if displaced is not None:
                _refuse(displaced)
        else:
            self._begin(check)
        deadline = loop.call_later(self._wait_s, _refuse, check)
        try:
            return await check.outcome
        finally:
            deadline.cancel()
            place.queue.discard(place.owner, check, place.part)

    def _begin(self, check: _Check) -> None:
        self._is_busy = check.is_begun = True
        computed = asyncio.get_running_loop().run_in_executor(self._executor, check.compute)
        computed.add_done_callback(partial(self._finish, check))

    def _finish(self, check: _Check, computed: "asyncio.Future[ScryptSecret | None]") -> None:
        now = asyncio.get_running_loop().time()
        if not computed.cancelled() and computed.exception() is None:
            matched = computed.result()
            if matched is not None:
                self._memo.learn(check.mark, matched, now)
        # The caller may have gone away; the processor was his until now all the same.
        if not check.outcome.done():
            _copy(computed, check.outcome)
        self._is_busy = False
        while (following := self._take()) is not None:
            if following.outcome.done():
                continue
            if self._memo.recognises(following.mark, following.stored, now):
                following.outcome.set_result(True)
                continue
            self._begin(following)
            break

    def _take(self) -> _Check | None:
        """Remove and return whose turn it is; known callers and strangers take turns."""
        first, second = (self._strangers, self._known) if self._was_known else (self._known, self._strangers)
        taken = first.take()
        if taken is None:
            first, taken = second, second.take()
        if taken is not None:
            self._was_known = first is self._known
        return taken


class ReservedChecks:
    """Checks in the half of the queue for known callers; a `gateway.clients.authenticate.ScryptChecker`."""

    __slots__ = ("_client_id", "_sparing", "_worker")

    def __init__(self, worker: ScryptWorker, client_id: str, *, sparing: bool) -> None:
        self._worker = worker
        self._client_id = client_id
        self._sparing = sparing

    async def check(
        self, given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost], *, peer: str
    ) -> bool:
        """Return whether `given` is one of `stored`; see `ScryptWorker.check` and `reserved_for`."""
        return await self._worker.check_reserved(
            given, stored, padding, peer=peer, client_id=self._client_id, sparing=self._sparing
        )


def _refuse(check: _Check) -> None:
    if not check.is_begun and not check.outcome.done():
        check.outcome.set_exception(OverloadedError())


def _copy(computed: "asyncio.Future[ScryptSecret | None]", outcome: asyncio.Future[bool]) -> None:
    if computed.cancelled():
        outcome.cancel()
    elif (error := computed.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(computed.result() is not None)


def _give_way() -> None:
    """Lower the calling thread's priority, where that is possible for a thread alone."""
    if sys.platform == "linux":
        # A sandbox may forbid it: then the checks run as before.
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
