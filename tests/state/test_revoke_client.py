"""Revoke all tokens of a client from several processes, each revocation under a second of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings.model import RedisSettings
from gateway.state.interface import StateStore, StateUnavailableError
from gateway.state.memory import MemoryStore
from gateway.state.redis import open_redis
from gateway.state.revoke_client import revoke_client
from gateway.state.sqlite import open_sqlite
from gateway.tokens.revocations import Revocations
from tests.support.redis_server import RedisServer


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, server: RedisServer
) -> AsyncIterator[StateStore]:
    match request.param:
        case "memory":
            store: StateStore = MemoryStore()
        case "sqlite":
            store = await open_sqlite(tmp_path / "s.db")
        case _:
            store = await open_redis(
                RedisSettings("127.0.0.1", server.port), issuer="https://a.example", strict=False
            )
    yield store
    await store.close()


async def test_no_two_revocations_have_one_second(store: StateStore) -> None:
    revocations = Revocations()
    await store.follow(revocations)
    seconds = [await revoke_client("reader", store, revocations, now=now) for now in (50, 50, 40, 50.9, 90)]
    assert seconds == [50, 51, 52, 53, 90]
    assert revocations.client_revoked_until("reader") == 90
    assert await revoke_client("another", store, revocations, now=40) == 40


async def test_processes_that_revoke_at_once_have_different_seconds(server: RedisServer) -> None:
    settings = RedisSettings("127.0.0.1", server.port)
    stores = [await open_redis(settings, issuer="https://a.example", strict=False) for _ in range(8)]
    seconds = await asyncio.gather(*(revoke_client("reader", each, Revocations(), now=50) for each in stores))
    assert sorted(seconds) == list(range(50, 58))
    for each in stores:
        await each.close()


async def test_who_is_always_overtaken_says_so() -> None:
    class Overtaken(MemoryStore):
        async def revoke_client(self, client_id: str, issued_until: int) -> int:
            return issued_until

    revocations = Revocations()
    with pytest.raises(StateUnavailableError):
        await revoke_client("reader", Overtaken(), revocations, now=50)
    assert revocations.client_revoked_until("reader") == -1


async def test_expired_revocations_stay_for_a_clock_that_goes_back(tmp_path: Path) -> None:
    now = [1_000_000.0]
    path = tmp_path / "s.db"

    async def reopened() -> tuple[StateStore, Revocations]:
        revocations = Revocations(kept_s=86_400)
        store = await open_sqlite(path, clock=lambda: now[0])
        await store.follow(revocations)
        return store, revocations

    store, _ = await reopened()
    await store.revoke("one", 1_003_600)
    for jump in (20 * 3600, -20 * 3600):  # ahead by most of a day, with a restart there, and back
        now[0] += jump
        await store.revoke(f"at {now[0]}", int(now[0]) + 60)
        await store.close()
        store, revocations = await reopened()
        assert revocations.is_revoked("one")
    await store.close()
    now[0] += 86_400 * 3
    store, revocations = await reopened()
    await store.revoke("later", int(now[0]) + 60)
    assert not revocations.is_revoked("one")
    await store.close()
