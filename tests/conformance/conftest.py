"""Start one process for all rows of a table."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conformance.world import CONFIGURATION, KEYS, World
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S

SIDEGATE = Path(sys.executable).with_name("sidegate")

Start = Callable[..., World]


class _Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"client": self.headers.get("X-Auth-Client-Id")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts a process; all of them end with the module."""
    processes = []
    upstream = _Server(("127.0.0.1", 0), _Upstream)
    thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def start_process(*, prefix: str = "", alg: str = "ES256") -> World:
        directory = tmp_path_factory.mktemp("gateway")
        port, admin_port = free_port(), free_port()
        issuer = f"http://127.0.0.1:{port}{prefix}"
        (directory / "gateway.yaml").write_text(
            CONFIGURATION.format(
                port=port,
                admin_port=admin_port,
                issuer=issuer,
                prefix=prefix,
                alg=alg,
                upstream_port=upstream.server_address[1],
                **KEYS,
            )
        )
        with (directory / "err").open("wb") as err:
            process = subprocess.Popen(
                [SIDEGATE, "run", "-c", directory / "gateway.yaml"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=dict(os.environ),
            )
        processes.append(process)
        deadline = time.monotonic() + PATIENCE_S
        while not _is_ready(admin_port):
            assert process.poll() is None, (directory / "err").read_text()
            assert time.monotonic() < deadline, "the process is not ready in time"
            time.sleep(0.02)
        return World(directory, port, issuer, prefix, alg)

    yield start_process
    for process in processes:
        process.terminate()
        process.wait(PATIENCE_S)
    upstream.shutdown()
    thread.join()
    upstream.server_close()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def world(start: Start) -> World:
    """Return the process that most rows are held against."""
    return start()
