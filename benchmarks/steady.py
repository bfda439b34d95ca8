"""Call a gate steadily over kept and new connections and tell how long each request waited.

A process of its own, so that nothing of the test or of the upstream adds to what it sees:

    python -m benchmarks.steady PORT TARGET TOKEN REQUESTS_PER_SECOND SECONDS

A tenth of the rate goes over connections made for one request each, the rest over kept ones. The
summary is one JSON object on standard output.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import cast

import uvloop

KEPT = 24
FRESH = 4
FRESH_SHARE = 0.1


class Exchange(asyncio.Protocol):
    """One connection; one request at a time, complete when its Content-Length has come."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.answered: asyncio.Future[bytes] | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) >= int(length or 0) and self.answered is not None and not self.answered.done():
            self.answered.set_result(head)
            self.received = b""

    def connection_lost(self, error: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(error or ConnectionResetError("closed before the answer"))

    async def ask(self, request: bytes) -> bytes:
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(10):
            return await self.answered


class Tally:
    """What was seen."""

    def __init__(self) -> None:
        self.waits: list[tuple[float, float]] = []
        self.failures: list[str] = []

    async def measure(self, request: Callable[[], Awaitable[bytes]]) -> None:
        begun = perf_counter()
        try:
            head = await request()
        except (OSError, TimeoutError) as error:
            self.failures.append(repr(error))
            return
        self.waits.append((perf_counter() - begun, begun))
        if not head.startswith(b"HTTP/1.1 200"):
            self.failures.append(head.decode("latin-1"))


async def pace(tally: Tally, once: Callable[[], Awaitable[bytes]], interval_s: float, until: float) -> None:
    """Send at the interval; a late answer delays the following, none is left out."""
    due = perf_counter()
    while due < until:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        await tally.measure(once)
        due = max(due + interval_s, perf_counter() - interval_s)


async def call(port: int, target: str, token: str, rate: float, seconds: float) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    kept_request, last_request = (head + "\r\n").encode(), (head + "Connection: close\r\n\r\n").encode()

    async def connect() -> Exchange:
        return (await loop.create_connection(Exchange, "127.0.0.1", port))[1]

    async def fresh() -> bytes:
        exchange = await connect()
        try:
            return await exchange.ask(last_request)
        finally:
            exchange.transport.close()

    tally = Tally()
    exchanges = [await connect() for _ in range(KEPT)]
    begun = perf_counter()
    fresh_interval, kept_interval = FRESH / (rate * FRESH_SHARE), KEPT / (rate * (1 - FRESH_SHARE))
    await asyncio.gather(
        *(pace(tally, fresh, fresh_interval, begun + seconds) for _ in range(FRESH)),
        *(
            pace(tally, partial(exchange.ask, kept_request), kept_interval, begun + seconds)
            for exchange in exchanges
        ),
    )
    took = perf_counter() - begun
    waits = sorted(wait for wait, _ in tally.waits)
    return {
        "requests": len(waits),
        "per_second": round(len(waits) / took),
        "failures": tally.failures[:5],
        "p50_ms": round(waits[len(waits) // 2] * 1e3, 2),
        "p99_ms": round(waits[len(waits) * 99 // 100] * 1e3, 2),
        "longest_ms": round(waits[-1] * 1e3, 2),
        "over_20_ms": [
            [round(at - begun, 2), round(wait * 1e3)] for wait, at in sorted(tally.waits)[-10:] if wait > 0.02
        ],
    }


def main() -> None:
    port, target, token, rate, seconds = sys.argv[1:]
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(call(int(port), target, token, float(rate), float(seconds)))))


if __name__ == "__main__":
    main()
