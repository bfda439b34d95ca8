"""Remember the results of a pure function for a bounded number of byte strings.

Two generations of entries: a new entry goes to the young one; when that is full it
becomes the old one and the former old one is forgotten. A hit in the old
generation moves the entry to the young one, so what is in use stays and what a
peer can make grow does not. Only results of pure functions belong here: an entry
never goes stale, and a hit and a miss give the same answer.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(Generic[Key, Value]):
    """A bounded memory of results; at most `2 * size` entries."""

    __slots__ = ("_old", "_size", "young")

    def __init__(self, size: int) -> None:
        self._size = size
        self.young: dict[Key, Value] = {}
        """Recently used entries: a hot path may look here itself before it calls `recall`."""
        self._old: dict[Key, Value] = {}

    def recall(self, key: Key) -> Value | None:
        """Return the remembered result, or None."""
        value = self.young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.remember(key, value)
        return value

    def remember(self, key: Key, value: Value) -> None:
        """Keep `value`; forgets the older half when the young generation is full."""
        if len(self.young) >= self._size:
            self._old = self.young
            self.young = {}
        self.young[key] = value

    def __len__(self) -> int:
        return len(self.young) + len(self._old)
