"""Remember the results of a pure function for a bounded number of byte strings.

Two generations of entries: a new entry goes to the young one; when that is full it
becomes the old one and the former old one is forgotten. A hit in the old
generation moves the entry to the young one, so what is in use stays and what a
peer can make grow does not. A generation is full when it has so many entries, or, where
entries differ much in size, when they weigh so much together. Only results of pure
functions belong here: an entry never goes stale, and a hit and a miss give the same
answer.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


Weigh = Callable[[Key, Value, set[int]], int]
"""Return about how many bytes an entry takes. The set lives as long as the generation: for what
several entries share, so that it is counted once."""


class Memo(Generic[Key, Value]):
    """A bounded memory of results; at most `2 * size` entries.

    Args:
        size: How many entries a generation holds.
        weigh: What an entry weighs; None where all are small.
        budget: How much the entries of a generation may weigh together.
    """

    __slots__ = ("_budget", "_old", "_seen", "_size", "_weigh", "_weight", "young")

    def __init__(self, size: int, *, weigh: Weigh[Key, Value] | None = None, budget: int = 0) -> None:
        self._size = size
        self._weigh = weigh
        self._budget = budget
        self._weight = 0
        self._seen: set[int] = set()
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
            self._turn()
        if self._weigh is not None:
            weight = self._weigh(key, value, self._seen)
            if self._weight + weight > self._budget:
                self._turn()
                weight = self._weigh(key, value, self._seen)
            self._weight += weight
        self.young[key] = value

    def _turn(self) -> None:
        self._old = self.young
        self.young = {}
        self._seen = set()
        self._weight = 0

    def __len__(self) -> int:
        return len(self.young) + len(self._old)
