"""Keep the connections to one upstream: idle, in use, being opened, and who waits for one.

Rules:

* A connection returns to the pool only at a clean end of a message; anything else
  closes it (`gateway.proxy.upstream` decides).
* The connection used last is used first, so that the others grow old and go.
* At most `max_connections` exist to all targets together; beyond it requests wait in
  a queue that is bounded in length and time, beyond that they are refused
  (503 `overloaded`).
* State is keyed by target and survives a reload; targets that a reload removes
  finish what they carry and are then forgotten.

Opening needs a task; taking an idle connection does not.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.policy.model import Reason
from gateway.proxy.balance import choose_target
from gateway.proxy.upstream import UpstreamConnection
from gateway.settings.model import Balance

IDLE_LIMIT_S = 30.0
"""How long an idle connection is kept: below the idle time-outs of most servers."""

Opener = Callable[[Callable[[], UpstreamConnection]], Awaitable[object]]
"""Open a connection for the protocol that the factory makes; raises OSError."""


class Waiter(Protocol):
    """A request that wants a connection."""

    tried: frozenset[str]
    """Keys of the targets that failed for it."""
    wait_deadline: float
    """Monotonic end of its time in the queue; 0 until it first waits."""
    wants_fresh: bool
    """A kept connection failed it: only a new one will do."""

    def start(self, connection: UpstreamConnection) -> None:
        """Use the connection."""

    def no_connection(self, reason: Reason, detail: str) -> None:
        """Give up."""

    def connect_took(self, seconds: float) -> None:
        """Note how long opening a connection for it took."""


class TargetState:
    """One target and its connections."""

    __slots__ = ("active", "idle", "key", "open")

    def __init__(self, key: str, opener: Opener) -> None:
        self.key = key
        """As in settings and metrics, e.g. `http://127.0.0.1:9001`."""
        self.open = opener
        self.active = 0
        self.idle: list[UpstreamConnection] = []


class UpstreamPool:
    """The connections of one upstream."""

    def __init__(self, name: str, *, stopwatch: Callable[[], float]) -> None:
        self.name = name
        self._stopwatch = stopwatch
        self._targets: list[TargetState] = []
        self._balance = Balance.LEAST_CONNECTIONS
        self._connect_timeout_s = 2.0
        self._max_connections = 0
        self._queue_size = 0
        self._queue_timeout_s = 0.0
        self._turn = 0
        self._total = 0
        self._waiters: deque[Waiter] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    def configure(
        self,
        targets: dict[str, Opener],
        *,
        balance: Balance,
        connect_timeout_s: float,
        max_connections: int,
        queue_size: int,
        queue_timeout_s: float,
    ) -> None:
        """Take over new settings; connections to targets that stay are kept."""
        known = {target.key: target for target in self._targets}
        self._targets = []
        for key, opener in targets.items():
            target = known.pop(key, None) or TargetState(key, opener)
            target.open = opener
            self._targets.append(target)
        for removed in known.values():
            for connection in removed.idle:
                connection.close()
            removed.idle.clear()
        self._balance = balance
        self._connect_timeout_s = connect_timeout_s
        self._max_connections = max_connections
        self._queue_size = queue_size
        self._queue_timeout_s = queue_timeout_s

    def acquire(self, waiter: Waiter) -> None:
        """Give `waiter` a connection, now or as soon as there is one, or say that there is none."""
        if self._waiters:
            self._enqueue(waiter)
        else:
            self._serve(waiter)

    def _serve(self, waiter: Waiter) -> bool:
        """Start `waiter` or begin to open a connection for it; enqueue it when all are taken."""
        targets = self._targets
        if waiter.tried:
            targets = [target for target in targets if target.key not in waiter.tried]
        if not targets:
            waiter.no_connection(Reason.UPSTREAM_CONNECT, "no target accepts connections")
            return True
        self._turn += 1
        target = targets[choose_target(targets, self._balance, self._turn)]
        if target.idle and not waiter.wants_fresh:
            connection = target.idle.pop()
            target.active += 1
            waiter.start(connection)
            return True
        if self._max_connections and self._total >= self._max_connections and not self._make_room():
            self._enqueue(waiter)
            return False
        self._total += 1
        target.active += 1
        task = asyncio.get_running_loop().create_task(self._open(target, waiter))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def _make_room(self) -> bool:
        """Close an idle connection to another target; return whether there was one."""
        for target in self._targets:
            if target.idle:
                target.idle.pop(0).close()
                return True
        return False

    def _enqueue(self, waiter: Waiter) -> None:
        if len(self._waiters) >= self._queue_size:
            waiter.no_connection(Reason.OVERLOADED, "the queue for the upstream is full")
            return
        if not waiter.wait_deadline:
            waiter.wait_deadline = self._stopwatch() + self._queue_timeout_s
        self._waiters.append(waiter)

    async def _open(self, target: TargetState, waiter: Waiter) -> None:
        begun = self._stopwatch()
        connection: UpstreamConnection | None = None

        def factory() -> UpstreamConnection:
            nonlocal connection
            connection = UpstreamConnection(self, target)
            return connection

        try:
            async with asyncio.timeout(self._connect_timeout_s or None):
                await target.open(factory)
        except OSError as error:  # TimeoutError is one
            target.active -= 1
            if connection is None or not connection.counted:
                self._total -= 1
            else:
                connection.close()
            waiter.tried |= {target.key}
            detail = "connecting timed out" if isinstance(error, TimeoutError) else "connecting failed"
            self._retry(waiter, detail)
            return
        assert connection is not None
        waiter.connect_took(self._stopwatch() - begun)
        if connection.is_closed:
            target.active -= 1
            waiter.tried |= {target.key}
            self._retry(waiter, "the connection was closed at once")
        else:
            waiter.start(connection)

    def _retry(self, waiter: Waiter, detail: str) -> None:
        if any(target.key not in waiter.tried for target in self._targets):
            self._serve(waiter)
        else:
            waiter.no_connection(Reason.UPSTREAM_CONNECT, detail)
        self._serve_waiting()

    def forget_waiter(self, waiter: Waiter) -> None:
        """Drop a waiting request whose caller is gone."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection at the clean end of a message."""
        target = connection.target
        target.active -= 1
        if target not in self._targets:
            connection.close()
        elif self._waiters and target.key not in self._waiters[0].tried and not self._waiters[0].wants_fresh:
            target.active += 1
            self._waiters.popleft().start(connection)
        else:
            connection.idle_since = self._stopwatch()
            target.idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Note that a connection in use will not come back; it closes itself."""
        connection.target.active -= 1

    def lost(self, connection: UpstreamConnection) -> None:
        """Note that a connection is closed."""
        self._total -= 1
        if connection in connection.target.idle:
            connection.target.idle.remove(connection)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiters:
            has_idle = any(target.idle for target in self._targets)
            if not has_idle and self._max_connections and self._total >= self._max_connections:
                return
            waiter = self._waiters.popleft()
            if not self._serve(waiter):
                self._waiters.rotate(1)  # it stays the first in line
                return

    def sweep(self, monotonic_now: float) -> None:
        """Refuse who has waited too long; close connections that have been idle too long."""
        while self._waiters and self._waiters[0].wait_deadline <= monotonic_now:
            self._waiters.popleft().no_connection(Reason.OVERLOADED, "waited too long for a connection")
        for target in self._targets:
            while target.idle and target.idle[0].idle_since + IDLE_LIMIT_S <= monotonic_now:
                target.idle.pop(0).close()

    def close(self) -> None:
        """Close what is idle and stop opening."""
        for task in self._opening:
            task.cancel()
        for target in self._targets:
            for connection in target.idle:
                connection.close()
            target.idle.clear()

    @property
    def gauges(self) -> dict[str, int]:
        """Return the connections by state: idle, active, waiting (requests in the queue)."""
        return {
            "idle": sum(len(target.idle) for target in self._targets),
            "active": sum(target.active for target in self._targets),
            "waiting": len(self._waiters),
        }
