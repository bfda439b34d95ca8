"""Find who an assertion may be, and look at few of many."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.conditions import MAX_VALUES, ClaimValues, read_conditions
from gateway.clients.identities import MAX_CANDIDATES, Identities, TrustedIdentity, file_identities
from gateway.policy.demands import claim_matches, typed_values
from gateway.settings.model import AssertionSettings, RemoteKeySource

PLATFORM = "https://platform.example"
KEYS = RemoteKeySource(PLATFORM, None)


def identity(client: str, subject: str | None = None, **claims: tuple[object, ...]) -> TrustedIdentity:
    return TrustedIdentity(client, AssertionSettings(PLATFORM, KEYS, subject, claims=claims), KEYS)


def clients(
    identities: Identities, subject: str = "job", client: str | None = None, **claims: Any
) -> list[str]:
    found = identities.find(PLATFORM, subject, ClaimValues(claims), client_id=client)
    return [each.client_id for each in found]


SOME = file_identities(
    [
        identity("a", "job"),
        identity("b", "job", team=("red",)),
        identity("c", None, team=("red", "blue"), owner=(1,)),
        identity("d", None, team=("red",), owner=(2,)),
        identity("e", None, owner=(None,)),
        identity("c", None, team=("green",)),
    ]
)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["a"]),
        ({"team": "red"}, ["a", "b"]),
        ({"team": "blue"}, ["a"]),
        ({"team": ["red", "red"]}, ["a", "b"]),
        ({"owner": 1}, ["a", "c"]),
        ({"owner": [2, 1]}, ["a", "d", "c"]),
        ({"owner": None}, ["a", "e"]),
        ({"owner": {"a": 1}}, ["a"]),
        ({"owner": [[1], {"a": 1}]}, ["a"]),
        ({"subject": "other", "owner": 3}, ["c"]),
        ({"subject": "other", "owner": 3, "client": "d"}, ["d"]),
        ({"subject": "other", "owner": 3, "client": "e"}, ["e"]),
        ({"subject": "other", "team": "green"}, ["c"]),
        ({"subject": "job", "client": "b"}, ["b"]),
        ({"client": "nobody"}, []),
    ],
)
def test_who_may_fit_is_found(asked: dict[str, Any], found: list[str]) -> None:
    assert clients(SOME, **asked) == found


def test_nobody_of_another_issuer_is_found() -> None:
    assert SOME.find("https://other.example", "job", ClaimValues({}), client_id=None) == ()


def test_of_thousands_a_few_are_looked_at() -> None:
    many = file_identities(
        identity(f"c{number}", None, owner=("acme",), repository=(f"acme/{number}",))
        for number in range(2_000)
    )
    assert clients(many, owner="acme", repository="acme/7") == ["c7"]
    assert clients(many, owner="acme", repository="none") == ["c0"]
    several = [f"acme/{number}" for number in range(2_000 - MAX_VALUES, 2_000)]
    assert len(clients(many, owner="acme", repository=several)) == MAX_CANDIDATES
    assert clients(many, client="c1999", owner="acme", repository=several) == ["c1999"]
    assert clients(many, owner="acme", repository=["acme/1", *several]) == ["c0"]


OWNER = 1
FULL_OF_ONE_VALUE = [OWNER] * 5_900
"""As many values as fit into the 16 KiB of an assertion."""
LONGEST = [f"acme/{number}" for number in range(MAX_VALUES)]


@pytest.mark.parametrize(
    ("identities", "asked"),
    [
        # One condition for a whole organisation, the clients told apart by `client_id`.
        (
            [identity(f"c{n}", None, owner=(OWNER,)) for n in range(500)],
            {"owner": FULL_OF_ONE_VALUE, "client": "c499"},
        ),
        ([identity(f"c{n}", None, owner=(OWNER,)) for n in range(500)], {"owner": OWNER, "client": "c499"}),
        ([identity(f"c{n}", None, owner=(OWNER,)) for n in range(60)], {"owner": FULL_OF_ONE_VALUE}),
        # Many candidates, each with a second condition that a long list fails.
        (
            [identity(f"c{n}", None, repository=(f"acme/{n}",), owner=(OWNER,)) for n in range(200)],
            {"repository": LONGEST, "owner": [2] * 2_800},
        ),
        (
            [identity(f"c{n}", None, repository=(f"acme/{n}",), owner=(OWNER,)) for n in range(200)],
            {"repository": LONGEST, "owner": [f"{n}" for n in range(MAX_VALUES)]},
        ),
        # Each filed under a claim of its own, of which the assertion has none, or many others.
        ([identity(f"c{n}", "job", **{f"claim{n}": ("x",)}) for n in range(20_000)], {"team": "red"}),
        (
            [identity(f"c{n}", "job", **{f"claim{n}": ("x",)}) for n in range(20_000)],
            {f"other{n}": "x" for n in range(1500)},
        ),
        # Nearly as many as are looked at, each filed under all that the list names.
        ([identity(f"c{n}", None, repository=tuple(LONGEST)) for n in range(63)], {"repository": LONGEST}),
    ],
)
def test_what_nobody_has_signed_costs_little_to_look_up(
    identities: list[TrustedIdentity], asked: dict[str, Any]
) -> None:
    filed = file_identities(identities)
    client = asked.pop("client", None)

    def look_up() -> float:
        began = time.thread_time()
        values = ClaimValues(asked)
        for each in filed.find(PLATFORM, "job", values, client_id=client):
            values.fulfil(each.conditions)
        return time.thread_time() - began

    assert min(look_up() for _ in range(5)) < 0.005


def matches(claims: dict[str, Any], name: str, accepted: Sequence[object]) -> bool:
    return claim_matches(claims, name, typed_values(accepted))


VALUES = st.sampled_from(["red", "blue", 1, 0, True, False, 1.0, None, "1"])
CONDITIONS = st.dictionaries(
    st.sampled_from(["team", "owner"]), st.lists(VALUES, min_size=1, max_size=3).map(tuple)
)
CLAIMS = st.dictionaries(st.sampled_from(["team", "owner"]), VALUES | st.lists(VALUES, max_size=3))


@given(st.lists(CONDITIONS, max_size=12), CLAIMS)
def test_nobody_that_fits_is_missed(conditions: Sequence[dict[str, Any]], claims: dict[str, Any]) -> None:
    entries = [identity(f"c{number}", "job", **each) for number, each in enumerate(conditions)]
    found = set(clients(file_identities(entries), **claims))
    fitting = {
        entry.client_id
        for entry in entries
        if all(matches(claims, *condition) for condition in entry.settings.claims.items())
    }
    assert fitting <= found
    for number in range(len(entries)):
        (named,) = clients(file_identities(entries), client=f"c{number}", **claims)
        assert named == f"c{number}"


@given(CONDITIONS, CLAIMS)
def test_conditions_are_compared_as_routes_compare_claims(
    conditions: dict[str, Any], claims: dict[str, Any]
) -> None:
    expected = all(matches(claims, *condition) for condition in conditions.items())
    assert ClaimValues(claims).fulfil(read_conditions(conditions)) is expected


def test_a_list_is_collected_once_for_all_who_are_compared_with_it() -> None:
    values = ClaimValues({"team": ["red", "red", ["red"], {"red": 1}, "blue"]})
    assert list(values.of("team")) == [(str, "red"), (str, "blue")]
    assert values.of("team") is values.of("team")
