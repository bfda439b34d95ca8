"""Run one process from its start to its end: signals, watching, draining.

* SIGHUP, and a change of the watched files' content, ask for a reload.
* SIGTERM and SIGINT stop the process in steps: it is not ready, but still accepts for
  `shutdown_delay`, because whoever sends callers here learns of it later; then it
  stops accepting, lets requests in flight finish within `drain_timeout`, and ends. A
  second signal ends it at once.
* At start the soft limit of open files is raised to the hard one.

What is drained or reloaded is the caller's (`gateway.app`).

Sources: CONTRACT section 6; sd_notify(3).
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from gateway.settings.model import ListenAddress, TcpAddress
from gateway.settings.texts import is_loopback

_log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 1.0
"""How often the watched files are looked at (stat only; content when that changed)."""
SHUTDOWN_DELAY_S = 5.0
"""Long enough for an EndpointSlice to reach every node, or two probes of a balancer each 2 s."""
CLOCK_TICK_S = 0.01
"""By at most this much a file's time stamp lies behind the clock."""


class StopRequest(Enum):
    """How urgently the process was asked to end."""

    DRAIN = "drain"
    AT_ONCE = "at once"


class Signals:
    """Turn signals into things to wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stop_count = 0
        self.stop = asyncio.Event()
        """Set at the first SIGTERM or SIGINT."""
        self.stop_at_once = asyncio.Event()
        """Set at the second."""
        self.reload = asyncio.Event()
        """Set at SIGHUP; whoever reloads clears it."""

    def install(self) -> None:
        """Take over SIGTERM, SIGINT and SIGHUP."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop)
        self._loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def remove(self) -> None:
        """Give the signals back."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.remove_signal_handler(number)

    def _on_stop(self) -> None:
        (self.stop_at_once if self.stop.is_set() else self.stop).set()


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def notify_systemd(state: str) -> None:
    """Tell systemd about `READY=1`, `STOPPING=1` or a reload, where it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode("ascii"), address)


def content_fingerprint(watched: Iterable[Path]) -> str:
    """Return a digest of the names and bytes of the watched files and of the files in watched directories.

    By content, because a mounted ConfigMap swaps a symbolic link and keeps every time stamp's
    meaning to itself; a file that cannot be read counts as absent.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(watched)):
        digest.update(os.fsencode(path) + b"\0")
        with contextlib.suppress(OSError):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class FileStat(NamedTuple):
    """What changes when a file does."""

    path: Path
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def stat_fingerprint(watched: Iterable[Path]) -> tuple[FileStat, ...]:
    """Return what cheaply tells that content may have changed, for each file that is there."""
    seen = []
    for path in sorted(_files(watched)):
        with contextlib.suppress(OSError):
            status = path.stat()
            seen.append(FileStat(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(seen)


def _changes_of_directories(watched: Iterable[Path]) -> list[int]:
    """Return when something was last added to each watched directory, renamed or removed, in nanoseconds."""
    changes = []
    for path in watched:
        with contextlib.suppress(OSError):
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                changes.append(status.st_mtime_ns)
    return changes


def _files(watched: Iterable[Path]) -> set[Path]:
    files: set[Path] = set()
    for path in watched:
        if path.is_dir():
            with contextlib.suppress(OSError):
                files.update(child for child in path.iterdir() if child.is_file())
        else:
            files.add(path)
    return files


class ContentWatch:
    """Ask for a reload when the watched files no longer hold what the last one began with.

    Whoever reloads, for whatever reason, calls `look` before the files are read: then a change
    that comes during a reload is not missed, and one that a signal has already brought in is
    not brought in again.

    Args:
        watched: Returns the files and directories; they may be others after a reload.
        reload: Calls `look`, reloads, and never raises.
        since: Epoch seconds at which the process began to read them first.
    """

    def __init__(
        self,
        watched: Callable[[], Iterable[Path]],
        reload: Callable[[], Awaitable[object]],
        *,
        since: float,
    ) -> None:
        self._watched = watched
        self._reload = reload
        self._since = since
        self._paths: tuple[Path, ...] = ()
        self._stats: tuple[FileStat, ...] = ()
        self._content = ""
        self._missed = False

    async def look(self) -> None:
        """Remember what the watched files hold now, before they are read."""
        self._since = time.time()
        await self._look()

    async def _look(self) -> None:
        paths = tuple(self._watched())
        stats = await asyncio.to_thread(stat_fingerprint, paths)
        content = await asyncio.to_thread(content_fingerprint, paths)
        self._paths, self._stats, self._content = paths, stats, content

    async def begin(self) -> None:
        """Look for the first time at files that were read already; what changed since is not lost."""
        is_start = not self._paths
        await self._look()
        stats = await asyncio.to_thread(stat_fingerprint, self._paths)
        changes = [each.changed_ns for each in stats]
        if not is_start:  # then this process has itself made a key or a store in one of them
            changes += await asyncio.to_thread(_changes_of_directories, self._paths)
        self._missed = any(changed_ns >= (self._since - CLOCK_TICK_S) * 1e9 for changed_ns in changes)

    async def watch(self, *, interval_s: float = WATCH_INTERVAL_S) -> None:
        """Look again and again, on a thread, until cancelled."""
        while True:
            if tuple(self._watched()) != self._paths:
                await self.begin()
            if self._missed:
                self._missed = False
                await self._reload()
            await asyncio.sleep(interval_s)
            stats = await asyncio.to_thread(stat_fingerprint, self._paths)
            if stats == self._stats:
                continue
            content = await asyncio.to_thread(content_fingerprint, self._paths)
            if content == self._content:
                self._stats = stats
                continue
            await self._reload()


async def reload_on_signal(signals: Signals, reload: Callable[[], Awaitable[object]]) -> None:
    """Call `reload` for each SIGHUP, until cancelled; signals during a reload count once."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        notify_systemd("RELOADING=1")
        try:
            await reload()
        except Exception:
            # The next signal must still be heard.
            _log.exception("the reload failed inside the gateway")
        notify_systemd("READY=1")


def choose_shutdown_delay(wanted_s: float | None, addresses: Iterable[ListenAddress]) -> float:
    """Return for how many seconds listeners still accept after the stop signal.

    Args:
        wanted_s: As the configuration says; None where it does not say.
        addresses: Where they listen. Only what is reached from other machines has a balancer in
            front that must first notice.
    """
    if wanted_s is not None:
        return wanted_s
    reached = any(isinstance(each, TcpAddress) and not is_loopback(each.host) for each in addresses)
    return SHUTDOWN_DELAY_S if reached else 0.0


async def wait_shutdown_delay(signals: Signals, delay_s: float) -> None:
    """Return after `delay_s`, or at a second stop signal."""
    if delay_s:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(signals.stop_at_once.wait(), delay_s)


async def wait_drained(is_drained: Callable[[], bool], signals: Signals, timeout_s: float) -> bool:
    """Return True when `is_drained`, False at the deadline (0 = none) or at a second stop signal."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s if timeout_s else None
    while not is_drained():
        if signals.stop_at_once.is_set() or (deadline is not None and loop.time() >= deadline):
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(signals.stop_at_once.wait(), 0.02)
    return True
