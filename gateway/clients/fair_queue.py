"""Keep a bounded queue in which nobody can take the places of everybody else.

Pure. Items wait by owner. They are taken by turns: one of each owner, then again one of
each. Into a full queue an owner still gets while another has at least two more: the one
with the most gives up its newest. So one owner may have the whole queue while nobody
else wants it, and whoever comes then gets a place and is served next but for one item
of each other owner.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """At most `size` items of any number of owners. Not thread-safe: the event loop's own."""

    __slots__ = ("_by_owner", "_length", "_size")

    def __init__(self, size: int) -> None:
        """Hold at most `size` items."""
        self._size = size
        self._length = 0
        self._by_owner: OrderedDict[str, list[Item]] = OrderedDict()
        """Owners in the order of their turns; none without items."""

    def __len__(self) -> int:
        return self._length

    def put(self, owner: str, item: Item) -> Item | None:
        """Add an item; return the one that has no place now, which may be `item` itself."""
        displaced = None
        if self._length >= self._size:
            crowded = max(self._by_owner, key=lambda each: len(self._by_owner[each]), default=owner)
            if len(self._by_owner.get(crowded, ())) < len(self._by_owner.get(owner, ())) + 2:
                return item
            displaced = self._by_owner[crowded][-1]
            self.discard(crowded, displaced)
        self._by_owner.setdefault(owner, []).append(item)
        self._length += 1
        return displaced

    def take(self) -> Item | None:
        """Remove and return the oldest item of the owner whose turn it is; None when there is none."""
        if not self._by_owner:
            return None
        owner, items = next(iter(self._by_owner.items()))
        item = items[0]
        self._by_owner.move_to_end(owner)
        self.discard(owner, item)
        return item

    def discard(self, owner: str, item: Item) -> None:
        """Remove an item if it is still there."""
        items = self._by_owner.get(owner, [])
        if item not in items:
            return
        items.remove(item)
        self._length -= 1
        if not items:
            del self._by_owner[owner]
