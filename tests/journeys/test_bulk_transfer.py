"""Large bodies pass unchanged, in both directions, without living in the process's memory."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep

import pytest

from tests.journeys.conftest import Appliance
from tests.support.ports import free_port

MIB = 1024 * 1024
SOAK = "SIDEGATE_SOAK" in os.environ
BODY_BYTES = 1024 * MIB if SOAK else 48 * MIB
SLOW_BYTES = 256 * MIB if SOAK else 16 * MIB
"""So much of a body is taken at the slow rate, by a receiver that is paced, not paused."""
SLOW_RATE = 20 * MIB
GROWTH_LIMIT_KIB = 20 * 1024
BLOCK = os.urandom(MIB)

CONFIGURATION = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "http://127.0.0.1:{port}"}}
state: "memory:"
upstreams: {{store: {{targets: ["http://127.0.0.1:{upstream_port}"]}}}}
routes: [{{path: "/**", access: public, upstream: store}}]
"""


def receive_body(connection: socket.socket, begun: bytes, length: int, *, slowly: bool) -> str:
    """Return the SHA-256 of a body, the first part of it taken at the slow rate when asked."""
    digest, taken, started = hashlib.sha256(begun), len(begun), monotonic()
    while taken < length:
        data = connection.recv(256 * 1024)
        assert data, "the body was cut"
        taken += len(data)
        digest.update(data)
        if slowly and taken < SLOW_BYTES:
            sleep(max(0.0, taken / SLOW_RATE - (monotonic() - started)))
    return digest.hexdigest()


def send_body(connection: socket.socket, length: int) -> str:
    digest = hashlib.sha256()
    for _ in range(length // MIB):
        connection.sendall(BLOCK)
        digest.update(BLOCK)
    return digest.hexdigest()


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


class Store:
    """A service that sends a large body, or takes one and answers with its digest."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.sent: SimpleQueue[str] = SimpleQueue()
        """The digest of each body that was sent, once it is sent whole."""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                head, rest = read_head(connection)
                if head.startswith(b"QUIT"):
                    return
                if head.startswith(b"GET"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
                    self.sent.put(send_body(connection, BODY_BYTES))
                else:
                    digest = receive_body(connection, rest, BODY_BYTES, slowly=b"slowly" in head).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"QUIT\r\n\r\n")
        self._thread.join()
        self._listening.close()


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


@pytest.fixture
def gateway(tmp_path: Path, store: Store) -> Iterator[Appliance]:
    appliance = Appliance(tmp_path, free_port(), free_port())
    appliance.main.write_text(
        CONFIGURATION.format(port=appliance.port, admin_port=appliance.admin_port, upstream_port=store.port)
    )
    appliance.start()
    yield appliance
    assert appliance.stop() == 0


def peak_kib(appliance: Appliance) -> int:
    assert appliance.process is not None
    status = Path(f"/proc/{appliance.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


@pytest.mark.parametrize("slowly", [False, True], ids=["at full speed", "slowly"])
@pytest.mark.parametrize("direction", ["download", "upload"])
def test_a_large_body_passes_unchanged_in_bounded_memory(
    gateway: Appliance, store: Store, direction: str, slowly: bool
) -> None:
    before = peak_kib(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port)) as caller:
        if direction == "download":
            caller.sendall(b"GET /body HTTP/1.1\r\nHost: store\r\n\r\n")
            head, rest = read_head(caller)
            received = receive_body(caller, rest, BODY_BYTES, slowly=slowly)
            assert head.startswith(b"HTTP/1.1 200 ")
            assert received == store.sent.get(timeout=10)
        else:
            path = b"/slowly" if slowly else b"/body"
            caller.sendall(
                b"PUT %b HTTP/1.1\r\nHost: store\r\nContent-Length: %d\r\n\r\n" % (path, BODY_BYTES)
            )
            sent = send_body(caller, BODY_BYTES)
            head, rest = read_head(caller)
            while len(rest) < 64:
                rest += caller.recv(64)
            assert head.startswith(b"HTTP/1.1 200 ")
            assert rest.decode() == sent
    assert peak_kib(gateway) - before < GROWTH_LIMIT_KIB
