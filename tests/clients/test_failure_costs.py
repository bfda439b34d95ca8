"""Have every failure cost what the dearest costs: no more, and not the sum of everybody's."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.assertions import Assertion, Effort
from gateway.clients.conditions import ClaimValues
from gateway.clients.failure_costs import ScryptCost, client_failure, dearest_scrypt, grant_failure
from gateway.settings.model import RemoteKeySource, ScryptSecret
from gateway.tokens.jwt import CompactJwt
from gateway.tokens.key_ring import VerificationKey
from gateway.tokens.key_sets import ForeignKey, KeySet

costs = st.builds(
    ScryptCost, st.sampled_from([2**e for e in range(1, 16)]), st.integers(1, 8), st.integers(1, 2)
)
fleets = st.lists(st.lists(costs, max_size=4), min_size=1, max_size=30)


def secrets(own: list[ScryptCost]) -> list[ScryptSecret]:
    return [ScryptSecret(cost.n, cost.r, cost.p, b"salt", b"digest") for cost in own]


def work(costs: list[ScryptCost]) -> int:
    return sum(cost.work for cost in costs)


@given(fleets)
def test_a_failure_costs_all_the_same_and_at_most_twice_the_dearest(
    fleet: list[list[ScryptCost]],
) -> None:
    failure = dearest_scrypt(map(secrets, fleet))
    computed = [[*own, *failure.padding(secrets(own))] for own in [[], *fleet]]
    dearest = max(map(work, fleet))
    assert {work(each) - work(computed[0]) for each in computed} <= set(range(-15, 16))  # 16: N=2, r=8
    assert dearest - 15 <= work(computed[0]) <= 2 * dearest
    assert all(len(each) <= 4 + 4 + 8 + 255 for each in computed)
    if failure.everybody:
        assert all(Counter(each) == Counter(computed[0]) for each in computed)


def test_many_different_costs_are_not_added_up() -> None:
    fleet = [[ScryptCost(2**15, r, p)] for r in range(1, 9) for p in (1, 2)]
    failure = dearest_scrypt(map(secrets, fleet))
    assert work(list(failure.padding([]))) == ScryptCost(2**15, 8, 2).work
    assert len(failure.padding([])) == 1


def test_without_scrypt_there_is_nothing_to_compute() -> None:
    assert dearest_scrypt([[], []]).padding([]) == ()


class Counted:
    """A key that counts how often it is asked."""

    def __init__(self, alg: str, work: int, kid: str | None = None) -> None:
        self.asked = 0
        self.key = VerificationKey(f"{alg} {work} {kid}", alg, self._verify, {}, work)
        self.entry = ForeignKey(kid, self.key)

    def _verify(self, signing_input: bytes, signature: bytes) -> bool:
        self.asked += 1
        return True  # what a decoy says counts for nothing


def assertion(alg: str) -> Assertion:
    return Assertion(alg, None, "", "", CompactJwt({}, {}, b"", b""), ClaimValues({}))


DECOY = 47
LARGE = 137


@pytest.mark.parametrize(
    ("spent", "large", "small"),
    [(0, 2, 0), (LARGE, 1, 0), (2 * LARGE, 0, 0), (DECOY, 1, 2), (300, 0, 0)],
)
def test_the_rest_is_spent_with_the_largest_key_and_then_with_decoys(
    spent: int, large: int, small: int
) -> None:
    dear = [Counted("RS256", LARGE), Counted("RS256", LARGE, "b"), Counted("ES256", 100)]
    cheap, decoy = Counted("RS256", DECOY), Counted("RS256", DECOY)
    failure = client_failure([KeySet((cheap.entry,)), KeySet(tuple(each.entry for each in dear))])
    effort = Effort()
    effort.work = spent
    failure.spend_rest(assertion("RS256"), effort, {}, KeySet((decoy.entry,)))
    assert (dear[0].asked + dear[1].asked, decoy.asked, cheap.asked, dear[2].asked) == (large, small, 0, 0)
    assert abs(effort.work - max(spent, 2 * LARGE)) <= DECOY / 2


def test_fetched_keys_count_too() -> None:
    local, remote, decoy = Counted("ES256", 100), Counted("ES256", 100), Counted("ES256", 100)
    remote_tries = {"ES256": (remote.key, remote.key)}
    effort = Effort()
    client_failure([KeySet((local.entry,))]).spend_rest(
        assertion("ES256"), effort, remote_tries, KeySet((decoy.entry,))
    )
    assert (effort.work, decoy.asked) == (200, 2)


def test_a_grant_costs_what_the_issuer_with_most_key_sets_costs() -> None:
    decoy = Counted("ES256", 100)
    sets = [KeySet((Counted("ES256", 100).entry,)) for _ in range(9)]
    away = RemoteKeySource("c", "https://c.example/jwks")
    for by_issuer, remote, expected in (
        ({}, {}, 1),
        ({"a": sets[:1], "b": sets[1:3]}, {}, 2),
        ({"a": sets}, {}, 4),
        ({"a": [sets[0], away]}, {}, 1),
        ({"a": [sets[0], away]}, {"ES256": (decoy.key, decoy.key)}, 3),
    ):
        effort = Effort()
        grant_failure(by_issuer).spend_rest(assertion("ES256"), effort, remote, KeySet((decoy.entry,)))
        assert effort.work == 100 * expected, by_issuer


def test_where_there_is_no_decoy_nothing_is_spent() -> None:
    effort = Effort()
    client_failure([]).spend_rest(assertion("ES256"), effort, {}, KeySet(()))
    assert effort.work == 0
