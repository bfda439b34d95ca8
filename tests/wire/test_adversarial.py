"""Send many requests to an upstream that does everything it should not, and hold each to its own answer.

The upstream draws a conduct for each request that arrives and notes it. A caller then has the
answer with its own id, whole, exactly when that conduct was a sound one; else a refusal that
names a fitting reason, or a cut. The races with an upstream that closes idle connections are in
`test_upstreams`.
"""

import asyncio
import contextlib
import gc
import os
import random
import resource
import secrets
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import cast

import pytest

from gateway.proxy.gate import SWEEP_INTERVAL_S
from tests.support.appliance import Appliance, configuration, running
from tests.support.caller import Answer, Caller, ClosedError, assert_own, connected
from tests.support.waiting import until
from tests.wire.strict_reading import Message, Rules, UnfinishedError, read_body, read_head

SOAK = "SIDEGATE_SOAK" in os.environ
REQUESTS = 10_000 if SOAK else 400
CALLERS = 64
CONNECTIONS = 48
"""Fewer than callers: some wait for each other's."""
TIMEOUT_S = 1.0
"""Of an answer's head, and of silence in it: long enough for a machine that is busy with other things."""
DEADLINE_S = 2 * TIMEOUT_S + 3 * SWEEP_INTERVAL_S + 5.0
"""By which every request is over: a retried one may wait twice; the rest is for a busy machine."""
GROWTH_LIMIT_BYTES = 16 * 1024 * 1024

SOUND = {"whole": 20, "in pieces": 8, "chunked": 8, "until close": 4, "hints before": 4, "slow": 6,
         "then closes": 6, "then closes later": 6, "then junk": 2}  # fmt: skip
"""Conducts, by how often, in which an answer comes whole, whatever becomes of the connection."""
UNCERTAIN = {"then resets": 4, "victim": 0}
"""Conducts in which it depends on haste: a reset overtakes what was not read yet, and a victim is
hit by what the connection was made to suffer for the request before."""
BROKEN = {"silent": 2, "silent in the head": 1, "silent in the body": 1, "silent after hints": 1,
          "closes at once": 4, "resets at once": 4, "closes in the head": 3, "resets in the head": 2,
          "closes after hints": 3, "closes in the body": 3, "resets in the body": 3, "promises more": 3,
          "closes in a chunk": 3, "closes before the last chunk": 3, "resets until close": 2,
          "two heads": 3, "malformed chunk": 2, "malformed head": 2, "endless head": 1,
          "endless hints": 1}  # fmt: skip
REASONS = {"upstream_reset", "upstream_timeout", "upstream_protocol"}


def body_of(name: bytes) -> bytes:
    """Return the body that belongs to one request, between 10 bytes and 20 KiB long."""
    return b"<%b>" % name * (1 + int(name.rpartition(b"-")[2]) ** 2 % 1500) + b"<end of %b>" % name


class Adversary(asyncio.Protocol):
    """One connection to the upstream."""

    def __init__(self, upstream: "AdversarialUpstream") -> None:
        self._upstream = upstream
        self._data = b""
        self._poisoned = False
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.open -= 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        with contextlib.suppress(UnfinishedError):
            message = read_head(self._data, 0, Rules(empty_host=True))
            read_body(self._data, message)
            self._data = self._data[message.end :]
            assert not self._data, "a second request before the first was answered"
            self._last = message.target.rpartition(b"/")[2]
            self._upstream.take(self, message, poisoned=self._poisoned)

    async def answer(self, message: Message, conduct: str) -> None:
        """Behave."""
        name = message.target.rpartition(b"/")[2]
        body = body_of(name)
        head = b"HTTP/1.1 200 OK\r\nX-Id: %b\r\n" % name
        counted = head + b"Content-Length: %d\r\n\r\n" % len(body)
        coded = head + b"Transfer-Encoding: chunked\r\n\r\n"
        hints = b"HTTP/1.1 103 Early Hints\r\nX-Id: %b\r\n\r\n" % name
        half = len(body) // 2
        chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n" % (half, body[:half], len(body) - half, body[half:])
        evil = b"HTTP/1.1 200 OK\r\nX-Id: evil\r\nContent-Length: 4\r\n\r\nevil"
        write = self.write
        match conduct:
            case "whole":
                write(counted + body)
            case "in pieces":
                for start in range(0, len(counted), 9):
                    write(counted[start : start + 9])
                    await asyncio.sleep(0)
                write(body[:half])
                await asyncio.sleep(0.001)
                write(body[half:])
            case "chunked":
                write(coded)
                await asyncio.sleep(0)
                write(chunks[: half + 3])
                await asyncio.sleep(0)
                write(chunks[half + 3 :] + b"0\r\nX-Trailer: 1\r\n\r\n")
            case "until close":
                write(head + b"\r\n" + body)
                self._transport.close()
            case "hints before":
                write(hints)
                await asyncio.sleep(0)
                write(b"HTTP/1.1 100 Continue\r\n\r\n" + counted + body)
            case "slow":
                for piece in (counted[:5], counted[5:], body[:1], body[1:-1], body[-1:]):
                    await asyncio.sleep(0.015)
                    write(piece)
            case "then closes":
                write(counted + body)
                self._transport.close()
            case "then resets":
                write(counted + body)
                await asyncio.sleep(0.03)
                self._hits_another(name)
                self.reset()
            case "then closes later":
                write(counted + body)
                await asyncio.sleep(self._upstream.chance.random() * 0.01)
                self._hits_another(name)
                self._transport.close()
            case "then junk":
                write(counted + body)
                await asyncio.sleep(self._upstream.chance.random() * 0.01)
                self._poisoned = True
                if self._last == name:  # else it would be in the midst of another's answer
                    write(b"junk\r\n\r\n")
            case "silent in the head":
                write(counted[:30])
            case "silent in the body":
                write(counted + body[:half])
            case "silent after hints":
                write(hints)
            case "closes at once":
                self._transport.close()
            case "resets at once":
                self.reset()
            case "closes in the head":
                write(counted[: len(counted) - 3])
                self._transport.close()
            case "resets in the head":
                write(counted[:20])
                await asyncio.sleep(0.001)
                self.reset()
            case "closes after hints":
                write(hints)
                self._transport.close()
            case "closes in the body":
                write(counted + body[:-1])
                self._transport.close()
            case "resets in the body":
                write(counted + body[:half])
                await asyncio.sleep(0.001)
                self.reset()
            case "promises more":
                write(head + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body)
                self._transport.close()
            case "closes in a chunk":
                write(coded + chunks[: len(chunks) - 5])
                self._transport.close()
            case "closes before the last chunk":
                write(coded + chunks)
                self._transport.close()
            case "resets until close":
                write(head + b"\r\n" + body)
                await asyncio.sleep(0.001)
                self.reset()
            case "two heads":
                write(counted + body + evil)
            case "malformed chunk":
                write(coded + chunks + b"0x0\r\n\r\n")
            case "malformed head":
                write(b"HTTP/1.1 200 OK\nX-Id: %b\r\n\r\n" % name)
            case "endless head":
                while not self._transport.is_closing():
                    write(b"HTTP/1.1 200 OK\r\n" + b"X-Id: evil\r\n" * 100)
                    await asyncio.sleep(0)
            case "endless hints":
                while not self._transport.is_closing():
                    write(hints * 4)
                    await asyncio.sleep(0)
            case "endless":
                write(coded)
                while not self._transport.is_closing():
                    write(chunks)
                    await asyncio.sleep(0)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _hits_another(self, name: bytes) -> None:
        """Note that what comes now may hit the request that came after `name` on this connection."""
        if self._last != name and self._last in self._upstream.conducts:
            self._upstream.conducts[self._last] = "victim"

    def reset(self) -> None:
        if self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


@dataclass(eq=False)
class AdversarialUpstream:
    """What all its connections share."""

    chance: random.Random
    open: int = 0
    executed: Counter[bytes] = field(default_factory=Counter)
    """How often each request arrived."""
    conducts: dict[bytes, str] = field(default_factory=dict)
    """What each request met when it arrived last."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, connection: Adversary, message: Message, *, poisoned: bool) -> None:
        name = message.target.rpartition(b"/")[2]
        self.executed[name] += 1
        weights = SOUND | UNCERTAIN | BROKEN
        conduct = self.chance.choices(list(weights), list(weights.values()))[0]
        if name.startswith(b"endless"):
            conduct = "endless"
        assert message.body == (b"" if message.method == b"GET" else name)
        self.conducts[name] = "victim" if poisoned else conduct
        task = asyncio.get_running_loop().create_task(connection.answer(message, conduct))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Adversary(self), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


def request_for(name: bytes, method: bytes) -> bytes:
    match method:
        case b"GET":
            return b"GET /open/%b HTTP/1.1\r\nHost: a\r\n\r\n" % name
        case b"POST":
            return b"POST /open/%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (
                name,
                len(name),
                name,
            )
        case _:
            return (
                b"%b /open/%b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
                % (method, name, len(name), name)
            )


@dataclass
class Outcomes:
    """How requests ended: the answer, or None for a cut."""

    upstream: AdversarialUpstream
    seen: Counter[str] = field(default_factory=Counter)

    def judge(self, name: bytes, method: bytes, answer: Answer | None, received: bytes) -> None:
        """Hold one outcome to what the upstream did."""
        conduct = self.upstream.conducts.pop(name, "never arrived")
        times = self.upstream.executed.pop(name, 0)
        assert times <= (2 if method == b"GET" else 1), f"{name!r} ran {times} times"
        assert b"evil" not in received
        if answer is not None and answer.status == 200:
            assert conduct in SOUND or conduct in UNCERTAIN, (
                f"{name!r} looked complete although the upstream was: {conduct}"
            )
            assert (answer.one("X-Id"), answer.body) == (name.decode(), body_of(name))
            self.seen["answered"] += 1
            return
        assert conduct not in SOUND, f"{name!r} failed although the upstream was: {conduct}; {answer}"
        if answer is None:
            assert body_of(name).startswith(strip_chunks(received)), "of somebody else's answer"
            self.seen["cut"] += 1
            return
        assert answer.reason in REASONS
        assert_own(answer, 504 if answer.reason == "upstream_timeout" else 502, answer.reason)
        assert conduct != "never arrived" or method != b"GET"
        self.seen["refused"] += 1


def strip_chunks(received: bytes) -> bytes:
    """Return the body data in a cut answer, whose chunks came as the gate writes them."""
    head, end, body = received.partition(b"\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked" not in head or not end:
        return body
    data = b""
    while b"\r\n" in body:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        assert size, "a cut answer has the last chunk"
        data += body[:size]
        body = body[size + 2 :]
    return data


async def call(port: int, names: Iterator[int], chance: random.Random, outcomes: Outcomes) -> None:
    """Send requests one after the other until `names` ends, on one connection as long as it lasts."""
    async with contextlib.AsyncExitStack() as stack:
        caller: Caller | None = None
        for number in names:
            name = b"id-%d" % number
            method = chance.choice((b"GET", b"GET", b"GET", b"POST", b"PATCH"))
            if caller is None:
                await stack.aclose()
                caller = await stack.enter_async_context(connected(port))
            answer, received = None, b""
            try:
                async with asyncio.timeout(DEADLINE_S):
                    caller.send(request_for(name, method))
                    answer = await caller.answer()
                    while answer.status < 200:
                        assert answer.one("X-Id") in (name.decode(), None)
                        answer = await caller.answer()
                    received = answer.head + answer.body
                if answer.one("Connection") == "close":
                    assert await caller.rest() == b""
                    caller = None
            except ClosedError as error:
                received, caller, answer = error.received, None, None
            outcomes.judge(name, method, answer, received)


@contextlib.asynccontextmanager
async def scene(directory: Path, seed: int) -> AsyncIterator[tuple[Appliance, AdversarialUpstream]]:
    """Run the gate, with its real sweep, before an adversarial upstream."""
    upstream = AdversarialUpstream(random.Random(seed))
    country = {
        "response_timeout": f"{int(TIMEOUT_S * 1000)}ms",
        "idle_timeout": f"{int(TIMEOUT_S * 1000)}ms",
        "max_connections": CONNECTIONS,
        "queue": {"size": 1000, "timeout": "60s"},
        "retries": 0,
    }
    async with upstream.serving() as port:
        settings = configuration(upstreams={"country": country})
        async with running(directory, settings, targets={"country": [port]}) as appliance:

            async def sweep() -> None:
                while True:
                    await asyncio.sleep(SWEEP_INTERVAL_S)
                    appliance.gate.sweep(perf_counter())

            sweeper = asyncio.create_task(sweep())
            try:
                yield appliance, upstream
            finally:
                sweeper.cancel()


async def nothing_is_left(appliance: Appliance, upstream: AdversarialUpstream) -> None:
    """Return when no connection of a caller lives, and to the upstream only idle ones, in bounds."""
    pool = appliance.gate.pools["country"]
    await until(lambda: not appliance.gate.connections)
    await until(lambda: pool.gauges["active"] == pool.gauges["waiting"] == 0)
    await until(lambda: upstream.open == pool.gauges["idle"])
    assert pool.gauges["idle"] <= CONNECTIONS


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


async def test_every_request_gets_its_own_answer_or_a_refusal(tmp_path: Path) -> None:
    seed = secrets.randbits(32) if SOAK else 3
    print(f"seed {seed}")  # shown when it fails
    async with scene(tmp_path, seed) as (appliance, upstream):
        outcomes = Outcomes(upstream)
        sizes = []
        for part in range(4):
            numbers = iter(range(part * REQUESTS // 4, (part + 1) * REQUESTS // 4))
            chances = [random.Random(seed + caller) for caller in range(CALLERS)]
            await asyncio.gather(*(call(appliance.port, numbers, chance, outcomes) for chance in chances))
            await nothing_is_left(appliance, upstream)
            appliance.exchanges.clear()
            gc.collect()
            sizes.append(resident_bytes())
    assert outcomes.seen.total() == REQUESTS
    assert set(outcomes.seen) == {"answered", "refused", "cut"}
    assert outcomes.seen["answered"] > REQUESTS / 3
    if SOAK:
        assert sizes[-1] - sizes[1] < GROWTH_LIMIT_BYTES, sizes


@pytest.mark.parametrize("leaves", ["resets", "closes"])
async def test_an_endless_answer_ends_with_its_caller(tmp_path: Path, leaves: str) -> None:
    async with scene(tmp_path, 1) as (appliance, upstream):

        async def take_some(number: int) -> None:
            async with connected(appliance.port) as caller:
                caller.send(request_for(b"endless-%d" % number, b"GET"))
                await caller.reader.readexactly(200_000)
                if leaves == "resets":
                    caller.abort()

        await asyncio.gather(*(take_some(number) for number in range(16)))
        await nothing_is_left(appliance, upstream)
        assert appliance.gate.pools["country"].gauges["idle"] == 0


async def test_an_endless_answer_to_a_caller_that_does_not_read_is_bounded(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (appliance, upstream):
        async with connected(appliance.port) as caller:
            caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
            caller.send(request_for(b"endless-1", b"GET"))
            await until(lambda: any(c._hold for c in appliance.gate.connections))
            (connection,) = appliance.gate.connections
            before = connection._transport.get_write_buffer_size()
            await asyncio.sleep(2 * SWEEP_INTERVAL_S)
            assert connection._transport.get_write_buffer_size() == before < 2_000_000
        await nothing_is_left(appliance, upstream)
