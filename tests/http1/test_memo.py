"""Show that the memo forgets enough and keeps what is in use."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.memo import Memo


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_bounded_and_never_wrong(steps: list[tuple[bool, int]]) -> None:
    memo: Memo[int, int] = Memo(4)
    for remembers, key in steps:
        if remembers:
            memo.remember(key, key * 2)
        else:
            assert memo.recall(key) in (None, key * 2)
        assert len(memo) <= 8


def test_the_last_entries_are_known() -> None:
    memo: Memo[int, str] = Memo(4)
    for key in range(100):
        memo.remember(key, str(key))
        assert [memo.recall(recent) for recent in range(max(0, key - 3), key + 1)][-1] == str(key)
    assert memo.recall(0) is None


def test_what_is_used_stays() -> None:
    memo: Memo[int, str] = Memo(4)
    memo.remember(-1, "in use")
    for key in range(1000):
        memo.remember(key, "once")
        assert memo.recall(-1) == "in use"


def test_a_generation_weighs_no_more_than_its_budget() -> None:
    memo: Memo[int, int] = Memo(100, weigh=lambda key, value, _: value, budget=10)
    for key in range(50):
        memo.remember(key, 4)
        assert sum(memo.young.values()) <= 10
        assert len(memo) <= 4
    assert memo.recall(49) == 4


def test_what_entries_share_is_weighed_once_in_a_generation() -> None:
    def weigh(key: int, value: int, seen: set[int]) -> int:
        weight = 1 if value in seen else 6
        seen.add(value)
        return weight

    memo: Memo[int, int] = Memo(100, weigh=weigh, budget=10)
    for key in range(5):
        memo.remember(key, 7)
    assert len(memo.young) == 5
    memo.remember(5, 7)
    assert len(memo.young) == 1
    assert len(memo) == 6
