"""Bound what logins with slow secrets can take, share it between peers, and give way to the event loop."""

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest

from gateway.clients.registry import ScryptCost
from gateway.clients.scrypt_worker import NICENESS, OverloadedError, ScryptWorker
from gateway.settings.model import ScryptSecret

STORED = ScryptSecret(16, 8, 1, b"salt", hashlib.scrypt(b"right", salt=b"salt", n=16, r=8, p=1, dklen=32))


class Held(list[ScryptSecret]):
    """Secrets that keep whoever compares with them until they are let go."""

    def __init__(self) -> None:
        super().__init__([STORED])
        self.let_go = threading.Event()
        self.thread = 0

    def __iter__(self) -> Iterator[ScryptSecret]:
        self.thread = threading.get_native_id()
        self.let_go.wait(10)
        return super().__iter__()


def check(
    worker: ScryptWorker,
    given: bytes = b"right",
    *,
    peer: str = "192.0.2.1",
    stored: Sequence[ScryptSecret] = (STORED,),
) -> asyncio.Task[bool]:
    return asyncio.create_task(worker.check(given, stored, [ScryptCost(16, 8, 1)], peer=peer))


async def test_secrets_are_checked() -> None:
    worker = ScryptWorker()
    assert await check(worker)
    assert not await check(worker, b"wrong")
    worker.close()


async def test_beyond_the_queue_callers_are_told_at_once_and_later_ones_are_served() -> None:
    worker = ScryptWorker(queue_size=2)
    outcomes = await asyncio.gather(*(check(worker) for _ in range(5)), return_exceptions=True)
    assert outcomes[:3] == [True, True, True]
    assert [type(outcome) for outcome in outcomes[3:]] == [OverloadedError, OverloadedError]
    assert await check(worker)
    worker.close()


async def test_whoever_floods_the_queue_displaces_himself_and_nobody_else() -> None:
    worker = ScryptWorker(queue_size=4)
    order: list[str] = []

    def note(peer: str) -> asyncio.Task[bool]:
        task = check(worker, peer=peer)
        task.add_done_callback(lambda done: order.append(peer) if done.exception() is None else None)
        return task

    flood = [note("flood") for _ in range(20)]
    others = [note("first"), note("second")]
    flood += [note("flood") for _ in range(20)]
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert await asyncio.gather(*others) == [True, True]
    assert outcomes.count(True) == 3
    assert order == ["flood", "flood", "first", "second", "flood"]
    worker.close()


async def test_a_caller_that_goes_away_leaves_its_place() -> None:
    worker, held = ScryptWorker(queue_size=1), Held()
    running, waiting = check(worker, stored=held), check(worker)
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await check(worker)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    later = check(worker)
    held.let_go.set()
    assert await asyncio.gather(running, later) == [True, True]
    worker.close()


async def test_a_check_that_runs_holds_the_thread_after_its_caller_is_gone() -> None:
    worker, held = ScryptWorker(queue_size=1), Held()
    gone, waiting = check(worker, stored=held), check(worker)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    with pytest.raises(OverloadedError):
        await check(worker)
    held.let_go.set()
    assert await waiting
    worker.close()


async def test_closing_ends_what_waits() -> None:
    worker, held = ScryptWorker(), Held()
    running, waiting = check(worker, stored=held), check(worker)
    await asyncio.sleep(0)
    worker.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.let_go.set()
    assert await running


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
async def test_the_thread_gives_way_to_the_event_loop() -> None:
    worker, held = ScryptWorker(), Held()
    held.let_go.set()
    assert await check(worker, stored=held)
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert os.getpriority(os.PRIO_PROCESS, held.thread) == min(19, own + NICENESS)
    worker.close()
