"""Ask whole servers with repeated atoms in each field that they read, and look at the clock.

What aiohttp does with a field is not in our source, so the pure functions of
`test_linear_time.py` are half of the matter. The servers' loop has a thread of its own, whose
CPU time is what counts.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from gateway.admin.context import AdminContext, CheckResult, ReloadOutcome
from gateway.admin.web import start_admin
from gateway.observe.exposition import Exposition
from gateway.observe.metrics import Metrics
from gateway.own_answers import OwnServer
from gateway.settings.model import AdminSettings, MetricsSettings
from tests.support.appliance import configuration, running
from tests.support.linear_time import Reader, find_faults

HEAD_BYTES = 31 * 1024
"""Of a field: with the rest of the head, it fits `limits.header_bytes`."""
ADMIN_BYTES = 8 * 1024
"""What aiohttp takes of a field and of a request line."""
BODY_BYTES = 60 * 1024
PREFIXES = (b"", b'"')
FORM = b"application/x-www-form-urlencoded"
TOKEN = b"POST /oauth2/token HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n"
KEYS = b"GET /oauth2/jwks HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n"
RELOAD = b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
EMPTY = b"\r\nContent-Length: 0\r\n\r\n"


class Served(Reader):
    """A server that reads a text; what its thread spends is counted."""

    def __init__(self, place: "Servers", port: int, name: str, limit: int, start: bytes, end: bytes) -> None:
        super().__init__(
            name,
            lambda text: ask(port, start + text + end),
            limit,
            prefixes=PREFIXES,
            allowed_s=0.01,  # with what any request costs
            harmless_s=0.004,
        )
        self._place = place

    def seconds(self, text: bytes) -> float:
        """Return the CPU time of the servers' thread."""
        started = self._place.thread_time()
        self.read(text)
        return self._place.thread_time() - started


def ask(port: int, request: bytes) -> bytes:
    """Send a request and return whatever comes back."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return answer


@dataclass
class Servers:
    """Issuer and gate, the admin listener and a planted server, in a thread of their own."""

    loop: asyncio.AbstractEventLoop
    gate: int
    admin: int
    planted: int

    def thread_time(self) -> float:
        async def read() -> float:
            return time.thread_time()

        return asyncio.run_coroutine_threadsafe(read(), self.loop).result(60)


async def answer_by_content_type(request: web.BaseRequest) -> web.Response:
    """Do what the issuer did: let aiohttp read the field."""
    return web.Response(text=request.content_type)


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[int, int, int]]:
    async def reload(dry_run: bool) -> ReloadOutcome:
        return ReloadOutcome(True, "abc")

    async def checks() -> dict[str, CheckResult]:
        return {}

    async def revoke(_: str) -> int | None:
        return None

    exposition = Exposition(Metrics(MetricsSettings(), issuer="i", version="v", uvloop_version="u"))
    context = AdminContext(
        settings=AdminSettings,
        ready_checks=checks,
        status=dict,
        reload=reload,
        render_metrics=exposition.render,
        revoke_client=revoke,
        degraded=list,
    )
    async with AsyncExitStack() as stack:
        appliance = await stack.enter_async_context(
            running(directory, configuration(trusted_proxies=["127.0.0.0/8"]), targets={"country": [1]})
        )
        listening = socket.create_server(("127.0.0.1", 0))
        stack.push_async_callback((await start_admin(context, [listening])).cleanup)
        planted = web.ServerRunner(
            OwnServer(
                answer_by_content_type,
                refuse=lambda status: web.Response(status=status),
                request_factory=lambda *parts: web.BaseRequest(*parts, asyncio.get_running_loop()),
                max_field_size=1024 * 1024,
            )
        )
        await planted.setup()
        stack.push_async_callback(planted.cleanup)
        await web.TCPSite(planted, "127.0.0.1", 0).start()
        yield appliance.port, listening.getsockname()[1], planted.addresses[0][1]


@contextmanager
def on_a_thread(
    main: Callable[[Callable[[Any], None], asyncio.Event], Coroutine[Any, Any, None]],
) -> Iterator[Any]:
    """Run `main` on a loop in a thread; it hands over a value, and ends at the event."""
    ready = threading.Event()
    handed: list[Any] = []

    async def run() -> None:
        ended = asyncio.Event()

        def hand_over(value: Any) -> None:
            handed.extend((value, asyncio.get_running_loop(), ended))
            ready.set()

        try:
            await main(hand_over, ended)
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: uvloop.run(run()), daemon=True)
    thread.start()
    assert ready.wait(60)
    assert handed, "the servers did not start"
    value, loop, ended = handed
    try:
        yield loop, value
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(60)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    directory = tmp_path_factory.mktemp("servers")

    async def main(hand_over: Callable[[Any], None], ended: asyncio.Event) -> None:
        async with serving(directory) as ports:
            hand_over(ports)
            await ended.wait()

    with on_a_thread(main) as (loop, ports):
        yield Servers(loop, *ports)


ISSUER_FIELDS = (
    b"Accept Accept-Encoding Authorization Connection Content-Encoding Cookie Expect Forwarded From "
    b"If-Modified-Since If-None-Match If-Range Origin Range Referer TE Transfer-Encoding Upgrade User-Agent "
    b"X-Forwarded-For X-Forwarded-Host X-Request-Id"
).split()
ADMIN_FIELDS = (
    b"Accept Authorization Connection Content-Encoding Content-Type Cookie Expect If-None-Match Origin Range "
    b"Sec-Fetch-Site Transfer-Encoding Upgrade X-Forwarded-For"
).split()


@pytest.mark.parametrize("field", [*ISSUER_FIELDS, b"Content-Type", b"Host"], ids=bytes.decode)
def test_fields_of_a_token_request(servers: Servers, field: bytes) -> None:
    start = TOKEN.replace(b"Host: a.example\r\n", b"") if field == b"Host" else TOKEN
    start += b"" if field == b"Content-Type" else b"Content-Type: " + FORM + b"\r\n"
    start += field + b": " + (FORM if field == b"Content-Type" else b"")
    check(Served(servers, servers.gate, f"token: {field.decode()}", HEAD_BYTES, start, EMPTY))


@pytest.mark.parametrize("field", [b"If-None-Match", b"Accept", b"Cookie", b"Range"], ids=bytes.decode)
def test_fields_of_a_request_for_keys(servers: Servers, field: bytes) -> None:
    start = KEYS + field + b": "
    check(Served(servers, servers.gate, f"keys: {field.decode()}", HEAD_BYTES, start, b"\r\n\r\n"))


@pytest.mark.parametrize("path", [b"/oauth2/token?", b"/oauth2/", b"/open/"], ids=bytes.decode)
def test_targets_of_the_gate(servers: Servers, path: bytes) -> None:
    start = b"POST " + path
    end = b" HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Type: " + FORM + EMPTY
    check(Served(servers, servers.gate, path.decode(), HEAD_BYTES, start, end))


@pytest.mark.parametrize("path", [b"token", b"introspect", b"revoke"], ids=bytes.decode)
@pytest.mark.parametrize("start", [b"", b"grant_type=client_credentials&scope=", b"token=", b"client_id="])
def test_bodies_of_forms(servers: Servers, path: bytes, start: bytes) -> None:
    class Form(Served):
        def seconds(self, text: bytes) -> float:
            return super().seconds(b"Content-Length: %d\r\n\r\n" % len(text) + text)

    head = TOKEN.replace(b"token", path) + b"Content-Type: " + FORM + b"\r\n"
    reader = Form(servers, servers.gate, f"form: {path.decode()}", BODY_BYTES, head, b"")
    reader.starts = (start,)
    check(reader)


@pytest.mark.parametrize("field", [*ADMIN_FIELDS, b"Host"], ids=bytes.decode)
def test_fields_of_an_admin_request(servers: Servers, field: bytes) -> None:
    start = RELOAD.replace(b"Host: localhost\r\n", b"") if field == b"Host" else RELOAD
    start += b"" if field == b"Content-Type" else b"Content-Type: application/json\r\n"
    start += field + b": " + (b"application/json" if field == b"Content-Type" else b"")
    check(Served(servers, servers.admin, f"admin: {field.decode()}", ADMIN_BYTES, start, EMPTY))


@pytest.mark.parametrize("path", [b"/", b"/healthz?", b"/api/v1/clients/"], ids=bytes.decode)
def test_targets_of_the_admin_listener(servers: Servers, path: bytes) -> None:
    end = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    check(Served(servers, servers.admin, f"admin: {path.decode()}", ADMIN_BYTES, b"GET " + path, end))


def check(reader: Reader) -> None:
    assert [str(fault) for fault in islice(find_faults(reader), 3)] == []


def test_a_field_that_aiohttp_reads_is_found(servers: Servers) -> None:
    start = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: a/b"
    planted = Served(servers, servers.planted, "Content-Type by aiohttp", HEAD_BYTES, start, EMPTY)
    assert next(find_faults(planted), None) is not None
