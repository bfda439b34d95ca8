"""Run the corpus: whole, byte by byte, and with a second request or answer behind.

After a spoiled request the recording upstream has seen nothing of it (when the defect is in the
body and comes later than the head, no complete request); after its twin exactly what
`tests.wire.corpus` says. A spoiled answer becomes a 502, or a cut where the head was out already,
and its connection carries nothing more.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.appliance import Appliance, configuration, running
from tests.support.caller import Answer, Caller, ClosedError, assert_own
from tests.support.upstream import Accepted, Upstream
from tests.wire.corpus import (
    ANSWER,
    ANSWERS,
    ARRIVES,
    FORWARDED,
    GET,
    REFUSED,
    Forwarded,
    Refused,
    SpoiledAnswer,
)
from tests.wire.differential import Recorder, at_once, at_rest, recording_upstream
from tests.wire.strict_reading import Rules, read_body, read_head
from tests.wire.test_refused import LIMITS

on_one_loop = pytest.mark.asyncio(loop_scope="module")

BEHIND = GET.replace(b"/open/x", b"/open/behind")
BEHIND_ARRIVES = ARRIVES[GET].replace(b"/open/x", b"/open/behind")
CLOSING = {"bad_framing", "header_too_large", "uri_too_long", "expectation_failed"}
"""What is refused for these reasons leaves no doubt about the connection: it ends."""


@dataclass
class Scene:
    """A running gate, what arrives behind it, and a token."""

    appliance: Appliance
    recorder: Recorder
    token: bytes

    def with_token(self, data: bytes) -> bytes:
        return data.replace(b"<token>", self.token)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Return `data` byte by byte, but for the token, which is long."""
        for part in re.split(b"(%b)" % re.escape(self.token), data):
            if part == self.token or len(part) > 3000:
                yield part
            else:
                yield from (part[index : index + 1] for index in range(len(part)))

    async def send(self, caller: Caller, data: bytes, *, in_bytes: bool = False, together: int = 1) -> None:
        """Send it; byte by byte, the last `together` bytes are sent at once."""
        if in_bytes:
            for piece in self.pieces(data[:-together]):
                caller.send(piece)
                await asyncio.sleep(0)
            data = data[-together:]
        caller.send(data)

    def arrived(self) -> list[bytes]:
        """Return the complete requests that arrived since the last call, without what is always new."""
        assert not self.recorder.malformed
        raw = [normalised(request) for request in self.recorder.raw]
        self.recorder.clear()
        return raw


def normalised(request: bytes) -> bytes:
    request = re.sub(rb"sidegate-[0-9a-f]{8}\r\n", b"<gate>\r\n", request)
    request = re.sub(
        rb"\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n", b"\r\ntraceparent: <trace>\r\n", request
    )
    return re.sub(rb"\r\nX-Request-Id: [0-9a-f]{32}\r\n", b"\r\nX-Request-Id: <id>\r\n", request)


def framed_alike(request: bytes) -> bytes:
    """Return a request with its chunks joined into one: how a body is cut follows its arrival."""
    message = read_head(request, 0, Rules(empty_host=True))
    head = request[: message.end]
    read_body(request, message)
    return head + message.body + b"".join(b"|%b: %b" % line for line in message.trailers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    recorder = Recorder()
    settings = configuration(limits={**LIMITS, "bad_tokens": {"requests": 0, "per": "1s"}})
    settings["routes"].append(
        {"name": "host", "host": "h.example", "path": "/only-here", "upstream": "country", "access": "public"}
    )
    async with (
        recording_upstream(recorder) as port,
        running(tmp_path_factory.mktemp("corpus"), settings, targets={"country": [port]}) as appliance,
    ):
        yield Scene(appliance, recorder, appliance.sign())


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    for rows in (REFUSED, FORWARDED, ANSWERS):
        names = Counter(row.name for row in rows)
        assert [name for name, count in names.items() if count > 1] == []
        assert all(re.match(r"(RFC \d{4} \d|CONTRACT \d)", row.section) for row in rows)
    assert len(REFUSED) + len(FORWARDED) + len(ANSWERS) >= 250
    for refused in REFUSED:
        assert refused.whole in ARRIVES, f"{refused.name} has no sound twin"
        assert refused.sound in refused.whole
        assert refused.sent != refused.whole
    for answer in ANSWERS:
        assert answer.sound in answer.whole
        assert answer.raw != answer.whole


# --- requests


@on_one_loop
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
async def test_refused_requests(row: Refused, scene: Scene) -> None:
    scene.recorder.clear()
    sent = scene.with_token(row.sent)
    head_end = row.whole.find(b"\r\n\r\n") + 4
    is_in_body = row.whole.find(row.sound) >= head_end or row.sound.startswith((b"\r\n3\r\n", b"\r\n0\r\n"))
    for data, in_bytes in ((sent, False), (sent, True), (sent + BEHIND, False), (sent + BEHIND, True)):
        async with scene.appliance.connect() as caller:
            await scene.send(caller, data, in_bytes=in_bytes)
            answer = await caller.answer(to="HEAD" if row.sent.startswith(b"HEAD") else "GET")
            assert_own(answer, row.status, row.reason)
            closes = answer.one("Connection") == "close"
            assert closes or row.reason not in CLOSING
            # A body that was announced and is too large is read over: what is behind belongs to it.
            follows = data is not sent and not closes and row.reason != "body_too_large"
            if closes:
                assert await caller.rest() == b""
            elif follows:
                assert (await caller.answer()).status == 200
        await at_rest(scene.appliance, scene.recorder)
        if not (is_in_body and in_bytes):
            assert scene.recorder.partial == []
        assert scene.arrived() == ([BEHIND_ARRIVES] if follows else [])


@on_one_loop
@pytest.mark.parametrize("row", FORWARDED, ids=lambda row: row.name)
async def test_forwarded_requests(row: Forwarded, scene: Scene) -> None:
    scene.recorder.clear()
    sent = scene.with_token(row.sent)
    method = row.sent.strip().split(b" ")[0].decode()
    for data, in_bytes in ((sent, False), (sent, True), (sent + BEHIND, False), (sent + BEHIND, True)):
        async with scene.appliance.connect() as caller:
            together = len(BEHIND) + 1 if data is not sent and row.closes else 1
            await scene.send(caller, data, in_bytes=in_bytes, together=together)
            answer = await caller.answer(to=method)
            assert (answer.status, answer.reason) == (200, None)
            assert (answer.one("Connection") == "close") == row.closes
            if row.closes:
                assert await caller.rest() == b""
            elif data is not sent:
                assert (await caller.answer()).status == 200
        await at_rest(scene.appliance, scene.recorder)
        expected = [row.arrives] + ([BEHIND_ARRIVES] if data is not sent and not row.closes else [])
        arrived = scene.arrived()
        assert scene.recorder.partial == []
        if in_bytes:
            assert list(map(framed_alike, arrived)) == list(map(framed_alike, expected))
        else:
            assert arrived == expected


# --- answers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answering(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Appliance, Upstream]]:
    async with Upstream().serving() as upstream:
        unwatched = {"upstreams": {"country": {"outlier": {"consecutive_failures": 0}}}}
        settings = configuration(**unwatched)
        async with running(
            tmp_path_factory.mktemp("answers"), settings, targets={"country": [upstream.port]}
        ) as appliance:
            yield appliance, upstream


async def ask(
    appliance: Appliance, upstream: Upstream, raw: bytes, method: bytes, *, in_bytes: bool
) -> tuple[Answer | None, bytes, bool]:
    """Return the final answer that came of `raw`, or None when it was cut, and what came of the next.

    Returns:
        The answer, the next answer's body, and whether the connection to the upstream was used again.
    """

    async def script(connection: Accepted) -> None:
        turn = 0
        while await connection.request() is not None:
            data = raw if connection is upstream.connections[0] and not turn else ANSWER
            turn += 1
            step = 1 if in_bytes and len(data) < 2000 else len(data)
            for start in range(0, len(data), step):
                if connection.closed.is_set():
                    return
                connection.write(data[start : start + step])
                await asyncio.sleep(0)

    upstream.script = script
    request = b"%b /open/x HTTP/1.1\r\nHost: a\r\n\r\n" % method
    answer: Answer | None = None
    async with appliance.connect() as caller:
        with contextlib.suppress(ClosedError):
            answer = await caller.ask(request)
            while answer.status < 200:
                answer = await caller.answer(to=method.decode())
    body = (await appliance.ask(GET)).body
    used_again = len(upstream.connections) == 1
    for connection in upstream.connections:
        connection.close()
    await at_once(lambda: not appliance.gate.pools["country"].gauges["idle"])
    upstream.connections.clear()
    return answer, body, used_again


@on_one_loop
@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row.name)
async def test_spoiled_answers(row: SpoiledAnswer, answering: tuple[Appliance, Upstream]) -> None:
    for raw, in_bytes in ((row.raw, False), (row.raw, True), (row.raw + ANSWER, False)):
        answer, body, used_again = await ask(*answering, raw, row.method, in_bytes=in_bytes)
        assert body == b"hello"
        assert not used_again
        if row.cut:
            assert answer is None
        elif answer is not None and row.excess and in_bytes:
            assert b"hello".startswith(answer.body)  # the excess came when the answer was out
        else:
            assert answer is not None
            assert (answer.status, answer.reason) == (502, "upstream_protocol")


TWINS = {(row.whole, row.method) for row in ANSWERS}


@on_one_loop
@pytest.mark.parametrize(("whole", "method"), sorted(TWINS))
async def test_sound_answers(whole: bytes, method: bytes, answering: tuple[Appliance, Upstream]) -> None:
    for in_bytes in (False, True):
        answer, body, used_again = await ask(*answering, whole, method, in_bytes=in_bytes)
        assert answer is not None
        assert (answer.reason, answer.one("X-Kept")) == (None, "1")
        assert answer.body == (b"hello" if b"hello" in whole else b"")
        assert used_again
        assert body == b"hello"
