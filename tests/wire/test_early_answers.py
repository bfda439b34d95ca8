"""Show that an answer which an upstream gives in the middle of an upload reaches the caller.

The upstream of these tests answers after 64 KiB, and closes with the rest unread: what the gate
writes next fails, and the answer lies in the socket beside the reset. Upstream and callers run in
threads with blocking sockets, as many do, so that nothing of their timing is the gate's.
"""

import asyncio
import contextlib
import os
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import Appliance, configuration, running
from tests.support.certificates import Authority
from tests.support.upstream import OK, Accepted, Upstream
from tests.support.waiting import PATIENCE_S

UPLOADS = 50 if "SIDEGATE_SOAK" in os.environ else 20
MUST_SEE = UPLOADS - 1
READ_FIRST = 64 * 1024
TOO_LARGE = (
    b"HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
    b"Connection: close\r\n\r\nlarge"
)
MIB = 1024 * 1024


class EarlyUpstream:
    """Accept one connection after the other, read the start of a request, answer and close."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None, answer: bytes) -> None:
        self._sock = sock
        self._tls = tls
        self._answer = answer
        self.answered = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._sock.accept()
            except OSError:
                return  # closed: the test is over
            threading.Thread(target=self._answer_early, args=(accepted,), daemon=True).start()

    def _answer_early(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), accepted:
            self._converse(accepted)

    def _converse(self, accepted: socket.socket) -> None:
        if (
            accepted.family == socket.AF_INET
        ):  # else Nagle's algorithm may keep the answer until it is too late
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = accepted if self._tls is None else self._tls.wrap_socket(accepted, server_side=True)
        with connection:
            read = b""
            while len(read) < READ_FIRST:
                piece = connection.recv(READ_FIRST)
                if not piece:
                    return
                read += piece
                if b"Expect: 100-continue" in read and read.endswith(b"\r\n\r\n"):
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(self._answer)
            self.answered += 1

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(PATIENCE_S)


def listen(path: Path | None = None) -> socket.socket:
    if path is not None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
    else:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    return sock


Kind = str
"""tcp, unix or tls: how the gate reaches the upstream."""


@contextlib.contextmanager
def early_upstream(
    kind: Kind, directory: Path, answer: bytes = TOO_LARGE
) -> Iterator[tuple[EarlyUpstream, dict[str, Any]]]:
    """Serve; yield the upstream and the settings that lead to it."""
    tls, more = None, {}
    if kind == "unix":
        path = directory / "upstream.sock"
        sock, target = listen(path), f"unix:{path}"
    else:
        sock = listen()
        target = f"http://127.0.0.1:{sock.getsockname()[1]}"
    if kind == "tls":
        authority = Authority.make("upstream authority")
        certificate, key = authority.server("localhost").write(directory, "upstream")
        (directory / "ca.pem").write_bytes(authority.pem)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        target, more = target.replace("http", "https"), {"tls": {"ca_file": "ca.pem"}}
    upstream = EarlyUpstream(sock, tls, answer)
    try:
        yield upstream, {"targets": [target], **more}
    finally:
        upstream.close()


@contextlib.asynccontextmanager
async def serving(directory: Path, country: dict[str, Any], **changes: Any) -> AsyncIterator[Appliance]:
    upstreams = {"country": {"max_connections": 0, **country}}
    async with running(directory, configuration(upstreams=upstreams, **changes), targets={}) as appliance:
        yield appliance


def request_of(size: int, *, chunked: bool = False, expect: bool = False) -> tuple[bytes, bytes]:
    """Return head and body of an upload."""
    head = b"POST /open/x HTTP/1.1\r\nHost: a\r\n" + b"Expect: 100-continue\r\n" * expect
    body = b"x" * size
    if chunked:
        piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        return head + b"Transfer-Encoding: chunked\r\n\r\n", piece * (size // 0x4000) + b"0\r\n\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % size, body


def upload(connect: Callable[[], socket.socket], head: bytes, body: bytes, *, reads_last: bool) -> bytes:
    """Return what a caller sees: status and body, or the word for how it was cut off.

    Args:
        connect: Makes the connection.
        head: Sent first; with Expect, 100 is awaited before the body.
        body: Sent in pieces.
        reads_last: It looks at the answer only after it has sent everything; else as soon as it comes.
    """
    answer = b""
    with connect() as sock:
        sock.settimeout(PATIENCE_S)
        try:
            sock.sendall(head)
            if b"Expect" in head:
                assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
            for start in range(0, len(body), 65536):
                if not reads_last and (answer := received_so_far(sock)):
                    break
                sock.sendall(body[start : start + 65536])
            while not is_whole(answer):
                data = sock.recv(65536)
                if not data:
                    return b"cut short"
                answer += data
        except OSError as error:
            return type(error).__name__.encode()
    return answer[9:12] + b" " + answer.rpartition(b"\r\n\r\n")[2]


def is_whole(answer: bytes) -> bool:
    head, end, content = answer.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    return bool(end and length and len(content) == int(length[1]))


def received_so_far(sock: socket.socket) -> bytes:
    sock.setblocking(False)
    try:
        return sock.recv(65536)
    except (BlockingIOError, ssl.SSLWantReadError):
        return b""
    finally:
        sock.settimeout(PATIENCE_S)


UPLOAD_KINDS = {
    "8 MiB": request_of(8 * MIB),
    "300 KiB": request_of(300 * 1024),
    "8 MiB chunked": request_of(8 * MIB, chunked=True),
    "300 KiB chunked": request_of(300 * 1024 // 0x4000 * 0x4000, chunked=True),
    "8 MiB expecting": request_of(8 * MIB, expect=True),
}


async def seen_by_callers(
    appliance: Appliance, head: bytes, body: bytes, *, reads_last: bool, tls: ssl.SSLContext | None = None
) -> Counter[bytes]:
    def connect() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", appliance.port), PATIENCE_S)
        return sock if tls is None else tls.wrap_socket(sock, server_hostname="localhost")

    seen: Counter[bytes] = Counter()
    for _ in range(UPLOADS):
        seen[await asyncio.to_thread(upload, connect, head, body, reads_last=reads_last)] += 1
    return seen


@pytest.mark.parametrize("reads_last", [False, True], ids=["reads at once", "reads last"])
@pytest.mark.parametrize("what", UPLOAD_KINDS)
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
async def test_callers_see_an_answer_in_the_middle_of_their_upload(
    kind: Kind, what: str, reads_last: bool, tmp_path: Path
) -> None:
    with early_upstream(kind, tmp_path) as (upstream, country):
        async with serving(tmp_path, country) as appliance:
            seen = await seen_by_callers(appliance, *UPLOAD_KINDS[what], reads_last=reads_last)
            assert seen[b"413 large"] >= MUST_SEE, seen
            assert upstream.answered >= MUST_SEE
            assert {exchange.status for exchange in appliance.exchanges} == {413}


@pytest.mark.parametrize("reads_last", [False, True], ids=["reads at once", "reads last"])
@pytest.mark.parametrize("what", ["8 MiB", "300 KiB chunked"])
async def test_callers_over_tls_see_it_too(what: str, reads_last: bool, tmp_path: Path) -> None:
    authority = Authority.make("authority of callers")
    authority.server("localhost").write(tmp_path, "server")
    listener = {
        "address": "127.0.0.1:0",
        "tls": {"certificate_file": "server.pem", "key_file": "server.key"},
    }
    trusting = ssl.create_default_context(cadata=authority.pem.decode())

    with early_upstream("tcp", tmp_path) as (_, country):
        async with serving(tmp_path, country, listeners=[listener]) as appliance:
            seen = await seen_by_callers(appliance, *UPLOAD_KINDS[what], reads_last=reads_last, tls=trusting)
            assert seen[b"413 large"] >= MUST_SEE, seen


async def test_who_answers_early_is_neither_left_out_nor_cut_off(tmp_path: Path) -> None:
    """One caller with a large file must not take a target, or the whole upstream, from the others."""
    breaker = {"failure_ratio": 0.5, "window": "10s", "minimum": 5, "open": "30s"}
    with early_upstream("tcp", tmp_path) as (_, one), early_upstream("unix", tmp_path) as (_, other):
        targets = {"targets": one["targets"] + other["targets"], "circuit_breaker": breaker}
        async with serving(tmp_path, targets) as appliance:
            seen = await seen_by_callers(appliance, *UPLOAD_KINDS["8 MiB"], reads_last=False)
            assert seen == {b"413 large": UPLOADS}
            pool = appliance.gate.pools["country"]
            assert [in_use for _, in_use in pool.targets_in_use()] == [True, True]
            assert pool.circuit_state == "closed"
            assert {exchange.target for exchange in appliance.exchanges} == {*targets["targets"]}


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
async def test_an_early_answer_that_is_cut_short_never_looks_whole(kind: Kind, tmp_path: Path) -> None:
    cut_short = TOO_LARGE.replace(b"Length: 5", b"Length: 50")
    with early_upstream(kind, tmp_path, cut_short) as (_, country):
        async with serving(tmp_path, country) as appliance:
            seen = await seen_by_callers(appliance, *UPLOAD_KINDS["300 KiB"], reads_last=False)
            assert set(seen) <= {b"cut short", b"ConnectionResetError", b"BrokenPipeError"}
            assert {exchange.reason for exchange in appliance.exchanges} == {"upstream_reset"}


async def test_what_lay_in_a_kept_connection_is_no_answer(appliance: Appliance, upstream: Upstream) -> None:
    """A 408 for having been idle, and a reset, right before the next request is sent."""

    async def script(connection: Accepted) -> None:
        while await connection.request() is not None:
            connection.write(OK)

    upstream.script = script
    async with appliance.connect() as caller:
        assert (await caller.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        [idle] = upstream.connections
        idle.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        idle.close()
        answer = await caller.ask(b"PUT /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert answer.status == 200
