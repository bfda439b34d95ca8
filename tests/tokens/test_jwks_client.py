"""Fetch key sets from a real server that rotates, dies, dawdles and lies."""

import asyncio
import gzip
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web

from gateway.settings.model import BearerTokenSettings, RemoteKeySource
from gateway.tokens import jwks_client
from gateway.tokens.jwks_client import KeysUnavailableError, RemoteKeySets
from gateway.tokens.key_sets import KeySet
from gateway.tokens.origins import origin_of
from tests.support.certificates import Authority
from tests.support.jws import make_key
from tests.support.key_server import KeyServer, serving
from tests.support.waiting import until

OLD = make_key("ES256", "old")
NEW = make_key("ES256", "new")


@dataclass
class Client:
    """The product's client with a clock that a test turns."""

    now: float = 1000.0
    fetches: list[tuple[str, str]] = field(default_factory=list)
    sets: RemoteKeySets = field(init=False)

    def __post_init__(self) -> None:
        self.sets = RemoteKeySets(self, lambda: self.now)

    def jwks_fetch(self, issuer: str, result: str) -> None:
        self.fetches.append((issuer, result))

    @property
    def results(self) -> list[str]:
        return [result for _, result in self.fetches]

    async def find(self, source: RemoteKeySource, kid: str | None = "old", *, may_fetch: bool = True) -> bool:
        """Return whether the key is found; raises when that cannot be told."""
        keys = await self.sets.find(source, kid, "ES256", may_fetch=may_fetch)
        assert isinstance(keys, KeySet)
        return isinstance(keys.find(kid, "ES256"), tuple)


def configure(sets: RemoteKeySets, sources: Iterable[RemoteKeySource]) -> None:
    """Keep exactly these sources from now on."""
    sets.take(sources)
    sets.settle()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client()
    yield made
    await made.sets.close()


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with serving(OLD) as made:
        yield made


def at(server: KeyServer, **changes: object) -> RemoteKeySource:
    return replace(RemoteKeySource("https://platform.example", server.uri), **changes)  # type: ignore[arg-type]


def ours(file: Path, *servers: KeyServer) -> BearerTokenSettings:
    return BearerTokenSettings("ours", file, tuple(origin_of(server.url) for server in servers))


async def test_keys_are_fetched_once_and_kept(client: Client, server: KeyServer) -> None:
    assert [await client.find(at(server)) for _ in range(3)] == [True] * 3
    assert await client.find(at(server), None)
    assert server.paths == ["/jwks"]
    assert client.fetches == [("https://platform.example", "ok")]


async def test_callers_share_one_fetch(client: Client, server: KeyServer) -> None:
    server.hold = asyncio.Event()
    callers = [asyncio.create_task(client.find(at(server), kid)) for kid in ("old", "x", None) * 20]
    await until(lambda: server.asked)
    server.hold.set()
    assert set(await asyncio.gather(*callers)) == {True, False}
    assert len(server.asked) == 1


async def test_a_caller_that_goes_away_leaves_the_fetch_to_the_others(
    client: Client, server: KeyServer
) -> None:
    server.hold = asyncio.Event()
    first = asyncio.create_task(client.find(at(server)))
    await until(lambda: server.asked)
    second = asyncio.create_task(client.find(at(server)))
    first.cancel()
    server.hold.set()
    assert await second
    assert len(server.asked) == 1


async def test_the_first_token_of_a_new_key_succeeds(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    server.keys = [NEW]
    assert await client.find(at(server), "new")
    assert not await client.find(at(server), "old", may_fetch=False)  # no longer published, no longer valid
    assert len(server.asked) == 2


async def test_invented_names_cost_no_more_fetches_than_the_bucket_holds(
    client: Client, server: KeyServer
) -> None:
    assert await client.find(at(server))
    for number in range(10_000):
        assert not await client.find(at(server), f"invented-{number}")
    assert await client.find(at(server))
    assert len(server.asked) == 1 + 3
    client.now += 10.0
    for number in range(100):
        assert not await client.find(at(server), f"again-{number}")
    assert len(server.asked) == 1 + 3 + 1
    client.now += 3600.0
    for number in range(100):
        assert not await client.find(at(server), f"later-{number}")
    assert len(server.asked) == 1 + 3 + 1 + 3


async def test_one_stale_name_does_not_use_up_the_bucket(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    for _ in range(100):
        assert not await client.find(at(server), "stale")
    assert len(server.asked) == 2
    server.keys = [OLD, NEW]
    assert await client.find(at(server), "new")


async def test_several_stale_names_do_not_use_up_the_bucket_by_turns(
    client: Client, server: KeyServer
) -> None:
    assert await client.find(at(server))
    for _ in range(50):
        for name in ("stale-1", "stale-2"):
            assert not await client.find(at(server), name)
    assert len(server.asked) == 1 + 2


async def test_a_name_is_looked_for_again_after_a_while_however_often_it_was_asked(
    client: Client, server: KeyServer
) -> None:
    assert await client.find(at(server))
    assert not await client.find(at(server), "new")
    server.keys = [OLD, NEW]
    for _ in range(9):
        client.now += 1.0
        assert not await client.find(at(server), "new")
    client.now += 1.0
    assert await client.find(at(server), "new")


async def test_who_may_not_fetch_does_not_spoil_a_name_for_its_owner(
    client: Client, server: KeyServer
) -> None:
    assert await client.find(at(server))
    server.keys = [OLD, NEW]
    assert not await client.find(at(server), "new", may_fetch=False)
    assert await client.find(at(server), "new")


async def test_a_flood_delays_a_rotated_key_until_the_bucket_has_a_drop_and_no_longer(
    client: Client, server: KeyServer
) -> None:
    assert await client.find(at(server))
    for number in range(100):
        assert not await client.find(at(server), f"invented-{number}")
    server.keys = [NEW]
    assert not await client.find(at(server), "new")  # the bucket is empty, so nobody looked
    client.now += jwks_client.REFILL_S
    assert await client.find(at(server), "new")


async def test_misses_are_remembered_within_bounds(
    client: Client, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await client.find(at(server))
    monkeypatch.setattr(jwks_client, "MISSES_KEPT", 16)
    for number in range(40):
        assert not await client.find(at(server), f"{number:0>500}")
        client.now += jwks_client.REFILL_S
    (known,) = client.sets._sets.values()
    assert len(known._misses) <= jwks_client.MISSES_KEPT


async def test_a_name_that_no_key_can_have_causes_no_fetch(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    assert not await client.find(at(server), "k" * 513)
    assert len(server.asked) == 1


async def test_a_peer_that_may_not_fetch_does_not(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    server.keys = [NEW]
    assert not await client.find(at(server), "new", may_fetch=False)
    assert len(server.asked) == 1


async def test_stale_keys_stay_in_use_while_the_source_is_down(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    server.status = 500
    client.now += 86400.0
    assert await client.find(at(server))
    with pytest.raises(KeysUnavailableError):  # it may well exist: that is no unknown key
        await client.find(at(server), "new")
    assert await client.find(at(server))
    assert client.results == ["ok", "bad_status"]
    assert list(client.sets.ages()) == [("https://platform.example", 86400.0)]
    server.status, server.keys = 200, [NEW]
    assert await client.find(at(server), "new")
    assert list(client.sets.ages()) == [("https://platform.example", 0.0)]


async def test_keys_that_are_too_old_are_none(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    server.status = 500
    client.now += jwks_client.MAX_STALE_S - 1
    assert await client.find(at(server))
    client.now += 1.0
    for _ in range(10):
        with pytest.raises(KeysUnavailableError):
            await client.find(at(server))
    assert len(server.asked) == 1 + 1 + 3  # the first failure is not from the bucket
    assert list(client.sets.ages()) == [("https://platform.example", jwks_client.MAX_STALE_S)]
    server.status = 200
    client.now += 10.0
    assert await client.find(at(server))


async def test_a_source_that_was_never_reached_is_not_asked_by_every_caller(
    client: Client, server: KeyServer
) -> None:
    server.status = 404
    for _ in range(100):
        with pytest.raises(KeysUnavailableError):
            await client.find(at(server))
    assert len(server.asked) == 1 + 3
    server.status = 200
    client.now += 10.0
    assert await client.find(at(server))


async def test_nonsense_leaves_the_former_keys_in_use(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    for body in (b"<html>", b'{"keys": []}', server.document()[:-1], b"\x00" * 100):
        server.body = body
        client.now += 10.0
        with pytest.raises(KeysUnavailableError):
            await client.find(at(server), "new")
    assert await client.find(at(server))
    assert client.results == ["ok", *["invalid"] * 4]


# --- what an answer may be


def _redirect(*targets: str) -> Callable[[KeyServer], Callable[[web.Request], web.Response | None]]:
    def prepare(server: KeyServer) -> Callable[[web.Request], web.Response | None]:
        def answer(request: web.Request) -> web.Response | None:
            if len(server.asked) > len(targets):
                return None
            location = targets[len(server.asked) - 1].replace("SELF", server.url)
            return web.Response(status=302, headers={"Location": location})

        return answer

    return prepare


def _answer(**given: object) -> Callable[[KeyServer], Callable[[web.Request], web.Response]]:
    return lambda server: lambda request: web.Response(**given)  # type: ignore[arg-type]


LIES = {
    "another origin": (_redirect("http://127.0.0.1:1/jwks"), "bad_redirect"),
    "another host": (_redirect("http://localhost/jwks"), "bad_redirect"),
    "off loopback": (_redirect("http://keys.example/jwks"), "bad_address"),
    "a file": (_redirect("file:///etc/passwd"), "bad_address"),
    "too often": (_redirect("/1", "/2", "/3", "/4"), "bad_redirect"),
    "too large": (_answer(body=b" " * 600_000), "too_large"),
    "compressed": (_answer(body=gzip.compress(b"x"), headers={"Content-Encoding": "gzip"}), "invalid"),
    "a bomb": (_answer(body=gzip.compress(bytes(10**8)), headers={"Content-Encoding": "gzip"}), "invalid"),
    "no content": (_answer(status=204), "bad_status"),
    "partial": (_answer(status=206, body=b"{}"), "bad_status"),
}


async def test_a_mistake_of_ours_is_no_fault_of_the_source(
    client: Client, server: KeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(body: bytes) -> KeySet:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(jwks_client, "read_key_set", broken)
    with pytest.raises(KeysUnavailableError):
        await client.find(at(server))
    assert client.results == ["internal"]
    assert "ZeroDivisionError: inside" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(("prepare", "result"), LIES.values(), ids=LIES)
async def test_lies_are_not_followed(
    client: Client,
    server: KeyServer,
    prepare: Callable[[KeyServer], Callable[[web.Request], web.Response]],
    result: str,
) -> None:
    server.answer = prepare(server)
    with pytest.raises(KeysUnavailableError):
        await client.find(at(server))
    assert client.results == [result]


async def test_redirects_within_the_origin_are_followed(client: Client, server: KeyServer) -> None:
    server.answer = _redirect("/1", "SELF/2", "/3")(server)
    assert await client.find(at(server))
    assert server.paths == ["/jwks", "/1", "/2", "/3"]


async def test_a_source_that_does_not_listen_is_unreachable(client: Client) -> None:
    with pytest.raises(KeysUnavailableError):
        await client.find(RemoteKeySource("a", "http://127.0.0.1:9/jwks"))
    assert client.results == ["unreachable"]


async def test_plain_http_is_for_loopback_only(client: Client) -> None:
    for uri in (
        "http://192.0.2.1/jwks",
        "ftp://localhost/jwks",
        "http://user:p@127.0.0.1/jwks",
        "https:///jwks",
    ):
        with pytest.raises(KeysUnavailableError):
            await client.find(RemoteKeySource("a", uri))
    assert client.results == ["bad_address"] * 4


async def test_a_source_that_dawdles_is_given_up(
    client: Client, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_client, "FETCH_TIMEOUT_S", 0.05)
    server.hold = asyncio.Event()
    with pytest.raises(KeysUnavailableError):
        await client.find(at(server))
    assert client.results == ["unreachable"]


# --- refreshing


async def test_keys_are_refreshed_in_the_background(client: Client, server: KeyServer) -> None:
    server.headers = {"Cache-Control": "max-age=600"}
    configure(client.sets, [at(server)])
    task = asyncio.create_task(client.sets.refresh())
    await until(lambda: client.results == ["ok"])  # warm before anybody asks
    server.keys = [NEW]
    client.now += 599.0
    configure(client.sets, [at(server)])  # only wakes the task up
    await asyncio.sleep(0)
    client.now += 1.0
    configure(client.sets, [at(server)])
    await until(lambda: client.results == ["ok", "ok"])
    assert await client.find(at(server), "new", may_fetch=False)
    task.cancel()


async def test_a_failed_refresh_is_tried_again_ever_more_slowly(client: Client, server: KeyServer) -> None:
    server.status = 500
    configure(client.sets, [at(server)])
    task = asyncio.create_task(client.sets.refresh())
    for number, pause in enumerate((5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0), 1):
        await until(lambda: len(client.fetches) == number)  # noqa: B023
        client.now += pause
        configure(client.sets, [at(server)])
    task.cancel()


async def test_callers_do_not_fail_with_a_source_that_a_reload_drops(
    client: Client, server: KeyServer
) -> None:
    server.hold = asyncio.Event()
    caller = asyncio.create_task(client.find(at(server)))
    await until(lambda: server.asked)
    configure(client.sets, [])
    with pytest.raises(KeysUnavailableError):
        await caller


async def test_a_reload_keeps_what_is_known_and_drops_what_is_gone(client: Client, server: KeyServer) -> None:
    assert await client.find(at(server))
    configure(client.sets, [at(server), RemoteKeySource("b", server.url + "/b")])
    assert await client.find(at(server))
    assert len(server.asked) == 1
    configure(client.sets, [])
    assert list(client.sets.ages()) == []


# --- discovery, authorities, our own token


async def test_keys_are_discovered_from_the_issuer(client: Client, server: KeyServer) -> None:
    server.answer = lambda request: server.metadata() if "well-known" in request.path else None
    assert await client.find(RemoteKeySource(server.url, None))
    assert server.paths == ["/.well-known/openid-configuration", "/jwks"]


async def test_rfc_8414_metadata_will_do(client: Client, server: KeyServer) -> None:
    issuer = server.url + "/tenant"

    def answer(request: web.Request) -> web.Response | None:
        if request.path == "/.well-known/oauth-authorization-server/tenant":
            return server.metadata(issuer=issuer)
        return web.Response(status=404) if "well-known" in request.path else None

    server.answer = answer
    assert await client.find(RemoteKeySource(issuer, None))


@pytest.mark.parametrize(
    ("members", "result"),
    [
        ({"issuer": "https://other.example"}, "invalid"),
        ({"issuer": None}, "invalid"),
        ({"jwks_uri": None}, "invalid"),
        ({"jwks_uri": "http://keys.example/jwks"}, "bad_address"),
        ({"jwks_uri": "file:///etc/passwd"}, "bad_address"),
        ({"jwks_uri": "https://["}, "bad_address"),
    ],
)
async def test_metadata_of_somebody_else_is_refused(
    client: Client, server: KeyServer, members: dict[str, object], result: str
) -> None:
    server.answer = lambda request: server.metadata(**members) if "well-known" in request.path else None
    with pytest.raises(KeysUnavailableError):
        await client.find(RemoteKeySource(server.url, None))
    assert client.results == [result]


@pytest.mark.parametrize(("secure", "result"), [(True, "ok"), (False, "bad_address")])
async def test_an_issuer_elsewhere_does_not_lead_to_a_service_of_this_machine(
    client: Client, server: KeyServer, tmp_path: Path, secure: bool, result: str
) -> None:
    authority = Authority.make("ours")
    (tmp_path / "ca").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server("localhost").write(tmp_path, "server"))
    async with serving(OLD, tls=context) as issuer:
        keys = issuer if secure else server
        issuer.answer = lambda request: (
            issuer.metadata(jwks_uri=keys.uri) if "well-known" in request.path else None
        )
        source = RemoteKeySource(issuer.url, None, ca_file=tmp_path / "ca")
        if secure:
            assert await client.find(source)
        else:
            with pytest.raises(KeysUnavailableError):
                await client.find(source)
    assert (client.results, server.asked) == ([result], [])


async def test_our_token_is_read_again_and_goes_to_the_listed_origins_only(
    client: Client, server: KeyServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    async with serving(NEW) as elsewhere:
        server.answer = lambda request: (
            server.metadata(jwks_uri=elsewhere.uri) if "well-known" in request.path else None
        )
        assert await client.find(RemoteKeySource(server.url, None, bearer_token=ours(token, server)), "new")
        assert [request.headers.get("Authorization") for request in server.asked] == ["Bearer first"]
        assert [request.headers.get("Authorization") for request in elsewhere.asked] == [None]
    server.answer = None
    source = at(server, bearer_token=ours(token, server))
    token.write_text("second")
    assert await client.find(source)
    assert server.asked[-1].headers["Authorization"] == "Bearer second"


@pytest.mark.parametrize("content", [None, "", "two words", "line\nbreak", "\x00"])
async def test_without_our_token_nothing_is_fetched(
    client: Client, server: KeyServer, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(KeysUnavailableError):
        await client.find(at(server, bearer_token=ours(tmp_path / "token", server)))
    assert (client.results, server.asked) == (["no_credentials"], [])


@pytest.mark.parametrize(
    ("trusted", "name", "result"),
    [("ours", "localhost", "ok"), ("theirs", "localhost", "unreachable"), ("ours", "other", "unreachable"),
     (None, "localhost", "unreachable"), ("absent", "localhost", "no_credentials")],
)  # fmt: skip
async def test_certificates_are_verified(
    client: Client, tmp_path: Path, trusted: str | None, name: str, result: str
) -> None:
    ours, theirs = Authority.make("ours"), Authority.make("theirs")
    (tmp_path / "ours").write_bytes(ours.pem)
    (tmp_path / "theirs").write_bytes(theirs.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.server(name).write(tmp_path, "server"))
    async with serving(OLD, tls=context) as server:
        source = at(server, ca_file=tmp_path / trusted if trusted else None)
        if result == "ok":
            assert await client.find(source)
        else:
            with pytest.raises(KeysUnavailableError):
                await client.find(source)
    assert client.results == [result]


async def test_nothing_about_us_is_told(client: Client, server: KeyServer) -> None:
    server.headers = {"Set-Cookie": "a=b"}
    assert await client.find(at(server))
    server.keys = [NEW]
    assert await client.find(at(server), "new")
    for request in server.asked:
        assert request.headers["User-Agent"] == "sidegate"
        assert request.headers["Accept-Encoding"] == "identity"
        assert "Cookie" not in request.headers


async def test_keys_that_do_not_count_are_named_in_the_log_once(
    client: Client, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gateway.tokens.jwks_client")
    source = RemoteKeySource("p", server.uri)
    twins = [make_key("ES256", "twin"), make_key("ES256", "twin")]
    server.keys = [OLD, *twins]
    for expected in (1, 1):
        assert await client.find(source)
        assert not await client.find(source, "unknown")  # fetches anew
        client.now += jwks_client.MISS_KEPT_S + 1
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == expected
        assert "a key of p is not used: keys[1], keys[2]" in warnings[0]
    server.keys = [*twins, OLD]
    assert not await client.find(source, "unknown")
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 2


async def test_many_sources_are_fetched_some_at_a_time(
    client: Client, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_client, "MOST_FETCHES", 3)
    sources = [at(server, uri=f"{server.uri}?{number}") for number in range(8)]
    server.hold = asyncio.Event()
    configure(client.sets, sources)
    refreshing = asyncio.create_task(client.sets.refresh())
    try:
        await until(lambda: len(server.asked) == jwks_client.MOST_FETCHES)
        assert await asyncio.wait_for(_asked_and_answered(client, server), 10)
        await until(lambda: client.results.count("ok") == len(sources) + 1)
        asked = [request.query_string for request in server.asked]
        assert len(asked) == len(sources) + 1 == len(set(asked))
    finally:
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)


async def _asked_and_answered(client: Client, server: KeyServer) -> bool:
    """Return whether somebody who needs keys now has them, although all others wait; then let all go on."""
    asked = asyncio.create_task(client.find(at(server, uri=f"{server.uri}?now")))
    await until(lambda: len(server.asked) == jwks_client.MOST_FETCHES + 1)
    assert server.hold is not None
    server.hold.set()
    found = await asked
    configure(client.sets, [source for source in client.sets._sets if source.uri != f"{server.uri}?now"])
    return found


async def test_keys_that_are_not_for_us_are_named_in_a_warning_and_the_others_count(
    client: Client, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    odd = [{**NEW.public, "kid": 7}, {**NEW.public, "use": "enc"}, {"kty": "AKP", "kid": "pq"}, "key"]
    body = b"\xef\xbb\xbf" + json.dumps({"keys": [*odd, OLD.public]}).encode()
    headers = {"Content-Type": "text/plain; charset=iso-8859-1"}
    server.answer = lambda request: web.Response(body=body, headers=headers)
    assert await client.find(RemoteKeySource("p", server.uri))
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [text.partition("keys[")[2][0] for text in warnings] == ["0", "1", "2", "3"]
    assert all(text.startswith("a key of p is not used: ") for text in warnings)
