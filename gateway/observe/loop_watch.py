"""See what holds the event loop: log where its thread was when it stood still.

While one function holds the loop nobody is served, and whoever looks afterwards finds
nothing. So a watchdog waits beside the loop and writes down the stack of its thread
when the loop has not turned for `HELD_S`; once the loop turns again, that is logged.

The theory of it. A pattern or a decoder that holds the loop holds the interpreter's
lock, too: no thread of Python's could look. `faulthandler.register` has a handler of
SIGALRM that needs no lock and knows files, lines and functions only, no values. A periodic
timer of the loop (`gateway.observe.loop_lag`) winds the alarm up again before it goes off
(one system call; `dump_traceback_later` would start a thread each time); what is written
goes to memory, which is read after it. One stack per `STACK_EVERY_S` is written: a loop that
is held again and again is not to be held by its log as well. Each time is counted.

What is imperfect: there is one such watchdog in a process, which is ours; a machine that
gives the process no time is counted as a held loop, and may be logged as one; a loop that
never turns again logs nothing.
"""

import asyncio
import faulthandler
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable

from gateway.observe.loop_lag import LoopLag

HELD_S = 0.1
"""Since the last turn that was seen; so the loop stood still for this long, or `TICK_S` less."""
TICK_S = 0.05
STACK_EVERY_S = 10.0
MAX_FRAMES = 40
"""Innermost ones of a stack that are logged."""

_THREAD = re.compile(r"(?:Current t|T)hread 0x([0-9a-f]+)")
_FRAME = re.compile(r'  File "([^"]*)", line ([0-9]+|\?\?\?) in (.*)')

_log = logging.getLogger(__name__)


class LoopWatch:
    """Watches the loop of the thread that starts it.

    Args:
        loop: Whose turns are watched.
        report: Called with the seconds of each time the loop was held.
        on_lag: Called ten times a second with the seconds by which a timer ran late: one timer serves both.
        clock: Monotonic seconds.
    """

    __slots__ = (
        "_clock",
        "_file",
        "_is_second",
        "_lag",
        "_on_lag",
        "_report",
        "_stack_at",
        "_thread",
        "_turned_at",
        "_unlogged",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[float], None],
        *,
        on_lag: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._report = report
        self._on_lag = on_lag
        self._is_second = False
        self._lag = LoopLag(loop, self._on_turn, interval_s=TICK_S)
        self._file = -1
        self._thread = 0
        self._turned_at = 0.0
        self._stack_at = float("-inf")
        self._unlogged = 0

    def start(self) -> None:
        """Begin to watch; call from the loop's thread."""
        self._thread = threading.get_ident()
        self._file = os.memfd_create("loop-stack")
        faulthandler.register(signal.SIGALRM, file=self._file, all_threads=True)
        self._turned_at = self._clock()
        self._put_off()
        self._lag.start()

    def stop(self) -> None:
        """Stop watching."""
        self._lag.stop()
        if self._file >= 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.unregister(signal.SIGALRM)
            os.close(self._file)
            self._file = -1

    def _on_turn(self, lag_s: float) -> None:
        self._is_second = not self._is_second
        if self._is_second and self._on_lag is not None:
            self._on_lag(lag_s)
        now = self._clock()
        held_s = now - self._turned_at
        if held_s >= HELD_S:
            self._report(held_s)
            self._tell(held_s, now)
        self._turned_at = self._clock()
        if self._turned_at - self._stack_at >= STACK_EVERY_S:
            self._put_off()

    def _put_off(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, HELD_S)

    def _tell(self, held_s: float, now: float) -> None:
        """Log the time and the stack that was written down, or count the time as not logged."""
        stack = ""
        if now - self._stack_at >= STACK_EVERY_S:
            signal.setitimer(signal.ITIMER_REAL, 0)
            stack = stack_of(self._thread, self._take_dump())
        if not stack:
            # Too soon, or nothing was written: the whole process stood still, not the loop alone.
            self._unlogged += 1
            return
        self._stack_at = now
        _log.warning(
            "the event loop stood still for %.0f ms",
            held_s * 1000,
            extra={"stack": stack, "times_not_logged": self._unlogged},
        )
        self._unlogged = 0

    def _take_dump(self) -> str:
        dump = os.pread(self._file, os.fstat(self._file).st_size, 0)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        return dump.decode("utf-8", "replace")


def stack_of(thread: int, dump: str) -> str:
    """Return the frames of `thread` in what faulthandler wrote, the innermost first; empty when absent."""
    frames: list[str] = []
    inside = False
    for line in dump.splitlines():
        if (head := _THREAD.match(line)) is not None:
            inside = int(head[1], 16) == thread
        elif inside and len(frames) < MAX_FRAMES and (frame := _FRAME.fullmatch(line)) is not None:
            frames.append(f"{frame[1]}:{frame[2]} {frame[3]}")
    return " < ".join(frames)
