"""Share a table so that nobody can close it to the next."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.shares import Shares


def fill(shares: Shares, owner: str, *, now: float = 0, expires_at: int = 1_000) -> int:
    """Add what the owner may; return how much that was."""
    added = 0
    while not shares.wait_s(owner, shares.total, now):
        shares.add(owner, expires_at, now)
        added += 1
    return added


def test_one_owner_has_a_tenth_and_the_next_has_room() -> None:
    shares = Shares(1_000)
    assert fill(shares, "one") == 100
    assert fill(shares, "two") == 90
    assert sum(fill(shares, f"owner {number}") for number in range(40)) < 810
    assert not shares.wait_s("a newcomer", shares.total, 0)


def test_who_holds_nothing_is_let_in_while_there_is_any_room() -> None:
    shares = Shares(3)
    assert not shares.wait_s("one", 2, 0)
    assert shares.wait_s("one", 3, 0) == 1


def test_room_comes_back_when_entries_expire_and_the_wait_says_when() -> None:
    shares = Shares(1_000)
    fill(shares, "one", expires_at=600)
    wait_s = shares.wait_s("one", 100, 0)
    assert 600 <= wait_s <= 600 + 600 / 8
    assert shares.wait_s("one", 100, wait_s - 1) > 0
    assert shares.wait_s("one", 100, wait_s) == 0
    assert shares.held("one", wait_s) == 0


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(-5, 40_000_000)), max_size=80))
def test_an_entry_counts_to_its_expiry_and_little_longer(steps: list[tuple[int, int]]) -> None:
    shares = Shares(1_000)
    now = 0
    alive: list[tuple[int, int]] = []
    for pause, lifetime in steps:
        now += pause
        shares.add("one", now + lifetime, now)
        alive.append((now + lifetime, max(0, lifetime)))
        held = shares.held("one", now)
        assert held >= sum(expiry > now for expiry, _ in alive)
        assert held <= sum(expiry + lifetime / 8 + 16 >= now for expiry, lifetime in alive)


def test_the_total_forgets_what_expired_of_owners_that_never_come_back() -> None:
    shares = Shares(1_000)
    for number in range(50):
        shares.add(f"gone {number}", 100, 0)
    assert shares.total == 50
    for number in range(60):
        shares.add("one", 10_000, 200 + number)
    assert (shares.total, len(shares._held)) == (60, 1)


def test_half_a_share_is_plenty() -> None:
    shares = Shares(1_000)
    while shares.has_plenty("one", shares.total, 0):
        shares.add("one", 100, 0)
    assert shares.total == 53  # 53 * 18 is the first above 1000 - 53


def test_what_is_kept_of_an_owner_is_small() -> None:
    shares = Shares(10_000_000)
    for lifetime in range(1, 31_536_000, 997):
        shares.add("one", 1_700_000_000 + lifetime, 1_700_000_000)
    assert len(shares._held["one"]) < 400
