"""Run one process from its start to its end: signals, watching, draining.

* SIGHUP, and a change of the watched files' content, ask for a reload.
* SIGTERM and SIGINT drain: stop accepting, let requests in flight finish within
  `drain_timeout`, then end; a second one ends at once.
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
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from pathlib import Path

_log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 1.0
"""How often the watched files are looked at (stat only; content when that changed)."""


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


def stat_fingerprint(watched: Iterable[Path]) -> tuple[tuple[str, int, int, int, int], ...]:
    """Return what cheaply tells that content may have changed: inode, size and times per file."""
    seen = []
    for path in sorted(_files(watched)):
        with contextlib.suppress(OSError):
            status = path.stat()
            seen.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(seen)


def _files(watched: Iterable[Path]) -> set[Path]:
    files: set[Path] = set()
    for path in watched:
        if path.is_dir():
            with contextlib.suppress(OSError):
                files.update(child for child in path.iterdir() if child.is_file())
        else:
            files.add(path)
    return files


async def watch_content(
    watched: Callable[[], Iterable[Path]],
    reload: Callable[[], Awaitable[object]],
    *,
    interval_s: float = WATCH_INTERVAL_S,
) -> None:
    """Call `reload` whenever the content of the watched files has changed, until cancelled.

    Files are looked at on a thread. Content that is back to what was loaded last asks
    for nothing.
    """
    stats = await asyncio.to_thread(stat_fingerprint, watched())
    content = await asyncio.to_thread(content_fingerprint, watched())
    while True:
        await asyncio.sleep(interval_s)
        fresh_stats = await asyncio.to_thread(stat_fingerprint, watched())
        if fresh_stats == stats:
            continue
        stats = fresh_stats
        fresh_content = await asyncio.to_thread(content_fingerprint, watched())
        if fresh_content != content:
            content = fresh_content
            await reload()
            # The reload may have changed what is watched.
            stats = await asyncio.to_thread(stat_fingerprint, watched())
            content = await asyncio.to_thread(content_fingerprint, watched())


async def reload_on_signal(signals: Signals, reload: Callable[[], Awaitable[object]]) -> None:
    """Call `reload` for each SIGHUP, until cancelled; signals during a reload count once."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        notify_systemd("RELOADING=1")
        await reload()
        notify_systemd("READY=1")


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
