"""Show what the record of a request says of its upstream, and which attempts the metrics count."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from gateway.observe import families
from gateway.observe.exchange import Exchange
from gateway.observe.families import Family
from gateway.observe.metrics import Metrics
from gateway.settings.model import MetricsSettings
from tests.support.appliance import ISSUER, Appliance, configuration, running
from tests.support.certificates import Authority
from tests.support.upstream import OK, Accepted, Upstream, answering
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start
from tests.wire.test_failures import GET, POST, closing_first, free_port

ONE = {"country": {"max_connections": 1, "queue": {"size": 1, "timeout": "60s"}, "response_timeout": "9m"}}


def counted(appliance: Appliance, family: Family) -> Mapping[tuple[str, ...], object]:
    """Return the upstream's series of one family after everything that happened, by their other labels.

    Taking the failed attempts empties them, as a scrape does.
    """
    metrics = Metrics(MetricsSettings(), issuer=ISSUER, version="0", uvloop_version="0")
    metrics.absorb(appliance.exchanges)
    for (upstream, failure), count in appliance.gate.take_failed_attempts():
        metrics.upstream_failed(upstream, failure, count)
    return {
        labels[1:]: value
        for collected in metrics.collect()
        if collected.family is family
        for labels, value in collected.rows
        if labels[0] == "country"
    }


async def silent(connection: Accepted) -> None:
    await connection.request()


async def of_one_request(directory: Path, target: str, **upstream: Any) -> Mapping[tuple[str, ...], object]:
    settings = configuration(upstreams={"country": {"targets": [target], **upstream}})
    async with running(directory, settings, targets={}) as appliance, appliance.connect() as caller:
        caller.send(GET)
        answer = asyncio.create_task(caller.answer())
        await turns_of_the_loop()
        if upstream.get("response_timeout"):
            await until(lambda: any(c.relay and c.relay.attempts for c in appliance.gate.connections))
            appliance.let_pass(2)
        await answer
        [exchange] = appliance.exchanges
        assert exchange.upstream == "country"
        return counted(appliance, families.UPSTREAM_ERRORS)


# --- each attempt that failed, by what broke


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nobody listens", {("connect",): 1}),
        ("no such name", {("dns",): 1}),
        ("no such socket", {("connect",): 1}),
        ("a stranger's certificate", {("tls",): 1}),
        ("another name", {("tls",): 1}),
        ("no TLS", {("tls",): 1}),
        ("a handshake without end", {("timeout",): 1}),
        ("no answer", {("timeout",): 1}),
        ("an end before the answer", {("reset",): 3}),
        ("no HTTP", {("protocol",): 1}),
        ("an answer", {}),
    ],
)
async def test_what_broke_is_counted(
    tmp_path: Path, kind: str, expected: dict[tuple[str, ...], int], upstream: Upstream
) -> None:
    authority = Authority.make("Upstreams")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server("localhost").write(tmp_path, "server"))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "other.pem").write_bytes(Authority.make("Upstreams").pem)
    plain, secure = f"http://127.0.0.1:{upstream.port}", f"https://127.0.0.1:{upstream.port}"
    async with Upstream().serving(tls=context) as verified:
        https = f"https://localhost:{verified.port}"
        match kind:
            case "nobody listens":
                found = await of_one_request(tmp_path, f"http://127.0.0.1:{free_port()}")
            case "no such name":
                found = await of_one_request(tmp_path, "http://absent.invalid:80")
            case "no such socket":
                found = await of_one_request(tmp_path, "unix:absent.sock")
            case "a stranger's certificate":
                found = await of_one_request(tmp_path, https, tls={"ca_file": "other.pem"})
            case "another name":
                tls = {"ca_file": "ca.pem", "server_name": "other.internal"}
                found = await of_one_request(tmp_path, https, tls=tls)
            case "no TLS":
                upstream.script = _says_hello
                found = await of_one_request(tmp_path, secure)
            case "a handshake without end":
                found = await of_one_request(tmp_path, secure, connect_timeout="20ms")
            case "no answer":
                upstream.script = silent
                found = await of_one_request(tmp_path, plain, response_timeout="1s")
            case "an end before the answer":
                upstream.script = closing_first(99)
                found = await of_one_request(tmp_path, plain, retries=2)
            case "no HTTP":
                upstream.script = answering(b"SSH-2.0-OpenSSH\r\n\r\n")
                found = await of_one_request(tmp_path, plain)
            case _:
                found = await of_one_request(tmp_path, plain)
        assert found == expected
        assert verified.requests == []


async def _says_hello(connection: Accepted) -> None:
    connection.write(b"220 mail.example ESMTP\r\n")
    await connection.closed.wait()


async def test_an_attempt_that_another_one_saved_is_counted_once(start: Start, upstream: Upstream) -> None:
    upstream.script = closing_first(1)
    async with start() as appliance:
        assert (await appliance.ask(GET)).status == 200
        assert counted(appliance, families.UPSTREAM_ERRORS) == {("reset",): 1}
        assert counted(appliance, families.UPSTREAM_ERRORS) == {}
        assert counted(appliance, families.UPSTREAM_REQUESTS) == {("none", "first"): 1, ("2xx", "retry"): 1}


async def test_each_target_that_refused_is_counted(tmp_path: Path) -> None:
    targets = {"country": [free_port(), free_port(), free_port()]}
    async with running(tmp_path, configuration(), targets=targets) as appliance:
        assert (await appliance.ask(POST)).reason == "upstream_connect"
        assert counted(appliance, families.UPSTREAM_ERRORS) == {("connect",): 3}


async def test_the_end_of_a_kept_connection_is_no_error(start: Start, upstream: Upstream) -> None:
    upstream.script = closing_first(1, after_one=True)
    async with start() as appliance:
        assert [(await appliance.ask(GET)).status for _ in range(2)] == [200, 200]
        assert counted(appliance, families.UPSTREAM_ERRORS) == {}


# --- whose time it was


def not_ours(exchange: Exchange) -> float:
    """Return the seconds of a request that are booked neither as ours nor as its last attempt's."""
    return exchange.duration_s - exchange.overhead_s - max(exchange.upstream_s, 0.0)


@pytest.mark.parametrize("ending", ["answered", "left", "waited too long"])
async def test_waiting_for_a_connection_is_not_our_own_time(
    ending: str, start: Start, upstream: Upstream
) -> None:
    upstream.script = silent
    async with start(upstreams=ONE) as appliance, appliance.connect() as first, appliance.connect() as caller:
        pool = appliance.gate.pools["country"]
        first.send(GET)
        await upstream.received()
        caller.send(GET)
        await until(lambda: pool.gauges["waiting"] == 1)
        begun = perf_counter()
        await turns_of_the_loop(200)
        waited_s = perf_counter() - begun
        match ending:
            case "answered":
                upstream.connections[0].write(OK)
                assert (await first.answer()).status == 200
                await upstream.connections[0].request()
                upstream.connections[0].write(OK)
                assert (await caller.answer()).status == 200
            case "left":
                caller.abort()
            case _:
                appliance.let_pass(61)
                assert (await caller.answer()).reason == "overloaded"
        await until(lambda: len(appliance.exchanges) == 1 + (ending == "answered"))
        exchange = appliance.exchanges[-1]
        assert exchange.upstream == "country"
        assert not_ours(exchange) >= waited_s
        assert exchange.overhead_s >= 0.0


async def test_who_finds_the_queue_full_is_counted_for_the_upstream(start: Start, upstream: Upstream) -> None:
    upstream.script = silent
    async with start(upstreams=ONE) as appliance, appliance.connect() as first, appliance.connect() as second:
        first.send(GET)
        await upstream.received()
        second.send(GET)
        await until(lambda: appliance.gate.pools["country"].gauges["waiting"] == 1)
        assert (await appliance.ask(GET)).reason == "overloaded"
        [exchange] = appliance.exchanges
        assert (exchange.upstream, exchange.reason, exchange.attempts) == ("country", "overloaded", 0)
        assert counted(appliance, families.UPSTREAM_ERRORS) == {}


async def test_the_time_of_an_upstream_is_not_ours_when_the_caller_leaves(
    start: Start, upstream: Upstream
) -> None:
    upstream.script = silent
    async with start() as appliance, appliance.connect() as caller:
        caller.send(GET)
        await upstream.received()
        begun = perf_counter()
        await turns_of_the_loop(200)
        took_s = perf_counter() - begun
        caller.abort()
        await until(lambda: appliance.exchanges)
        [exchange] = appliance.exchanges
        assert exchange.reason == "client_closed"
        assert exchange.upstream_s >= took_s
        assert exchange.duration_s - exchange.overhead_s >= took_s


async def test_the_time_of_an_attempt_that_failed_is_not_ours(start: Start, upstream: Upstream) -> None:
    took_s = 0.0

    async def late(connection: Accepted) -> None:
        nonlocal took_s
        await connection.request()
        upstream.script = answering(OK)
        begun = perf_counter()
        await turns_of_the_loop(200)
        took_s = perf_counter() - begun
        connection.close()

    upstream.script = late
    async with start() as appliance:
        assert (await appliance.ask(GET)).status == 200
        [exchange] = appliance.exchanges
        assert exchange.attempts == 2
        assert not_ours(exchange) >= took_s
