"""Judge targets and upstreams by what happens to the requests sent to them.

Three small machines, none of which does I/O or reads a clock:

* `ActiveHealth`: a target is healthy until `unhealthy_after` checks in a row fail, and
  again after `healthy_after` checks in a row pass.
* `Ejection`: a target that fails `consecutive_failures` times in a row is left out for
  a while. When it comes back it is on trial: the next failure leaves it out again, for
  twice as long each time, up to `EJECTION_CAP` times the first. One success forgives all.
* `CircuitBreaker`: an upstream that fails too large a share of its requests is not asked
  for a while, then by one request at a time, whose outcome decides. Each request has
  the ticket of the time when it was let in: outcomes of earlier times are no news.

What counts as a failure is decided where it is seen (`gateway.proxy.pool`); that the
last target is never left out, too.

Imperfect: an answer is judged by its head. One that breaks off later counts as a
success and a failure, so that a target that breaks off every body is not ejected.
"""

from enum import StrEnum

from gateway.settings.model import CircuitBreakerSettings, HealthCheckSettings, OutlierSettings

EJECTION_CAP = 10
"""An ejection lasts at most this many times its configured length."""
BUCKETS = 10
"""The breaker's window slides in steps of a tenth of its length."""
GATEWAY_ERRORS = frozenset({502, 503, 504})
"""Answers by which a target says that it cannot do its work now (RFC 9110 15.6.3 to 15.6.5).
500 is none: one broken request must not take a target from all others."""


class ActiveHealth:
    """What a target's health checks say of it."""

    __slots__ = ("_in_a_row", "is_healthy")

    def __init__(self) -> None:
        self.is_healthy = True
        self._in_a_row = 0
        """Checks in a row that contradict `is_healthy`."""

    def checked(self, passed: bool, settings: HealthCheckSettings) -> bool:
        """Take one check's outcome; return whether the target's health changed by it."""
        if passed is self.is_healthy:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        if self._in_a_row < (settings.healthy_after if passed else settings.unhealthy_after):
            return False
        self.is_healthy = passed
        self._in_a_row = 0
        return True

    def forget(self) -> None:
        """Count as healthy: checks were switched off."""
        self.is_healthy = True
        self._in_a_row = 0


class Ejection:
    """What the requests sent to a target say of it."""

    __slots__ = ("_ends_at", "_in_a_row", "_on_trial", "_times", "is_ejected")

    def __init__(self) -> None:
        self.is_ejected = False
        self._in_a_row = 0
        self._times = 0
        self._on_trial = False
        self._ends_at = 0.0

    def failed(self, settings: OutlierSettings) -> bool:
        """Count a failure; return whether the target should be left out now."""
        if self.is_ejected or not settings.consecutive_failures:
            return False
        self._in_a_row += 1
        return self._on_trial or self._in_a_row >= settings.consecutive_failures

    def succeeded(self) -> None:
        """Forget every failure. A target that is left out stays so until its time is over."""
        self._in_a_row = 0
        if not self.is_ejected:
            self._times = 0
            self._on_trial = False

    @property
    def is_spotless(self) -> bool:
        """Return whether there is nothing that a success could forgive."""
        return not (self._in_a_row or self._on_trial or self.is_ejected)

    def begin(self, settings: OutlierSettings, monotonic_now: float) -> float:
        """Leave the target out; return for how many seconds."""
        ejection_s = settings.ejection_s * min(1 << self._times, EJECTION_CAP)
        self._times = min(self._times + 1, EJECTION_CAP)
        self.is_ejected = True
        self._in_a_row = 0
        self._ends_at = monotonic_now + ejection_s
        return ejection_s

    def end_when_due(self, monotonic_now: float) -> bool:
        """Let the target back, on trial, when its time is over; return whether that was so."""
        if not self.is_ejected or monotonic_now < self._ends_at:
            return False
        self.is_ejected = False
        self._on_trial = True
        return True


class CircuitState(StrEnum):
    """Whether an upstream is asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """What an upstream's requests say of it as a whole."""

    __slots__ = (
        "_bucket",
        "_failures",
        "_opens_until",
        "_probe_until",
        "_requests",
        "settings",
        "state",
        "ticket",
    )

    def __init__(self, settings: CircuitBreakerSettings) -> None:
        self.settings = settings
        self.state = CircuitState.CLOSED
        self.ticket = 1
        """Whoever is let in now has it; a new one with each change of state and each probe."""
        self._bucket = 0
        """The number of the newest bucket: time divided by the length of one."""
        self._requests = [0] * BUCKETS
        self._failures = [0] * BUCKETS
        self._opens_until = 0.0
        self._probe_until = 0.0

    def permits(self, monotonic_now: float) -> bool:
        """Return whether a request may be sent now, with `ticket`. Half open, a True is the one probe's."""
        if self.state is CircuitState.CLOSED:
            return True
        if self.state is CircuitState.OPEN:
            if monotonic_now < self._opens_until:
                return False
            self.state = CircuitState.HALF_OPEN
        elif monotonic_now < self._probe_until:
            return False
        # A probe whose caller left never reports: after a while the next one may try.
        self._probe_until = monotonic_now + self.settings.open_s
        self.ticket += 1
        return True

    def withdraw(self, ticket: int) -> None:
        """Let the next request be the probe when the one with this ticket was, and could not be sent."""
        if self.state is CircuitState.HALF_OPEN and ticket == self.ticket:
            self._probe_until = 0.0

    def record(self, succeeded: bool, monotonic_now: float, ticket: int) -> bool:
        """Take the outcome of the attempt with `ticket`; return whether the state changed by it."""
        if self.state is CircuitState.OPEN or ticket != self.ticket:
            return False
        if self.state is CircuitState.HALF_OPEN:
            if succeeded:
                self._clear()
                self.state = CircuitState.CLOSED
                self.ticket += 1
            else:
                self._open(monotonic_now)
            return True
        self._slide(monotonic_now)
        index = self._bucket % BUCKETS
        self._requests[index] += 1
        if succeeded:
            return False
        self._failures[index] += 1
        requests = sum(self._requests)
        if requests < self.settings.minimum:
            return False
        if sum(self._failures) < self.settings.failure_ratio * requests:
            return False
        self._open(monotonic_now)
        return True

    def retry_after_s(self, monotonic_now: float) -> float:
        """Return when it is worth asking again, in seconds."""
        until = self._opens_until if self.state is CircuitState.OPEN else self._probe_until
        return max(until - monotonic_now, 0.0)

    def _open(self, monotonic_now: float) -> None:
        self.state = CircuitState.OPEN
        self.ticket += 1
        self._opens_until = monotonic_now + self.settings.open_s
        self._clear()

    def _clear(self) -> None:
        self._requests = [0] * BUCKETS
        self._failures = [0] * BUCKETS

    def _slide(self, monotonic_now: float) -> None:
        """Empty the buckets whose time lies outside the window."""
        bucket = int(monotonic_now * BUCKETS / self.settings.window_s)
        for passed in range(self._bucket + 1, min(bucket, self._bucket + BUCKETS) + 1):
            self._requests[passed % BUCKETS] = self._failures[passed % BUCKETS] = 0
        self._bucket = bucket
