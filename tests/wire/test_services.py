"""Have services answer in this process: their bodies, their turns, and callers who leave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.policy.peers import Networks, read_networks
from gateway.proxy import service_runner
from gateway.proxy.service_call import ANSWER_TIMEOUT_S, WAIT_TIMEOUT_S
from gateway.proxy.service_runner import HELD_BYTES, MOST_RUNNING, MOST_WAITING, ServiceRunner
from gateway.services import Answer, Request, Respond
from tests.support.appliance import Appliance, configuration
from tests.support.caller import Caller, assert_own, connected
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

LONGEST = 1000
HEAD = "POST /oauth2/token HTTP/1.1\r\nHost: a\r\n"


@dataclass
class Slow:
    """A service whose answers wait until a test says so."""

    name: str = "_issuer_"
    longest_body: int = LONGEST
    begun: list[Request] = field(default_factory=list)
    done: list[Request] = field(default_factory=list)
    door: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False

    def place(self, request: Request) -> Answer | Respond:
        if request.method == "GET":
            return Answer(200, (("X-Early", "1"),), b"at once")
        return self.respond

    async def respond(self, request: Request) -> Answer:
        self.begun.append(request)
        await self.door.wait()
        if self.fails:
            raise RuntimeError("planted")
        self.done.append(request)
        return Answer(200, (), b"%d" % len(request.body))


@pytest.fixture
async def slow(appliance: Appliance) -> Slow:
    service = Slow()
    appliance.gate.service = service
    return service


@pytest.fixture
async def open_callers(appliance: Appliance) -> AsyncIterator[Callable[[int], Any]]:
    """Return what opens so many connections; they are closed afterwards."""
    opened: list[asyncio.StreamWriter] = []

    async def open_many(count: int) -> list[Caller]:
        pairs = [await asyncio.open_connection("127.0.0.1", appliance.port) for _ in range(count)]
        opened.extend(writer for _, writer in pairs)
        return [Caller(*pair) for pair in pairs]

    yield open_many
    for writer in opened:
        writer.transport.abort()
    await until(lambda: not appliance.gate.connections)


def sized(length: int, *, sent: int | None = None) -> bytes:
    return f"{HEAD}Content-Length: {length}\r\n\r\n".encode() + b"x" * (length if sent is None else sent)


# --- what a service is given


async def test_it_is_given_the_whole_body_however_it_came(appliance: Appliance, slow: Slow) -> None:
    slow.door.set()
    body = bytes(range(256)) * 3
    chunked = b"".join(b"1\r\n%c\r\n" % octet for octet in body) + b"0\r\n\r\n"
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    async with appliance.connect() as caller:
        for request in (
            [f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body],
            [f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode(), body[:1], body[1:500], body[500:]],
            [head + chunked],
            [head, chunked[:7], chunked[7:]],
        ):
            for piece in request:
                caller.send(piece)
                await turns_of_the_loop()
            assert (await caller.answer(to="POST")).body == b"%d" % len(body)
    assert [request.body for request in slow.done] == [body] * 4


async def test_no_more_of_a_body_is_kept_than_it_looks_at(appliance: Appliance, slow: Slow) -> None:
    slow.door.set()
    async with appliance.connect() as caller:
        caller.send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(20):
            caller.send(b"64\r\n" + b"x" * 100 + b"\r\n")
            await turns_of_the_loop()
        answer = await caller.answer(to="POST")
    assert (answer.body, answer.one("Connection")) == (b"%d" % (LONGEST + 1), "close")
    assert len(slow.done[0].body) == LONGEST + 1


async def test_the_caller_is_whom_a_trusted_proxy_names(start: Start) -> None:
    async with start(trusted_proxies=["127.0.0.0/8"]) as appliance:
        slow = appliance.gate.service = Slow()
        slow.door.set()
        for fields, address in (
            ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
            ("X-Forwarded-For: 192.0.2.7, 127.0.0.5\r\n", "192.0.2.7"),
            ("X-Forwarded-For: 192.0.2.7\r\nConnection: x-forwarded-for\r\n", "127.0.0.1"),
            ("X-Forwarded-For: nobody\r\n", "127.0.0.1"),
            ("", "127.0.0.1"),
        ):
            await appliance.ask(f"{HEAD}{fields}Content-Length: 0\r\n\r\n".encode())
            assert slow.done[-1].caller.address == address
    async with start() as appliance:
        slow = appliance.gate.service = Slow()
        slow.door.set()
        await appliance.ask(f"{HEAD}X-Forwarded-For: 192.0.2.7\r\nContent-Length: 0\r\n\r\n".encode())
        assert slow.done[-1].caller.address == "127.0.0.1"
        assert "X-Forwarded-For" not in slow.done[-1].fields


@dataclass(frozen=True)
class Counting(Networks):
    """Networks that count how often they are asked."""

    asked: list[str] = field(default_factory=list)

    def include(self, address: str) -> bool:
        self.asked.append(address)
        return super().include(address)


async def test_who_sends_a_request_is_found_out_once(start: Start) -> None:
    """It may be written in a long field, which anybody can send through a proxy."""
    async with start(trusted_proxies=["127.0.0.0/8"]) as appliance, appliance.connect() as caller:
        await caller.ask(b"GET /oauth2/jwks HTTP/1.1\r\nHost: a\r\n\r\n")
        known = read_networks(["127.0.0.0/8"])
        counting = Counting(known.v4, known.v6)
        appliance.gate.snapshot = replace(appliance.gate.snapshot, trusted_networks=counting)
        form = b"grant_type=client_credentials&client_id=reader&client_secret=wrong"
        await caller.ask(
            f"{HEAD}X-Forwarded-For: 127.0.0.8, 192.0.2.7, 127.0.0.9\r\nContent-Length: {len(form)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()
            + form
        )
        assert counting.asked == ["127.0.0.9", "192.0.2.7"]


# --- in order, and at once where the head settles it


async def test_answers_keep_the_order_of_requests(appliance: Appliance, slow: Slow) -> None:
    early = b"GET /oauth2/jwks HTTP/1.1\r\nHost: a\r\n\r\n"
    async with appliance.connect() as caller:
        caller.send(early + sized(3) + early + sized(0))
        assert (await caller.answer()).body == b"at once"
        await until(lambda: slow.begun)
        await turns_of_the_loop()
        assert len(slow.begun) == 1, "the next request waits for its turn on the connection"
        slow.door.set()
        bodies = [(await caller.answer()).body for _ in range(3)]
    assert bodies == [b"3", b"at once", b"0"]


async def test_a_head_that_is_settled_waits_for_no_turn(
    appliance: Appliance, slow: Slow, open_callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "MOST_RUNNING", 2)
    for caller in await open_callers(3):
        caller.send(sized(0))
    await until(lambda: appliance.gate.service_runner.gauges == {"idle": 0, "active": 2, "waiting": 1})
    answer = await appliance.ask(b"GET /oauth2/jwks HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"at once")
    slow.door.set()


# --- bounds


def test_the_bounds_are_those_that_stand_in_the_documents() -> None:
    assert (MOST_RUNNING, MOST_WAITING, HELD_BYTES) == (512, 4096, 32 * 1024 * 1024)


async def test_so_many_run_and_the_rest_wait(
    appliance: Appliance, slow: Slow, open_callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "MOST_RUNNING", 3)
    callers = await open_callers(8)
    for caller in callers:
        caller.send(sized(5))
    await until(lambda: appliance.gate.service_runner.gauges == {"idle": 0, "active": 3, "waiting": 5})
    assert appliance.gate.service_runner.held_bytes == 25, "of those that wait"
    slow.door.set()
    assert [(await caller.answer(to="POST")).body for caller in callers] == [b"5"] * 8
    assert appliance.gate.service_runner.gauges == {"idle": 0, "active": 0, "waiting": 0}
    assert appliance.gate.service_runner.held_bytes == 0


async def test_who_waits_too_long_is_told_so(
    appliance: Appliance, slow: Slow, open_callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "MOST_RUNNING", 1)
    first, second = await open_callers(2)
    first.send(sized(0))
    await until(lambda: slow.begun)
    second.send(sized(7))
    await until(lambda: appliance.gate.service_runner.gauges["waiting"] == 1)
    appliance.let_pass(WAIT_TIMEOUT_S + 0.1)
    answer = await second.answer(to="POST")
    assert_own(answer, 503, "overloaded")
    assert answer.one("Retry-After") == "1"
    assert appliance.gate.service_runner.held_bytes == 0
    slow.door.set()
    assert (await first.answer(to="POST")).status == 200
    second.send(sized(1))
    assert (await second.answer(to="POST")).body == b"1", "its connection goes on"


async def test_an_answer_that_does_not_come_is_not_awaited_for_ever(appliance: Appliance, slow: Slow) -> None:
    async with appliance.connect() as caller:
        caller.send(sized(0))
        await until(lambda: slow.begun)
        appliance.let_pass(ANSWER_TIMEOUT_S + 0.1)
        assert_own(await caller.answer(to="POST"), 504, "upstream_timeout")
        slow.door.set()
        await until(lambda: slow.done)
        assert (await caller.ask(sized(2))).body == b"2", "the late answer went to nobody"
    assert [exchange.status for exchange in appliance.exchanges] == [504, 200]


async def test_a_full_queue_takes_in_whoever_has_least_of_it(
    appliance: Appliance, slow: Slow, open_callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "MOST_RUNNING", 1)
    monkeypatch.setattr(service_runner, "MOST_WAITING", 3)
    appliance.gate.service_runner = ServiceRunner()
    many = await open_callers(5)
    for caller in many:
        caller.send(sized(0))
        await turns_of_the_loop()
    assert_own(await many[-1].answer(to="POST"), 503, "overloaded")
    reader, writer = await asyncio.open_connection("127.0.0.1", appliance.port, local_addr=("127.0.0.2", 0))
    other = Caller(reader, writer)
    other.send(sized(4))
    assert_own(await many[-2].answer(to="POST"), 503, "overloaded")
    assert appliance.gate.service_runner.gauges["waiting"] == 3
    slow.door.set()
    assert (await other.answer(to="POST")).body == b"4"
    writer.transport.abort()


async def test_bodies_on_their_way_are_bounded_and_shared(
    appliance: Appliance, slow: Slow, open_callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "HELD_BYTES", 8 * 2500)
    callers = await open_callers(3)
    for caller in callers[:2]:
        caller.send(sized(900, sent=800))
    await until(lambda: appliance.gate.service_runner.held_bytes == 1600)
    callers[2].send(sized(900, sent=899))
    answer = await callers[2].answer(to="POST")
    assert_own(answer, 503, "overloaded")
    assert answer.one("Connection") == "close"
    reader, writer = await asyncio.open_connection("127.0.0.1", appliance.port, local_addr=("127.0.0.2", 0))
    other = Caller(reader, writer)
    slow.door.set()
    other.send(sized(900, sent=899))
    await until(lambda: appliance.gate.service_runner.held_bytes == 1600 + 899)
    other.send(b"x")
    assert (await other.answer(to="POST")).body == b"900"
    writer.transport.abort()
    callers[0].send(b"x" * 100)
    assert (await callers[0].answer(to="POST")).body == b"900"
    await until(lambda: appliance.gate.service_runner.held_bytes == 800)
    callers[1].abort()
    await until(lambda: not appliance.gate.service_runner.held_bytes)


def test_what_peers_hold_adds_up() -> None:
    runner = ServiceRunner()
    peers = [f"192.0.2.{number}" for number in range(40)]
    taken = dict.fromkeys(peers, 0)
    for peer in peers:
        while runner.hold(peer, 1024):
            taken[peer] += 1024
        assert runner.held_bytes == sum(taken.values()) <= HELD_BYTES
    assert taken[peers[0]] <= HELD_BYTES / 9
    assert runner.hold("newcomer", 32 * 1024), "forty peers leave room for whoever comes"
    runner.let_go("newcomer", 32 * 1024)
    for peer in peers:
        runner.let_go(peer, taken[peer])
    assert (runner.held_bytes, runner._held_by_peer) == (0, {})


# --- callers who leave, and mistakes


async def test_what_has_begun_runs_to_its_end_though_its_caller_left(
    appliance: Appliance, slow: Slow, open_callers: Any
) -> None:
    (caller,) = await open_callers(1)
    caller.send(sized(3))
    await until(lambda: slow.begun)
    caller.abort()
    await until(lambda: appliance.exchanges)
    assert appliance.exchanges[0].reason == "client_closed"
    assert appliance.gate.service_runner.gauges["active"] == 1, "it still has its place"
    slow.door.set()
    await until(lambda: slow.done)
    await until(lambda: not appliance.gate.service_runner.gauges["active"])
    assert len(appliance.exchanges) == 1


async def test_who_leaves_while_waiting_is_never_begun(
    appliance: Appliance, slow: Slow, open_callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "MOST_RUNNING", 1)
    first, second = await open_callers(2)
    first.send(sized(0))
    await until(lambda: slow.begun)
    second.send(sized(9))
    await until(lambda: appliance.gate.service_runner.gauges["waiting"] == 1)
    second.abort()
    await until(lambda: appliance.gate.service_runner.gauges["waiting"] == 0)
    assert appliance.gate.service_runner.held_bytes == 0
    slow.door.set()
    assert (await first.answer(to="POST")).status == 200
    assert len(slow.begun) == 1


async def test_a_mistake_in_a_service_ends_its_request_alone(
    appliance: Appliance, slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    slow.fails = True
    async with appliance.connect() as other, appliance.connect() as caller:
        other.send(sized(0))
        caller.send(sized(0))
        await until(lambda: len(slow.begun) == 2)
        slow.door.set()
        for each in (caller, other):
            assert_own(await each.answer(to="POST"), 500, "internal")
        slow.fails = False
        assert (await caller.ask(sized(1))).body == b"1"
    assert "planted" in caplog.text
    assert appliance.gate.service_runner.gauges["active"] == 0


async def test_the_end_of_the_process_waits_for_what_runs(start: Start) -> None:
    async with start() as appliance:
        slow = appliance.gate.service = Slow()
        async with connected(appliance.port) as caller:
            caller.send(sized(3))
            await until(lambda: slow.begun)
            closing = asyncio.create_task(appliance.gate.service_runner.close())
            await turns_of_the_loop()
            assert not closing.done()
            assert_own(await appliance.ask(sized(0)), 503, "draining")
            slow.door.set()
            await closing
            assert (await caller.answer(to="POST")).body == b"3"


async def test_the_end_of_the_process_waits_no_longer_than_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_runner, "CLOSE_TIMEOUT_S", 0.05)
    async with start(**configuration()) as appliance:
        slow = appliance.gate.service = Slow()
        async with connected(appliance.port) as caller:
            caller.send(sized(3))
            await until(lambda: slow.begun)
            await appliance.gate.service_runner.close()
            assert not slow.done
