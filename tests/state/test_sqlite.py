"""Prove that an answered revocation is on disk, and that a bad file says what is wrong."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.state.interface import StateUnavailableError
from gateway.state.sqlite import open_sqlite

NOW = 1_000.0


def frozen_clock() -> float:
    return NOW


async def test_revocations_are_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "state" / "sidegate.db"
    store = await open_sqlite(path, clock=frozen_clock)
    await asyncio.gather(*(store.revoke(f"jti{n}", 2_000 + n) for n in range(100)))
    await store.revoke("jti0", 2_000)
    await store.close()
    store = await open_sqlite(path, clock=frozen_clock)
    assert sorted(await store.load()) == sorted((f"jti{n}", 2_000 + n) for n in range(100))
    await store.close()


async def test_file_and_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "sidegate.db"
    store = await open_sqlite(path)
    await store.revoke("a", 2_000)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert f"{path.name}-wal" in modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


async def test_expired_revocations_are_not_loaded_and_leave(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await open_sqlite(path, clock=lambda: 0.0)
    await store.revoke("old", 10)
    await store.revoke("young", 5_000)
    await store.close()
    store = await open_sqlite(path, clock=frozen_clock)
    assert await store.load() == [("young", 5_000)]
    await store.revoke("new", 5_000)
    await store.close()
    rows = sqlite3.connect(path)
    assert {jti for (jti,) in rows.execute("SELECT jti FROM revocations")} == {"young", "new"}
    rows.close()


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "s.db")
    pragmas = await store._ask(
        lambda c: (
            c.execute("PRAGMA journal_mode").fetchone()[0],
            c.execute("PRAGMA synchronous").fetchone()[0],
        )
    )
    assert pragmas == ("wal", 2)
    await store.close()


async def test_waiting_revocations_share_commits(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "s.db")
    statements: list[str] = []
    await store._ask(lambda c: c.set_trace_callback(statements.append))
    await asyncio.gather(*(store.revoke(f"jti{n}", 2**33) for n in range(500)))
    commits = statements.count("COMMIT")
    assert 1 <= commits < 100
    assert len(await store.load()) == 500
    await store.close()


@pytest.mark.parametrize(
    "octets", [b"this is no database, whatever its name says" * 100, b"SQLite format 3\0" + b"\xff" * 8000]
)
async def test_a_damaged_file_is_named(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(octets)
    with pytest.raises(StateUnavailableError, match="damaged or not ours") as caught:
        await open_sqlite(path)
    assert str(path) in str(caught.value)


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateUnavailableError, match="another version"):
        await open_sqlite(path)


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateUnavailableError, match="must be writable"):
        await open_sqlite(tmp_path / "file" / "s.db")
    with pytest.raises(StateUnavailableError, match="must be writable"):
        await open_sqlite(tmp_path)


async def test_a_locked_file_refuses_the_revocation_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await open_sqlite(path, clock=frozen_clock)
    await store._ask(lambda c: c.execute("PRAGMA busy_timeout = 20"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailableError, match="another process"):
        await store.revoke("a", 5_000)
    with pytest.raises(StateUnavailableError, match="another process"):
        await store.check()
    other.execute("ROLLBACK")
    other.close()
    await store.check()
    await store.revoke("b", 5_000)
    assert await store.load() == [("b", 5_000)]
    await store.close()


async def test_a_file_that_was_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await open_sqlite(path)
    await store.check()
    path.rename(tmp_path / "elsewhere.db")
    later = int(time.time()) + 600
    with pytest.raises(StateUnavailableError):
        await store.check()
    with pytest.raises(StateUnavailableError):
        await store.revoke("lost", later)
    path.write_bytes(b"")
    for ask in (store.check(), store.revoke("lost", later), store.first_use("lost", later)):
        with pytest.raises(StateUnavailableError, match="replaced"):
            await ask
    (tmp_path / "elsewhere.db").replace(path)
    await store.check()
    assert await store.first_use("lost", later)  # nothing of a refused one was kept
    await store.close()


async def test_a_log_that_was_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    path, log = tmp_path / "s.db", tmp_path / "s.db-wal"
    store = await open_sqlite(path, clock=frozen_clock)
    await store.revoke("before", 5_000)
    for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE"):
        # A checkpoint is no replacement: the log begins anew in the same file.
        await store._ask(lambda c, mode=mode: c.execute(f"PRAGMA wal_checkpoint({mode})").fetchall())
        await store.revoke(f"after {mode}", 5_000)
    log.unlink()
    for _ in ("it is gone", "it is another"):
        for ask in (store.check(), store.revoke("lost", 5_000), store.first_use("lost", 5_000)):
            with pytest.raises(StateUnavailableError, match=r"s\.db-wal: was removed or replaced"):
                await ask
        log.write_bytes(b"")
    log.unlink()
    await store.close()
    # A clean end carries over what the log held that nobody can name any more.
    store = await open_sqlite(path, clock=frozen_clock)
    assert len(await store.load()) == 5
    await store.close()


@pytest.mark.parametrize("name", ["s.db", "link.db"])
async def test_a_file_that_is_in_use_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.db"
    (tmp_path / "link.db").symlink_to(path)
    store = await open_sqlite(path)
    with pytest.raises(StateUnavailableError, match="another process uses it") as caught:
        await open_sqlite(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert all(word in str(caught.value) for word in ("s.db.lock", "a file of its own", "redis://"))
    await store.check()
    await store.close()
    store = await open_sqlite(tmp_path / name)
    await store.close()


async def test_a_file_that_could_not_be_opened_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StateUnavailableError, match="damaged or not ours"):
        await open_sqlite(path)
    path.unlink()
    store = await open_sqlite(path)
    await store.close()


async def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.symlink_to(path)
    with pytest.raises(StateUnavailableError, match=r"s\.db"):
        await asyncio.wait_for(open_sqlite(path), 10)


@pytest.mark.parametrize("method", ["_prune", "_outcomes"])
async def test_a_mistake_of_ours_is_logged_whole_and_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    store = await open_sqlite(tmp_path / "sidegate.db", clock=frozen_clock)

    def broken(*_: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(type(store), method, broken)
    with pytest.raises(StateUnavailableError, match=r"internal error \(ZeroDivisionError\)"):
        await store.revoke("jti", 2_000)
    assert "ZeroDivisionError: inside" in caplog.text
    assert "Traceback" in caplog.text
    await store.revoke("other", 2_000)
    await store.close()


async def test_a_closed_store_refuses_at_once(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "s.db")
    await store.close()
    await store.close()
    for call in (store.revoke("a", 1), store.load(), store.check()):
        with pytest.raises(StateUnavailableError, match="closed"):
            await call


async def test_a_caller_that_went_away_harms_nobody(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "s.db", clock=frozen_clock)
    gone = asyncio.create_task(store.revoke("gone", 5_000))
    stays = asyncio.create_task(store.revoke("stays", 5_000))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert ("stays", 5_000) in await store.load()
    await store.close()


def test_revocations_survive_a_kill_during_writing(tmp_path: Path) -> None:
    """Whatever the process said it had recorded is there after SIGKILL."""
    script = """
import asyncio, sys
from pathlib import Path
from gateway.state.sqlite import open_sqlite

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    n = 0
    while True:
        await store.revoke(f"jti{n}", 2**33)
        print(n, flush=True)
        n += 1

asyncio.run(main())
"""
    path = tmp_path / "s.db"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    process.kill()
    said = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    last = int(said[-1]) if said else 49

    async def reopen() -> set[str]:
        store = await open_sqlite(path)
        found = {jti for jti, _ in await store.load()}
        await store.close()
        return found

    assert asyncio.run(reopen()) >= {f"jti{n}" for n in range(last + 1)}


async def test_a_key_is_used_once_also_in_one_batch_and_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await open_sqlite(path, clock=frozen_clock)
    first = await asyncio.gather(*(store.first_use("key", 5_000) for _ in range(50)))
    assert first.count(True) == 1
    assert await store.first_use("another", 5_000)
    await store.close()
    store = await open_sqlite(path, clock=frozen_clock)
    assert not await store.first_use("key", 5_000)
    assert await store.first_use("\ud800" * 10_000, 5_000)
    await store.close()


async def test_used_keys_leave_when_they_have_expired(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await open_sqlite(path, clock=lambda: 0.0)
    assert await store.first_use("old", 10)
    assert await store.first_use("young", 5_000)
    await store.close()
    store = await open_sqlite(path, clock=frozen_clock)
    assert await store.first_use("new", 5_000)
    assert (await store._ask(lambda c: c.execute("SELECT count(*) FROM used").fetchone()))[0] == 2
    await store.close()


async def test_what_a_client_lost_is_kept_at_its_latest(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await open_sqlite(path, clock=frozen_clock)
    for issued_until in (10, 30, 20):
        await store.revoke_client("one", issued_until)
    await store.revoke_client("two", 5)
    await store.close()
    store = await open_sqlite(path, clock=lambda: 2.0**40)
    assert sorted(await store.load_clients()) == [("one", 30), ("two", 5)]
    await store.close()


async def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    rows = sqlite3.connect(path)
    rows.execute("CREATE TABLE revocations (jti TEXT PRIMARY KEY, expires_at INTEGER) WITHOUT ROWID")
    rows.execute("INSERT INTO revocations VALUES ('a', 5000)")
    rows.execute("PRAGMA user_version = 1")
    rows.commit()
    rows.close()
    store = await open_sqlite(path, clock=frozen_clock)
    assert await store.load() == [("a", 5_000)]
    assert await store.first_use("key", 5_000)
    await store.close()


USING = """\
import asyncio, sys
from pathlib import Path
from gateway.state.sqlite import open_sqlite

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    number = 0
    while True:
        assert await store.first_use(f"key {number}", 2**33)
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


def use_keys_until_killed(path: Path) -> int:
    """Return the number of the last key that a process said was used, before it was killed."""
    with subprocess.Popen([sys.executable, "-c", USING, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(50):
            said = int(process.stdout.readline())
        process.kill()
    return said


async def test_a_used_key_is_used_for_a_process_that_comes_after_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    said = await asyncio.to_thread(use_keys_until_killed, path)
    store = await open_sqlite(path)
    assert not any([await store.first_use(f"key {number}", 2**33) for number in range(said + 1)])
    assert await store.first_use("key none", 2**33)
    await store.close()
