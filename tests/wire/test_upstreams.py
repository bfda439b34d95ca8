"""Show how several targets, their failures and their recovery look to callers, over real sockets."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.proxy.health import CircuitState
from gateway.reload.source import Result
from tests.support import killable
from tests.support.appliance import Appliance, configuration, running, write
from tests.support.caller import assert_own
from tests.support.certificates import Authority
from tests.support.upstream import OK, Accepted, Upstream, answering
from tests.support.waiting import PATIENCE_S, turns_of_the_loop, until

SOAK = "SIDEGATE_SOAK" in os.environ
GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHECK = {"path": "/healthz", "interval": "1s", "timeout": "5s", "unhealthy_after": 1}


def serving(
    directory: Path, *targets: str, **upstream: Any
) -> contextlib.AbstractAsyncContextManager[Appliance]:
    """Serve with these targets and settings of the upstream."""
    return running(
        directory, configuration(upstreams={"country": {"targets": list(targets), **upstream}}), targets={}
    )


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def answering_as(name: bytes) -> Upstream:
    return Upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)))


@contextlib.asynccontextmanager
async def two_targets() -> AsyncIterator[tuple[Upstream, Upstream]]:
    async with answering_as(b"a").serving() as a, answering_as(b"b").serving() as b:
        yield a, b


async def ask_many(appliance: Appliance, count: int, request: bytes = GET) -> Counter[tuple[int, bytes]]:
    """Return how often each status and body came."""
    seen: Counter[tuple[int, bytes]] = Counter()
    async with appliance.connect() as caller:
        for _ in range(count):
            answer = await caller.ask(request)
            seen[answer.status, answer.body if answer.status == 200 else b""] += 1
    return seen


# --- killed, gone, back


async def test_a_target_killed_under_load_fails_no_get_and_comes_back(tmp_path: Path) -> None:
    answers: Counter[tuple[int, bytes]] = Counter()
    loading = True

    async def load(appliance: Appliance) -> None:
        async with appliance.connect() as caller:
            while loading:
                answer = await caller.ask(GET)
                answers[answer.status, answer.body] += 1

    async def more(count: int, name: bytes | None = None) -> None:
        def so_far() -> int:
            return answers.total() if name is None else answers[200, name]

        goal = so_far() + count
        await until(lambda: so_far() >= goal)

    async with contextlib.AsyncExitStack() as stack:
        services = {name: await stack.enter_async_context(killable.serving(name)) for name in "abc"}
        targets = [url(port) for _, port in services.values()]
        async with serving(tmp_path, *targets, outlier={"ejection": "10s"}) as appliance:
            callers = [asyncio.create_task(load(appliance)) for _ in range(16)]
            for name in (b"a", b"b", b"c"):
                await more(30, name)
            process, port = services["b"]
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await more(2000 if SOAK else 300)
            await stack.enter_async_context(killable.serving("b-again", port))
            appliance.let_pass(11)  # less than response_timeout: requests are under way
            await more(30, b"b-again")
            loading = False
            await asyncio.gather(*callers)
    assert {status for status, _ in answers} == {200}


async def test_all_targets_down_is_said_at_once_and_ends_by_itself(tmp_path: Path) -> None:
    async with two_targets() as (a, b):
        ports = a.port, b.port
        async with serving(tmp_path, *map(url, ports)) as appliance:
            assert set(await ask_many(appliance, 4)) == {(200, b"a"), (200, b"b")}
    async with serving(tmp_path, *map(url, ports)) as appliance, appliance.connect() as caller:
        for _ in range(20):
            for request in (GET, POST):
                assert_own(await caller.ask(request), 502, "upstream_connect")
        async with answering_as(b"b").serving(port=ports[1]):
            # One of two was left out for its failures, but the last resort is asked nevertheless.
            answer = await caller.ask(POST)
            assert (answer.status, answer.body) == (200, b"b")
        await turns_of_the_loop()


# --- health checks


async def test_an_unhealthy_target_is_not_asked_until_it_is_well(tmp_path: Path) -> None:
    well = True

    async def script(connection: Accepted) -> None:
        while (request := await connection.request()) is not None:
            if request.target != "/healthz":
                connection.write(OK.replace(b"ok", b"b!"))
            else:
                connection.write(OK if well else OK.replace(b"200 OK", b"404 Not Found"))

    async with Upstream(script).serving() as b, Upstream(answering(OK)).serving() as a:
        async with serving(tmp_path, url(a.port), url(b.port), health_check=CHECK) as appliance:
            pool = appliance.gate.pools["country"]
            assert set(await ask_many(appliance, 4)) == {(200, b"ok"), (200, b"b!")}
            well = False
            appliance.let_pass(2)
            await until(lambda: not dict(pool.targets_in_use())[url(b.port)])
            assert set(await ask_many(appliance, 4)) == {(200, b"ok")}
            well = True
            appliance.let_pass(4)
            await until(lambda: dict(pool.targets_in_use())[url(b.port)])
            assert set(await ask_many(appliance, 4)) == {(200, b"ok"), (200, b"b!")}
        checks = [request for request in b.requests if request.target == "/healthz"]
        assert len(checks) == 2
        assert checks[0].head.startswith(b"GET /healthz HTTP/1.1\r\n")
        assert checks[0].all("Host") == [f"127.0.0.1:{b.port}"]
        assert checks[0].one("Connection") == "close"
        assert checks[0].one("Authorization") is None


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, True),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n", False),
        (b"", False),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_what_a_health_check_takes_for_well(tmp_path: Path, answer: bytes, healthy: bool) -> None:
    async with (
        Upstream(answering(answer, close=True)).serving() as upstream,
        serving(tmp_path, url(upstream.port), health_check={**CHECK, "path": "/h?x=1"}) as appliance,
    ):
        pool = appliance.gate.pools["country"]
        appliance.let_pass(2)
        await upstream.received()
        if healthy:
            await (await upstream.connection()).closed.wait()
        else:
            await until(lambda: not all(in_use for _, in_use in pool.targets_in_use()))
        assert dict(pool.targets_in_use()) == {url(upstream.port): healthy}
        assert upstream.requests[0].target == "/h?x=1"


async def test_a_health_check_that_is_not_answered_in_time_fails(tmp_path: Path) -> None:
    async def silent(connection: Accepted) -> None:
        await connection.request()

    async with Upstream(silent).serving() as upstream:
        check = {**CHECK, "timeout": "20ms"}
        async with serving(tmp_path, url(upstream.port), health_check=check, host="b.example") as appliance:
            appliance.let_pass(2)
            answer = await _until_refused(appliance)
            assert_own(answer, 503, "circuit_open")
            assert answer.one("Retry-After") == "1"
            assert upstream.requests[0].all("Host") == ["b.example"]


async def _until_refused(appliance: Appliance) -> Any:
    pool = appliance.gate.pools["country"]
    await until(lambda: not any(in_use for _, in_use in pool.targets_in_use()))
    return await appliance.ask(GET)


async def test_no_healthy_target_is_said_without_asking_and_ends_by_itself(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with serving(tmp_path, url(port), health_check=CHECK) as appliance:
        appliance.let_pass(2)
        assert_own(await _until_refused(appliance), 503, "circuit_open")
        async with answering_as(b"up").serving(port=port) as upstream:
            assert_own(await appliance.ask(POST), 503, "circuit_open")
            assert upstream.seen == (0, 0)
            appliance.let_pass(4)
            pool = appliance.gate.pools["country"]
            await until(lambda: all(in_use for _, in_use in pool.targets_in_use()))
            assert (await appliance.ask(POST)).body == b"up"


async def test_health_survives_a_reload(tmp_path: Path) -> None:
    async with two_targets() as (a, b):
        b.script = answering(OK.replace(b"200 OK", b"503 Busy"))
        targets = [url(a.port), url(b.port)]
        unwell = {**CHECK, "path": "/open/x"}
        async with serving(tmp_path, *targets, health_check=unwell) as appliance:
            pool = appliance.gate.pools["country"]
            appliance.let_pass(2)
            await until(lambda: not dict(pool.targets_in_use())[url(b.port)])
            settings = {"targets": [*reversed(targets)], "health_check": unwell, "retries": 3}
            write(tmp_path, configuration(upstreams={"country": settings}), targets={})
            assert (await appliance.load()).applied
            assert appliance.gate.snapshot.plans["country"].retries == 3
            assert dict(pool.targets_in_use()) == {url(a.port): True, url(b.port): False}
            assert set(await ask_many(appliance, 6)) == {(200, b"a")}
            write(tmp_path, configuration(upstreams={"country": {"targets": targets}}), targets={})
            assert (await appliance.load()).applied
            assert all(in_use for _, in_use in pool.targets_in_use())  # nobody checks any more


# --- failures that requests find


async def test_a_target_that_answers_503_is_left_out_for_a_while(tmp_path: Path) -> None:
    async with two_targets() as (a, b):
        b.script = answering(OK.replace(b"200 OK", b"503 Busy"))
        async with serving(tmp_path, url(a.port), url(b.port), balance="round_robin") as appliance:
            first = await ask_many(appliance, 10)
            assert first == {(200, b"a"): 5, (503, b""): 5}  # its own answers pass untouched
            assert await ask_many(appliance, 10) == {(200, b"a"): 10}
            appliance.let_pass(31)
            # On trial: one failure is enough, and this time it lasts for twice as long.
            assert await ask_many(appliance, 10) == {(200, b"a"): 9, (503, b""): 1}
            appliance.let_pass(32)
            assert await ask_many(appliance, 4) == {(200, b"a"): 4}
            appliance.let_pass(62)
            b.script = answering(OK)
            assert await ask_many(appliance, 4) == {(200, b"a"): 2, (200, b"ok"): 2}


@pytest.mark.parametrize("statuses", [b"500 Oops", b"404 Not Found", b"429 Too Many"])
async def test_other_answers_leave_nobody_out(tmp_path: Path, statuses: bytes) -> None:
    async with two_targets() as (a, b):
        b.script = answering(OK.replace(b"200 OK", statuses))
        async with serving(tmp_path, url(a.port), url(b.port), balance="round_robin") as appliance:
            assert (await ask_many(appliance, 40))[200, b"a"] == 20


async def test_the_last_target_is_never_left_out(tmp_path: Path) -> None:
    async with Upstream(answering(OK.replace(b"200 OK", b"503 Busy"))).serving() as upstream:
        async with serving(tmp_path, url(upstream.port)) as appliance:
            assert await ask_many(appliance, 30) == {(503, b""): 30}
        assert len(upstream.requests) == 30


@pytest.mark.parametrize("reset", [False, True])
async def test_a_get_that_is_broken_off_goes_to_another_target(tmp_path: Path, reset: bool) -> None:
    async def breaking(connection: Accepted) -> None:
        await connection.request()
        connection.reset() if reset else connection.close()

    async with two_targets() as (a, b):
        b.script = breaking
        async with serving(tmp_path, url(a.port), url(b.port), balance="round_robin") as appliance:
            assert await ask_many(appliance, 20) == {(200, b"a"): 20}
            assert len(b.requests) == 5
            appliance.let_pass(31)
            statuses = await ask_many(appliance, 4, POST)
            assert statuses == {(200, b"a"): 3, (502, b""): 1}
            assert sum(request.method == "POST" for request in b.requests) == 1


# --- the circuit breaker


async def test_a_circuit_opens_refuses_at_once_and_closes_after_one_good_try(tmp_path: Path) -> None:
    breaker = {"failure_ratio": 0.5, "window": "10s", "minimum": 6, "open": "1h"}
    async with (
        Upstream(answering(OK.replace(b"200 OK", b"503 Busy"))).serving() as upstream,
        serving(tmp_path, url(upstream.port), circuit_breaker=breaker) as appliance,
    ):
        pool = appliance.gate.pools["country"]
        async with appliance.connect() as caller:
            for _ in range(6):
                answer = await caller.ask(GET)
                assert (answer.status, answer.reason) == (503, None)
            assert pool.circuit_state is CircuitState.OPEN
            for request in (GET, POST):
                answer = await caller.ask(request)
                assert_own(answer, 503, "circuit_open")
                assert 3595 <= int(answer.one("Retry-After") or 0) <= 3600
            assert len(upstream.requests) == 6
    breaker["open"] = "20ms"
    async with (
        Upstream(answering(*[OK.replace(b"200 OK", b"503 Busy")] * 6, OK)).serving() as upstream,
        serving(tmp_path, url(upstream.port), circuit_breaker=breaker) as appliance,
    ):
        assert await ask_many(appliance, 6) == {(503, b""): 6}
        pool = appliance.gate.pools["country"]
        async with appliance.connect() as caller:
            async with asyncio.timeout(PATIENCE_S):
                while (await caller.ask(GET)).status != 200:
                    await turns_of_the_loop()
        assert pool.circuit_state is CircuitState.CLOSED


# --- kept connections that end


def closing_after_each(executed: Counter[bytes]) -> Upstream:
    """Return a service that keeps connections by its words and closes each right after an answer."""
    chance = random.Random(1)

    async def script(connection: Accepted) -> None:
        while (head := await connection.head()) is not None:
            executed[head.split(b" ", 2)[1]] += 1
            if head.startswith(b"POST"):
                await connection.body_bytes(5)
            connection.write(OK)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.001)
            if chance.random() < 0.7:
                connection.close()
                return

    return Upstream(script)


async def _race(appliance: Appliance, method: bytes, count: int) -> Counter[int]:
    statuses: Counter[int] = Counter()
    body = b"Content-Length: 5\r\n\r\nhello" if method == b"POST" else b"\r\n"

    async def call(first: int) -> None:
        async with appliance.connect() as caller:
            for number in range(first, count, 8):
                answer = await caller.ask(b"%b /open/%d HTTP/1.1\r\nHost: a\r\n%b" % (method, number, body))
                statuses[answer.status] += 1

    await asyncio.gather(*(call(first) for first in range(8)))
    return statuses


async def test_the_race_with_closing_connections_never_fails_a_get(tmp_path: Path) -> None:
    count = 10_000 if SOAK else 500
    executed: Counter[bytes] = Counter()
    async with (
        closing_after_each(executed).serving() as upstream,
        serving(tmp_path, url(upstream.port)) as appliance,
    ):
        assert await _race(appliance, b"GET", count) == {200: count}


async def test_the_race_with_closing_connections_runs_no_post_twice(tmp_path: Path) -> None:
    count = 10_000 if SOAK else 500
    executed: Counter[bytes] = Counter()
    async with (
        closing_after_each(executed).serving() as upstream,
        serving(tmp_path, url(upstream.port)) as appliance,
    ):
        statuses = await _race(appliance, b"POST", count)
    assert set(statuses) <= {200, 502}
    assert set(executed.values()) == {1}
    assert statuses[200] <= len(executed) <= count


async def test_a_post_meets_no_connection_that_was_seen_to_end(tmp_path: Path) -> None:
    async with Upstream().serving() as upstream:
        async with serving(tmp_path, url(upstream.port)) as appliance, appliance.connect() as caller:
            for number in range(20):
                assert (await caller.ask(POST)).status == 200
                # Closed, and the gate's event loop has not been told of it when the next one comes.
                upstream.connections[number].close()
                await upstream.connections[number].closed.wait()
        assert len(upstream.connections) == 20


async def test_a_connection_that_a_slow_reader_held_back_serves_the_next_one(tmp_path: Path) -> None:
    body = b"x" * 4_000_000
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with Upstream(answering(large, OK)).serving() as upstream:
        async with (
            serving(tmp_path, url(upstream.port), max_connections=1) as appliance,
            appliance.connect() as slow,
            appliance.connect() as other,
        ):
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            slow.send(GET)
            await upstream.received()
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert (await slow.answer()).body == body
            assert (await other.ask(GET)).body == b"ok"
        assert len(upstream.connections) == 1


# --- TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("upstream authority")


def server_context(
    directory: Path, authority: Authority, name: str, *, asks: Authority | None = None
) -> ssl.SSLContext:
    certificate, key = authority.server(name).write(directory, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if asks is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=asks.pem.decode())
    return context


def trusting(directory: Path, authority: Authority, **tls: Any) -> dict[str, Any]:
    (directory / "ca.pem").write_bytes(authority.pem)
    return {"ca_file": "ca.pem", **tls}


async def test_an_https_target_is_verified_and_spoken_to(tmp_path: Path, authority: Authority) -> None:
    names: list[str | None] = []
    context = server_context(tmp_path, authority, "service.internal")
    context.sni_callback = lambda sock, name, ctx: names.append(name)  # type: ignore[assignment]
    tls = trusting(tmp_path, authority, server_name="service.internal")
    async with Upstream().serving(tls=context) as upstream:
        target = f"https://127.0.0.1:{upstream.port}"
        async with serving(tmp_path, target, tls=tls, health_check=CHECK) as appliance:
            assert await ask_many(appliance, 3) == {(200, b"ok"): 3}
            assert await ask_many(appliance, 3, POST) == {(200, b"ok"): 3}
            appliance.let_pass(2)
            await upstream.received(6)
            assert upstream.requests[6].target == "/healthz"
            sock = upstream.connections[0].transport.get_extra_info("ssl_object")
            assert sock.version() == "TLSv1.3"
    assert names == ["service.internal", "service.internal"]


@pytest.mark.parametrize("mistake", ["name", "authority", "system", "expired", "plain"])
async def test_an_https_target_that_is_somebody_else_sees_nothing(
    tmp_path: Path, authority: Authority, mistake: str
) -> None:
    context: ssl.SSLContext | None = server_context(tmp_path, authority, "service.internal")
    tls = trusting(tmp_path, authority, server_name="service.internal")
    more = {}
    match mistake:
        case "name":
            tls["server_name"] = "other.internal"
        case "authority":
            tls = trusting(tmp_path, Authority.make("upstream authority"), server_name="service.internal")
        case "system":
            tls = {"server_name": "service.internal"}
        case "expired":
            assert context is not None
            old = authority.server("service.internal", days=(-10, -1)).write(tmp_path, "old")
            context.load_cert_chain(*old)
        case "plain":
            context = None
            more["connect_timeout"] = "50ms"  # it waits for a request, we for its part of the handshake
    async with Upstream().serving(tls=context) as upstream:
        async with serving(tmp_path, f"https://127.0.0.1:{upstream.port}", tls=tls, **more) as appliance:
            for request in (GET, POST):
                assert_own(await appliance.ask(request), 502, "upstream_connect")
        assert upstream.requests == []
        assert not any(b"HTTP" in connection.raw for connection in upstream.connections)


async def test_a_client_certificate_is_shown_and_read_again_by_a_reload(
    tmp_path: Path, authority: Authority
) -> None:
    callers = Authority.make("callers")
    context = server_context(tmp_path, authority, "localhost", asks=callers)
    Authority.make("callers").client("stranger").write(tmp_path, "client")
    tls = trusting(tmp_path, authority, certificate_file="client.pem", key_file="client.key")
    async with (
        Upstream().serving(tls=context) as upstream,
        serving(tmp_path, f"https://localhost:{upstream.port}", tls=tls) as appliance,
    ):
        assert (await appliance.ask(GET)).status == 502
        callers.client("gate").write(tmp_path, "client")
        assert (await appliance.ask(GET)).status == 502
        assert (await appliance.load()).applied
        assert await ask_many(appliance, 3) == {(200, b"ok"): 3}
        connections = len(upstream.connections)
        assert (await appliance.load()).applied
        assert await ask_many(appliance, 3) == {(200, b"ok"): 3}
        assert len(upstream.connections) == connections  # nothing changed: kept
        trusting(tmp_path, Authority.make("upstream authority"))
        assert (await appliance.load()).applied
        assert (await appliance.ask(GET)).status == 502  # not even on a kept connection
        (tmp_path / "client.key").write_bytes(b"half writ")
        report = await appliance.load()
        assert report.applied  # of the configuration; what cannot be used is kept, and told
        assert report.outcomes["certificates"].result is Result.INVALID
        (problem,) = report.outcomes["certificates"].problems
        assert "the certificates of upstream country" in str(problem)
        assert tmp_path / "client.key" in appliance.sources.watches["certificates"].paths


async def test_a_body_without_length_is_whole_only_with_tls_own_end(
    tmp_path: Path, authority: Authority
) -> None:
    """An end of the TCP connection alone, which anybody on the way can make, must not look complete."""
    cut = True

    async def script(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        if not cut:
            connection.close()
            return
        await asked.wait()
        descriptor = connection.transport.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.shutdown(socket.SHUT_WR)

    asked = asyncio.Event()
    context = server_context(tmp_path, authority, "localhost")
    tls = trusting(tmp_path, authority)
    async with (
        Upstream(script).serving(tls=context) as upstream,
        serving(tmp_path, f"https://localhost:{upstream.port}", tls=tls) as appliance,
    ):
        async with appliance.connect() as caller:
            caller.send(GET)
            await caller.reader.readuntil(b"half of it")
            asked.set()
            assert not (await caller.rest()).endswith(b"0\r\n\r\n")
        cut = False
        assert (await appliance.ask(GET)).body == b"half of it"


# --- other ways


async def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    async with (
        Upstream().serving(path=tmp_path / "service.sock") as upstream,
        serving(tmp_path, "unix:service.sock", health_check=CHECK) as appliance,
    ):
        assert await ask_many(appliance, 3) == {(200, b"ok"): 3}
        assert upstream.requests[0].all("Host") == ["a"]
        appliance.let_pass(2)
        await upstream.received(3)
        assert upstream.requests[3].all("Host") == ["localhost"]
    async with serving(tmp_path, "unix:absent.sock") as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_connect")


async def test_a_name_leads_to_whichever_address_answers(tmp_path: Path) -> None:
    async with Upstream().serving() as upstream:  # on 127.0.0.1 alone
        async with serving(tmp_path, f"http://localhost:{upstream.port}") as appliance:
            assert await ask_many(appliance, 3) == {(200, b"ok"): 3}
            appliance.let_pass(10)  # the addresses are asked for again, and have not changed
            await turns_of_the_loop()
            assert await ask_many(appliance, 3) == {(200, b"ok"): 3}
        assert len(upstream.connections) == 1


async def test_a_name_that_nobody_has_is_a_target_that_cannot_be_reached(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://absent.invalid:80") as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_connect")
