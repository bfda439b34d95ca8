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
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable

from gateway.hosts import is_loopback
from gateway.settings.model import ListenAddress, TcpAddress

_log = logging.getLogger(__name__)

SHUTDOWN_DELAY_S = 5.0
"""Long enough for an EndpointSlice to reach every node, or two probes of a balancer each 2 s."""


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
    """Tell systemd about `READY=1`, `STOPPING=1`, a reload or a `STATUS=`, where it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode("ascii"), address)


async def reload_on_signal(signals: Signals, reload: Callable[[], Awaitable[object]]) -> None:
    """Call `reload` for each SIGHUP, until cancelled; signals during a reload count once."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={now_us}")
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
