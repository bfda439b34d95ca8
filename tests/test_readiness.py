"""Show what probes are told: what keeps callers away, what does not, and since when."""

import asyncio
import time

import pytest

from gateway.readiness import STORE_TIMEOUT_S, Readiness
from gateway.state.interface import StateUnavailableError
from gateway.state.memory import MemoryStore
from gateway.state.sqlite import open_sqlite
from tests.support.waiting import until

SOUND = {"keys": "", "listeners": "", "not_draining": ""}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Silent(MemoryStore):
    """A store whose server takes questions and never answers."""

    async def check(self):
        await asyncio.get_running_loop().create_future()


class Away(MemoryStore):
    """A store that can be told to be away."""

    fault = ""

    async def check(self):
        if self.fault:
            raise StateUnavailableError(self.fault)


class Forgetful(MemoryStore):
    """A store that says that it may lose what it was given."""

    doubts = ("it may evict", "it is not saved")


class Process:
    """A process with a store, of which tests say what else is amiss."""

    def __init__(self, store, *, strict=False):
        self.unready = dict(SOUND)
        self.amiss = {}
        self.clock = Clock()
        self.readiness = Readiness(
            store,
            refuses_without_store=strict,
            unready=lambda: self.unready,
            amiss=lambda: self.amiss,
            clock=self.clock,
        )

    async def failing(self):
        return [name for name, check in (await self.readiness.checks()).items() if not check.ok]

    def degraded(self):
        return [(entry.name, entry.detail, entry.since) for entry in self.readiness.degraded()]


@pytest.mark.parametrize("name", SOUND)
async def test_what_makes_a_process_useless_keeps_callers_away(name):
    process = Process(MemoryStore())
    await process.readiness.look()
    assert await process.failing() == []
    process.unready[name] = "for a reason"
    assert await process.failing() == [name]
    assert (await process.readiness.checks())[name].detail == "for a reason"
    assert process.degraded() == []


@pytest.mark.parametrize(("strict", "failing"), [(False, []), (True, ["state"])])
async def test_a_store_that_is_away_keeps_callers_away_only_where_tokens_are_refused(strict, failing):
    store = Away()
    process = Process(store, strict=strict)
    store.fault = "redis at 127.0.0.1:1: refused"
    await process.readiness.look()
    assert await process.failing() == failing
    process.clock.now += 5
    await process.readiness.look()
    assert process.degraded() == [("state", "redis at 127.0.0.1:1: refused", 1000.0)]
    store.fault = ""
    await process.readiness.look()
    assert (await process.failing(), process.degraded()) == ([], [])
    store.fault = "again"
    process.clock.now += 5
    await process.readiness.look()
    assert process.degraded() == [("state", "again", 1010.0)]


async def test_conditions_are_told_with_their_own_times_oldest_first():
    process = Process(MemoryStore())
    process.amiss["configuration"] = "did not load"
    await process.readiness.look()
    process.clock.now += 7
    process.amiss = {"certificate of a": "expired", "configuration": "did not load, still"}
    assert process.degraded() == [
        ("configuration", "did not load, still", 1000.0),
        ("certificate of a", "expired", 1007.0),
    ]
    del process.amiss["configuration"]
    assert process.degraded() == [("certificate of a", "expired", 1007.0)]


async def test_a_probe_never_waits_for_the_store():
    process = Process(Silent(), strict=True)
    looking = asyncio.create_task(process.readiness.look())
    begun = time.monotonic()
    while not await process.failing():
        assert time.monotonic() - begun < STORE_TIMEOUT_S + 8
        await asyncio.sleep(0.01)
    await looking
    asked = time.monotonic()
    assert await process.failing() == ["state"]
    assert time.monotonic() - asked < STORE_TIMEOUT_S / 2
    [(name, detail, _)] = process.degraded()
    assert name == "state"
    assert "did not answer" in detail


async def test_a_removed_database_is_told_by_its_name(tmp_path):
    store = await open_sqlite(tmp_path / "sidegate.db")
    try:
        process = Process(store)
        await process.readiness.look()
        assert process.degraded() == []
        (tmp_path / "sidegate.db").unlink()
        await process.readiness.look()
        [(name, detail, _)] = process.degraded()
        assert name == "state"
        assert "sidegate.db" in detail
        assert await process.failing() == []
    finally:
        await store.close()


async def test_a_store_that_may_lose_what_it_was_given_keeps_nobody_away():
    process = Process(Forgetful(), strict=True)
    await process.readiness.look()
    assert await process.failing() == []
    assert process.degraded() == [("state_keeping", "it may evict; it is not saved", 1000.0)]


async def test_it_goes_on_looking():
    store = Away()
    process = Process(store)
    watching = asyncio.create_task(process.readiness.watch(interval_s=0.001))
    try:
        for fault in ("one", "", "two"):
            store.fault = fault
            expected = [fault] if fault else []
            await until(lambda: [entry[1] for entry in process.degraded()] == expected)  # noqa: B023
    finally:
        watching.cancel()
