"""Look at the files of one source again and again, and say when they are to be loaded.

Shell: stat and read on threads; when a change counts is `gateway.reload.settle`. A path that
cannot be looked at is a state like any other: it ends no loop, and mending it is a change.

Whoever loads, for whatever reason, calls `begin_load` before the files are read: then a change
that comes during the load is not missed, and one that a signal has brought in already is
not brought in again.
"""

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from errno import EMFILE, ENFILE, ENOMEM
from pathlib import Path

from gateway.files import UnusableFileError, list_directory, read_file
from gateway.reload.settle import ABSENT, FileState, Look, Present, Settling, Unreadable

WATCH_INTERVAL_S = 1.0
"""How often the watched files are looked at (stat only; content when a change counts)."""
LARGEST_WATCHED_BYTES = 32 * 1024 * 1024
CLOCK_TICK_S = 0.01
"""By at most this much a file's time stamp lies behind the clock."""

_SHORTAGES = frozenset({EMFILE, ENFILE, ENOMEM})


class ShortageError(Exception):
    """The process is out of descriptors or memory: nothing can be said of any file."""


def take_look(watched: Iterable[Path]) -> Look:
    """Return the state of each watched file, and of each file in a watched directory.

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
    found = ((directory / name, _look_at(directory / name)) for name in names)
    return {path: state for path, state in found if not isinstance(state, Path)}


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
    """Ask for a load when the watched files no longer hold what the last one began with.

    Args:
        watched: Returns the files and directories; they may be others after a load.
        load: Calls `begin_load`, loads, and never raises.
        since: Epoch seconds at which the process began to read the files first.
        interval_s: How often they are looked at; what a change waits for is a multiple of it.
    """

    __slots__ = ("_digest", "_interval_s", "_load", "_paths", "_settling", "_since", "_watched")

    def __init__(
        self,
        watched: Callable[[], Iterable[Path]],
        load: Callable[[], Awaitable[object]],
        *,
        since: float,
        interval_s: float = WATCH_INTERVAL_S,
    ) -> None:
        self._interval_s = interval_s
        self._watched = watched
        self._load = load
        self._since = since
        self._paths: tuple[Path, ...] = ()
        self._digest = ""
        self._settling = Settling({})

    async def begin_load(self) -> None:
        """Take what the files hold now for what is about to be loaded."""
        self._since = time.time()
        self._paths = tuple(self._watched())
        with suppress(ShortageError):
            look = await asyncio.to_thread(take_look, self._paths)
            self._settling.accept(look)
            self._digest = await asyncio.to_thread(digest_content, look)

    async def follow(self) -> None:
        """Look for the first time at files that were loaded already; what changed since is a change."""
        is_start = not self._paths
        paths = tuple(self._watched())
        look = await asyncio.to_thread(take_look, paths)
        loaded_ns = (self._since - CLOCK_TICK_S) * 1e9
        known = {path: state for path, state in look.items() if not _has_changed(state, loaded_ns)}
        # At the start this process has itself made a key or a store in one of the directories.
        if not is_start and await asyncio.to_thread(_any_directory_changed, paths, loaded_ns):
            known = {}
        is_known = len(known) == len(look)
        self._digest = await asyncio.to_thread(digest_content, look) if is_known else ""
        self._paths = paths
        self._settling.accept(known)

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            with suppress(
                ShortageError
            ):  # nothing can be said of the files until there are descriptors again
                if tuple(self._watched()) != self._paths:
                    await self.follow()
                await self._look_once()
            await asyncio.sleep(self._interval_s)

    async def _look_once(self) -> None:
        look = await asyncio.to_thread(take_look, self._paths)
        intervals = time.monotonic() / self._interval_s * WATCH_INTERVAL_S
        if not self._settling.observe(look, intervals):
            return
        digest = await asyncio.to_thread(digest_content, look)
        if digest == self._digest:
            self._settling.accept(look)
        else:
            await self._load()


def _has_changed(state: FileState, since_ns: float) -> bool:
    return isinstance(state, Present) and state.changed_ns >= since_ns


def _any_directory_changed(watched: Iterable[Path], since_ns: float) -> bool:
    """Return whether anything was added to a watched directory since then, renamed or removed."""
    for path in watched:
        with suppress(OSError, ValueError):
            status = path.stat()
            if stat.S_ISDIR(status.st_mode) and status.st_mtime_ns >= since_ns:
                return True
    return False
