"""Measure how long the event loop is held while key sets of other issuers are fetched that are hard to read.

`python -m benchmarks.key_sets` serves documents as large as a key set may be, each of one text again and
again (`ATOMS`) behind the beginnings of a key set, from another process on another core. The client of key
sets fetches them one after the other with a timer beside it, on the loop that the gate uses, that should
fire every millisecond. The latest that it ever fires, for each document, must stay below 20 ms; a run
without fetches says what the machine does by itself.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import uvloop

from benchmarks.processes import free_ports, running
from gateway.settings.model import RemoteKeySource
from gateway.tokens.foreign_keys import MAX_SET_BYTES
from gateway.tokens.jwks_client import KeysUnavailableError, RemoteKeySets

ATOMS = (
    *";()[]{},=:./-_%09a",
    *("true,", "1e9,", "-1", "null,", "1.5,", "eyJ", "eyJ."),
    *('"', '\\"', "\\\\", "\\u0041", "\\ud800", '"a",'),
    *('{"a":', "[[", "[]", "{},", '{"a":1},', '{"kid":"a"},', '{"kty":"EC"},'),
    *('{"kty":"RSA","n":"AQAB","e":"AQAB"},', '"keys":[', '"keys":[],'),
)
FRAMES = (
    ("", ""),
    ('{"keys":[', "{}]}"),
    ('{"a":[', "0]}"),
    ('{"keys":[{"kid":"', '"}]}'),
    ('{"keys":[{"kty":"RSA","e":"AQAB","n":"', '"}]}'),
)
"""What stands before and behind."""
BOUND_MS = 20.0
TIMER_S = 0.001
SERVER_CORE = 1
CLIENT_CORE = 0
CALM_S = 5.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the fetch of one document did to the loop."""

    start: str
    atom: str
    late_ms: float
    """The latest that a timer fired."""
    result: str


class _Results:
    """Remembers how each fetch ended."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def jwks_fetch(self, issuer: str, result: str) -> None:
        self.of[issuer] = result


class _Timer:
    """Fires every millisecond and remembers how late it was at most."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + TIMER_S
        self._handle = self._loop.call_at(self._due, self._fire)
        self.late_s = 0.0

    def _fire(self) -> None:
        now = time.monotonic()
        self.late_s = max(self.late_s, now - self._due)
        self._due = now + TIMER_S
        self._handle = self._loop.call_at(self._due, self._fire)

    def stop(self) -> float:
        """Stop; return the most that it was late, in milliseconds."""
        self._handle.cancel()
        return self.late_s * 1000


def documents() -> dict[str, tuple[str, str, bytes]]:
    """Return by path the start, the atom and the body of each document."""
    found = {}
    for number, ((start, end), atom) in enumerate(product(FRAMES, ATOMS)):
        times = (MAX_SET_BYTES - len(start) - len(end)) // len(atom)
        found[f"/{number}"] = (start, atom, (start + atom * times + end).encode())
    return found


async def serve(port: int) -> None:
    """Answer each path with its document until the process is ended."""
    bodies = {path: body for path, (_, _, body) in documents().items()}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = bodies[head.split()[1].decode()]
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


async def fetch_all(port: int) -> tuple[float, list[Held]]:
    """Return how late a timer fires by itself, and what each document did, once all are fetched."""
    calm = _Timer()
    await asyncio.sleep(CALM_S)
    calm_ms = calm.stop()
    results = _Results()
    sets = RemoteKeySets(results)
    held = []
    for path, (start, atom, _) in documents().items():
        source = RemoteKeySource(path, f"http://127.0.0.1:{port}{path}")
        timer = _Timer()
        with contextlib.suppress(KeysUnavailableError):
            await sets.find(source, "a", "ES256", may_fetch=True)
        await asyncio.sleep(2 * TIMER_S)
        held.append(Held(start, atom, timer.stop(), results.of[path]))
    await sets.close()
    return calm_ms, held


def report(calm_ms: float, held: list[Held], worst: int) -> Iterator[str]:
    """Yield the lines to print."""
    late = sorted(held, key=lambda each: -each.late_ms)
    yield f"without fetches: at most {calm_ms:.1f} ms late in {CALM_S:.0f} s"
    yield (
        f"{len(held)} documents of {MAX_SET_BYTES // 1024} KiB: "
        f"median {statistics.median(e.late_ms for e in late):.1f} ms late, "
        f"at most {late[0].late_ms:.1f} ms (bound {BOUND_MS:.0f})"
    )
    for each in late[:worst]:
        yield f"  {each.late_ms:6.1f} ms  {each.result:8}  {each.start!r} + {each.atom!r} * n"


def main() -> int:
    """Measure and print; the exit code says whether the bound was held."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worst", type=int, default=5, help="how many documents are named")
    parser.add_argument("--serve", type=int, metavar="PORT", help="only answer there")
    chosen = parser.parse_args()
    if chosen.serve is not None:
        asyncio.run(serve(chosen.serve))
    logging.disable()
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="sidegate-key-sets-") as name:
        argv = [sys.executable, "-m", "benchmarks.key_sets", "--serve", str(port)]
        directory = Path.cwd()
        with running(argv, core=SERVER_CORE, directory=directory, log=Path(name, "log"), port=port):
            os.sched_setaffinity(0, {CLIENT_CORE})
            calm_ms, held = uvloop.run(fetch_all(port))
    print(*report(calm_ms, held, chosen.worst), sep="\n")
    return 0 if held and max(each.late_ms for each in held) < BOUND_MS else 1


if __name__ == "__main__":
    sys.exit(main())
