"""Keep the values of metric families by their labels, bounded, and forget those of what is gone.

Plain numbers in dictionaries and lists; no clock, no text. Which families there are is
`gateway.observe.families`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

from gateway.observe.families import FAMILIES, NONE, OTHER, Family

_Value = TypeVar("_Value")
_WORDS = frozenset({"", NONE, OTHER})

Exemplar = tuple[str, float, float]
"""Trace id, observed value, epoch seconds."""


class Histogram:
    """Counts per bucket and the sum of what was observed.

    `cells` holds one count per bound, then the count beyond the last bound, then
    the sum: one list, so that an observation in a hot loop is two item updates on
    a local name. `exemplars`, when kept, has one slot per bucket.
    """

    __slots__ = ("bounds", "cells", "exemplars")

    def __init__(self, bounds: tuple[float, ...], *, with_exemplars: bool = False) -> None:
        self.bounds = bounds
        self.cells: list[float] = [0] * (len(bounds) + 1) + [0.0]
        self.exemplars: list[Exemplar | None] | None = [None] * (len(bounds) + 1) if with_exemplars else None

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to its own bucket (le)."""
        self.cells[bisect_left(self.bounds, value)] += 1
        self.cells[-1] += value


Row = tuple[tuple[str, ...], float | Histogram]
"""Label values in the family's order, and the value."""


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """One family with its rows, which are produced while they are read."""

    family: Family
    rows: Iterable[Row]


class LabelLimit:
    """Admits the first `limit` different values of one label and folds the rest into `_other_`.

    A limit of 0 admits all. Admitted values are never forgotten unless released.
    """

    __slots__ = ("_admitted", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: set[str] = set()

    def admit(self, value: str) -> str:
        """Return the label for `value`: itself, `_none_` when it is empty, or `_other_`."""
        if value in self._admitted:
            return value
        if value in _WORDS:  # ours, no names: they take no place, and are never gone
            return value or NONE
        if self._limit and len(self._admitted) >= self._limit:
            return OTHER
        self._admitted.add(value)
        return value

    def release(self, value: str) -> None:
        """Forget one value, so that another can take its place."""
        self._admitted.discard(value)

    def has_room_for(self, values: Set[str]) -> bool:
        """Return whether none of so many values would have to be folded."""
        return not self._limit or len(values) <= self._limit

    def strangers(self, known: Set[str]) -> Set[str]:
        """Return the admitted values that are none of `known`."""
        return self._admitted - known


class Series:
    """The values of families, by family and label values. Who adds to it admits the values of labels."""

    __slots__ = ("_histograms", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[Family, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[Family, dict[tuple[str, ...], Histogram]] = {}

    def count(self, family: Family, *labels: str, by: float = 1) -> None:
        """Add to one counter; by 0 makes it be there."""
        rows = self._numbers.setdefault(family, {})
        rows[labels] = rows.get(labels, 0) + by

    def put(self, family: Family, *labels: str, value: float) -> None:
        """Set one value that is counted elsewhere."""
        self._numbers.setdefault(family, {})[labels] = value

    def set_alone(self, family: Family, *labels: str, value: float) -> None:
        """Set a gauge of which there is one series at a time."""
        self._numbers[family] = {labels: value}

    def observe(self, family: Family, *labels: str, value: float) -> None:
        """Count one value of a histogram."""
        rows = self._histograms.setdefault(family, {})
        histogram = rows.get(labels)
        if histogram is None:
            histogram = rows[labels] = Histogram(family.bounds)
        histogram.observe(value)

    def collect(self) -> Iterator[Collected]:
        """Yield every family that has series; counting may go on while they are read."""
        for family in FAMILIES:
            rows: Mapping[tuple[str, ...], float | Histogram] | None
            rows = self._numbers.get(family) or self._histograms.get(family)
            if rows:
                yield Collected(family, list(rows.items()))

    def forget(self, label: str, value: str) -> None:
        """Drop every series in which `label` has that value."""
        for family in FAMILIES:
            if label in family.labels:
                place = family.labels.index(label)
                _drop(self._numbers.get(family, {}), place, value)
                _drop(self._histograms.get(family, {}), place, value)


def _drop(rows: dict[tuple[str, ...], _Value], place: int, value: str) -> None:
    for labels in [labels for labels in rows if labels[place] == value]:
        del rows[labels]
