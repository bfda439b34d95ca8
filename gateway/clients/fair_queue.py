"""Keep a bounded queue in which nobody can take the places of everybody else.

Pure. Items wait by owner, and within an owner by part (a client's peers, say). They are
taken by turns: one of each owner, then again one of each; an owner's turn goes to its
parts by turns. Into a full queue an owner still gets while another has at least two more:
the one with the most gives up its newest. The same holds for the parts of one owner. So
one owner may have the whole queue while nobody else wants it, and whoever comes then gets
a place and is served next but for one item of each other owner.
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
        self._by_owner: OrderedDict[str, _Share[Item]] = OrderedDict()
        """Owners in the order of their turns; none without items."""

    def __len__(self) -> int:
        return self._length

    def put(self, owner: str, item: Item, part: str = "") -> Item | None:
        """Add an item; return the one that has no place now, which may be `item` itself."""
        displaced = None
        if self._length >= self._size:
            found = self._find_displaced(owner, part)
            if found is None:
                return item
            self.discard(*found)
            displaced = found[1]
        self._by_owner.setdefault(owner, _Share()).add(part, item)
        self._length += 1
        return displaced

    def take(self) -> Item | None:
        """Remove and return the oldest item of the owner whose turn it is; None when there is none."""
        if not self._by_owner:
            return None
        owner, share = next(iter(self._by_owner.items()))
        self._by_owner.move_to_end(owner)
        self._length -= 1
        item = share.take()
        if not share.length:
            del self._by_owner[owner]
        return item

    def discard(self, owner: str, item: Item, part: str = "") -> None:
        """Remove an item if it is still there."""
        share = self._by_owner.get(owner)
        if share is None or not share.discard(part, item):
            return
        self._length -= 1
        if not share.length:
            del self._by_owner[owner]

    def _find_displaced(self, owner: str, part: str) -> tuple[str, Item, str] | None:
        """Return the item that gives way to one more of this owner and part, and whose it is."""
        own = self._by_owner.get(owner)
        crowded = max(self._by_owner, key=lambda each: self._by_owner[each].length, default=owner)
        if crowded in self._by_owner and self._by_owner[crowded].length >= (own.length if own else 0) + 2:
            return (crowded, *self._by_owner[crowded].newest())
        if own is not None:
            item, crowded_part = own.newest()
            if own.size_of(crowded_part) >= own.size_of(part) + 2:
                return (owner, item, crowded_part)
        return None


class _Share(Generic[Item]):
    """What one owner has waiting, by part."""

    __slots__ = ("_by_part", "length")

    def __init__(self) -> None:
        self.length = 0
        self._by_part: OrderedDict[str, list[Item]] = OrderedDict()
        """Parts in the order of their turns; none without items."""

    def size_of(self, part: str) -> int:
        return len(self._by_part.get(part, ()))

    def add(self, part: str, item: Item) -> None:
        self._by_part.setdefault(part, []).append(item)
        self.length += 1

    def take(self) -> Item:
        part, items = next(iter(self._by_part.items()))
        self._by_part.move_to_end(part)
        item = items[0]
        self.discard(part, item)
        return item

    def newest(self) -> tuple[Item, str]:
        """Return the newest item of the part with most, and that part."""
        part = max(self._by_part, key=self.size_of)
        return self._by_part[part][-1], part

    def discard(self, part: str, item: Item) -> bool:
        items = self._by_part.get(part, [])
        if item not in items:
            return False
        items.remove(item)
        self.length -= 1
        if not items:
            del self._by_part[part]
        return True
