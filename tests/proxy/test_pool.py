"""Show who gets which connection, in which order, and what happens to those that wait."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from aiohappyeyeballs import AddrInfoType

from gateway.proxy.health import CircuitState
from gateway.proxy.pool import IDLE_LIMIT_S, PoolSettings, UpstreamPool
from gateway.proxy.targets import (
    NAME_TTL_S,
    SHORTAGES,
    Names,
    Opener,
    ProtocolFactory,
    TcpOpener,
)
from gateway.proxy.upstream import UpstreamConnection
from gateway.reasons import Reason
from gateway.settings.model import (
    Balance,
    CircuitBreakerSettings,
    HealthCheckSettings,
    OutlierSettings,
    TargetSettings,
)
from tests.support.waiting import turns_of_the_loop, until


def pytest_asyncio_loop_factories() -> Mapping[str, object]:
    return {"uvloop": uvloop.new_event_loop}


class Service(asyncio.Protocol):
    """The other end of a connection: it only takes it."""


class DoorOpener:
    """The way to a target that opens when the test says so."""

    names: Names | None = None
    authority = "localhost"
    place = "localhost:1"

    def __init__(self, identity: object = "door") -> None:
        self.identity = identity
        self.door = asyncio.Event()
        self.door.set()
        self.fails = False
        self.opened = 0

    async def open(self, factory: ProtocolFactory) -> None:
        await self.door.wait()
        if self.fails:
            raise ConnectionRefusedError
        self.opened += 1
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(Service, theirs)
        await loop.connect_accepted_socket(factory, ours)


@dataclass(eq=False)
class Request:
    """A request that waits for its connection and remembers what it was told."""

    name: str = ""
    log: list[str] = field(default_factory=list)
    tried: frozenset[str] = frozenset()
    avoided: str = ""
    wait_deadline: float = 0.0
    wants_fresh: bool = False
    is_once_only: bool = False
    connection: UpstreamConnection | None = None
    refused: Reason | None = None

    def start(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.log.append(self.name)

    def must_wait(self) -> None:
        pass

    def no_connection(self, reason: Reason, detail: str, retry_after_s: float = 1.0) -> None:
        self.refused = reason
        self.log.append(f"-{self.name}")

    def connect_took(self, seconds: float) -> None:
        assert seconds >= 0

    def not_connected(self, target: str) -> None:
        assert target

    def struck(self) -> None:
        self.refused = Reason.INTERNAL

    async def started(self) -> UpstreamConnection:
        await until(lambda: self.connection or self.refused)
        assert self.connection is not None, self.refused
        return self.connection


Make = Callable[..., UpstreamPool]


@dataclass
class Clock:
    now: float = 1000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Make]:
    made: list[UpstreamPool] = []

    def make_pool(*openers: Opener, **changes: Any) -> UpstreamPool:
        pool = UpstreamPool("u", stopwatch=lambda: clock.now)
        made.append(pool)
        configure(pool, *openers, **changes)
        return pool

    yield make_pool
    for pool in made:
        pool.close()
        for target in pool._targets:
            for connection in list(target.connections):
                connection.close()
    await turns_of_the_loop()


def configure(pool: UpstreamPool, *openers: Opener, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "balance": Balance.ROUND_ROBIN,
        "connect_timeout_s": 5.0,
        "max_connections": 0,
        "queue_size": 10,
        "queue_timeout_s": 1.0,
        **changes,
    }
    pool.take(PoolSettings({f"t{index}": opener for index, opener in enumerate(openers)}, **settings))
    pool.settle()


async def start(pool: UpstreamPool, **wish: Any) -> UpstreamConnection:
    request = Request(**wish)
    pool.acquire(request)
    return await request.started()


async def test_who_came_first_is_served_first(make: Make) -> None:
    pool = make(DoorOpener(), max_connections=1)
    log: list[str] = []
    first = await start(pool)
    waiting = [Request(name, log) for name in "abcd"]
    for request in waiting:
        pool.acquire(request)
    assert pool.gauges == {"idle": 0, "active": 1, "waiting": 4}
    pool.forget_waiter(waiting[1])
    pool.release(first)
    for request in (waiting[0], waiting[2], waiting[3]):
        pool.release(await request.started())
    assert log == ["a", "c", "d"]
    assert pool.gauges == {"idle": 1, "active": 0, "waiting": 0}


async def test_nobody_overtakes_the_queue(make: Make) -> None:
    pool = make(DoorOpener(), max_connections=1)
    log: list[str] = []
    first = await start(pool)
    picky = Request("picky", log, wants_fresh=True)
    pool.acquire(picky)
    late = Request("late", log)
    pool.acquire(late)
    pool.release(first)  # of no use to the one who wants a new one: it makes room
    pool.release(await picky.started())
    await late.started()
    assert log == ["picky", "late"]
    assert first.is_closed


async def test_a_queue_of_size_0_lets_nobody_wait(make: Make) -> None:
    pool = make(DoorOpener(), max_connections=1, queue_size=0)
    await start(pool)
    request = Request()
    pool.acquire(request)
    assert request.refused is Reason.OVERLOADED


async def test_a_full_queue_and_a_long_wait_are_refused(make: Make, clock: Clock) -> None:
    pool = make(DoorOpener(), max_connections=1, queue_size=2)
    await start(pool)
    requests = [Request() for _ in range(3)]
    for request in requests:
        pool.acquire(request)
    assert [request.refused for request in requests] == [None, None, Reason.OVERLOADED]
    pool.sweep(clock.now + 0.999)
    assert requests[0].refused is None
    pool.sweep(clock.now + 1)
    assert [request.refused for request in requests] == [Reason.OVERLOADED] * 3
    assert pool.gauges["waiting"] == 0


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_there_are_never_more_connections_than_allowed(make: Make, limit: int) -> None:
    openers = DoorOpener(), DoorOpener()
    pool = make(*openers, max_connections=limit, queue_size=100)
    requests = [Request(wants_fresh=number % 3 == 0) for number in range(40)]
    for request in requests:
        pool.acquire(request)
    for request in requests:
        connection = await request.started()
        standing = sum(not held.is_closed for held in {r.connection for r in requests if r.connection})
        assert standing <= limit
        pool.release(connection)
        await turns_of_the_loop(3)


async def test_a_full_pool_uses_what_is_idle_before_it_closes_it(make: Make) -> None:
    openers = DoorOpener(), DoorOpener()
    pool = make(*openers, max_connections=2)
    first, second = await start(pool), await start(pool)
    pool.release(first)
    for _ in range(6):
        assert await start(pool) is first
        pool.release(first)
    assert (openers[0].opened, openers[1].opened) == (1, 1)
    assert not second.is_closed


async def test_an_idle_target_makes_room_for_another(make: Make) -> None:
    openers = DoorOpener(), DoorOpener()
    pool = make(*openers, max_connections=1)
    first = await start(pool)
    pool.release(first)
    request = Request(tried=frozenset({first.target.key}))
    pool.acquire(request)
    second = await request.started()
    assert second.target is not first.target
    assert first.is_closed


async def test_each_target_is_tried_once(make: Make) -> None:
    openers = DoorOpener(), DoorOpener(), DoorOpener()
    openers[0].fails = openers[1].fails = True
    pool = make(*openers)
    for _ in range(6):
        pool.release(await start(pool))
    openers[2].fails = True
    request = Request(wants_fresh=True)
    pool.acquire(request)
    await until(lambda: request.refused)
    assert request.refused is Reason.UPSTREAM_CONNECT
    assert len(request.tried) == 3
    assert pool.gauges["active"] == 0


async def test_who_was_broken_off_goes_elsewhere_when_there_is_elsewhere(make: Make) -> None:
    pool = make(DoorOpener(), DoorOpener())
    for _ in range(4):
        assert (await start(pool, avoided="t0")).target.key == "t1"
    alone = make(DoorOpener())
    assert (await start(alone, avoided="t0")).target.key == "t0"


async def test_failures_leave_a_target_out_but_never_the_last(make: Make, clock: Clock) -> None:
    pool = make(DoorOpener(), DoorOpener(), outlier=OutlierSettings(2, 10))
    held = {connection.target.key: connection.target for connection in [await start(pool), await start(pool)]}
    for _ in range(2):
        pool.failed(held["t0"], "test")
    assert dict(pool.targets_in_use()) == {"t0": False, "t1": True}
    for _ in range(5):
        pool.failed(held["t1"], "test")
    assert dict(pool.targets_in_use()) == {"t0": False, "t1": True}
    pool.sweep(clock.now + 10)
    assert dict(pool.targets_in_use()) == {"t0": True, "t1": True}
    pool.answered(held["t0"], 200)
    pool.failed(held["t0"], "test")
    assert dict(pool.targets_in_use())["t0"]  # forgiven: it takes two again


async def test_a_target_left_out_is_the_last_resort(make: Make) -> None:
    openers = DoorOpener(), DoorOpener()
    pool = make(*openers, outlier=OutlierSettings(1, 10))
    held = [await start(pool), await start(pool)]
    out = next(connection.target for connection in held if connection.target.key == "t0")
    pool.failed(out, "test")
    openers[1].fails = True
    assert (await start(pool, wants_fresh=True)).target is out


async def test_a_reload_keeps_what_stays_and_retires_what_changes(make: Make) -> None:
    stays, changes, goes = DoorOpener("a"), DoorOpener("b"), DoorOpener("c")
    pool = make(stays, changes, goes)
    connections = {}
    for _ in range(3):
        connection = await start(pool)
        connections[connection.target.key] = connection
    configure(pool, DoorOpener("a"), DoorOpener("b2"))
    assert [connections[key].is_retired for key in ("t0", "t1", "t2")] == [False, True, True]
    for connection in connections.values():
        pool.release(connection)
    await turns_of_the_loop()
    assert [connections[key].is_closed for key in ("t0", "t1", "t2")] == [False, True, True]
    assert pool.gauges == {"idle": 1, "active": 0, "waiting": 0}


async def test_a_connection_opened_across_a_reload_is_used_once(make: Make) -> None:
    opener = DoorOpener("a")
    opener.door.clear()
    pool = make(opener)
    request = Request()
    pool.acquire(request)
    await turns_of_the_loop()
    configure(pool, DoorOpener("b"))
    opener.door.set()
    connection = await request.started()
    assert connection.is_retired
    pool.release(connection)
    await until(lambda: connection.is_closed)


async def test_a_removed_upstream_finishes_what_it_has(make: Make) -> None:
    opener = DoorOpener()
    pool = make(opener, max_connections=2)
    busy = await start(pool)
    opener.door.clear()
    opening, waiting = Request(), Request()
    pool.acquire(opening)
    pool.acquire(waiting)
    pool.remove()
    assert waiting.refused is Reason.OVERLOADED
    opener.door.set()
    for connection in (busy, await opening.started()):
        pool.release(connection)
        await until(lambda: connection.is_closed)  # noqa: B023 - waited for at once
    assert pool.gauges == {"idle": 0, "active": 0, "waiting": 0}


async def test_nobody_waits_at_a_removed_upstream(make: Make) -> None:
    """A request that is sent again after a reload has the pool it began with, which nobody sweeps now."""
    opener = DoorOpener()
    pool = make(opener, max_connections=1)
    busy = await start(pool)
    pool.remove()
    late = Request()
    pool.acquire(late)
    assert late.refused is Reason.OVERLOADED
    pool.release(busy)
    await until(lambda: busy.is_closed)
    again = Request()
    pool.acquire(again)  # there is room again: it may finish what it began
    pool.release(await again.started())
    await until(lambda: pool.gauges == {"idle": 0, "active": 0, "waiting": 0})


async def test_a_lowered_limit_closes_what_is_idle(make: Make, clock: Clock) -> None:
    opener = DoorOpener()
    pool = make(opener)
    for connection in [await start(pool) for _ in range(5)]:
        pool.release(connection)
    configure(pool, opener, max_connections=2)
    pool.sweep(clock.now)
    assert pool.gauges["idle"] == 2


async def test_idle_connections_grow_old(make: Make, clock: Clock) -> None:
    pool = make(DoorOpener())
    first, second = await start(pool), await start(pool)
    pool.release(first)
    clock.now += 1
    pool.release(second)
    assert await start(pool) is second  # the one used last
    pool.release(second)
    pool.sweep(clock.now + IDLE_LIMIT_S - 1)
    await until(lambda: first.is_closed)
    assert not second.is_closed


async def test_an_opening_that_fails_unexpectedly_is_answered(make: Make) -> None:
    class Broken(DoorOpener):
        async def open(self, factory: ProtocolFactory) -> None:
            raise ValueError("inside")

    pool = make(Broken())
    request = Request()
    pool.acquire(request)
    await until(lambda: request.refused)
    assert request.refused is Reason.INTERNAL
    assert pool.gauges["active"] == 0


async def test_a_mistake_in_opening_is_not_held_against_the_target(make: Make) -> None:
    class Broken(DoorOpener):
        async def open(self, factory: ProtocolFactory) -> None:
            raise ValueError("inside")

    breaker = CircuitBreakerSettings(failure_ratio=0.1, minimum=1)
    pool = make(Broken("a"), DoorOpener("b"), circuit_breaker=breaker, outlier=OutlierSettings(1, 30.0))
    for _ in range(6):
        request = Request()
        pool.acquire(request)
        await until(lambda request=request: request.refused or request.connection)
        if request.connection is not None:
            pool.release(request.connection)
    assert all(is_in_use for _, is_in_use in pool.targets_in_use())
    assert pool.circuit_state is CircuitState.CLOSED


async def test_a_request_that_cannot_be_started_is_no_others_matter(make: Make) -> None:
    class Unstartable(Request):
        def start(self, connection: UpstreamConnection) -> None:
            raise ValueError("inside")

    pool = make(DoorOpener(), max_connections=1)
    first = Request()
    pool.acquire(first)
    connection = await first.started()
    struck, behind = Unstartable(), Request()
    pool.acquire(struck)
    pool.acquire(behind)
    pool.release(connection)
    await behind.started()
    assert struck.refused is Reason.INTERNAL
    assert pool.gauges["active"] == 1


async def test_one_that_cannot_be_refused_does_not_keep_others_waiting(make: Make, clock: Clock) -> None:
    class Unrefusable(Request):
        def no_connection(self, reason: Reason, detail: str, retry_after_s: float = 1.0) -> None:
            raise ValueError("inside")

    pool = make(DoorOpener(), max_connections=1)
    first = Request()
    pool.acquire(first)
    await first.started()
    struck, behind = Unrefusable(), Request()
    pool.acquire(struck)
    pool.acquire(behind)
    pool.sweep(clock.now + 1000)
    assert (struck.refused, behind.refused) == (Reason.INTERNAL, Reason.OVERLOADED)


async def test_a_mistake_in_a_health_check_says_nothing_of_the_target(
    make: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(DoorOpener):
        async def open(self, factory: ProtocolFactory) -> None:
            raise ValueError("inside")

    pool = make(Broken("a"), Broken("b"), health_check=HealthCheckSettings("/", unhealthy_after=1))
    pool.sweep(clock.now)
    await until(lambda: "inside" in caplog.text)
    await turns_of_the_loop()
    assert dict(pool.targets_in_use()) == {"t0": True, "t1": True}


async def test_connecting_takes_a_bounded_time(make: Make) -> None:
    opener = DoorOpener()
    opener.door.clear()
    pool = make(opener, connect_timeout_s=0.01)
    request = Request()
    pool.acquire(request)
    await until(lambda: request.refused)
    assert request.refused is Reason.UPSTREAM_CONNECT


async def test_connections_to_an_address_that_the_name_lost_are_retired(make: Make, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    addresses = ["127.0.0.1"]

    async def ask(host: str, port: int) -> Sequence[AddrInfoType]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in addresses]

    named = TcpOpener(TargetSettings("service.internal", port), None, stopwatch=lambda: clock.now, ask=ask)
    pool = make(named)
    busy, idle = await start(pool), await start(pool)
    pool.release(idle)
    pool.sweep(clock.now)
    assert (busy.peer_host, busy.is_retired, idle.is_retired) == ("127.0.0.1", False, False)
    addresses[:] = ["127.0.0.2"]
    clock.now += NAME_TTL_S
    pool.sweep(clock.now)  # asks
    await turns_of_the_loop()
    pool.sweep(clock.now)  # knows
    await until(lambda: idle.is_closed)
    assert not busy.is_closed
    pool.release(busy)
    await until(lambda: busy.is_closed)
    server.close()


class PoorOpener(DoorOpener):
    """The way to a target for which this machine lacks something."""

    lacks = 0

    async def open(self, factory: ProtocolFactory) -> None:
        if self.lacks:
            raise OSError(self.lacks, os.strerror(self.lacks))
        await super().open(factory)


@pytest.mark.parametrize("lacks", sorted(SHORTAGES), ids=errno.errorcode.get)
async def test_what_this_machine_lacks_is_held_against_no_target(make: Make, lacks: int) -> None:
    openers = PoorOpener(), PoorOpener()
    breaker = CircuitBreakerSettings(failure_ratio=0.1, window_s=10, minimum=1, open_s=5)
    pool = make(
        *openers,
        max_connections=1,
        outlier=OutlierSettings(consecutive_failures=1, ejection_s=10),
        circuit_breaker=breaker,
    )
    openers[0].lacks = openers[1].lacks = lacks
    requests = [Request() for _ in range(4)]
    for request in requests:
        pool.acquire(request)
    await until(lambda: all(request.refused for request in requests))
    assert [request.refused for request in requests] == [Reason.OVERLOADED] * 4
    assert not any(request.tried for request in requests)  # one attempt each: no storm
    assert dict(pool.targets_in_use()) == {"t0": True, "t1": True}
    assert pool.circuit_state is CircuitState.CLOSED
    assert pool.gauges == {"idle": 0, "active": 0, "waiting": 0}
    openers[0].lacks = openers[1].lacks = 0
    await start(pool)


async def test_a_check_that_this_machine_could_not_make_says_nothing(make: Make, clock: Clock) -> None:
    opener = PoorOpener()
    pool = make(opener, health_check=HealthCheckSettings("/", unhealthy_after=1, timeout_s=5))
    opener.lacks = errno.EMFILE
    pool.sweep(clock.now)
    await turns_of_the_loop()
    assert dict(pool.targets_in_use()) == {"t0": True}
    opener.lacks = errno.ECONNREFUSED
    clock.now += 1000
    pool.sweep(clock.now)
    await until(lambda: not dict(pool.targets_in_use())["t0"])
    opener.lacks = errno.EMFILE
    clock.now += 1000
    pool.sweep(clock.now)
    await turns_of_the_loop()
    assert dict(pool.targets_in_use()) == {"t0": False}  # no word for it either


@pytest.mark.parametrize("late", [200, 503])
async def test_requests_from_before_the_circuit_opened_do_not_close_it(
    make: Make, clock: Clock, late: int
) -> None:
    breaker = CircuitBreakerSettings(failure_ratio=0.5, window_s=10, minimum=1, open_s=5)
    pool = make(DoorOpener(), circuit_breaker=breaker)
    old, failing = await start(pool), await start(pool)
    pool.failed(failing.target, "test", failing)
    clock.now += 5
    probe = await start(pool)
    states = [pool.circuit_state]
    pool.answered(old.target, late, old)
    states.append(pool.circuit_state)
    pool.answered(probe.target, 200, probe)
    states.append(pool.circuit_state)
    pool.failed(old.target, "test", old)
    states.append(pool.circuit_state)
    assert states == [CircuitState.HALF_OPEN] * 2 + [CircuitState.CLOSED] * 2
