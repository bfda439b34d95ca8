"""Look at the files of a source, and know when they are to be loaded.

Shell: stat and read on threads; when a change counts is `gateway.reload.settle`. A path that
cannot be looked at is a state like any other: it ends no loop, and mending it is a change.

Whoever loads, for whatever reason, calls `begin_load` before the files are read: then a change
that comes during the load is not missed, and one that a signal has brought in already is
not brought in again.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from errno import EMFILE, ENFILE, ENOMEM
from functools import lru_cache
from pathlib import Path

from gateway.files import UnusableFileError, list_directory, read_file
from gateway.reload.aside import OneThread, run_aside
from gateway.reload.settle import ABSENT, FileState, Look, Present, Settling, Unreadable

WATCH_INTERVAL_S = 1.0
"""How often the watched files are looked at (stat only; content when a change counts)."""
LARGEST_WATCHED_BYTES = 32 * 1024 * 1024
DOUBT_S = 5.0
"""While the last load failed, what the files hold is read anew so often: a disk that answers again
leaves no trace in a directory."""
MOST_REMEMBERED = 16384
"""Paths in directories."""
CLOCK_TICK_S = 0.01
"""By at most this much a file's time stamp lies behind the clock."""

_SHORTAGES = frozenset({EMFILE, ENFILE, ENOMEM})


class ShortageError(Exception):
    """The process is out of descriptors or memory: nothing can be said of any file."""


def take_look(watched: Iterable[Path]) -> Look:
    """Return the state of each watched file, and of each file in a watched directory that is not hidden.

    Raises:
        ShortageError: There were no descriptors or no memory to look with.
    """
    look: dict[Path, FileState] = {}
    for path in watched:
        state = _look_at(path)
        if isinstance(state, Path):
            look |= _look_into(state)
        else:
            look[path] = state
    return look


def _look_at(path: Path) -> FileState | Path:
    """Return the state of one path; a directory is returned as itself."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ABSENT
    except (OSError, ValueError) as error:
        return _unreadable(getattr(error, "errno", 0) or 0)
    if stat.S_ISDIR(status.st_mode):
        return path
    return Present(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _look_into(directory: Path) -> dict[Path, FileState]:
    try:
        names = list_directory(directory)
    except UnusableFileError as problem:
        return {directory: _unreadable(problem.errno)}
    # What is hidden is about to be renamed into place, or the swap file of an editor that is open.
    paths = [_entry(directory, name) for name in names if not name.startswith(".")]
    found = ((path, _look_at(path)) for path in paths)
    return {path: state for path, state in found if not isinstance(state, Path)}


@lru_cache(MOST_REMEMBERED)
def _entry(directory: Path, name: str) -> Path:
    """Return the path of a directory's entry, the very one as before.

    Two looks of ten thousand files are compared by the loop, which takes 1 ms where their paths are
    the same objects and 15 where they are only equal.
    """
    return directory / name


def _unreadable(number: int) -> Unreadable:
    if number in _SHORTAGES:
        raise ShortageError
    return Unreadable(number)


def digest_content(look: Look) -> str:
    """Return a digest of the names and octets of what is there. What cannot be read counts by its name.

    Raises:
        ShortageError: There were no descriptors or no memory to read with.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path, state in look.items() if state != ABSENT):
        digest.update(os.fsencode(path) + b"\0")
        try:
            octets = read_file(path, largest_bytes=LARGEST_WATCHED_BYTES).octets
        except UnusableFileError as problem:
            digest.update(repr(_unreadable(problem.errno)).encode())
        else:
            digest.update(hashlib.sha256(octets).digest())
    return digest.hexdigest()


class FileWatch:
    """Know whether the files of one source still hold what its last load began with.

    Args:
        watched: Returns the files and directories; they may be others after a load.
        since: Epoch seconds at which the process began to read the files first.
    """

    __slots__ = ("_digest", "_doubted_at", "_former", "_settling", "_since", "_thread", "_watched", "paths")

    def __init__(self, watched: Callable[[], Iterable[Path]], *, since: float) -> None:
        self._watched = watched
        self._since = since
        self._digest = ""
        self._doubted_at = 0.0
        self._settling = Settling({})
        self._former: tuple[Look, str] = {}, ""
        """What was accepted before the last load began, and its digest."""
        self._thread = OneThread()
        self.paths: tuple[Path, ...] = ()
        """What `observe` wants a look at."""

    async def begin_load(self, *, only_if_quiet: bool = False) -> bool:
        """Take what the files hold now for what is about to be loaded; return whether it may be.

        Args:
            only_if_quiet: It may not when they are no longer as `observe` saw them last: somebody writes.
        """
        self._former = self._settling.accepted, self._digest
        since = time.time()
        self.paths = paths = tuple(self._watched())
        self._digest = ""  # for want of descriptors it is not known what is loaded
        with suppress(ShortageError):
            look, digest = await self._thread.run(lambda: _look_and_digest(paths))
            if only_if_quiet and look != self._settling.latest:
                self._digest = self._former[1]
                return False
            self._settling.accept(look)
            self._digest = digest
        self._since = since
        return True

    async def is_quiet(self) -> bool:
        """Return whether the files are as the load that goes on found them when it began."""
        paths = self.paths
        try:
            return await run_aside(lambda: take_look(paths)) == self._settling.accepted
        except ShortageError:
            return False

    def abandon_load(self) -> None:
        """Take nothing for loaded: what was begun is not put in force, and another look decides."""
        accepted, self._digest = self._former
        self._settling.accept(accepted)

    async def follow(self) -> None:
        """Look for the first time at files that were loaded already; what changed since is a change."""
        paths, since_ns = tuple(self._watched()), (self._since - CLOCK_TICK_S) * 1e9
        former = _Former(frozenset(self.paths), self._settling.accepted)
        known, digest = await run_aside(lambda: _look_back(paths, since_ns, former))
        if self._digest or not self.paths:  # else it is not known what was loaded, and stays so
            self._digest = digest
        self.paths = paths
        self._settling.accept(known)

    async def follow_others(self) -> None:
        """Do so when others are to be watched than before."""
        if tuple(self._watched()) != self.paths:
            await self.follow()

    async def observe(self, look: Look, monotonic_now: float, *, has_failed: bool) -> bool:
        """Return whether the files changed, by this look at `paths`, and the change counts.

        Args:
            look: The state of every file.
            monotonic_now: Seconds.
            has_failed: Whether the last load did.
        """
        if not self._settling.observe(look, monotonic_now):
            if not has_failed or monotonic_now - self._doubted_at < DOUBT_S:
                return False
            self._doubted_at = monotonic_now
            return look == self._settling.accepted and await self._differs(look)
        # A load that failed may have read a moment that no look and no digest shows.
        if has_failed or await self._differs(look):
            return True
        self._settling.accept(look)
        return False

    async def _differs(self, look: Look) -> bool:
        return await run_aside(lambda: digest_content(look)) != self._digest


def _look_and_digest(paths: Iterable[Path]) -> tuple[Look, str]:
    look = take_look(paths)
    return look, digest_content(look)


@dataclass(frozen=True, slots=True)
class _Former:
    """What was looked at right before a load, and what was seen; nothing at the start."""

    paths: frozenset[Path]
    look: Look

    def covers(self, path: Path) -> bool:
        return path in self.paths or path.parent in self.paths


def _look_back(paths: tuple[Path, ...], since_ns: float, former: _Former) -> tuple[Look, str]:
    """Return what the load found, as far as that can be told, and its digest if nothing is otherwise now.

    What was looked at before the load is known from then: it may have changed and changed back since, or
    been mended, without a stamp that says so. Of the rest only stamps can tell.
    """
    look = take_look(paths)
    watched = frozenset(paths)
    known = {path: state for path, state in former.look.items() if path in watched or path.parent in watched}
    others = {path: state for path, state in look.items() if not former.covers(path)}
    # At the start this process has itself made a key or a store in one of the directories.
    is_start = not former.paths
    if is_start or not _any_directory_changed((path for path in paths if not former.covers(path)), since_ns):
        known |= {path: state for path, state in others.items() if not _has_changed(state, since_ns)}
    return known, digest_content(look) if known == look else ""


def _has_changed(state: FileState, since_ns: float) -> bool:
    return isinstance(state, Present) and state.changed_ns >= since_ns


def _any_directory_changed(paths: Iterable[Path], since_ns: float) -> bool:
    """Return whether one of these, or a directory in which one lies, got other entries or rights since."""
    for place in {each for path in paths for each in (path, path.parent)}:
        with suppress(OSError, ValueError):
            status = place.stat()
            if stat.S_ISDIR(status.st_mode) and max(status.st_mtime_ns, status.st_ctime_ns) >= since_ns:
                return True
    return False
