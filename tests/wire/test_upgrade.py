"""WebSocket and other tunnels: opened only by the upstream's 101, and never beyond their permission."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.reasons import Reason
from tests.support.appliance import AUDIENCE, Appliance, configuration, running
from tests.support.caller import Caller
from tests.support.upstream import Accepted, Upstream, answering
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

SOAK = "SIDEGATE_SOAK" in os.environ
SOCKETS = 1000 if SOAK else 100
ONE_READ_BYTES = 256 * 1024

ROUTE = {
    "name": "socket",
    "path": "/socket",
    "upstream": "country",
    "require": {"audience": AUDIENCE, "scopes": ["country.read"]},
    "upgrade": ["websocket"],
}
ROUTES = [*configuration()["routes"], ROUTE]
ASK = (
    b"GET /socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"


async def echo(connection: ServerConnection) -> None:
    """Send every message back; `close NNNN` closes with that code."""
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            await connection.close(int(message.removeprefix("close ")), "as asked")
        else:
            await connection.send(message)


Use = Callable[[Appliance, str], Awaitable[None]]


async def with_websocket_server(tmp_path: Path, use: Use) -> None:
    """Run `use` with an appliance before a real WebSocket server."""
    async with serve(echo, "127.0.0.1", 0, max_size=4 * 1024 * 1024, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = configuration(routes=ROUTES)
        settings["upstreams"]["country"]["max_connections"] = 0
        async with running(tmp_path, settings, targets={"country": [port]}) as appliance:
            token = (await appliance.token()).decode()
            await use(appliance, token)


def url(appliance: Appliance) -> str:
    return f"ws://127.0.0.1:{appliance.port}/socket"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_websocket_carries_every_kind_of_message(tmp_path: Path) -> None:
    async def use(appliance: Appliance, token: str) -> None:
        large = os.urandom(1024 * 1024)
        async with connect(
            url(appliance), additional_headers=bearer(token), max_size=None, compression=None
        ) as socket:
            for message in ("text", "ä€😀", b"\x00\xff binary", large):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["in ", "three ", "pieces"])
            assert await socket.recv() == "in three pieces"
            await socket.send("close 4321")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as asked")
        await until(lambda: any(exchange.status == 101 for exchange in appliance.exchanges))
        [exchange] = [exchange for exchange in appliance.exchanges if exchange.status == 101]
        assert (exchange.reason, exchange.decision, exchange.client) == ("ok", "allow", "reader")
        assert exchange.response_bytes > len(large)
        assert exchange.request_bytes > len(large)

    await with_websocket_server(tmp_path, use)


async def test_many_websockets_at_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each with messages of its own of every kind, every tenth with one of a mebibyte, all at a time."""

    async def converse(socket: ClientConnection, number: int, large: bytes) -> tuple[int, str]:
        binary = number.to_bytes(4, "big") * 1024
        pieces = [f"{number} in", " three", " pieces"]
        messages: list[str | bytes | list[str]] = [str(number), binary, pieces]
        if number % 10 == 0:
            messages.append(number.to_bytes(4, "big") + large)
        for message in messages:
            await socket.send(message)
            assert await socket.recv() == ("".join(message) if isinstance(message, list) else message)
        await socket.send(f"close {4000 + number % 1000}")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code, closed.value.rcvd.reason

    async def use(appliance: Appliance, token: str) -> None:
        large = os.urandom(1024 * 1024)
        opening = [
            connect(url(appliance), additional_headers=bearer(token), max_size=None, compression=None)
            for _ in range(SOCKETS)
        ]
        begun = time.perf_counter()
        sockets = await asyncio.gather(*(each.__aenter__() for each in opening))
        assert len(appliance.gate.tunnels) == SOCKETS
        record_property("opened_per_second", round(SOCKETS / (time.perf_counter() - begun)))
        begun = time.perf_counter()
        closed = await asyncio.gather(
            *(converse(socket, number, large) for number, socket in enumerate(sockets))
        )
        record_property("conversed_s", round(time.perf_counter() - begun, 2))
        assert closed == [(4000 + number % 1000, "as asked") for number in range(SOCKETS)]
        await until(lambda: not appliance.gate.tunnels)
        ended = Counter(exchange.reason for exchange in appliance.exchanges if exchange.status == 101)
        assert ended == {"ok": SOCKETS}

    await with_websocket_server(tmp_path, use)


async def test_a_websocket_without_a_token_is_refused(tmp_path: Path) -> None:
    async def use(appliance: Appliance, token: str) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url(appliance)):
                pass
        assert refused.value.response.status_code == 401
        async with connect(url(appliance), additional_headers=bearer(token)) as socket:
            await socket.send("twin")
            assert await socket.recv() == "twin"

    await with_websocket_server(tmp_path, use)


async def switching(connection: Accepted) -> None:
    """Switch at once, whatever was asked."""
    await connection.head()
    connection.write(SWITCH)


async def open_tunnel(appliance: Appliance, caller: Caller, **claims: object) -> None:
    answer = await caller.ask(ASK % appliance.sign(**claims))
    assert answer.status == 101
    assert (answer.one("Upgrade"), answer.one("Connection")) == ("websocket", "Upgrade")


async def test_bytes_before_the_101_are_held_and_belong_to_the_tunnel(
    start: Start, upstream: Upstream
) -> None:
    may_switch = asyncio.Event()

    async def script(connection: Accepted) -> None:
        await connection.head()
        await may_switch.wait()
        connection.write(SWITCH + b"hello")

    upstream.script = script
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        caller.send(ASK % await appliance.token() + b"early")
        connection = await upstream.connection()
        await until(lambda: connection.raw.endswith(b"\r\n\r\n"))
        await turns_of_the_loop()
        assert b"early" not in connection.raw
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in connection.raw
        may_switch.set()
        assert (await caller.answer()).status == 101
        assert await caller.reader.readexactly(5) == b"hello"
        await until(lambda: connection.raw.endswith(b"\r\n\r\nearly"))


async def test_bytes_before_the_101_are_bounded(start: Start, upstream: Upstream) -> None:
    may_switch = asyncio.Event()

    async def script(connection: Accepted) -> None:
        await connection.head()
        await may_switch.wait()
        connection.write(SWITCH)

    upstream.script = script
    early = os.urandom(1024) * 16 * 1024
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        caller.send(ASK % await appliance.token() + early)
        connection = await upstream.connection()
        await until(lambda: connection.raw.endswith(b"\r\n\r\n"))
        await turns_of_the_loop(500)
        (downstream,) = appliance.gate.connections
        assert 0 < len(downstream._held) <= 2 * ONE_READ_BYTES
        assert caller.writer.transport.get_write_buffer_size() > 0  # the rest waits at the caller
        may_switch.set()
        assert (await caller.answer()).status == 101
        await until(lambda: connection.raw.endswith(early))


async def test_when_the_upstream_declines_early_bytes_are_judged_anew(
    start: Start, upstream: Upstream
) -> None:
    async with start(routes=ROUTES) as appliance:
        token = await appliance.token()
        async with appliance.connect() as caller:
            caller.send(ASK % token + b"GET /read/x HTTP/1.1\r\nHost: a\r\n\r\n")
            first, second = await caller.answer(), await caller.answer()
        assert (first.status, first.body) == (200, b"ok")
        assert (second.status, second.reason) == (401, "no_token")
        assert [request.target for request in upstream.requests] == ["/socket"]

        async with appliance.connect() as caller:
            caller.send(ASK % token + b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert [(await caller.answer()).status for _ in range(2)] == [200, 200]
        assert [request.target for request in upstream.requests][1:] == ["/socket", "/open/x"]


@pytest.mark.parametrize(
    ("connection", "protocol", "path"),
    [
        (b"Upgrade, HTTP2-Settings", b"h2c", b"/socket"),
        (b"Upgrade", b"websocket", b"/read/x"),
        (b"keep-alive", b"websocket", b"/socket"),
    ],
    ids=["h2c", "a route that does not list it", "Connection does not name it"],
)
async def test_an_upgrade_that_cannot_be_is_an_ordinary_request(
    start: Start, upstream: Upstream, connection: bytes, protocol: bytes, path: bytes
) -> None:
    async with start(routes=ROUTES) as appliance:
        answer = await appliance.ask(
            b"GET %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nConnection: %b\r\nUpgrade: %b\r\n"
            b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
            % (path, await appliance.token(), connection, protocol)
        )
        assert answer.status == 200
        head = upstream.requests[0].head.lower()
        assert b"upgrade" not in head
        assert b"http2-settings" not in head


@pytest.mark.parametrize(
    ("request_bytes", "switch"),
    [
        (b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n", SWITCH),
        (ASK, SWITCH.replace(b"WebSocket", b"other")),
        (ASK, SWITCH.replace(b"Upgrade: WebSocket\r\n", b"")),
        (ASK, SWITCH.replace(b"Connection: upgrade\r\n", b"")),
        (ASK, SWITCH.replace(b"Upgrade:", b"Content-Length: 0\r\nUpgrade:")),
        (ASK, SWITCH.replace(b"Upgrade:", b"Content-Length: 5\r\nUpgrade:") + b"hello"),
        (ASK, SWITCH.replace(b"Upgrade:", b"Transfer-Encoding: chunked\r\nUpgrade:")),
    ],
    ids=["nobody asked", "another protocol", "no Upgrade", "no Connection", "empty", "a body", "a coding"],
)
async def test_a_101_that_does_not_fit_is_not_believed(
    start: Start, upstream: Upstream, request_bytes: bytes, switch: bytes
) -> None:
    upstream.script = answering(switch)
    async with start(routes=ROUTES) as appliance:
        answer = await appliance.ask(request_bytes.replace(b"%b", await appliance.token()))
        assert (answer.status, answer.reason) == (502, "upstream_protocol")
        upstream.script = switching
        async with appliance.connect() as caller:
            await open_tunnel(appliance, caller)


@pytest.mark.parametrize(
    "cause", [Reason.REVOKED, Reason.EXPIRED, Reason.NO_ROUTE, Reason.CLIENT_NOT_ALLOWED]
)
async def test_a_tunnel_ends_with_its_permission(start: Start, upstream: Upstream, cause: Reason) -> None:
    upstream.script = switching
    async with (
        start(routes=ROUTES) as appliance,
        appliance.connect() as caller,
        appliance.connect() as other,
    ):
        gate = appliance.gate
        await open_tunnel(appliance, caller, jti="doomed", exp=int(time.time()) + 60)
        await open_tunnel(appliance, other, jti="other")
        gate.sweep(0.0)
        assert len(gate.tunnels) == 2
        left = 1
        match cause:
            case Reason.REVOKED:
                appliance.plane.state.revocations.add("doomed", 2**31, now=0.0)
                gate.sweep(0.0)
            case Reason.EXPIRED:
                for tunnel in list(gate.tunnels):
                    tunnel.judge_again(time.time() + 60)
            case Reason.NO_ROUTE | Reason.CLIENT_NOT_ALLOWED:
                gone = {"authorizations": []} if cause is Reason.CLIENT_NOT_ALLOWED else {}
                routes = configuration()["routes"] if cause is Reason.NO_ROUTE else ROUTES
                changed = configuration(routes=routes, **gone)
                await appliance.reload(changed, targets={"country": [upstream.port]})
                gate.sweep(0.0)
                left = 0
        assert await caller.rest() == b""
        ended = [exchange.reason for exchange in appliance.exchanges if exchange.status == 101]
        assert ended == [cause.value] * (2 - left)
        assert len(gate.tunnels) == left
        await until(upstream.connections[0].closed.is_set)


async def test_a_half_close_passes_through_both_ways(start: Start, upstream: Upstream) -> None:
    upstream.script = switching
    upstream.keeps_half_open = True
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        await open_tunnel(appliance, caller)
        caller.send(b"last words")
        caller.writer.write_eof()
        connection = await upstream.connection()
        await until(lambda: connection.eof)
        assert connection.raw.endswith(b"\r\n\r\nlast words")
        connection.write(b"farewell")
        connection.close()
        assert await caller.rest() == b"farewell"
        await until(lambda: not appliance.gate.tunnels and not appliance.gate.leaving)
        [exchange] = [exchange for exchange in appliance.exchanges if exchange.status == 101]
        assert (exchange.reason, exchange.request_bytes, exchange.response_bytes) == ("ok", 10, 8)


async def test_a_half_close_before_the_101_is_passed_on(start: Start, upstream: Upstream) -> None:
    may_switch = asyncio.Event()

    async def script(connection: Accepted) -> None:
        await connection.head()
        await may_switch.wait()
        connection.write(SWITCH)

    upstream.script = script
    upstream.keeps_half_open = True
    async with start(routes=ROUTES) as appliance:
        for number, early in enumerate((b"", b"early")):
            may_switch.clear()
            async with appliance.connect() as caller:
                caller.send(ASK % await appliance.token() + early)
                caller.writer.write_eof()
                connection = await upstream.connection(number)
                await until(lambda: any(c._half_closed or c._held for c in appliance.gate.connections))
                may_switch.set()
                assert (await caller.answer()).status == 101
                await until(lambda far=connection: far.eof)
                assert connection.raw.endswith(b"\r\n\r\n" + early)
                connection.write(b"farewell")
                connection.close()
                assert await caller.rest() == b"farewell"
        await until(lambda: not appliance.gate.tunnels)


async def test_a_tunnel_may_be_silent_for_ever_when_nothing_limits_it(
    start: Start, upstream: Upstream
) -> None:
    """The time within which the 101 had to come is over with the 101."""
    upstream.script = switching
    async with (
        start(routes=ROUTES, upstreams={"country": {"idle_timeout": "0"}}) as appliance,
        appliance.connect() as caller,
    ):
        await open_tunnel(appliance, caller)
        appliance.let_pass(500.0)
        caller.send(b"still there")
        connection = await upstream.connection()
        await until(lambda: connection.raw.endswith(b"still there"))


async def test_a_caller_who_vanishes_ends_the_tunnel(start: Start, upstream: Upstream) -> None:
    upstream.script = switching
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        await open_tunnel(appliance, caller)
        caller.abort()
        await until(upstream.connections[0].closed.is_set)
        await until(lambda: not appliance.gate.tunnels)


async def test_a_silent_tunnel_ends_at_the_idle_timeout(start: Start, upstream: Upstream) -> None:
    upstream.script = switching
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        await open_tunnel(appliance, caller)
        appliance.let_pass(299.0)
        assert appliance.gate.tunnels
        appliance.let_pass(301.0)
        assert await caller.rest() == b""
        assert not appliance.gate.tunnels


async def test_a_tunnel_holds_bounded_memory_when_one_side_does_not_read(
    start: Start, upstream: Upstream
) -> None:
    upstream.script = switching
    async with start(routes=ROUTES) as appliance, appliance.connect() as caller:
        await open_tunnel(appliance, caller)
        connection = await upstream.connection()
        connection.transport.pause_reading()
        block = bytes(64 * 1024)
        for _ in range(1024):
            caller.send(block)
        await turns_of_the_loop(500)
        held = caller.writer.transport.get_write_buffer_size()
        assert held > 32 * 1024 * 1024  # it waits at the caller, not in the gate
        connection.transport.resume_reading()
        await until(lambda: len(connection.raw) >= 1024 * len(block))


async def test_events_pass_at_once_and_outlive_the_response_timeout(start: Start, upstream: Upstream) -> None:
    async def script(connection: Accepted) -> None:
        await connection.request()
        connection.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    upstream.script = script
    async with (
        start(upstreams={"country": {"response_timeout": "1s", "idle_timeout": "60s"}}) as appliance,
        appliance.connect() as caller,
    ):
        caller.send(b"GET /open/events HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await caller.reader.readuntil(b"\r\n\r\n")
        assert b"text/event-stream" in head
        connection = await upstream.connection()
        for number in range(3):
            begun = time.perf_counter()
            connection.write(b"9\r\ndata: %d\n\n\r\n" % number)
            assert await caller.reader.readexactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
            assert time.perf_counter() - begun < 0.05
            appliance.let_pass(3.0)
        connection.write(b"0\r\n\r\n")
        assert await caller.reader.readexactly(5) == b"0\r\n\r\n"


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
"""What Java's HttpClient and curl offer on every plain connection."""
BODIES = [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]


@pytest.mark.parametrize("body", BODIES, ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("offer", "refused"),
    [
        (H2C, False),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.0\r\n", False),
        (b"Upgrade: websocket\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n", True),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", True),
    ],
)
async def test_an_offer_beside_a_body_is_refused_only_where_the_route_lists_it(
    offer: bytes, refused: bool, body: bytes, start: Start, upstream: Upstream
) -> None:
    async with start(routes=ROUTES) as appliance:
        token = await appliance.token()
        head = b"POST %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
        behind = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
        async with appliance.connect() as caller:
            caller.send(head % (b"/socket", token) + offer + body + behind)
            answer = await caller.answer()
            if refused:
                assert (answer.status, answer.reason, answer.one("Connection")) == (
                    400,
                    "bad_framing",
                    "close",
                )
                assert "cannot have a body" in answer.json()["detail"]
                assert await caller.rest() == b""
                assert not upstream.connections
                return
            assert (answer.status, (await caller.answer()).status) == (200, 200)
        received = upstream.requests[0]
        assert received.body == b"abc"
        assert not any(received.all(name) for name in ("Upgrade", "HTTP2-Settings", "Connection"))


@pytest.mark.parametrize("transfer", [[], ["-H", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
async def test_curl_with_an_offer_of_http_2_gets_its_token_and_its_answer(
    transfer: list[str], appliance: Appliance, upstream: Upstream
) -> None:
    async def curl(*arguments: str) -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            "curl",
            "-sS",
            "--http2",
            "--max-time",
            "10",
            *transfer,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return process.returncode, out

    base = f"http://127.0.0.1:{appliance.port}"
    form = "grant_type=client_credentials&scope=country.read"
    done, out = await curl("-u", "reader:reader", "-d", form, f"{base}/oauth2/token")
    assert done == 0, out
    token = json.loads(out)["access_token"]
    done, out = await curl("-d", "abc", "-H", f"Authorization: Bearer {token}", f"{base}/read/AUS")
    assert (done, out) == (0, b"ok")
    assert upstream.requests[0].body == b"abc"
    assert upstream.requests[0].one("HTTP2-Settings") is None


async def test_the_issuer_takes_no_offer(appliance: Appliance) -> None:
    body = b"grant_type=client_credentials&client_id=reader&client_secret=reader&audience=country-service"
    fields = H2C.replace(b"h2c", b"websocket, h2c")
    answer = await appliance.ask(
        b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\n%bContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (fields, len(body), body)
    )
    assert answer.status == 200
    assert answer.json()["access_token"]
