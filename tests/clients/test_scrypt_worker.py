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
from tests.support.waiting import until

STORED = ScryptSecret(16, 8, 1, b"salt", hashlib.scrypt(b"right", salt=b"salt", n=16, r=8, p=1, dklen=32))


class Held(list[ScryptSecret]):
    """Secrets that keep whoever compares with them until they are let go."""

    def __init__(self) -> None:
        super().__init__([STORED])
        self.let_go = threading.Event()
        self.thread = 0

    def __iter__(self) -> Iterator[ScryptSecret]:
        if threading.current_thread() is not threading.main_thread():
            self.thread = threading.get_native_id()
            self.let_go.wait(10)
        return super().__iter__()


def check(
    worker: ScryptWorker,
    given: bytes = b"right",
    *,
    peer: str = "192.0.2.1",
    client: str | None = None,
    stored: Sequence[ScryptSecret] = (STORED,),
    sparing: bool = False,
) -> asyncio.Task[bool]:
    """Ask for a check: as a stranger, or as the client of that name, which is known at the peer."""
    checks = worker if client is None else worker.reserved_for(client, sparing=sparing)
    return asyncio.create_task(checks.check(given, stored, [ScryptCost(16, 8, 1)], peer=peer))


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
    await until(lambda: held.thread)
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


async def test_who_is_not_begun_with_in_time_is_told_so_and_frees_his_place() -> None:
    worker, held = ScryptWorker(queue_size=1, wait_s=0.05), Held()
    running, waiting = check(worker, stored=held), check(worker)
    with pytest.raises(OverloadedError):
        await waiting
    later = check(worker)  # has a place at once
    await asyncio.sleep(0)
    held.let_go.set()
    assert await asyncio.gather(running, later) == [True, True]  # what was begun is finished
    worker.close()


def noting(order: list[str], name: str, task: asyncio.Task[bool]) -> asyncio.Task[bool]:
    task.add_done_callback(lambda done: order.append(name) if done.exception() is None else None)
    return task


async def test_known_callers_and_strangers_take_turns() -> None:
    worker, held, order = ScryptWorker(queue_size=8), Held(), list[str]()
    running = check(worker, b"wrong", stored=held)
    await asyncio.sleep(0)
    strangers = [noting(order, f"s{n}", check(worker, b"wrong", peer=f"192.0.2.{n}")) for n in range(4)]
    known = [noting(order, f"k{n}", check(worker, b"wrong", client=f"client {n}")) for n in range(2)]
    await asyncio.sleep(0)
    held.let_go.set()
    assert await asyncio.gather(running, *strangers, *known) == [False] * 7
    assert order == ["k0", "s0", "k1", "s1", "s2", "s3"]
    worker.close()


async def test_strangers_cannot_take_the_places_of_known_callers() -> None:
    worker, held = ScryptWorker(queue_size=2), Held()
    running = check(worker, b"wrong", stored=held)
    await asyncio.sleep(0)
    strangers = [check(worker, b"wrong", peer=f"192.0.2.{n}") for n in range(24)]
    await asyncio.sleep(0)
    known = check(worker, client="reader")
    await asyncio.sleep(0)
    held.let_go.set()
    assert await known
    outcomes = await asyncio.gather(running, *strangers, return_exceptions=True)
    assert [outcome is False for outcome in outcomes].count(True) == 3
    worker.close()


async def test_one_right_secret_takes_the_turns_of_one_client() -> None:
    worker, held, order = ScryptWorker(queue_size=4), Held(), list[str]()
    running = check(worker, b"wrong", stored=held)
    await asyncio.sleep(0)
    leaked = [
        noting(order, "leaked", check(worker, b"wrong", client="leaked", peer=f"192.0.2.{n}"))
        for n in range(24)
    ]
    others = [noting(order, name, check(worker, b"wrong", client=name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    held.let_go.set()
    await asyncio.gather(running, *leaked, *others, return_exceptions=True)
    assert order == ["leaked", "a", "b", "leaked"]
    worker.close()


async def test_a_client_guessed_at_from_one_address_has_its_turn_at_another() -> None:
    worker, held, order = ScryptWorker(queue_size=4), Held(), list[str]()
    running = check(worker, b"wrong", stored=held)
    await asyncio.sleep(0)
    guesses = [noting(order, "guess", check(worker, b"wrong", client="reader")) for _ in range(24)]
    right = noting(order, "right", check(worker, client="reader", peer="192.0.2.2"))
    await asyncio.sleep(0)
    held.let_go.set()
    await asyncio.gather(running, *guesses, return_exceptions=True)
    assert await right
    assert order == ["guess", "right", "guess", "guess"]
    worker.close()


async def test_a_secret_that_was_right_passes_every_queue() -> None:
    worker, held = ScryptWorker(queue_size=1), Held()
    assert await check(worker)
    running, stranger = check(worker, b"wrong", stored=held), check(worker, b"wrong")
    await asyncio.sleep(0)
    assert await check(worker)
    assert await check(worker, client="reader")
    worker.keep_only(set())
    with pytest.raises(OverloadedError):  # it has to be computed now, and there is no place
        await check(worker)
    held.let_go.set()
    assert await asyncio.gather(running, stranger) == [False, False]
    worker.close()


async def test_of_many_who_wait_with_the_right_secret_one_computes() -> None:
    worker, held, other = ScryptWorker(queue_size=8), Held(), Held()
    running = check(worker, b"wrong", stored=held)
    await asyncio.sleep(0)
    waiting = [check(worker, peer=f"192.0.2.{n}") for n in range(4)]
    last = check(worker, b"wrong", peer="192.0.2.9", stored=other)
    await asyncio.sleep(0)
    held.let_go.set()
    assert await asyncio.gather(running, *waiting) == [False, True, True, True, True]
    assert other.thread == 0 or not last.done()  # they were answered before the next was computed
    other.let_go.set()
    assert not await last
    worker.close()


class Uncomputable(list[ScryptSecret]):
    """Secrets that nobody may compare with by scrypt."""

    def __iter__(self) -> Iterator[ScryptSecret]:
        if threading.current_thread() is not threading.main_thread():
            raise AssertionError("computed")
        return super().__iter__()


async def test_sparing_checks_compute_nothing_that_cannot_match() -> None:
    worker = ScryptWorker()
    assert await check(worker)
    remembered = Uncomputable([STORED])
    assert not await check(worker, b"wrong", client="reader", stored=remembered, sparing=True)
    assert await check(worker, client="reader", stored=remembered, sparing=True)
    assert not await check(worker, client="nobody", stored=Uncomputable(), sparing=True)
    unseen = ScryptSecret(16, 8, 1, b"s2", hashlib.scrypt(b"new", salt=b"s2", n=16, r=8, p=1, dklen=32))
    assert await check(worker, b"new", client="reader", stored=[STORED, unseen], sparing=True)
    worker.close()
