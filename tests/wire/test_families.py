"""Show that a name is tried in each of its families, and that what cannot be reached is told as it is.

`localhost` is both loopback addresses (RFC 6761 6.3), whatever the hosts file of the machine says.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.names import addresses_of
from gateway.proxy.listener import open_sockets
from gateway.settings.model import RedisSettings, RemoteKeySource, TcpAddress
from gateway.settings.texts import parse_key_uri
from gateway.state.redis import open_redis
from gateway.tokens.jwks_client import RemoteKeySets
from gateway.tokens.key_sets import KeySet
from tests.support.appliance import Appliance, configuration, running
from tests.support.caller import assert_own
from tests.support.jws import make_key
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.upstream import Accepted, Upstream
from tests.wire.conftest import Start

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"


@contextlib.asynccontextmanager
async def serving_at(address: str) -> AsyncIterator[Upstream]:
    """Serve at one address of this machine, and at no other."""
    upstream = Upstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Accepted(upstream), address, 0)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()
    for connection in upstream.connections:
        connection.transport.abort()
        await connection.closed.wait()


@contextlib.asynccontextmanager
async def leading_to(directory: Path, *targets: str, **changes: Any) -> AsyncIterator[Appliance]:
    settings = configuration(upstreams={"country": {"targets": list(targets)}}, **changes)
    async with running(directory, settings, targets={}) as appliance:
        yield appliance


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "service.localhost"])
async def test_a_target_by_name_is_tried_at_both_addresses(name: str, address: str, tmp_path: Path) -> None:
    async with (
        serving_at(address) as upstream,
        leading_to(tmp_path, f"http://{name}:{upstream.port}") as appliance,
    ):
        for _ in range(3):
            answer = await appliance.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (answer.status, answer.body) == (200, b"ok")


async def test_names_of_this_machine_lead_to_the_system_s_first_choice_each_time() -> None:
    first = {(await addresses_of("localhost", 80))[0][4][0] for _ in range(5)}
    assert len(first) == 1
    assert {info[4][0] for info in await addresses_of("localhost", 80)} == {"::1", "127.0.0.1"}
    with pytest.raises(OSError):
        await addresses_of("nowhere.invalid", 80)


@pytest.mark.parametrize("name", ["localhost", "keys.localhost", "a.b.LOCALHOST."])
def test_names_of_this_machine_lead_nowhere_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may go to this machine in the clear goes there, whoever answers for the name."""
    stranger = socket.getaddrinfo("192.0.2.1", 0, type=socket.SOCK_STREAM)
    ours = socket.getaddrinfo("127.9.9.9", 0, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*stranger, *ours])
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        found = runner.run(addresses_of(name, 80))
    assert [info[4][0] for info in found] == ["127.9.9.9", "::1", "127.0.0.1"]
    address = TcpAddress(name, 0)
    sockets = open_sockets(address)
    assert [listening.getsockname()[0] for listening in sockets] == ["127.9.9.9"]
    sockets[0].close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: stranger)
    with pytest.raises(OSError):
        open_sockets(address)


@pytest.mark.parametrize("name", ["localhost", "keys.localhost", "a.b.Localhost."])
@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
async def test_a_key_set_by_name_is_fetched_from_both_addresses(address: str, name: str) -> None:
    key = make_key("ES256", "k")
    body = json.dumps({"keys": [key.public]}).encode()

    async def script(connection: Accepted) -> None:
        await connection.request()
        connection.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json;charset=utf-8\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
        )

    class Silent:
        def jwks_fetch(self, issuer: str, result: str) -> None:
            assert result == "ok"

    async with serving_at(address) as server:
        server.script = script
        sets = RemoteKeySets(Silent())
        source = RemoteKeySource(
            "https://platform.example", parse_key_uri(f"http://{name}:{server.port}/jwks")
        )
        keys = await sets.find(source, "k", "ES256", may_fetch=True)
        assert isinstance(keys, KeySet)
        assert isinstance(keys.find("k", "ES256"), tuple)
        await sets.close()


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
async def test_a_store_by_name_is_reached_at_both_addresses(address: str, tmp_path: Path) -> None:
    server = RedisServer(tmp_path, address=address).start()
    try:
        settings = RedisSettings(host="localhost", port=server.port)
        store = await open_redis(settings, issuer="https://a.example", strict=False)
        await store.close()
    finally:
        server.stop()


async def test_both_wildcards_serve_one_port(start: Start, upstream: Upstream) -> None:
    port = free_port()
    both = [{"address": f"0.0.0.0:{port}"}, {"address": f"[::]:{port}"}]
    async with start(listeners=both):
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(GET)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()


async def test_who_refused_a_connection_is_recorded(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    async with leading_to(tmp_path, f"http://127.0.0.1:{ports[0]}") as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_connect")
        [exchange] = appliance.exchanges
        assert (exchange.error_detail, exchange.target, exchange.attempts) == (
            f"connection refused by 127.0.0.1:{ports[0]}",
            f"http://127.0.0.1:{ports[0]}",
            1,
        )
    two = [f"http://127.0.0.1:{port}" for port in ports]
    async with leading_to(tmp_path, *two) as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_connect")
        [exchange] = appliance.exchanges
        assert exchange.attempts == 2
        assert exchange.target in two
        assert exchange.error_detail == f"connection refused by {exchange.target.removeprefix('http://')}"


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        ("http://[::1]:{port}", "connection refused by [::1]:{port}"),
        ("http://localhost:{port}", "connection refused by 127.0.0.1:{port} and [::1]:{port}"),
        ("unix:{directory}/absent.sock", "there is no socket at {directory}/absent.sock"),
        ("http://nowhere.invalid:{port}", "the name was not resolved: nowhere.invalid:{port}"),
    ],
)
async def test_what_the_system_said_is_recorded(target: str, detail: str, tmp_path: Path) -> None:
    values = {"port": free_port(), "directory": tmp_path}
    async with leading_to(tmp_path, target.format(**values)) as appliance:
        assert_own(await appliance.ask(GET), 502, "upstream_connect")
        [exchange] = appliance.exchanges
        told = exchange.error_detail
        assert sorted(told.split()) == sorted(detail.format(**values).split())
        assert str(values["port"]) not in (await appliance.ask(GET)).body.decode(), (
            "the caller is told nothing of it"
        )
