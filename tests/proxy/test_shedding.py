"""Hold load shedding to a share that follows the lag."""

import pytest

from gateway.proxy.shedding import MOST, Shedding

LIMIT_S = 0.25


def shares(lags: list[float], limit_s: float = LIMIT_S) -> list[float]:
    shedding = Shedding()
    found = []
    for lag in lags:
        shedding.observe(lag, limit_s=limit_s)
        found.append(shedding.share)
    return found


def test_nothing_is_shed_while_the_loop_keeps_up() -> None:
    assert shares([0.2] * 100) == [0.0] * 100


def test_one_stall_costs_little_and_is_soon_forgotten() -> None:
    found = shares([1.0] + [0.0] * 10)
    assert 0 < max(found) <= 0.2
    assert found[-1] == 0.0


def test_a_lasting_lag_sheds_a_growing_share_but_never_all() -> None:
    found = shares([0.5] * 50)
    assert found == sorted(found)
    assert found[3] < 0.7
    assert found[-1] == MOST


def test_the_share_stays_while_the_lag_is_near_the_limit_and_falls_below_half() -> None:
    found = shares([0.5] * 3 + [0.2] * 20)
    assert found[-1] == found[-10] > 0
    assert shares([0.5] * 10 + [0.05] * 20)[-1] == 0.0


def test_a_limit_of_zero_never_sheds() -> None:
    assert shares([9.0] * 10, limit_s=0.0) == [0.0] * 10


@pytest.mark.parametrize("lags", [3, 5, 50])
def test_requests_are_refused_evenly_and_in_the_share(lags: int) -> None:
    shedding = Shedding()
    for _ in range(lags):
        shedding.observe(0.3, limit_s=LIMIT_S)
    refused = [shedding.refuses() for _ in range(1000)]
    for begin in range(0, 1000, 100):
        assert sum(refused[begin : begin + 100]) == pytest.approx(100 * shedding.share, abs=1.01)
