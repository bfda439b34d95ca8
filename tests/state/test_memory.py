"""Hold the guard of one process to its promise: once, bounded, and forgotten in time."""

import pytest

from gateway.state.interface import ReplayGuard, StateStore, StateUnavailableError
from gateway.state.memory import MemoryReplayGuard, MemoryStore
from gateway.tokens.revocations import Revocations


class Clock:
    """Epoch seconds that the test decides."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_is_used_once() -> None:
    guard: ReplayGuard = MemoryReplayGuard(Clock())
    assert await guard.first_use("one", 2_000)
    assert not await guard.first_use("one", 2_000)
    assert not await guard.first_use("one", 9_000)
    assert await guard.first_use("another", 2_000)


@pytest.mark.parametrize("key", ["", "\x00", "ü" * 100_000, "\ud800"])
async def test_any_text_is_a_key(key: str) -> None:
    guard = MemoryReplayGuard(Clock())
    assert await guard.first_use(key, 2_000)
    assert not await guard.first_use(key, 2_000)


async def test_expired_keys_are_forgotten_a_few_at_a_time() -> None:
    clock = Clock()
    guard = MemoryReplayGuard(clock)
    for number in range(10):
        assert await guard.first_use(f"old {number}", 2_000)
    clock.now = 2_000.0
    for number in range(3):
        assert await guard.first_use(f"new {number}", 3_000)
    assert len(guard) == 3


async def test_a_full_guard_lets_nothing_through_until_keys_expire() -> None:
    clock = Clock()
    guard = MemoryReplayGuard(clock, limit=2)
    assert await guard.first_use("one", 2_000)
    assert await guard.first_use("two", 2_000)
    with pytest.raises(StateUnavailableError):
        await guard.first_use("three", 2_000)
    assert not await guard.first_use("one", 2_000)
    clock.now = 2_000.0
    assert await guard.first_use("three", 3_000)


async def test_the_store_keeps_no_revocation() -> None:
    store: StateStore = MemoryStore()
    await store.revoke("a", 2**33)
    await store.revoke_client("b", 5)
    await store.check()
    revocations = Revocations()
    await store.follow(revocations)
    assert (len(revocations), list(revocations.clients())) == (0, [])
    assert await store.first_use("key", 2**33)
    assert not await store.first_use("key", 2**33)
    await store.close()
