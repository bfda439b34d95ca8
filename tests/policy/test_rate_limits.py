"""Hold route limits to whom they count, what they say, and what a reload keeps."""

from collections.abc import Mapping

import pytest

from gateway.policy.compile import compile_routes
from gateway.policy.model import Exceeded, Route
from gateway.policy.rate_limits import BadTokenLimit, RateLimits, RouteLimit, policy_value
from gateway.settings.model import LimitBy, Rate, RateLimitSettings, RouteSettings


def compiled(*limits: tuple[str, RateLimitSettings | None]) -> tuple[Route, ...]:
    routes = [
        RouteSettings(name=name, path=f"/{name}", upstream="u", rate_limit=limit) for name, limit in limits
    ]
    return compile_routes(routes, reserved_paths=()).table.routes


@pytest.mark.parametrize(
    ("by", "callers", "passed"),
    [
        (LimitBy.CLIENT, [("a", "1"), ("a", "2"), ("b", "1")], [True, False, True]),
        (LimitBy.CLIENT, [(None, "1"), (None, "1"), (None, "2")], [True, False, True]),  # anonymous
        (LimitBy.CLIENT, [("1", "x"), (None, "1")], [True, True]),  # an id that looks like an address
        (LimitBy.PEER, [("a", "1"), ("b", "1"), ("a", "2")], [True, False, True]),
        (LimitBy.ROUTE, [("a", "1"), ("b", "2")], [True, False]),
    ],
)
def test_whose_requests_count_together(
    by: LimitBy, callers: list[tuple[str | None, str]], passed: list[bool]
) -> None:
    limit = RouteLimit(RateLimitSettings(1, 1.0, 1, by))
    assert [isinstance(limit.take(*caller, 10.0), bytes) for caller in callers] == passed


def test_what_callers_are_told() -> None:
    limit = RouteLimit(RateLimitSettings(100, 1.0, 200, LimitBy.ROUTE))
    assert limit.take(None, "", 10.0) == (
        b'RateLimit-Policy: "route";q=100;w=1\r\nRateLimit: "route";r=199;t=1\r\n'
    )
    for _ in range(199):
        limit.take(None, "", 10.0)
    assert limit.take(None, "", 10.0) == Exceeded(
        "rate_limit", b'"route";q=100;w=1', pytest.approx(0.01, abs=1e-4)
    )


@pytest.mark.parametrize(
    ("requests", "per_s", "value"),
    [
        (100, 1.0, b'"client";q=100;w=1'),
        (600, 60.0, b'"client";q=600;w=60'),
        (10, 0.1, b'"client";q=100;w=1'),
        (3, 1.5, b'"client";q=4;w=2'),
    ],
)
def test_windows_are_whole_seconds(requests: int, per_s: float, value: bytes) -> None:
    assert policy_value("client", requests, per_s) == value


def test_a_reload_keeps_the_counts_of_unchanged_limits_only() -> None:
    limits = RateLimits()
    one = RateLimitSettings(1, 60.0, 1)

    def take(*routes: tuple[str, RateLimitSettings | None]) -> Mapping[str, RouteLimit]:
        limits.take(limits.choose(compiled(*routes), Rate(0, 1.0)))
        return limits.table.routes

    first = take(("same", one), ("changed", one), ("gone", one), ("free", None))
    assert set(first) == {"same", "changed", "gone"}
    for limit in first.values():
        limit.take("a", "", 10.0)
    second = take(("same", one), ("changed", RateLimitSettings(1, 61.0, 1)))
    assert isinstance(second["same"].take("a", "", 10.0), Exceeded)
    assert isinstance(second["changed"].take("a", "", 10.0), bytes)
    third = take(("gone", one))
    assert isinstance(third["gone"].take("a", "", 10.0), bytes)


def test_bad_tokens_are_counted_per_peer() -> None:
    limit = BadTokenLimit(Rate(2, 1.0))
    assert limit.exceeded("a", 10.0) is None
    limit.count("a", 10.0)
    limit.count("a", 10.0)
    exceeded = limit.exceeded("a", 10.0)
    assert exceeded == Exceeded("bad_tokens", b'"bad_tokens";q=2;w=1', pytest.approx(0.5))
    assert limit.exceeded("b", 10.0) is None
    assert limit.exceeded("a", 10.5) is None


def test_the_limit_for_bad_tokens_lives_as_long_as_its_rate() -> None:
    limits = RateLimits()

    def take(rate: Rate) -> BadTokenLimit | None:
        limits.take(limits.choose((), rate))
        return limits.bad_tokens

    limit = take(Rate(2, 1.0))
    assert limit is take(Rate(2, 1.0))
    assert limit is not take(Rate(3, 1.0))
    assert take(Rate(0, 1.0)) is None


def test_what_is_chosen_counts_once_it_is_taken_and_the_way_back_leads_to_the_former_counts() -> None:
    limits = RateLimits()
    one = RateLimitSettings(1, 60.0, 1)
    limits.take(limits.choose(compiled(("route", one)), Rate(2, 1.0)))
    former = limits.table
    chosen = limits.choose(compiled(("route", RateLimitSettings(2, 60.0, 2))), Rate(3, 1.0))
    assert limits.table is former
    way_back = limits.take(chosen)
    assert limits.table is chosen
    way_back()
    assert limits.table is former


def test_pruning_gets_to_every_limit() -> None:
    limits = RateLimits()
    routes = compiled(*((f"r{index}", RateLimitSettings(1, 1.0, 1)) for index in range(100)))
    limits.take(limits.choose(routes, Rate(0, 1.0)))
    selected = limits.table.routes
    for limit in selected.values():
        limit.take("a", "", 10.0)
        limit.take(None, "192.0.2.1", 10.0)
    for _ in range(10):
        limits.prune(12.0)
    assert sum(map(len, selected.values())) == 0
