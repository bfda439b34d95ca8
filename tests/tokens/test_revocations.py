"""Remember revoked tokens exactly, and forget them in small steps."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.revocations import Revocations


def test_only_what_was_added_is_revoked() -> None:
    revocations = Revocations([("loaded", 100)])
    revocations.add("added", 100, now=0)
    assert revocations.is_revoked("loaded")
    assert revocations.is_revoked("added")
    assert not revocations.is_revoked("other")


def test_generation_rises_with_new_entries_only() -> None:
    revocations = Revocations()
    revocations.add("a", 100, now=0)
    revocations.add("a", 100, now=0)
    assert (revocations.generation, len(revocations)) == (1, 1)


def test_pruning_is_bounded_per_call_and_keeps_the_living() -> None:
    revocations = Revocations([(f"dead{n}", n) for n in range(10)] + [("alive", 1000)])
    revocations.add("new", 1000, now=500)
    assert len(revocations) == 8
    assert revocations.prune(500, limit=100) == 6
    assert revocations.is_revoked("alive")
    assert revocations.is_revoked("new")


def test_an_entry_goes_at_its_expiry_not_before() -> None:
    revocations = Revocations([("a", 10)])
    assert revocations.prune(9.99, limit=9) == 0
    assert revocations.prune(10, limit=9) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), max_size=60))
def test_nothing_alive_is_ever_forgotten(steps: list[tuple[int, int]]) -> None:
    revocations = Revocations()
    expected: dict[str, int] = {}
    for now, (lifetime, name) in enumerate(steps):
        revocations.add(str(name), expected.setdefault(str(name), now + lifetime), now=now)
        assert all(revocations.is_revoked(jti) for jti, expiry in expected.items() if expiry > now)
        expected = {jti: expiry for jti, expiry in expected.items() if expiry > now}
