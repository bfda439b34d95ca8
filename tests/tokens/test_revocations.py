"""Remember revoked tokens exactly, and forget them in small steps."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.claims import AccessToken, read_access_token
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
