"""Hold token buckets to their rate, and their table to its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.token_bucket import LOOK, TokenBuckets


def passed(buckets: TokenBuckets, key: str, moments: list[float]) -> int:
    return sum(buckets.take(key, moment) >= 0.0 for moment in moments)


@pytest.mark.parametrize(
    ("requests", "per_s", "burst"),
    [(100, 1.0, 200), (100, 1.0, 1), (10, 0.1, 10), (600, 60.0, 5), (7, 3.0, 7)],
)
def test_ten_times_the_rate_passes_the_burst_and_then_the_rate(
    requests: int, per_s: float, burst: int
) -> None:
    rate = requests / per_s
    buckets = TokenBuckets(requests, per_s, burst)
    moments = [1000.0 + i / (10 * rate) for i in range(int(100 * rate))]  # for ten seconds
    assert passed(buckets, "a", moments) == pytest.approx(burst + 10 * rate, abs=1 + 0.001 * rate)


def test_the_tokens_left_count_down_and_the_wait_is_exact() -> None:
    buckets = TokenBuckets(10, 1.0, 3)
    assert [buckets.take("a", 5.0) for _ in range(3)] == pytest.approx([2.0, 1.0, 0.0])
    missing = -buckets.take("a", 5.0)
    assert buckets.wait_s(missing) == pytest.approx(0.1)
    assert buckets.missing("a", 5.0) == pytest.approx(missing)
    assert buckets.take("a", 5.0 + buckets.wait_s(missing)) == pytest.approx(0.0, abs=1e-6)


def test_a_refused_event_takes_nothing() -> None:
    buckets = TokenBuckets(1, 1.0, 1)
    assert passed(buckets, "a", [10.0] + [10.5] * 1000 + [11.0]) == 2


def test_keys_do_not_share_tokens() -> None:
    buckets = TokenBuckets(1, 1.0, 1)
    assert [buckets.take(key, 1.0) >= 0 for key in "abab"] == [True, True, False, False]


def test_full_buckets_are_forgotten_and_others_kept() -> None:
    buckets = TokenBuckets(1, 1.0, 10)
    for index in range(100):
        buckets.take(f"once-{index}", 100.0)
    for _ in range(5):
        buckets.take("often", 100.0)
    for _ in range(3):
        buckets.prune(102.0, limit=50)
    assert len(buckets) == 1
    assert buckets.take("often", 102.0) == pytest.approx(6.0)


def test_the_table_is_bounded() -> None:
    buckets = TokenBuckets(1, 1.0, 1, entries=64)
    for index in range(10_000):
        buckets.take(str(index), 50.0)
    assert len(buckets) <= 64


def test_nobody_resets_his_bucket_by_filling_the_table_with_keys_used_once() -> None:
    buckets = TokenBuckets(10, 1.0, 10, entries=64)
    while buckets.take("greedy", 1.0) >= 0:
        pass
    for index in range(100_000):
        assert buckets.take(f"throwaway-{index}", 1.0) >= 0
    assert buckets.take("greedy", 1.0) < 0


def test_a_reset_costs_more_requests_than_it_gives_back() -> None:
    """Whoever exhausts the other keys to get rid of one spends at least `LOOK` bursts first."""
    burst = 10
    buckets = TokenBuckets(1, 3600.0, burst, entries=64)
    while buckets.take("greedy", 1.0) >= 0:
        pass
    spent = 0
    for index in range(10_000):
        if buckets.missing("greedy", 1.0) == 0.0:
            break
        while buckets.take(f"helper-{index}", 1.0) >= 0:
            spent += 1
    assert spent >= LOOK * burst


@given(
    st.integers(1, 50),
    st.floats(0.01, 100.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200),
)
def test_no_window_passes_more_than_burst_and_rate(
    requests: int, per_s: float, burst: int, gaps: list[float]
) -> None:
    buckets = TokenBuckets(requests, per_s, burst)
    now, taken = 1.0, []
    for gap in gaps:
        now += gap
        if buckets.take("a", now) >= 0.0:
            taken.append(now)
    for begin, first in enumerate(taken):
        for count, last in enumerate(taken[begin:], 1):
            assert count <= burst + (last - first) * requests / per_s + 0.01
