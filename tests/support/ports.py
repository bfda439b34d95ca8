"""Find a port for a server of a test."""

import random
import socket


def free_port() -> int:
    """Return a port that nobody listens on, outside the range that connections take theirs from."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
