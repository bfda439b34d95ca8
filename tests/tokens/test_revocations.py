"""Remember revoked tokens exactly, and forget them in small steps."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.claims import AccessToken, read_access_token
from gateway.tokens.revocations import Revocations, name_of


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


def token(*, client: str = "reader", issued_at: int = 100, jti: str = "one") -> AccessToken:
    claims = {"client_id": client, "sub": client, "aud": "a", "jti": jti, "iat": issued_at, "exp": 10_000}
    read = read_access_token(claims, "kid")
    assert isinstance(read, AccessToken)
    return read


def test_a_client_loses_what_it_was_issued_up_to_a_second() -> None:
    revocations = Revocations(clients=[("reader", 50)])
    assert not revocations.refuses(token())
    generation = revocations.generation
    revocations.add_client("reader", 100)
    assert revocations.generation > generation
    assert revocations.refuses(token())
    assert revocations.refuses(token(issued_at=99, jti="two"))
    assert not revocations.refuses(token(issued_at=101))
    assert not revocations.refuses(token(client="another"))


def test_what_a_client_lost_is_never_given_back() -> None:
    revocations = Revocations()
    revocations.add_client("reader", 100)
    generation = revocations.generation
    revocations.add_client("reader", 50)
    assert revocations.generation == generation
    assert revocations.refuses(token())
    assert list(revocations.clients()) == [("reader", 100)]


def test_a_single_token_is_refused_by_its_id() -> None:
    revocations = Revocations([("one", 10_000)])
    assert revocations.refuses(token())
    assert not revocations.refuses(token(jti="two"))
    assert list(revocations.entries()) == [("one", 10_000)]


APART = 120


def test_what_a_clock_ahead_issued_before_is_lost_and_what_is_marked_is_newer() -> None:
    revocations = Revocations(clocks_apart_s=APART)
    assert revocations.mark_for("reader", 100) == ""
    revocations.add_client("reader", 100)
    assert revocations.refuses(token(issued_at=100 + APART))
    assert not revocations.refuses(token(issued_at=101 + APART))
    assert not revocations.refuses(token(issued_at=150, client="another"))
    mark = revocations.mark_for("reader", 100)
    assert mark
    assert not revocations.refuses(token(issued_at=40, jti=mark + "one"))
    assert revocations.mark_for("reader", 100 + APART) == mark
    assert revocations.mark_for("reader", 101 + APART) == ""
    assert revocations.mark_for("another", 100) == ""


def test_each_revocation_of_a_client_has_a_mark_of_its_own() -> None:
    revocations = Revocations(clocks_apart_s=APART)
    marks = set()
    for now in (100.9, 100.9, 40, 100.9, 300):  # twice in one second, and by a clock behind
        second = revocations.next_second("reader", now)
        assert second > revocations.client_revoked_until("reader")
        held = token(issued_at=int(now), jti=revocations.mark_for("reader", int(now)) + "one")
        revocations.add_client("reader", second)
        assert revocations.refuses(held)
        marks.add(revocations.mark_for("reader", int(now)))
    assert len(marks) == 5


def test_who_reads_the_record_anew_has_the_same_mark() -> None:
    revocations = Revocations(clocks_apart_s=APART)
    revocations.add_client("reader", 100)
    again = Revocations(clients=revocations.clients(), clocks_apart_s=APART)
    issued = token(jti=revocations.mark_for("reader", 100) + "one")
    assert not again.refuses(issued)
    again.add_client("reader", 101)
    assert again.refuses(issued)


def test_what_was_not_verified_concerns_its_client_alone() -> None:
    revocations = Revocations()
    name = name_of("reader", "one", verified=False)
    revocations.add(name, 10_000, now=0)
    assert revocations.refuses(token())
    assert not revocations.refuses(token(client="another"))
    assert not revocations.refuses(token(jti="two"))
    assert not revocations.refuses(token(client="rea", jti="derone"))
    assert list(revocations.entries()) == [(name, 10_000)]
    assert Revocations(revocations.entries()).refuses(token())


def test_a_later_expiry_replaces_an_earlier_one() -> None:
    revocations = Revocations([("one", 10)])
    assert revocations.is_kept("one", 10)
    assert not revocations.is_kept("one", 11)
    revocations.add("one", 20, now=0)
    revocations.add("one", 15, now=0)
    assert (revocations.is_kept("one", 20), len(revocations)) == (True, 1)
    assert revocations.prune(19, limit=9) == 0


def test_expired_names_stay_for_clocks_that_jump_while_there_is_room() -> None:
    revocations = Revocations(limit=10, clocks_apart_s=APART, kept_s=86_400)
    for number in range(4):
        revocations.add(str(number), 100, now=0)
    assert revocations.prune(86_499, limit=9) == 0
    revocations.add("4", 1_000_000, now=0)
    assert revocations.margin_s == APART
    assert revocations.prune(100 + APART - 1, limit=9) == 0
    assert revocations.prune(100 + APART, limit=9) == 4
    assert revocations.margin_s == 86_400


def test_a_client_has_a_share_and_what_it_was_answered_stays() -> None:
    revocations = Revocations(limit=1_000)
    held = 0
    while not revocations.wait_s("greedy", 0):
        revocations.add(f"greedy {held}", 500, now=0, by="greedy")
        held += 1
    assert held == 100
    assert revocations.wait_s("greedy", 0) >= 500
    assert not revocations.wait_s("another", 0)
    revocations.add("another 0", 500, now=0, by="another")
    assert all(revocations.is_revoked(f"greedy {number}") for number in range(held))
    assert not revocations.wait_s("greedy", 600)


def test_what_has_expired_here_counts_too() -> None:
    revocations = Revocations(limit=1_000, clocks_apart_s=APART, kept_s=86_400)
    held = 0
    while not revocations.wait_s("greedy", 1_000) and held < 200:
        revocations.add(f"greedy {held}", 950, now=1_000, by="greedy")
        held += 1
    assert held == 100
