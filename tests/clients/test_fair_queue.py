"""Share a bounded queue: whoever takes most gives way first."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.fair_queue import FairQueue


def filled(size: int, owners: str) -> tuple[FairQueue[str], list[str | None]]:
    """Return a queue into which each owner's next item was put, and what was displaced each time."""
    queue = FairQueue[str](size)
    counts = dict.fromkeys(owners, 0)
    displaced = []
    for owner in owners:
        counts[owner] += 1
        displaced.append(queue.put(owner, f"{owner}{counts[owner]}"))
    return queue, displaced


def drained(queue: FairQueue[str]) -> list[str]:
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


def test_one_owner_may_have_it_all_in_order() -> None:
    queue, displaced = filled(3, "aaaa")
    assert displaced == [None, None, None, "a4"]
    assert drained(queue) == ["a1", "a2", "a3"]


def test_owners_take_turns() -> None:
    queue, _ = filled(10, "aaaabbc")
    assert drained(queue) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_the_one_with_most_gives_up_its_newest() -> None:
    queue, displaced = filled(4, "aaaabb")
    assert displaced == [None, None, None, None, "a4", "a3"]
    assert drained(queue) == ["a1", "b1", "a2", "b2"]


def test_nobody_gives_way_to_one_who_would_have_as_much() -> None:
    queue, displaced = filled(3, "aabb")
    assert displaced == [None, None, None, "b2"]
    assert drained(queue) == ["a1", "b1", "a2"]


def test_a_queue_of_no_length_takes_nothing() -> None:
    queue, displaced = filled(0, "a")
    assert displaced == ["a1"]
    assert drained(queue) == []


def test_items_leave_early_and_free_their_place() -> None:
    queue, _ = filled(2, "ab")
    queue.discard("a", "a1")
    queue.discard("a", "a1")
    queue.discard("nobody", "a1")
    assert len(queue) == 1
    assert queue.put("c", "c1") is None
    assert drained(queue) == ["b1", "c1"]


@given(st.integers(0, 6), st.text("abcd", max_size=40))
def test_every_item_is_kept_or_displaced_once_and_nobody_has_less_than_his_share(
    size: int, owners: str
) -> None:
    queue, displaced = filled(size, owners)
    assert len(queue) == min(size, len(owners))
    kept = drained(queue)
    gone = [item for item in displaced if item is not None]
    assert len(kept) + len(gone) == len(owners)
    assert len({*kept, *gone}) == len(owners)
    for owner in set(owners):
        least = min(owners.count(owner), size // len(set(owners)))
        assert sum(item[0] == owner for item in kept) >= least


def of_parts(size: int, entries: str) -> tuple[FairQueue[str], list[str | None]]:
    """Return a queue into which `entries` ("a1 a2", owner and part) were put, and what was displaced."""
    queue = FairQueue[str](size)
    displaced = [
        queue.put(entry[0], f"{entry}.{number}", entry[1:]) for number, entry in enumerate(entries.split())
    ]
    return queue, displaced


def test_within_an_owner_its_parts_take_turns() -> None:
    queue, _ = of_parts(10, "a1 a1 a1 a2 b1 b1")
    assert drained(queue) == ["a1.0", "b1.4", "a2.3", "b1.5", "a1.1", "a1.2"]


def test_many_parts_give_an_owner_no_more_turns() -> None:
    queue, _ = of_parts(10, "a1 a2 a3 a4 a5 b1")
    assert drained(queue)[:2] == ["a1.0", "b1.5"]


def test_the_part_with_most_gives_way_to_others_of_its_owner() -> None:
    queue, displaced = of_parts(4, "a1 a1 a1 a1 a2 a2 a2")
    assert displaced == [None, None, None, None, "a1.3", "a1.2", "a2.6"]
    assert drained(queue) == ["a1.0", "a2.4", "a1.1", "a2.5"]


def test_of_the_owner_with_most_its_largest_part_gives_way() -> None:
    queue, displaced = of_parts(4, "a1 a2 a2 a3 b1")
    assert displaced[-1] == "a2.2"
    assert drained(queue) == ["a1.0", "b1.4", "a2.1", "a3.3"]


def test_items_of_parts_leave_early() -> None:
    queue, _ = of_parts(4, "a1 a2")
    queue.discard("a", "a1.0", "2")
    assert len(queue) == 2
    queue.discard("a", "a1.0", "1")
    assert drained(queue) == ["a2.1"]
