"""Know who proved himself lately, forget in time, and stay small without forgetting others for one."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.known_callers import KNOWN_S, KnownCallers


def test_a_pair_is_known_for_a_day_since_its_last_success() -> None:
    known = KnownCallers()
    assert not known.includes("10.0.0.1", "reader", 0)
    known.note("10.0.0.1", "reader", 0)
    known.note("10.0.0.1", "reader", 1000)
    assert known.includes("10.0.0.1", "reader", KNOWN_S + 999)
    assert not known.includes("10.0.0.1", "reader", KNOWN_S + 1000)


def test_nobody_else_is_known_by_that() -> None:
    known = KnownCallers()
    known.note("10.0.0.1", "reader", 0)
    assert not known.includes("10.0.0.2", "reader", 0)
    assert not known.includes("10.0.0.1", "writer", 0)


def test_one_client_makes_only_its_own_pairs_forgotten() -> None:
    known = KnownCallers(entries=8, client_entries=4)
    known.note("10.0.0.1", "honest", 0)
    for number in range(100):
        known.note(f"10.1.0.{number}", "leaked", 1)
    assert known.includes("10.0.0.1", "honest", 2)
    assert len(known) == 5
    assert [n for n in range(100) if known.includes(f"10.1.0.{n}", "leaked", 2)] == [96, 97, 98, 99]


def test_into_a_full_table_a_new_client_still_gets() -> None:
    known = KnownCallers(entries=3, client_entries=3)
    for number in range(3):
        known.note(f"10.0.0.{number}", "first", number)
    known.note("10.0.0.0", "first", 3)  # used again
    known.note("10.0.0.9", "second", 4)
    assert [n for n in range(3) if known.includes(f"10.0.0.{n}", "first", 4)] == [0, 2]
    known.note("10.0.0.8", "second", 5)  # has one: gives that up
    assert [n for n in range(3) if known.includes(f"10.0.0.{n}", "first", 5)] == [0, 2]
    assert known.includes("10.0.0.8", "second", 5)
    assert not known.includes("10.0.0.9", "second", 5)


def test_what_is_over_makes_room_first() -> None:
    known = KnownCallers(entries=3)
    for number in range(3):
        known.note(f"10.0.0.{number}", "reader", 0)
    known.note("10.0.0.9", "writer", KNOWN_S)
    assert len(known) == 1


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.integers(0, 30_000))))
def test_it_is_bounded_and_the_newest_is_always_known(notes: list[tuple[str, str, int]]) -> None:
    known, now = KnownCallers(entries=5, client_entries=3), 0.0
    for peer, client, pause in notes:
        now += pause
        known.note(peer, client, now)
        assert known.includes(peer, client, now)
        assert len(known) <= 5
        for each in "xyz":
            assert sum(known.includes(p, each, now) for p in "abcd") <= 3
