"""Keep texts with their expiry, however many and whatever they hold."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.expiring_names import LATEST, ExpiringNames

TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(["", "\ud800", "a\x00b", "é", "\U0010ffff", "a" * 5000])
)
STEPS = st.one_of(
    st.tuples(st.just("put"), TEXTS, st.integers(0, 50)),
    st.tuples(st.just("prune"), st.integers(1, 5), st.integers(0, 50)),
)


@given(st.lists(STEPS, max_size=120))
def test_it_is_a_dict_that_forgets_what_expired(steps: list[tuple[str, str | int, int]]) -> None:
    names = ExpiringNames()
    model: dict[str, int] = {}
    for kind, what, number in steps:
        if kind == "put":
            assert isinstance(what, str)
            assert names.put(what, number) == (what not in model)
            model[what] = max(number, model.get(what, 0))
        else:
            assert isinstance(what, int)
            dropped = names.prune(number, limit=what)
            gone = model.items() - dict(names).items()
            assert len(gone) == dropped <= what
            assert all(expiry <= number for _, expiry in gone)
            model = dict(names)
        assert dict(names) == model
        assert len(names) == len(model)
        assert all(text in names and names.expiry(text) == expiry for text, expiry in model.items())
    assert "never put" not in names
    assert names.expiry("never put") is None


@given(st.sets(st.text(max_size=4), max_size=400))
def test_pruning_goes_round_all_cells(texts: set[str]) -> None:
    names = ExpiringNames((text, 5) for text in texts)
    assert len(names) == len(texts)
    assert all(text in names for text in texts)
    while names.prune(5, limit=7):
        pass
    assert (len(names), list(names)) == (0, [])


def test_a_late_expiry_is_kept_as_the_latest() -> None:
    names = ExpiringNames([("a", 2**50)])
    assert names.expiry("a") == LATEST
    assert names.prune(LATEST - 1, limit=9) == 0


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_an_entry_takes_few_octets(count: int) -> None:
    texts = [f"{number:022}" for number in range(count)]
    tracemalloc.start()
    try:
        names = ExpiringNames((text, 2_000_000_000) for text in texts)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(names) == count
    assert size / count < 60
