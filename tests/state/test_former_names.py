"""Honour what the release before wrote of used assertions, and let it honour what is written now."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import pytest
import redis

from gateway.settings.model import RedisSettings
from gateway.state.interface import StateStore
from gateway.state.redis import open_redis
from gateway.state.sqlite import open_sqlite
from tests.support.redis_server import RedisServer

FAR = 2**33
ISSUER = "https://a.example"
PREFIX = f"sidegate:{{{sha256(ISSUER.encode()).hexdigest()[:16]}}}:used:"

FormerUse = Callable[[str], bool]
"""What the release before does with the name it knows: return whether it is the first use."""


@pytest.fixture(params=["sqlite", "redis"])
async def both(
    request: pytest.FixtureRequest, tmp_path: Path, server: RedisServer
) -> AsyncIterator[tuple[StateStore, FormerUse]]:
    path = tmp_path / "s.db"
    if request.param == "sqlite":
        store: StateStore = await open_sqlite(path)
        rows = sqlite3.connect(path, isolation_level=None)

        def former_use(name: str) -> bool:
            statement = "INSERT INTO used VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
            return rows.execute(statement, (sha256(name.encode()).digest(), FAR)).rowcount == 1

        yield store, former_use
        rows.close()
    else:
        store = await open_redis(RedisSettings("127.0.0.1", server.port), issuer=ISSUER, strict=False)
        raw = redis.Redis(port=server.port)

        def former_use(name: str) -> bool:
            hashed = sha256(name.encode()).hexdigest()[:48]
            return raw.set(PREFIX + hashed, b"", nx=True, px=10_000_000) is not None

        yield store, former_use
        raw.close()
    await store.close()


async def test_what_was_used_before_is_used(both: tuple[StateStore, FormerUse]) -> None:
    store, former_use = both
    assert former_use("former")
    for name in ("of one key", "of another key"):
        for _ in range(2):
            assert not await store.first_use(f"{name}\nformer", FAR)
    assert await store.first_use("of one key\nanother former", FAR)


async def test_what_is_used_now_was_used_for_the_release_before(both: tuple[StateStore, FormerUse]) -> None:
    store, former_use = both
    assert await store.first_use("of one key\nformer", FAR)
    assert not former_use("former")
    assert await store.first_use("of another key\nformer", FAR), "it is another assertion"
    assert not former_use("former")
    for name in ("of one key", "of another key"):
        assert not await store.first_use(f"{name}\nformer", FAR)


async def test_the_former_name_lasts_as_long_as_the_longest(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "s.db", clock=lambda: 0.0)
    for name, until in (("one", 50), ("two", 90), ("three", 20)):
        assert await store.first_use(f"{name}\nformer", until)
    await store.close()
    rows = sqlite3.connect(tmp_path / "s.db")
    assert list(rows.execute("SELECT expires_at FROM used WHERE typeof(expires_at) = 'real'")) == [(90.5,)]
    rows.close()
