"""Show when a change of watched files counts, and that a half-written one does not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reload.settle import ABSENT, IN_PLACE_S, FileState, Look, Present, Settling, Unreadable

A, B = Path("/a"), Path("/b")


def present(inode: int = 1, size: int = 10, modified: int = 0) -> Present:
    return Present(1, inode, size, modified, modified)


def first_to_count(accepted: Look, looks: list[Look]) -> int | None:
    """Return after how many seconds a load begins, when looks come once a second."""
    settling = Settling(accepted)
    for second, look in enumerate(looks):
        if settling.observe(look, float(second)):
            return second
    return None


def steadily(look: Look) -> list[Look]:
    return [look] * 20


ROWS: list[tuple[str, Look, Look, int | None]] = [
    ("nothing", {A: present()}, {A: present()}, None),
    ("replaced", {A: present(1)}, {A: present(2)}, 1),
    ("two replaced", {A: present(1), B: present(2)}, {A: present(3), B: present(4)}, 1),
    ("written in place", {A: present()}, {A: present(size=11, modified=1)}, 5),
    ("new", {A: present()}, {A: present(), B: present(2)}, 5),
    ("gone", {A: present(), B: present(2)}, {A: present()}, 5),
    ("gone, as a watched path says it", {A: present()}, {A: ABSENT}, 5),
    ("not to be read", {A: present()}, {A: Unreadable(13)}, 5),
    ("to be read again", {A: Unreadable(13)}, {A: present()}, 5),
    ("one replaced, one written", {A: present(1), B: present(2)}, {A: present(3), B: present(2, 9, 9)}, 5),
]


@pytest.mark.parametrize(("accepted", "look", "seconds"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_how_long_a_change_waits(accepted: Look, look: Look, seconds: int | None) -> None:
    assert first_to_count(accepted, steadily(look)) == seconds


def test_a_slow_writer_is_waited_for() -> None:
    pieces: list[Look] = [{A: present(size=size, modified=size)} for size in (0, 4, 4, 4, 4, 8, 8, 8, 8, 9)]
    assert first_to_count({A: present()}, pieces) is None
    assert first_to_count({A: present()}, pieces + steadily(pieces[-1])) == 9 + 5


def test_what_is_taken_back_in_time_counts_for_nothing() -> None:
    away: Look = {A: ABSENT}
    back: Look = {A: present()}
    assert first_to_count(back, [away, away, away, *steadily(back)]) is None


def test_files_that_are_swapped_one_after_the_other_come_together() -> None:
    one: Look = {A: present(3), B: present(2)}
    both: Look = {A: present(3), B: present(4)}
    assert first_to_count({A: present(1), B: present(2)}, [one, *steadily(both)]) == 2


def test_a_replaced_file_that_is_written_on_is_not_whole() -> None:
    written_on: list[Look] = [{A: present(2, 0)}, {A: present(2, 4, 4)}]
    assert first_to_count({A: present(1)}, written_on + steadily(written_on[-1])) == 1 + 5


def test_what_was_accepted_does_not_count_again() -> None:
    settling = Settling({A: present(1)})
    look: Look = {A: present(2)}
    assert not settling.observe(look, 0.0)
    assert settling.observe(look, 1.0)
    settling.accept(look)
    assert not settling.observe(look, 2.0)
    assert not settling.observe(look, 20.0)


states: st.SearchStrategy[FileState] = st.one_of(
    st.builds(present, st.integers(1, 2), st.integers(0, 2), st.integers(0, 2)),
    st.just(ABSENT),
    st.just(Unreadable(13)),
)


@given(st.lists(st.fixed_dictionaries({A: states, B: states}), min_size=1, max_size=30))
def test_no_load_begins_within_five_seconds_of_a_change_in_place(looks: list[Look]) -> None:
    accepted: Look = {A: present(1), B: present(2)}
    settling = Settling(accepted)
    changed_at = 0
    for second, look in enumerate(looks):
        before = looks[second - 1] if second else accepted
        if any(
            before[path] != look[path] and not _is_replacement(before[path], look[path]) for path in (A, B)
        ):
            changed_at = second
        if settling.observe(look, float(second)):
            in_place = any(
                accepted[path] != look[path] and not _is_replacement(accepted[path], look[path])
                for path in (A, B)
            )
            assert not in_place or second - changed_at >= IN_PLACE_S
            settling.accept(look)
            accepted = look


def _is_replacement(old: FileState, new: FileState) -> bool:
    return isinstance(old, Present) and isinstance(new, Present) and old.inode != new.inode
