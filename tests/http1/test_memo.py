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
