"""Show which target is tried first."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.balance import choose_target
from gateway.settings.model import Balance


@dataclass
class Target:
    active: int = 0


@pytest.mark.parametrize("balance", Balance)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_equal_targets_share_the_load(balance: Balance, count: int) -> None:
    targets = [Target() for _ in range(count)]
    chosen = Counter(choose_target(targets, balance, turn) for turn in range(count * 10))
    assert chosen == dict.fromkeys(range(count), 10)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 1000))
def test_least_connections_takes_the_least_loaded_one_next_in_turn(loads: list[int], turn: int) -> None:
    targets = [Target(load) for load in loads]
    index = choose_target(targets, Balance.LEAST_CONNECTIONS, turn)
    assert loads[index] == min(loads)
    start = turn % len(loads)
    assert loads[index] not in [*loads[start:], *loads[:start]][: (index - start) % len(loads)]


def test_round_robin_ignores_the_load() -> None:
    targets = [Target(9), Target(0)]
    assert [choose_target(targets, Balance.ROUND_ROBIN, turn) for turn in range(4)] == [0, 1, 0, 1]
