"""Call at a steady rate, each time on a new connection, and keep what became of each call.

Open loop: a call begins when its time has come, whatever became of those before, as the callers of a
service do, up to `MOST_AT_ONCE`: on a machine that has no time for us they come later instead of piling
up. What is not answered in `PATIENCE_S` has failed.
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

PATIENCE_S = 20.0
MOST_AT_ONCE = 256
TICK_S = 0.01


class _Service(asyncio.Protocol):
    """Answers each request with the same few bytes; requests have no body."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nAUS"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._held = (self._held + data).split(b"\r\n\r\n")
        self._transport.write(self.ANSWER * len(requests))


@contextlib.contextmanager
def quick_service() -> Iterator[int]:
    """Run a service that costs nearly nothing, in a thread of its own; yield its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(_Service, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@dataclass
class SteadyCallers:
    """Calls in a thread of its own, from `with` to its end."""

    port: int
    request: bytes
    """Whole, with `Connection: close`."""
    per_second: int
    outcomes: "Counter[str]" = field(default_factory=Counter)
    """The status line of each answer, or how it failed."""
    longest_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "SteadyCallers":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    @property
    def total(self) -> int:
        return sum(self.outcomes.values())

    async def _run(self) -> None:
        calls: set[asyncio.Task[None]] = set()
        begun, started = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - begun) * self.per_second)
            for _ in range(min(due - started, MOST_AT_ONCE - len(calls))):
                task = asyncio.create_task(self._call())
                calls.add(task)
                task.add_done_callback(calls.discard)
            started = due
            await asyncio.sleep(TICK_S)
        if calls:
            await asyncio.wait(calls)

    async def _call(self) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                outcome = await self._ask()
        except TimeoutError:
            outcome = "no answer"
        except OSError as error:
            outcome = f"{type(error).__name__}: {error.strerror}"
        self.outcomes[outcome] += 1
        self.longest_s = max(self.longest_s, time.monotonic() - begun)

    async def _ask(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self.request)
            answer = await reader.read()
        finally:
            writer.close()
        head, end, body = answer.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1")
        return status if end and body else f"cut: {status}"
