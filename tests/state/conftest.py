"""Give a test a Redis server of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a running server that the test may stop and start."""
    server = RedisServer(tmp_path).start()
    yield server
    server.stop()
