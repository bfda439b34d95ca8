"""Fetch from servers that send without end, and see that the loop turns meanwhile."""

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.settings.model import RemoteKeySource
from gateway.tokens.jwks_client import KeysUnavailableError, RemoteKeySets
from gateway.tokens.key_server import MAX_INTERIM
from gateway.tokens.key_sets import KeySet
from tests.support.jws import make_key

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 \r\n\r\n"),
    "interim answers with fields": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "small chunks": (CHUNKED, b"1\r\nx\r\n"),
    "small chunks with extensions": (CHUNKED, b"1;a=b\r\nx\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "fields": (OK, b"a: b\r\n"),
    "cookies": (OK, b"Set-Cookie: a=b\r\n"),
    "a field": (OK + b"a: ", b"b" * 100),
    "an extension": (CHUNKED + b"1;a=", b"b" * 100),
    "a body": (OK + b"\r\n", b"[" * 100),
}
HELD_S = 0.02


@contextlib.asynccontextmanager
async def sending(start: bytes, again: bytes | None) -> AsyncIterator[RemoteKeySource]:
    """Answer whatever is asked with `start` and then `again`, until nobody listens."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(start)
            while again is not None:
                writer.write(again * (65536 // len(again)))
                await writer.drain()
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield RemoteKeySource("https://platform.example", f"http://127.0.0.1:{port}/jwks")
    finally:
        server.close()


class Fetches:
    """What became of the fetches."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def jwks_fetch(self, _issuer: str, result: str) -> None:
        self.results.append(result)


async def longest_turn(until: "asyncio.Task[object]") -> float:
    """Return the most CPU time that this thread spent in one turn of the loop, until a task is done."""
    longest = 0.0
    while not until.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest


@pytest.fixture
def _without_collector() -> Iterator[None]:
    """Keep the collector from looking through what other tests left, in the middle of a turn."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_answer_without_end_is_given_up_and_holds_nothing(kind: str) -> None:
    fetches = Fetches()
    sets = RemoteKeySets(fetches)
    async with sending(*ENDLESS[kind]) as source:
        finding = asyncio.create_task(sets.find(source, "k", "ES256", may_fetch=True))
        longest = await longest_turn(finding)
        with pytest.raises(KeysUnavailableError):
            await finding
    await sets.close()
    assert fetches.results in (["too_large"], ["unreachable"])
    assert longest < HELD_S


@pytest.mark.parametrize(("count", "is_found"), [(MAX_INTERIM, True), (MAX_INTERIM + 1, False)])
async def test_a_few_interim_answers_are_waited_out(count: int, is_found: bool) -> None:
    key = make_key("ES256", "k")
    body = json.dumps({"keys": [key.public]}).encode()
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * count
    answer += OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    fetches = Fetches()
    sets = RemoteKeySets(fetches)
    async with sending(answer, None) as source:
        if is_found:
            assert isinstance(await sets.find(source, "k", "ES256", may_fetch=True), KeySet)
        else:
            with pytest.raises(KeysUnavailableError):
                await sets.find(source, "k", "ES256", may_fetch=True)
    await sets.close()
    assert fetches.results == ["ok" if is_found else "too_large"]
