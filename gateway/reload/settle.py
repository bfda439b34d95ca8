"""Decide when a change of watched files counts.

Pure: looks come in with the time they were taken, `gateway.reload.watch` takes them.

The rules:

1. What counts is a difference from the look that was *accepted*: the one with which the
   last load began, whatever became of that load.
2. A file that was replaced (another inode under the same path: a rename, a swapped link,
   a mounted ConfigMap) is whole when it appears. It counts once two looks agree,
   `REPLACED_S` apart: several files that are swapped one after the other come together.
3. Anything else may be half of something: a file that is written in place, one that is
   new, one that is gone, one that can be read again. It counts once nothing has changed
   for `IN_PLACE_S`. All changes wait for the slowest, because a load reads all files.
4. A look that failed for want of something here (descriptors, memory) is no look.

What cannot be told apart: a file that grows more slowly than one piece in `IN_PLACE_S`
is taken for whole. Writing beside and renaming needs no luck.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

REPLACED_S = 1.0
IN_PLACE_S = 5.0
_TICK_S = 0.05
"""Looks come a little early or late."""


class Present(NamedTuple):
    """A file as a look found it. A tuple is made and compared in C: there may be ten thousand."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing was there."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The path could not be looked at."""

    errno: int


ABSENT = Absent()

FileState = Present | Absent | Unreadable
Look = Mapping[Path, FileState]
"""Every watched file, and every file of a watched directory. What is not in it is absent."""


class Settling:
    """The accepted look, and what differs from it since when."""

    __slots__ = ("_accepted", "_latest", "_since", "_written")

    def __init__(self, accepted: Look) -> None:
        self._accepted = accepted
        self._latest: Look = accepted
        self._since = 0.0
        self._written = False
        """Something that is not accepted yet was changed otherwise than by replacement."""

    def observe(self, look: Look, monotonic_now: float) -> bool:
        """Return whether what this look shows counts: a load that begins now reads whole files."""
        if look == self._accepted:
            self._latest, self._written = look, False
            return False
        if look != self._latest:
            self._written |= not _only_replaced(self._latest, look)
            self._latest, self._since = look, monotonic_now
            return False
        is_whole = not self._written and _only_replaced(self._accepted, look)
        quiet_s = REPLACED_S if is_whole else IN_PLACE_S
        return monotonic_now - self._since >= quiet_s - _TICK_S

    @property
    def accepted(self) -> Look:
        """Return the look that was loaded."""
        return self._accepted

    @property
    def latest(self) -> Look:
        """Return the look that came last."""
        return self._latest

    def accept(self, look: Look) -> None:
        """Take this look for the one that was loaded."""
        self._accepted = self._latest = look
        self._written = False


def _only_replaced(before: Look, after: Look) -> bool:
    """Return whether every path that differs holds another file now."""
    for path, new in after.items():
        old = before.get(path, ABSENT)
        if old != new and not _is_replacement(old, new):
            return False
    return all(path in after or old == ABSENT for path, old in before.items())


def _is_replacement(old: FileState, new: FileState) -> bool:
    if not isinstance(old, Present) or not isinstance(new, Present):
        return False
    return (old.device, old.inode) != (new.device, new.inode)
