"""Start a Redis server of one's own: a free port, a temporary directory, nothing shared."""

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S

COMMAND = "redis-server"


@dataclass
class RedisServer:
    """One server process; what it holds is on disk, so that it can be stopped and started."""

    directory: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ()
    address: str = "127.0.0.1"
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "RedisServer":
        """Start the process and wait until it listens."""
        found = shutil.which(COMMAND)
        assert found, "redis-server is not installed (make test installs it)"
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(found, "--port", str(self.port), "--bind", self.address),
                    *("--dir", str(self.directory), "--save", "", "--daemonize", "no"),
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, (self.directory / "redis.log").read_text()
            try:
                socket.create_connection((self.address, self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, "the redis-server does not listen"
                time.sleep(0.01)
            else:
                return self

    def stop(self) -> None:
        """End the process; whether it keeps what it holds is a matter of its options."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE_S)
            self.process = None
