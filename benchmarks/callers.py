"""Be one kind of caller, or the upstream, for `benchmarks.attacks`: each runs as a process of its own.

Every role prints one JSON object when it is done. Honest callers arrive at fixed times,
whatever happened to those before (an open loop), and their time counts from then.
"""

import asyncio
import base64
import json
import os
import statistics
import sys
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import cast

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD_END = b"\r\n\r\n"
HONEST_CONNECTIONS = 16
ATTACK_CONNECTIONS = 64
MOST_AT_ONCE = 50
CROWD = 50
"""How many clients log in, each from an address of its own, by turns."""
DRIP_EVERY_S = 0.1
DRIPPED = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Drip: drip\r\n" * 100


class Upstream(asyncio.Protocol):
    """Answers each request head."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer; the gate sends whole heads."""
        self._transport.write(OK * data.count(HEAD_END))


class Asker(asyncio.Protocol):
    """Sends requests one after the other and reports each status."""

    def __init__(self, answered: Callable[["Asker", int], None]) -> None:
        self._answered = answered
        self._data = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone."""
        self.lost = True

    def data_received(self, data: bytes) -> None:
        """Report an answer when it is whole."""
        data = self._data + data
        while (end := data.find(HEAD_END)) >= 0:
            head = data[:end].lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(data) < end + 4 + length:
                break
            data = data[end + 4 + length :]
            self._answered(self, int(head[9:12]))
        self._data = data


async def serve(port: int) -> None:
    """Be the upstream until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


async def be_honest(port: int, seconds: float, rate: float, path: str, token: str) -> None:
    """Offer `rate` requests per second with a good token; print percentiles in milliseconds."""
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    begun: dict[Asker, float] = {}
    free: deque[Asker] = deque()
    waiting: deque[float] = deque()
    took: list[float] = []
    statuses: Counter[int] = Counter()

    def answered(asker: Asker, status: int) -> None:
        took.append(perf_counter() - begun.pop(asker))
        statuses[status] += 1
        free.append(asker)
        start()

    def start() -> None:
        while free and waiting:
            asker = free.popleft()
            begun[asker] = waiting.popleft()
            asker.transport.write(request)

    for _ in range(HONEST_CONNECTIONS):
        _, asker = await loop.create_connection(
            lambda: Asker(answered), "127.0.0.1", port, local_addr=("127.0.0.1", 0)
        )
        free.append(asker)
    first = perf_counter()
    for number in range(int(seconds * rate)):
        due = first + number / rate
        await asyncio.sleep(max(0.0, due - perf_counter()))
        waiting.append(due)
        start()
    await asyncio.sleep(1)
    took.sort()
    print(
        json.dumps(
            {
                "p50_ms": took[len(took) // 2] * 1000,
                "p99_ms": took[int(len(took) * 0.99)] * 1000,
                "max_ms": took[-1] * 1000,
                "unanswered": len(begun) + len(waiting),
                "statuses": statuses,
            }
        )
    )


async def offer(port: int, seconds: float, rate: float, path: str, token: str, address: str) -> None:
    """Offer `rate` requests per second from `address`, as fast as they come; print what they got.

    With the token `forge:TOKEN` each request carries TOKEN with another random signature.
    """
    loop = asyncio.get_running_loop()
    statuses: Counter[int] = Counter()
    forged = token.startswith("forge:")
    signed = token.removeprefix("forge:").rpartition(".")[0]

    def answered(_: Asker, status: int) -> None:
        statuses[status] += 1

    askers = []
    for _ in range(ATTACK_CONNECTIONS):
        _, asker = await loop.create_connection(
            lambda: Asker(answered), "127.0.0.1", port, local_addr=(address, 0)
        )
        askers.append(asker)
    first, sent, missed = perf_counter(), 0, 0
    while (now := perf_counter()) < first + seconds:
        # What this process was too late for is left out: a burst of it all would be another attack.
        missed = max(missed, int((now - first) * rate) - sent - MOST_AT_ONCE)
        while sent + missed < (now - first) * rate:
            if forged:
                signature = base64.urlsafe_b64encode(os.urandom(64)).rstrip(b"=").decode()
                token = f"{signed}.{signature}"
            bearer = f"Authorization: Bearer {token}\r\n" if token else ""
            asker = askers[sent % len(askers)]
            asker.transport.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n{bearer}\r\n".encode())
            sent += 1
        await asyncio.sleep(0.002)
    await asyncio.sleep(1)
    print(
        json.dumps(
            {
                "sent": sent,
                "missed": missed,
                "statuses": statuses,
                "lost": sum(asker.lost for asker in askers),
            }
        )
    )


async def log_in(port: int, seconds: float, rate: float, secret: str) -> None:
    """Ask for `rate` tokens per second, the clients by turns; print what they got and how long it took.

    An open loop: who still waits when its client's turn comes again keeps its connection.
    """
    loop = asyncio.get_running_loop()
    begun: dict[Asker, float] = {}
    free: list[list[Asker]] = [[] for _ in range(CROWD)]
    took: dict[int, list[float]] = {}

    def answered(client: int, asker: Asker, status: int) -> None:
        took.setdefault(status, []).append(perf_counter() - begun.pop(asker))
        free[client].append(asker)

    first = perf_counter()
    for number in range(int(seconds * rate)):
        client = number % CROWD
        await asyncio.sleep(max(0.0, first + number / rate - perf_counter()))
        if free[client]:
            asker = free[client].pop()
        else:
            make = partial(Asker, partial(answered, client))
            address = (f"127.0.1.{client + 1}", 0)
            _, asker = await loop.create_connection(make, "127.0.0.1", port, local_addr=address)
        begun[asker] = perf_counter()
        asker.transport.write(_token_request(f"login{client}", secret))
    offered_per_s = int(seconds * rate) / (perf_counter() - first)
    await asyncio.sleep(1)
    print(
        json.dumps(
            {
                "offered_per_s": round(offered_per_s, 1),
                "statuses": {status: len(each) for status, each in took.items()},
                "median_ms": {
                    status: round(statistics.median(each) * 1000, 1) for status, each in took.items()
                },
                "unanswered": len(begun),
            }
        )
    )


async def send_texts(port: int, seconds: float, rate: float, addresses: int) -> None:
    """Send texts that take long to read, by turns and from so many addresses; print what they got."""
    loop = asyncio.get_running_loop()
    texts = worst_texts()
    statuses: Counter[int] = Counter()

    def answered(asker: Asker, status: int) -> None:
        statuses[status] += 1
        asker.transport.close()

    first = perf_counter()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, first + number / rate - perf_counter()))
        address = (f"127.0.2.{number % addresses + 1}", 0)
        _, asker = await loop.create_connection(
            lambda: Asker(answered), "127.0.0.1", port, local_addr=address
        )
        asker.transport.write(texts[number % len(texts)])
    sent_per_s = int(seconds * rate) / (perf_counter() - first)
    await asyncio.sleep(1)
    print(json.dumps({"texts": len(texts), "sent_per_s": round(sent_per_s, 1), "statuses": statuses}))


def worst_texts() -> list[bytes]:
    """Return requests of the sizes that are let in, each the worst of its kind that was ever found."""
    deep = b"[" * 17 + b'"' + b'\\"' * 5900
    empty = b'{"iss":"a","aud":[' + b"[]," * 2700
    tokens = [b"eyJhbGciOiJFUzI1NiJ9." + _base64url(text) + b".AA" for text in (deep, empty)]
    form = b"application/x-www-form-urlencoded"
    chain = b"X-Forwarded-For: " + b"::1," * 7900 + b"::1\r\n"
    bodies = (
        b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=" + tokens[0],
        b"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        b"&grant_type=client_credentials&client_assertion=" + tokens[1],
        b"grant_type=client_credentials&scope=" + b"%41" * 21_000,
    )
    return [
        *(_get(b"/read", b"Authorization: Bearer " + token + b"\r\n") for token in tokens),
        *(_post(form + more, b"") for more in (b";" * 31_000, b';"' + b"(" * 30_000)),
        *(_post(form, b"", fields) for fields in (chain, b"If-None-Match: " + b"," * 31_000 + b"\r\n")),
        *(_post(form, body) for body in bodies),
        _get(b"/read", chain),
        _get(b"/" + b"%C3%A9" * 5_000),
        _get(b"/" + b"%2F" * 10_000),
        _get(b"/read?" + b"%" * 31_000),
        _get(b"/read", b"Connection: te\r\nTE: " + b"a," * 15_000 + b"\r\n"),
        _get(b"/read", b"Connection: " + b"a," * 15_000 + b"\r\n"),
        _get(b"/read", b"a: b\r\n" * 5_000),
        _get(b"/read", b"Content-Length: \r\n" + b"a: b\r\n" * 5_000),
    ]


def _get(target: bytes, fields: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"


def _post(content_type: bytes, body: bytes, fields: bytes = b"") -> bytes:
    head = b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Type: " + content_type + b"\r\n" + fields
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _token_request(client: str, secret: str) -> bytes:
    basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
    body = "grant_type=client_credentials&scope=read"
    head = (
        f"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {basic}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


class Dripper(asyncio.Protocol):
    """A connection that sends its head a byte at a time."""

    def __init__(self) -> None:
        self.closed_at = 0.0
        self.begun_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def eof_received(self) -> None:
        """Note that the gate has had enough."""
        self.closed_at = perf_counter()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note when it ended."""
        self.closed_at = self.closed_at or perf_counter()


async def drip(port: int, seconds: float, connections: int, address: str) -> None:
    """Open connections and drip a byte per 100 ms into each; print how long they were let live."""
    loop = asyncio.get_running_loop()
    drippers: list[Dripper] = []
    for _ in range(connections):
        _, dripper = await loop.create_connection(Dripper, "127.0.0.1", port, local_addr=(address, 0))
        dripper.begun_at = perf_counter()
        dripper.transport.write(DRIPPED[:1])
        drippers.append(dripper)
    end = perf_counter() + seconds
    position = 1
    while perf_counter() < end:
        share = max(1, len(drippers) // 50)
        for begin in range(0, len(drippers), share):  # spread over the tenth of a second
            for dripper in drippers[begin : begin + share]:
                if not dripper.closed_at:
                    dripper.transport.write(DRIPPED[position : position + 1])
            await asyncio.sleep(DRIP_EVERY_S / 50)
        position += 1
    lives = sorted(dripper.closed_at - dripper.begun_at for dripper in drippers if dripper.closed_at)
    print(
        json.dumps(
            {
                "closed": len(lives),
                "shortest_s": lives[0] if lives else None,
                "longest_s": lives[-1] if lives else None,
            }
        )
    )


def main(role: str, *arguments: str) -> None:
    """Run one role with its arguments as text."""
    match role, arguments:
        case "serve", (port,):
            uvloop.run(serve(int(port)))
        case "honest", (port, seconds, rate, path, token):
            uvloop.run(be_honest(int(port), float(seconds), float(rate), path, token))
        case "offer", (port, seconds, rate, path, token, address):
            uvloop.run(offer(int(port), float(seconds), float(rate), path, token, address))
        case "log-in", (port, seconds, rate, secret):
            uvloop.run(log_in(int(port), float(seconds), float(rate), secret))
        case "texts", (port, seconds, rate, addresses):
            uvloop.run(send_texts(int(port), float(seconds), float(rate), int(addresses)))
        case "drip", (port, seconds, connections, address):
            uvloop.run(drip(int(port), float(seconds), int(connections), address))
        case _:
            raise SystemExit(f"no such role: {role} {arguments}")


if __name__ == "__main__":
    main(*sys.argv[1:])
