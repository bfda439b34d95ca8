"""Keep the connections to one upstream: idle, in use, being opened, and who waits for one.

Rules:

* A connection returns to the pool only at a clean end of a message; anything else
  closes it (`gateway.proxy.upstream` decides).
* The connection used last is used first, so that the others grow old and go.
* At most `max_connections` exist to all targets together; beyond it requests wait in
  a queue that is bounded in length and time, first come, first served; beyond that they
  are refused (503 `overloaded`). A queue of size 0 means that nobody waits.
* A request goes to an eligible target: one that its health checks find healthy and that
  is not left out for its failures. The last such target is never left out for failures;
  that takes health checks. When a request failed at all eligible targets, those that
  are only left out for failures are its last resort.
* Who asks is told at once when there is nobody to ask: 503 `circuit_open` when nothing
  was tried (no target is healthy, or the circuit is open), 502 `upstream_connect` when
  every target was tried and refused.
* What this machine lacks, such as descriptors, is held against no target: 503 `overloaded`
  for that one request, which is not tried elsewhere.
* State is keyed by target and survives a reload. A connection is retired, which means
  that it carries what it carries and is then closed, when a reload changes or removes
  its target, and when the target's name no longer leads to its address.

Opening needs a task; taking an idle connection does not. Eligibility is recomputed when
something changes it, not for each request.

Imperfect: a request waits for the connection that was opened for it even when another
one becomes idle first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gateway.proxy.balance import choose_target
from gateway.proxy.health import (
    GATEWAY_ERRORS,
    ActiveHealth,
    CircuitBreaker,
    CircuitState,
    Ejection,
)
from gateway.proxy.isolation import act_on_each
from gateway.proxy.prober import Prober
from gateway.proxy.targets import (
    AttemptFailure,
    Opener,
    describe_failure,
    is_own_shortage,
    kind_of_failure,
)
from gateway.proxy.upstream import UpstreamConnection
from gateway.reasons import Reason
from gateway.settings.model import (
    Balance,
    CircuitBreakerSettings,
    HealthCheckSettings,
    OutlierSettings,
)

_log = logging.getLogger(__name__)

IDLE_LIMIT_S = 30.0
"""How long an idle connection is kept: below the idle time-outs of most servers."""


class Waiter(Protocol):
    """A request that wants a connection."""

    tried: frozenset[str]
    """Keys of the targets that refused it a connection: not asked again."""
    avoided: str
    """The key of the target that broke off on it: asked again only when there is no other."""
    wait_deadline: float
    """Monotonic end of its time in the queue; 0 until it first waits."""
    wants_fresh: bool
    """A kept connection failed it: only a new one will do."""
    is_once_only: bool
    """It cannot be sent twice: a kept connection must look alive right before."""

    def start(self, connection: UpstreamConnection) -> None:
        """Use the connection."""

    def must_wait(self) -> None:
        """Note that a connection will come later: the pool keeps the time until then."""

    def no_connection(self, reason: Reason, detail: str, retry_after_s: float = 1.0) -> None:
        """Give up."""

    def connect_took(self, seconds: float) -> None:
        """Note how long opening a connection for it took."""

    def not_connected(self, target: str) -> None:
        """Note that the target of this key gave it no connection."""

    def struck(self) -> None:
        """End: a mistake of ours struck it. Never raises."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolSettings:
    """How a pool works: its targets and its limits."""

    openers: Mapping[str, Opener]
    """The way to each target, by its key."""
    balance: Balance
    """How one of several is chosen."""
    connect_timeout_s: float
    """Until a connection stands; 0 = unlimited."""
    max_connections: int
    """To all targets together; 0 = unlimited."""
    queue_size: int
    """How many requests may wait; 0 = none."""
    queue_timeout_s: float
    """How long one of them may."""
    outlier: OutlierSettings = OutlierSettings()  # noqa: RUF009 (frozen)
    """When a target is left out for its failures."""
    circuit_breaker: CircuitBreakerSettings | None = None
    """When the upstream is not asked at all; None = never."""
    health_check: HealthCheckSettings | None = None
    """How targets are checked; None = not at all."""
    host: str | None = None
    """The Host value of a health check; None = the target's own."""


class TargetState:
    """One target, its connections, and what is known of its health."""

    __slots__ = (
        "active",
        "connections",
        "ejection",
        "health",
        "idle",
        "is_watched",
        "key",
        "names_version",
        "next_check_at",
        "opener",
    )

    def __init__(self, key: str, opener: Opener, former: TargetState | None = None) -> None:
        """Begin without connections; what is known of the health of `former`, its former way, goes on."""
        self.key = key
        """As in settings and metrics, e.g. `http://127.0.0.1:9001`."""
        self.opener = opener
        self.active = 0
        self.connections: set[UpstreamConnection] = set()
        """All that stand, idle ones too."""
        self.idle: list[UpstreamConnection] = []
        self.health: ActiveHealth = ActiveHealth() if former is None else former.health
        self.ejection: Ejection = Ejection() if former is None else former.ejection
        self.is_watched = False
        """A good answer is news: it forgives a failure, or the circuit breaker counts it."""
        self.next_check_at = 0.0
        self.names_version = 0

    def retire(self) -> None:
        """Close what is idle now, and the rest when it has done what it does."""
        for connection in self.connections:
            connection.is_retired = True
        for connection in self.idle:
            connection.close()
        self.idle.clear()


_UNCONFIGURED = PoolSettings({}, Balance.LEAST_CONNECTIONS, 2.0, 0, 0, 0.0)


class UpstreamPool:
    """The connections of one upstream."""

    def __init__(
        self,
        name: str,
        *,
        stopwatch: Callable[[], float],
        failures: Counter[tuple[str, AttemptFailure]] | None = None,
    ) -> None:
        self.name = name
        self._failures = Counter() if failures is None else failures
        self._stopwatch = stopwatch
        self._settings = _UNCONFIGURED
        self._targets: list[TargetState] = []
        self._left: list[TargetState] = []
        """Targets that are none any more, until `settle` has seen to their connections."""
        self._eligible: list[TargetState] = []
        self._balance = Balance.LEAST_CONNECTIONS
        self._connect_timeout_s = 2.0
        self._max_connections = 0
        self._queue_size = 0
        self._queue_timeout_s = 0.0
        self._outlier = OutlierSettings()
        self._breaker: CircuitBreaker | None = None
        self._tickets: dict[UpstreamConnection, int] = {}
        """With a circuit breaker: whose outcome the outcome on a connection is."""
        self._ticketing: CircuitBreaker | None = None
        """Whose tickets they are."""
        self._prober: Prober | None = None
        self._turn = 0
        self._total = 0
        self._waiters: deque[Waiter] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._removed = False

    # --- settings

    def take(self, settings: PoolSettings) -> Callable[[], None]:
        """Work by `settings` from now on, and return the way back to the former.

        Targets that stay keep their connections and their health. Nothing but this pool notices
        before `settle` is called.
        """
        known = {target.key: target for target in self._targets}
        targets = []
        for key, opener in settings.openers.items():
            target = known.get(key)
            if target is None or target.opener.identity != opener.identity:
                target = TargetState(key, opener, former=target)
            targets.append(target)
        breaker = None
        if settings.circuit_breaker is not None:
            breaker = self._breaker
            if breaker is None or breaker.settings != settings.circuit_breaker:
                breaker = CircuitBreaker(settings.circuit_breaker)
        left = [target for target in (*self._left, *self._targets) if target not in targets]
        way_back = partial(self._work_by, self._settings, self._targets, self._breaker, self._left)
        self._work_by(settings, targets, breaker, left)
        return way_back

    def _work_by(
        self,
        settings: PoolSettings,
        targets: list[TargetState],
        breaker: CircuitBreaker | None,
        left: list[TargetState],
    ) -> None:
        eligible = _eligible(targets)  # all that may raise comes first
        self._settings = settings
        self._targets = targets
        self._eligible = eligible
        self._breaker = breaker
        self._left = left
        self._balance = settings.balance
        self._connect_timeout_s = settings.connect_timeout_s
        self._max_connections = settings.max_connections
        self._queue_size = settings.queue_size
        self._queue_timeout_s = settings.queue_timeout_s
        self._outlier = settings.outlier
        for target in targets:
            target.is_watched = breaker is not None or not target.ejection.is_spotless

    def settle(self) -> None:
        """After `take`, when all of the process works by the new settings: let the world notice."""
        left, self._left = self._left, []
        act_on_each(left, TargetState.retire)
        if self._ticketing is not self._breaker:
            self._ticketing = self._breaker
            self._tickets.clear()
        self._settle_checks(self._settings.health_check)
        self._serve_waiting()

    def _settle_checks(self, health_check: HealthCheckSettings | None) -> None:
        if health_check is not None and self._prober is None:
            self._prober = Prober(health_check, self._settings.host, report=self._checked)
        elif health_check is not None and self._prober is not None:
            self._prober.configure(health_check, self._settings.host)
        else:
            if self._prober is not None:
                self._prober.close()
                self._prober = None
            for target in self._targets:
                target.health.forget()
            self._find_eligible()

    # --- giving connections

    def acquire(self, waiter: Waiter) -> None:
        """Give `waiter` a connection, now or as soon as there is one, or say that there is none."""
        if self._breaker is not None and not self._may_ask(self._breaker, waiter):
            return
        if self._waiters or not self._serve(waiter):
            self._enqueue(waiter)

    def _may_ask(self, breaker: CircuitBreaker, waiter: Waiter) -> bool:
        now = self._stopwatch()
        if breaker.permits(now):
            return True
        retry_after_s = breaker.retry_after_s(now)
        self._tell(waiter, Reason.CIRCUIT_OPEN, "the circuit of the upstream is open", retry_after_s)
        return False

    def _serve(self, waiter: Waiter, ticket: int = 0) -> bool:
        """Start `waiter`, begin to open a connection for it, or refuse it; False when it must wait.

        Its ticket is the breaker's, unless it has an earlier one: who waits was let in lately.
        """
        if self._breaker is not None and not ticket:
            ticket = self._breaker.ticket
        targets = self._eligible
        if waiter.tried or waiter.avoided:
            targets = self._untried(waiter)
        if not targets:
            self._refuse(waiter)
            return True
        self._turn += 1
        target = targets[choose_target(targets, self._balance, self._turn)]
        if not waiter.wants_fresh:
            if target.idle and self._start_on_idle(target, waiter, ticket):
                return True
            if self._is_full:
                # Rather another target's idle connection than to close it for a new one.
                for other in targets:
                    if other.idle and self._start_on_idle(other, waiter, ticket):
                        return True
        if self._is_full and not self._make_room():
            return False
        self._total += 1
        target.active += 1
        task = asyncio.get_running_loop().create_task(self._open(target, waiter, ticket))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        waiter.must_wait()
        return True

    @property
    def _is_full(self) -> bool:
        return bool(self._max_connections) and self._total >= self._max_connections

    def _untried(self, waiter: Waiter) -> list[TargetState]:
        """Return the targets for a request that failed before, the best class of them."""
        left = [target for target in self._eligible if target.key not in waiter.tried]
        if not left:
            left = [
                target
                for target in self._targets
                if target.health.is_healthy and target.key not in waiter.tried
            ]
        return [target for target in left if target.key != waiter.avoided] or left

    def _refuse(self, waiter: Waiter) -> None:
        if waiter.tried or waiter.avoided:
            self._tell(waiter, Reason.UPSTREAM_CONNECT, "no target accepts connections")
        else:
            retry_after_s = 1.0 if self._prober is None else self._prober.settings.interval_s
            self._tell(waiter, Reason.CIRCUIT_OPEN, "no target is healthy", retry_after_s)

    def _start_on_idle(self, target: TargetState, waiter: Waiter, ticket: int) -> bool:
        """Start `waiter` on the idle connection that was used last, if one is still good."""
        while target.idle:
            connection = target.idle.pop()
            if (waiter.is_once_only or connection.had_no_content) and connection.looks_closed:
                connection.close()
                continue
            target.active += 1
            connection.is_lent = True
            if ticket:
                self._tickets[connection] = ticket
            try:  # as `_start`, written out: each request comes this way
                waiter.start(connection)
            except Exception:
                self._start_failed(waiter, connection)
            return True
        return False

    def _start(self, waiter: Waiter, connection: UpstreamConnection, ticket: int) -> None:
        """Lend a connection that was opened just now, and counts as active already, to `waiter`."""
        connection.is_lent = True
        if ticket:
            self._tickets[connection] = ticket
        try:
            waiter.start(connection)
        except Exception:
            self._start_failed(waiter, connection)

    def _start_failed(self, waiter: Waiter, connection: UpstreamConnection) -> None:
        """End what the exception being handled struck.

        A mistake in starting one request must strike neither the next in the queue nor whoever has
        just given the connection back.
        """
        _log.exception("starting a request failed inside the gateway")
        self.struck(connection)
        connection.abandon()
        waiter.struck()

    def _tell(self, waiter: Waiter, reason: Reason, detail: str, retry_after_s: float = 1.0) -> None:
        """Tell `waiter` that it gets no connection; what that raises is nobody else's matter."""
        try:
            waiter.no_connection(reason, detail, retry_after_s)
        except Exception:
            _log.exception("refusing a request failed inside the gateway")
            waiter.struck()

    def _make_room(self) -> bool:
        """Close a connection that nobody needs to make room for a new one; return whether there was one."""
        for target in self._targets:
            unneeded = target.idle.pop(0) if target.idle else None
            if unneeded is None:
                unneeded = next((each for each in target.connections if each.only_lingers), None)
            if unneeded is not None:
                self._uncount(unneeded)
                unneeded.close()
                return True
        return False

    def _enqueue(self, waiter: Waiter) -> None:
        if self._removed:  # nobody looks any more who has waited too long
            self._tell(waiter, Reason.OVERLOADED, "the upstream was removed")
            return
        if len(self._waiters) >= self._queue_size:
            self._tell(waiter, Reason.OVERLOADED, "the queue for the upstream is full")
            return
        if not waiter.wait_deadline:
            waiter.wait_deadline = self._stopwatch() + self._queue_timeout_s
        self._waiters.append(waiter)
        waiter.must_wait()

    async def _open(self, target: TargetState, waiter: Waiter, ticket: int) -> None:
        begun = self._stopwatch()
        connection: UpstreamConnection | None = None
        kind = AttemptFailure.CONNECT
        is_ours = False

        def factory() -> UpstreamConnection:
            nonlocal connection
            connection = UpstreamConnection(self, target)
            connection.is_retired = self._removed
            return connection

        opener = target.opener
        is_mistake = False
        try:
            async with asyncio.timeout(self._connect_timeout_s or None):
                await opener.open(factory)
        except OSError as error:  # TimeoutError is one
            detail = describe_failure(error, opener.place)
            kind = kind_of_failure(error)
            is_ours = is_own_shortage(error)
        except Exception:
            # The rescue point of opening: the request gets its answer, and the target is not to blame.
            _log.exception("opening a connection failed inside the gateway")
            detail = "opening a connection failed inside the gateway"
            is_mistake = True
        else:
            assert connection is not None
            is_mistake = connection.is_struck
            if not (connection.is_closed or is_mistake):
                if target not in self._targets:
                    connection.is_retired = True
                waiter.connect_took(self._stopwatch() - begun)
                self._start(waiter, connection, ticket)
                return
            detail = "the connection was closed at once"
        target.active -= 1
        if connection is None or not connection.is_counted:
            if connection is None or not connection.is_closed:
                self._total -= 1  # it never stood; one that stood is uncounted when it is lost
        else:
            connection.close()
        if is_ours or is_mistake:
            if self._breaker is not None:
                self._breaker.withdraw(ticket)
            self._tell(waiter, Reason.OVERLOADED if is_ours else Reason.INTERNAL, detail)
        else:
            self.count_failure(kind)
            self._failed(target, detail, ticket)
            self._try_elsewhere(waiter, target, detail, ticket)
        self._serve_waiting()

    def _try_elsewhere(self, waiter: Waiter, target: TargetState, detail: str, ticket: int) -> None:
        waiter.tried |= {target.key}
        waiter.not_connected(target.key)
        if not self._untried(waiter):
            self._tell(waiter, Reason.UPSTREAM_CONNECT, detail)
        elif not self._serve(waiter, ticket):
            self._enqueue(waiter)

    def forget_waiter(self, waiter: Waiter) -> None:
        """Drop a waiting request whose caller is gone."""
        if self._waiters and waiter in self._waiters:
            self._waiters.remove(waiter)

    # --- taking connections back

    def stands(self, connection: UpstreamConnection) -> None:
        """Note that a connection stands now."""
        connection.target.connections.add(connection)

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection at the clean end of a message."""
        target = connection.target
        connection.is_lent = False
        target.active -= 1
        if connection.is_retired:
            connection.close()
            return
        connection.idle_since = self._stopwatch()
        target.idle.append(connection)
        if self._waiters:
            self._serve_waiting()

    def discard(self, connection: UpstreamConnection) -> None:
        """Note that a connection in use will not come back; it closes itself."""
        if connection.is_lent:
            connection.is_lent = False
            connection.target.active -= 1

    def struck(self, connection: UpstreamConnection) -> None:
        """Note that a mistake of ours struck a request: its connection is worthless, the target not to blame.

        Wherever it struck, the connection counts as active no more, and nobody is given it.
        """
        self.discard(connection)
        self.drop_idle(connection)
        if connection.is_closed:  # else it is told by `lost`
            connection.target.connections.discard(connection)
            self._uncount(connection)
        if self._breaker is not None:
            self._breaker.withdraw(self._ticket_of(connection))

    def drop_idle(self, connection: UpstreamConnection) -> None:
        """Note that an idle connection is about to close: nobody may be given it any more."""
        if connection in connection.target.idle:
            connection.target.idle.remove(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Note that a connection is closed."""
        connection.target.connections.discard(connection)
        self.drop_idle(connection)
        self._uncount(connection)
        if self._waiters:
            self._serve_waiting()

    def _uncount(self, connection: UpstreamConnection) -> None:
        if connection.is_counted:
            connection.is_counted = False
            self._total -= 1

    def _serve_waiting(self) -> None:
        """Serve those who wait, in their order, as far as there are connections."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not self._serve(waiter):
                self._waiters.appendleft(waiter)
                return

    # --- judging targets

    def answered(
        self, target: TargetState, status: int, connection: UpstreamConnection | None = None
    ) -> None:
        """Take the status of an answer; called when the target is watched or the status is 5xx."""
        if status in GATEWAY_ERRORS:
            self.failed(target, f"answered {status}", connection)
            return
        if not target.ejection.is_spotless:
            target.ejection.succeeded()
        target.is_watched = self._breaker is not None or not target.ejection.is_spotless
        if self._breaker is not None:
            self._count_attempt(self._breaker, self._ticket_of(connection), succeeded=True)

    def failed(self, target: TargetState, detail: str, connection: UpstreamConnection | None = None) -> None:
        """Count a failure of a target: it broke off, was silent, or said so itself."""
        self._failed(target, detail, self._ticket_of(connection))

    def count_failure(self, kind: AttemptFailure) -> None:
        """Count an attempt that failed and that no record of a request tells of."""
        self._failures[self.name, kind] += 1

    def _ticket_of(self, connection: UpstreamConnection | None) -> int:
        """Return the ticket of the request on a connection; 0 when nobody knows."""
        return 0 if connection is None else self._tickets.get(connection, 0)

    def _failed(self, target: TargetState, detail: str, ticket: int) -> None:
        if self._breaker is not None:
            self._count_attempt(self._breaker, ticket, succeeded=False)
        target.is_watched = True
        if target.ejection.failed(self._outlier) and self._has_other(target):
            ejection_s = target.ejection.begin(self._outlier, self._stopwatch())
            _log.warning(
                "upstream %s: %s is left out for %.0f s after failures, the last: %s",
                self.name,
                target.key,
                ejection_s,
                detail,
            )
            self._find_eligible()

    def _has_other(self, target: TargetState) -> bool:
        return any(other is not target for other in self._eligible)

    def _count_attempt(self, breaker: CircuitBreaker, ticket: int, *, succeeded: bool) -> None:
        now = self._stopwatch()
        if not breaker.record(succeeded, now, ticket or breaker.ticket):
            return
        _log.warning("upstream %s: the circuit is %s", self.name, breaker.state)
        if breaker.state is CircuitState.OPEN:
            retry_after_s = breaker.retry_after_s(now)
            waiting, self._waiters = self._waiters, deque()
            for waiter in waiting:
                self._tell(waiter, Reason.CIRCUIT_OPEN, "the circuit of the upstream is open", retry_after_s)

    def _checked(self, target: TargetState, passed: bool, detail: str) -> None:
        """Take the outcome of a health check."""
        prober = self._prober
        if prober is None or not target.health.checked(passed, prober.settings):
            return
        _log.warning(
            "upstream %s: %s is %s: %s", self.name, target.key, "healthy" if passed else "unhealthy", detail
        )
        self._find_eligible()
        self._serve_waiting()

    def _find_eligible(self) -> None:
        self._eligible = _eligible(self._targets)

    # --- time

    def sweep(self, monotonic_now: float) -> None:
        """Act on what is due: who has waited too long, what has been idle or left out long enough."""
        while self._waiters and self._waiters[0].wait_deadline <= monotonic_now:
            self._tell(self._waiters.popleft(), Reason.OVERLOADED, "waited too long for a connection")
        if self._tickets:
            # Not when they are lost: the failure of a lost connection is told after that.
            self._tickets = {held: ticket for held, ticket in self._tickets.items() if not held.is_closed}
        act_on_each(self._targets, lambda target: self._sweep_target(target, monotonic_now))
        while self._max_connections and self._total > self._max_connections and self._make_room():
            pass  # a reload lowered the limit
        if self._prober is not None:
            self._prober.sweep(self._targets, monotonic_now)

    def _sweep_target(self, target: TargetState, monotonic_now: float) -> None:
        while target.idle and target.idle[0].idle_since + IDLE_LIMIT_S <= monotonic_now:
            target.idle.pop(0).close()
        if target.ejection.end_when_due(monotonic_now):
            _log.info("upstream %s: %s is tried again", self.name, target.key)
            self._find_eligible()
        if target.opener.names is not None and target.connections:
            self._follow_names(target, monotonic_now)

    def _follow_names(self, target: TargetState, monotonic_now: float) -> None:
        """Retire connections to addresses that the target's name no longer has."""
        names = target.opener.names
        assert names is not None
        names.refresh(monotonic_now)
        if names.version == target.names_version:
            return
        target.names_version = names.version
        hosts = names.hosts
        for connection in target.connections:
            if connection.peer_host not in hosts:
                connection.is_retired = True
        for connection in [idle for idle in target.idle if idle.is_retired]:
            target.idle.remove(connection)
            connection.close()

    def remove(self) -> None:
        """Finish what is going on and keep nothing: the upstream is gone from the configuration."""
        self._removed = True
        if self._prober is not None:
            self._prober.close()
            self._prober = None
        for target in (*self._left, *self._targets):
            target.retire()
        waiting, self._waiters = self._waiters, deque()
        for waiter in waiting:
            self._tell(waiter, Reason.OVERLOADED, "the upstream was removed")

    def close(self) -> None:
        """Close what is idle and stop opening: the process ends."""
        self.remove()
        for task in self._opening:
            task.cancel()

    # --- what operators are told

    @property
    def gauges(self) -> dict[str, int]:
        """Return the connections by state: idle, active, waiting (requests in the queue)."""
        return {
            "idle": sum(len(target.idle) for target in self._targets),
            "active": sum(target.active for target in self._targets),
            "waiting": len(self._waiters),
        }

    def targets_in_use(self) -> Iterator[tuple[str, bool]]:
        """Yield each target's key and whether requests are sent to it."""
        for target in self._targets:
            yield target.key, target in self._eligible

    @property
    def circuit_state(self) -> CircuitState | None:
        """Return whether the upstream is asked, or None without a circuit breaker."""
        return None if self._breaker is None else self._breaker.state


def _eligible(targets: list[TargetState]) -> list[TargetState]:
    """Return the targets that are asked: healthy, and not left out unless there is no other."""
    healthy = [target for target in targets if target.health.is_healthy]
    return [target for target in healthy if not target.ejection.is_ejected] or healthy
