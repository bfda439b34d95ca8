"""Show what outcomes, in which order and at what time, make targets and upstreams unwell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.health import (
    BUCKETS,
    EJECTION_CAP,
    ActiveHealth,
    CircuitBreaker,
    CircuitState,
    Ejection,
)
from gateway.settings.model import CircuitBreakerSettings, HealthCheckSettings, OutlierSettings

CHECK = HealthCheckSettings("/", unhealthy_after=3, healthy_after=2)


@pytest.mark.parametrize(
    ("outcomes", "healthy"),
    [
        ("", True),
        ("--", True),
        ("--+--", True),
        ("---", False),
        ("---+", False),
        ("---++", True),
        ("---+-+", False),
        ("---+-++", True),
        ("---++--", True),
        ("---++---", False),
    ],
)
def test_checks_in_a_row_decide(outcomes: str, healthy: bool) -> None:
    health = ActiveHealth()
    for outcome in outcomes:
        before = health.is_healthy
        assert health.checked(outcome == "+", CHECK) is (health.is_healthy is not before)
    assert health.is_healthy is healthy


OUTLIER = OutlierSettings(consecutive_failures=3, ejection_s=10)


def _fail_until_ejected(ejection: Ejection, now: float) -> tuple[int, float]:
    """Return how many failures it took and for how long the target is left out."""
    failures = 1
    while not ejection.failed(OUTLIER):
        failures += 1
    return failures, ejection.begin(OUTLIER, now)


def test_a_target_that_fails_on_its_return_is_left_out_for_twice_as_long() -> None:
    ejection = Ejection()
    now = 100.0
    seen = []
    for _ in range(6):
        failures, seconds = _fail_until_ejected(ejection, now)
        seen.append((failures, seconds))
        assert not ejection.failed(OUTLIER)  # it is out already
        assert not ejection.end_when_due(now + seconds - 0.001)
        now += seconds
        assert ejection.end_when_due(now)
        assert not ejection.is_ejected
    assert seen == [(3, 10), (1, 20), (1, 40), (1, 80), (1, 100), (1, 100)]
    assert seen[-1][1] == EJECTION_CAP * OUTLIER.ejection_s


def test_one_success_forgives_all() -> None:
    ejection = Ejection()
    assert ejection.is_spotless
    ejection.failed(OUTLIER)
    assert not ejection.is_spotless
    ejection.succeeded()
    assert ejection.is_spotless
    _fail_until_ejected(ejection, 0)
    ejection.end_when_due(10)
    assert not ejection.is_spotless
    ejection.succeeded()
    assert ejection.is_spotless
    assert _fail_until_ejected(ejection, 20) == (3, 10)


def test_a_late_success_does_not_end_an_ejection() -> None:
    ejection = Ejection()
    _fail_until_ejected(ejection, 0)
    ejection.succeeded()
    assert ejection.is_ejected
    assert ejection.end_when_due(10)
    assert _fail_until_ejected(ejection, 10) == (1, 20)


def test_zero_failures_never_leave_a_target_out() -> None:
    ejection = Ejection()
    assert not any(ejection.failed(OutlierSettings(consecutive_failures=0)) for _ in range(1000))


BREAKER = CircuitBreakerSettings(failure_ratio=0.5, window_s=10, minimum=4, open_s=5)


def _record(breaker: CircuitBreaker, outcomes: str, now: float) -> None:
    for outcome in outcomes:
        breaker.record(outcome == "+", now, breaker.ticket)


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("---", CircuitState.CLOSED),  # fewer than the minimum
        ("----", CircuitState.OPEN),
        ("++--", CircuitState.OPEN),  # exactly the ratio
        ("+++--", CircuitState.CLOSED),
        ("+++---", CircuitState.OPEN),
    ],
)
def test_the_share_of_failures_opens_the_circuit(outcomes: str, state: CircuitState) -> None:
    breaker = CircuitBreaker(BREAKER)
    _record(breaker, outcomes, 1000.0)
    assert breaker.state is state
    assert breaker.permits(1000.0) is (state is CircuitState.CLOSED)


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = CircuitBreaker(BREAKER)
    _record(breaker, "---", 1000.0)
    _record(breaker, "---", 1010.0)
    assert breaker.state is CircuitState.CLOSED
    _record(breaker, "-", 1010.5)
    assert breaker.state is CircuitState.OPEN


def test_an_open_circuit_lets_one_request_try() -> None:
    breaker = CircuitBreaker(BREAKER)
    _record(breaker, "----", 1000.0)
    assert not breaker.permits(1004.9)
    assert breaker.retry_after_s(1002.0) == 3.0
    assert breaker.permits(1005.0)
    assert breaker.state is CircuitState.HALF_OPEN
    assert not any(breaker.permits(1005.0 + tenth / 10) for tenth in range(50))
    assert breaker.record(True, 1006.0, breaker.ticket)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.permits(1006.0)


def test_a_failed_try_opens_it_again() -> None:
    breaker = CircuitBreaker(BREAKER)
    _record(breaker, "----", 1000.0)
    assert breaker.permits(1005.0)
    assert breaker.record(False, 1006.0, breaker.ticket)
    assert not breaker.permits(1010.9)
    assert breaker.permits(1011.0)


def test_a_try_that_never_reports_does_not_keep_the_circuit_open_for_good() -> None:
    breaker = CircuitBreaker(BREAKER)
    _record(breaker, "----", 1000.0)
    assert breaker.permits(1005.0)
    assert not breaker.permits(1009.9)
    assert breaker.permits(1010.0)


def test_news_of_older_requests_is_none_while_open() -> None:
    breaker = CircuitBreaker(BREAKER)
    _record(breaker, "----", 1000.0)
    assert not breaker.record(True, 1001.0, breaker.ticket)
    assert not breaker.record(False, 1001.0, breaker.ticket)
    assert breaker.retry_after_s(1001.0) == 4.0


@pytest.mark.parametrize("late", [True, False])
def test_only_the_probe_decides_when_the_circuit_is_half_open(late: bool) -> None:
    breaker = CircuitBreaker(BREAKER)
    before = breaker.ticket
    _record(breaker, "----", 1000.0)
    assert breaker.permits(1005.0)
    gone = breaker.ticket
    assert not breaker.record(late, 1006.0, before)
    assert breaker.permits(1010.0)  # the first probe never reported
    assert not breaker.record(late, 1010.5, gone)
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.record(True, 1011.0, breaker.ticket)
    for ticket in (before, gone):  # nor do they count once it is closed
        assert not any(breaker.record(False, 1012.0, ticket) for _ in range(10))
    assert breaker.state is CircuitState.CLOSED


def test_a_probe_that_could_not_be_sent_leaves_its_place_to_the_next() -> None:
    breaker = CircuitBreaker(BREAKER)
    before = breaker.ticket
    _record(breaker, "----", 1000.0)
    assert breaker.permits(1005.0)
    breaker.withdraw(before)
    assert not breaker.permits(1005.0)
    breaker.withdraw(breaker.ticket)
    assert breaker.permits(1005.0)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=120),
    st.floats(0.05, 1),
    st.integers(1, 30),
)
def test_the_window_agrees_with_a_list_of_all_outcomes(
    steps: list[tuple[float, bool]], ratio: float, minimum: int
) -> None:
    """The independent reading: keep everything, count what lies in the same tenths of the window."""
    settings = CircuitBreakerSettings(ratio, window_s=10, minimum=minimum, open_s=5)
    breaker = CircuitBreaker(settings)
    now = 1000.0
    seen: list[tuple[int, bool]] = []
    for passed, succeeded in steps:
        now += passed
        tenth = int(now * BUCKETS / settings.window_s)
        seen.append((tenth, succeeded))
        recent = [outcome for at, outcome in seen if at > tenth - BUCKETS]
        should_open = not succeeded and len(recent) >= minimum and recent.count(False) >= ratio * len(recent)
        assert breaker.record(succeeded, now, breaker.ticket) is should_open
        if should_open:
            return
