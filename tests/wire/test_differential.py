"""Hold the gate to an independent strict reading of the same bytes, and show that this finds faults.

What is generated and compared, and how, is `tests.wire.differential`. Normal runs are the same
each time; `make soak` takes a random seed, which a failure names.
"""

import asyncio
import os
import random
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.differential import Example, bench, make_example, run

SOAK = "SIDEGATE_SOAK" in os.environ
EXAMPLES = 100_000 if SOAK else 480
SHARES = 4
"""Into how many tests the examples are divided, for workers to share them."""
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.mark.parametrize("share", range(SHARES))
def test_generated_requests(share: int, runner: asyncio.Runner, tmp_path: Path) -> None:
    seed = secrets.randbits(64) if SOAK else share
    done = runner.run(run(tmp_path, seed, EXAMPLES // SHARES))
    assert done.forwarded > EXAMPLES // SHARES / 4, "too few examples are well-formed to show much"
    assert done.refused > EXAMPLES // SHARES / 4, "too few examples are refused to show much"


def test_shrunk_requests(runner: asyncio.Runner, tmp_path: Path) -> None:
    """The same examples as hypothesis makes them: fewer, but a failure comes back at its smallest."""

    @settings(
        max_examples=2000 if SOAK else 60,
        deadline=None,
        derandomize=not SOAK,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def property_holds(chance: random.Random) -> None:
        runner.run(running_bench.try_example(make_example(chance, running_bench.rules.token)))

    context = bench(tmp_path)
    running_bench = runner.run(context.__aenter__())
    try:
        property_holds()
    finally:
        runner.run(context.__aexit__(None, None, None))


HEAD = b" /open/x HTTP/1.1\r\nHost: a.example\r\n"
NEXT = b"GET /open/next HTTP/1.1\r\nHost: a.example\r\n\r\n"
CHUNKED_HEAD = b"POST" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FOUND = {
    "what is behind a refusal that closes is read over": b"GET"
    + HEAD
    + b"\r\nGET /x# HTTP/1.1\r\n\r\n"
    + NEXT,
    "nothing is taken for a request behind a refused expectation": b"POST"
    + HEAD
    + b"Expect: tea\r\nContent-Length: 3\r\n\r\n"
    + NEXT,
    "nor behind a target that contradicts Host": b"GET http://b.example/open/x HTTP/1.1\r\nHost: a\r\n\r\n"
    + NEXT,
    "not even with an expectation that is refused": b"GET http://b.example/open/x HTTP/1.1\r\nHost: a\r\n"
    b"Expect: tea\r\n\r\n" + NEXT,
    "nor behind an asterisk with a switch": b"GET * HTTP/1.1\r\nHost: a\r\n"
    b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc" + NEXT,
    "a tab behind the coding is refused": CHUNKED_HEAD.replace(b"chunked", b"chunked\t")
    + b"0\r\n\r\n"
    + NEXT,
    "nor behind a switch with a body": b"POST"
    + HEAD.replace(b"/open/x", b"/switch")
    + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc"
    + NEXT,
    "a trailer that Connection names ends here": b"POST"
    + HEAD
    + b"Connection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n",
    "white space behind a chunk size is no extension": b"POST"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n"
    + NEXT,
    "HTTP/1.0 without Host": b"GET /open/x HTTP/1.0\r\n\r\n",
}
"""Streams with which the gate, or this comparison, was once wrong."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_once_found(name: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    async def try_it() -> None:
        async with bench(tmp_path) as running_bench:
            data = FOUND[name]
            for cuts in ((), (1,), (len(data) - 1,), tuple(range(1, len(data)))):
                await running_bench.try_example(Example(data, cuts))

    runner.run(try_it())


# --- planted faults


Change = tuple[str, str, str]
"""A file of the gate, a text that is in it once, and what takes its place."""

WITHOUT_LLHTTP: Change = (
    "http1/request.py",
    r'parser.feed_data(b"POST / HTTP/1.1\r\n" + lines)',
    r'collector.fields = [tuple(line.split(b":", 1)) for line in lines.split(b"\r\n") if b":" in line]',
)
"""Most faults of framing would not come through: llhttp reads the fields too."""

FAULTS: dict[str, list[Change]] = {
    "a length beside a coding is accepted": [
        WITHOUT_LLHTTP,
        ("http1/request.py", "    if lengths and codings:\n", "    if False:\n"),
    ],
    "a signed length is accepted": [
        WITHOUT_LLHTTP,
        ("http1/grammar.py", '(rb"[0-9]{1,18}")', r'(rb"\+?[0-9]{1,18}")'),
    ],
    "two Hosts are accepted": [("http1/request.py", "if len(hosts) > 1:", "if len(hosts) > 2:")],
    "Connection takes the gate's own fields away": [
        (
            "proxy/relay.py",
            "            if verdict is not None and plan.identity_headers and ",
            '            if b"x-auth-client-id" not in block.connection_options and verdict and ',
        )
    ],
    "one byte behind a counted body is lost": [
        ("proxy/body.py", "self.rest = data[self.remaining :]", "self.rest = data[self.remaining + 1 :]")
    ],
    "a request behind Connection: close is read": [
        ("proxy/downstream.py", "keep_alive = not block.close and (", "keep_alive = (")
    ],
    "an identity field in another spelling passes": [
        ("http1/dropped_fields.py", 'return _SEPARATORS.sub(b"-", name.lower())', "return name.lower()")
    ],
}


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_planted_faults(fault: str | None, tmp_path: Path) -> None:
    """A copy of the gate with the fault disagrees with the strict reading; one without does not."""
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    for path, sound, faulty in FAULTS[fault] if fault else []:
        source = (tmp_path / "gateway" / path).read_text("utf-8")
        assert source.count(sound) == 1, f"{path} no longer has {sound!r}: plant the fault elsewhere"
        (tmp_path / "gateway" / path).write_text(source.replace(sound, faulty), "utf-8")
    arguments = ["--seed", "7", "--examples", "1500" if fault else "200"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.wire.differential", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith(str(tmp_path)), done.stderr
    assert ("disagreement:" in done.stdout, done.returncode) == ((True, 1) if fault else (False, 0)), (
        done.stdout + done.stderr
    )
