"""Share state through a real Redis server: at once, once, and through its failures."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import redis

from gateway.settings.model import RedisSettings
from gateway.settings.state_keys import parse_state
from gateway.state import redis as module
from gateway.state.interface import StateUnavailableError
from gateway.state.redis import LEASE_S, Lease, RedisStore, open_redis
from gateway.tokens.revocations import Revocations
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

FAR = 2**33
ISSUER = "http://127.0.0.1:8080"

Open = Callable[..., Awaitable[tuple[RedisStore, Revocations]]]


def settings_of(server: RedisServer, **changes: object) -> RedisSettings:
    return RedisSettings("127.0.0.1", server.port, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def join() -> AsyncIterator[Open]:
    """Return a function that joins a server as one process does."""
    stores = []

    async def join_server(
        server: RedisServer, *, strict: bool = False, issuer: str = ISSUER
    ) -> tuple[RedisStore, Revocations]:
        store = await open_redis(settings_of(server), issuer=issuer, strict=strict)
        stores.append(store)
        revocations = Revocations()
        await store.follow(revocations)
        return store, revocations

    yield join_server
    for store in stores:
        await store.close()


@pytest.mark.parametrize("strict", [False, True])
async def test_a_revocation_arrives_where_its_token_comes_from(
    server: RedisServer, join: Open, strict: bool
) -> None:
    one, of_one = await join(server, strict=strict)
    former, of_former = await join(server, strict=strict, issuer="http://former.example")
    await one.revoke_under("http://former.example", "jti", FAR)
    if strict:
        assert of_former.is_revoked("jti")
    await until(lambda: of_former.is_revoked("jti"))
    await one.revoke_under(ISSUER, "own", FAR)  # `revoke` is for that
    assert await former.load() == [("jti", FAR)]
    assert await one.load() == []
    assert len(of_one) == 0


async def test_a_revocation_arrives_everywhere(server: RedisServer, join: Open) -> None:
    one, of_one = await join(server)
    _, of_two = await join(server)
    begun = time.monotonic()
    await one.revoke("jti", FAR)
    await one.revoke_client("reader", 100)
    await until(lambda: of_two.is_revoked("jti") and of_two.client_revoked_until("reader") == 100)
    assert time.monotonic() - begun < 1
    await until(lambda: of_one.is_revoked("jti"))
    _, of_three = await join(server)
    assert of_three.is_revoked("jti")
    assert of_three.client_revoked_until("reader") == 100


@pytest.mark.parametrize("strict", [False, True])
async def test_a_store_is_in_order_as_soon_as_it_follows(
    server: RedisServer, join: Open, strict: bool
) -> None:
    store, _ = await join(server, strict=strict)
    await store.check()


async def test_issuers_of_one_server_do_not_meet(server: RedisServer, join: Open) -> None:
    one, _ = await join(server)
    other, of_other = await join(server, issuer="https://other.example")
    await one.revoke("jti", FAR)
    assert await one.first_use("key", FAR)
    assert await other.first_use("key", FAR)
    assert await other.load() == []
    assert not of_other.is_revoked("jti")


async def test_what_a_client_lost_only_grows(server: RedisServer, join: Open) -> None:
    store, _ = await join(server)
    for issued_until in (10, 30, 20):
        await store.revoke_client("reader", issued_until)
    assert await store.load_clients() == [("reader", 30)]


async def test_many_revocations_are_loaded_and_expired_ones_are_not(server: RedisServer, join: Open) -> None:
    store, _ = await join(server)
    for start in range(0, 2400, 24):  # more than a page of a scan
        await asyncio.gather(*(store.revoke(f"jti {start + number}", FAR) for number in range(24)))
    await store.revoke("old", 5)
    assert len(await store.load()) == 2400
    _, of_two = await join(server)
    assert len(of_two) == 2400


async def test_a_key_is_used_once_by_all(server: RedisServer, join: Open) -> None:
    one, _ = await join(server)
    two, _ = await join(server)
    first = await asyncio.gather(*(store.first_use("key", FAR) for store in (one, two) * 50))
    assert first.count(True) == 1
    assert await two.first_use("\ud800" * 10_000, FAR)
    with redis.Redis(port=server.port) as raw:
        names = raw.keys("*used:*")
        assert len(names) == 2
        assert all(len(name) < 100 for name in names)
        assert all(raw.pttl(name) > 0 for name in names)


async def test_events_are_counted_together(server: RedisServer, join: Open) -> None:
    one, _ = await join(server)
    two, _ = await join(server)
    counted = [await store.count("peer", 60) for store in (one, two, one)]
    assert [total for total, _ in counted] == [1, 2, 3]
    assert all(59 < left <= 60 for _, left in counted)
    assert await one.count("another", 0.001) == (1, pytest.approx(0, abs=0.01))


async def test_a_server_that_is_away_is_said_and_comes_back(server: RedisServer, join: Open) -> None:
    store, revocations = await join(server)
    await store.revoke("known", FAR)
    await until(lambda: revocations.is_revoked("known"))
    server.stop()
    for call in (
        store.revoke("a", FAR),
        store.revoke_client("a", 1),
        store.first_use("a", FAR),
        store.count("a", 60),
        store.check(),
    ):
        with pytest.raises(StateUnavailableError, match=r"redis at 127\.0\.0\.1:"):
            await call
    assert revocations.is_revoked("known")
    assert revocations.are_complete
    server.start()

    async def answers() -> bool:
        try:
            await store.check()
        except StateUnavailableError:
            return False
        return True

    await until_true(answers)
    assert await store.first_use("a", FAR)
    # The server began empty: what this process knew was written back.
    await until_true(lambda: is_loaded(store, "known"))
    _, of_new = await join(server)
    assert of_new.is_revoked("known")


async def until_true(question: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await question():  # noqa: ASYNC110 - what is asked lies in another process
            await asyncio.sleep(0.01)


async def is_loaded(store: RedisStore, jti: str) -> bool:
    return jti in dict(await store.load())


async def test_nothing_is_lost_by_those_who_were_cut_off(server: RedisServer, join: Open) -> None:
    one, _ = await join(server)
    _, of_two = await join(server)
    with redis.Redis(port=server.port) as raw:
        for number in range(20):
            raw.client_kill_filter(_type="normal")
            await until_true(lambda number=number: recorded(one, f"jti {number}"))  # type: ignore[misc]
    await until(lambda: len(of_two) == 20)


async def recorded(store: RedisStore, jti: str) -> bool:
    try:
        await store.revoke(jti, FAR)
    except StateUnavailableError:
        return False
    return True


# --- what a server may do to what it holds


async def test_who_was_so_far_behind_that_changes_were_deleted_reads_everything_anew(
    server: RedisServer, join: Open
) -> None:
    one, _ = await join(server)
    _, of_two = await join(server)
    key = one._key("")
    with redis.Redis(port=server.port) as raw:
        for number in range(3):
            # As if the follower came so late: the change is gone before it could be read.
            pipe = raw.pipeline(transaction=True)
            pipe.zadd(f"{key}revoked", {f"missed {number}": FAR})
            pipe.xadd(f"{key}changes", {"revoked": f"missed {number}", "n": FAR})
            pipe.xtrim(f"{key}changes", maxlen=0, approximate=False)
            pipe.execute()
            await until(lambda number=number: of_two.is_revoked(f"missed {number}"))  # type: ignore[misc]
    await one.revoke("followed", FAR)
    await until(lambda: of_two.is_revoked("followed"))


def of_stream(last: bytes, first: bytes | None, *, added: int = 3) -> object:
    entry = None if first is None else (first, {})
    return {"last-generated-id": last, "first-entry": entry, "length": 3, "entries-added": added}


@pytest.mark.parametrize(
    ("read_to", "stream", "is_gap"),
    [
        (b"0-0", None, False),
        (b"5-0", None, True),
        (b"0-0", of_stream(b"0-0", None), False),
        (b"9-0", of_stream(b"9-0", None), False),
        (b"8-9", of_stream(b"9-0", None), True),
        (b"5-0", of_stream(b"9-0", b"1-0"), False),
        (b"5-0", of_stream(b"9-0", b"5-0"), False),
        (b"5-0", of_stream(b"9-0", b"5-1"), True),
        (b"5-0", of_stream(b"4-0", b"1-0"), True),
        (b"0-0", of_stream(b"9-0", b"1-0", added=3), False),
        (b"0-0", of_stream(b"9-0", b"1-0", added=4), True),
    ],
)
def test_what_is_a_gap(read_to: bytes, stream: object, is_gap: bool) -> None:
    assert module._has_gap(read_to, stream) is is_gap


async def test_a_server_that_keeps_what_it_is_given_raises_no_doubt(server: RedisServer, join: Open) -> None:
    store, _ = await join(server)
    assert store.doubts == ()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_evict_is_doubted_and_asked_again(
    tmp_path: Path, join: Open, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--maxmemory", "100mb", "--maxmemory-policy", policy]
    server = RedisServer(tmp_path, options=options).start()
    store, _ = await join(server)
    (doubt,) = store.doubts
    assert f"maxmemory-policy is {policy}" in doubt
    assert "noeviction" in doubt
    assert [record.levelname for record in caplog.records if doubt in record.getMessage()] == ["WARNING"]
    server.stop()
    server.options = []
    server.start()
    await until(lambda: store.doubts == ())
    await store.close()
    server.stop()


@pytest.mark.parametrize(
    ("refused", "policy", "doubted"),
    [
        (["CONFIG"], "noeviction", None),
        (["CONFIG"], "allkeys-lfu", "allkeys-lfu"),
        (["CONFIG", "INFO"], "noeviction", "unknown"),
    ],
)
async def test_a_server_that_refuses_to_say_is_unknown(
    tmp_path: Path, join: Open, refused: list[str], policy: str, doubted: str | None
) -> None:
    options = ["--maxmemory-policy", policy]
    for command in refused:
        options += ["--rename-command", command, ""]
    server = RedisServer(tmp_path, options=options).start()
    try:
        store, _ = await join(server)
        assert [doubted in doubt for doubt in store.doubts if doubted] == [True] * (doubted is not None)
        assert len(store.doubts) == (doubted is not None)
        await store.close()
    finally:
        server.stop()


# --- strict


async def test_who_revokes_waits_until_all_know(server: RedisServer, join: Open) -> None:
    one, _ = await join(server, strict=True)
    joined = [await join(server, strict=True) for _ in range(4)]
    for number in range(50):
        await one.revoke(f"jti {number}", FAR)
        assert all(of_other.is_revoked(f"jti {number}") for _, of_other in joined)
        await one.revoke_client("reader", number)
        assert all(of_other.client_revoked_until("reader") == number for _, of_other in joined)
    assert all(of_other.are_complete for _, of_other in joined)


async def test_who_joins_meanwhile_knows_it_too(server: RedisServer, join: Open) -> None:
    one, _ = await join(server, strict=True)
    for number in range(20):
        _, (_, of_new) = await asyncio.gather(one.revoke(f"jti {number}", FAR), join(server, strict=True))
        assert of_new.is_revoked(f"jti {number}")


async def test_who_is_gone_without_a_word_is_waited_for_until_his_lease_ends(
    server: RedisServer, join: Open
) -> None:
    one, _ = await join(server, strict=True)
    gone, of_gone = await join(server, strict=True)
    assert gone._following is not None
    gone._following.cancel()
    begun = time.monotonic()
    await one.revoke("jti", FAR)
    assert time.monotonic() - begun > 0.5
    assert not of_gone.is_revoked("jti")
    assert not of_gone.are_complete, "a process that missed a revocation would accept its token"


async def test_who_leaves_in_order_is_not_waited_for(server: RedisServer, join: Open) -> None:
    one, _ = await join(server, strict=True)
    leaving, of_leaving = await join(server, strict=True)
    await leaving.close()
    begun = time.monotonic()
    await one.revoke("jti", FAR)
    assert time.monotonic() - begun < LEASE_S / 2
    assert not of_leaving.are_complete


async def test_without_the_server_the_lease_ends_and_comes_back(server: RedisServer, join: Open) -> None:
    _, revocations = await join(server, strict=True)
    assert revocations.are_complete
    server.stop()
    await until(lambda: not revocations.are_complete)
    server.start()
    await until(lambda: revocations.are_complete)


async def test_a_server_that_lost_everything_is_told_again_and_trusted_late(
    server: RedisServer, join: Open
) -> None:
    one, of_one = await join(server, strict=True)
    _, of_two = await join(server, strict=True)
    await one.revoke("known", FAR)
    with redis.Redis(port=server.port) as raw:
        raw.flushall()
        await one.revoke("after", FAR)
        assert of_two.is_revoked("after") or not of_two.are_complete
        await until(lambda: of_one.are_complete and of_two.are_complete and of_two.is_revoked("after"))
        await until(lambda: raw.zcard(next(iter(raw.keys("*revoked")))) == 2)


def test_a_lease_holds_until_its_end() -> None:
    now = [10.0]
    lease = Lease(clock=lambda: now[0])
    assert not lease.holds()
    lease.until = 12.0
    assert lease.holds()
    now[0] = 12.0
    assert not lease.holds()


# --- reaching the server


async def test_password_and_database(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, options=["--requirepass", "p@ss:word"]).start()
    try:
        known = parse_state(f"redis://:p%40ss%3Aword@127.0.0.1:{server.port}/3")
        assert isinstance(known, RedisSettings)
        store = await open_redis(known, issuer=ISSUER, strict=False)
        assert await store.first_use("key", FAR)
        await store.close()
        with redis.Redis(port=server.port, db=3, password="p@ss:word") as raw:
            assert raw.dbsize() == 1
        for wrong in (settings_of(server), settings_of(server, password="wrong")):
            with pytest.raises(StateUnavailableError) as caught:
                await open_redis(wrong, issuer=ISSUER, strict=False)
            assert "p@ss" not in str(caught.value)
    finally:
        server.stop()


async def test_tls_with_a_certificate_that_is_checked(tmp_path: Path) -> None:
    authority = Authority.make("An authority")
    authority_file = tmp_path / "authority.pem"
    authority_file.write_bytes(authority.pem)
    certificate, key = authority.server("localhost").write(tmp_path, "server")
    other_file = tmp_path / "other.pem"
    other_file.write_bytes(Authority.make("Another authority").pem)
    port = free_port()
    server = RedisServer(
        tmp_path,
        options=(
            f"--tls-port {port} --tls-cert-file {certificate} --tls-key-file {key} "
            f"--tls-ca-cert-file {authority_file} --tls-auth-clients no"
        ).split(),
    ).start()
    try:
        secure = RedisSettings("localhost", port, tls=True, ca_file=authority_file)
        store = await open_redis(secure, issuer=ISSUER, strict=False)
        assert await store.first_use("key", FAR)
        await store.close()
        for wrong in (
            RedisSettings("localhost", port, tls=True),
            RedisSettings("localhost", port, tls=True, ca_file=other_file),
            RedisSettings("ip6-localhost", port, tls=True, ca_file=authority_file),
        ):
            with pytest.raises(StateUnavailableError):
                await open_redis(wrong, issuer=ISSUER, strict=False)
    finally:
        server.stop()


async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        port = silent.getsockname()[1]
        with pytest.raises(StateUnavailableError, match="redis at"):
            await open_redis(RedisSettings("127.0.0.1", port), issuer=ISSUER, strict=False)


USING = """\
import asyncio, sys
from gateway.settings.model import RedisSettings
from gateway.state.redis import open_redis

async def main():
    store = await open_redis(
        RedisSettings("127.0.0.1", int(sys.argv[1])), issuer="http://127.0.0.1:8080", strict=False
    )
    print([await store.first_use(key, 2**33) for key in ("one", "two")])
    await store.close()

asyncio.run(main())
"""


async def test_a_second_process_knows_what_was_used(server: RedisServer, join: Open) -> None:
    store, _ = await join(server)
    assert await store.first_use("one", FAR)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USING, str(server.port), stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said == b"[False, True]\n"
    assert not await store.first_use("two", FAR)
