"""Run what reads files beside the event loop, without trust in the file system.

A thread that waits for a disk or a network share may wait for ever. So whoever started it may
stop waiting at any time, it is a daemon that no shutdown waits for, and what it returns
later is thrown away.
"""

import _thread
import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")

SWITCH_INTERVAL_S = 0.0005
"""How long a loading thread may hold the interpreter before the loop gets its turn."""


async def run_aside(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, or raise what it raises, run on a thread of its own.

    Cancelled, or timed out, the thread is left to itself.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()
    start_aside(partial(_run, work, loop, done))
    try:
        return await done
    finally:
        # What was raised holds this frame, and the future holds what was raised. A cycle would live for
        # ever once it is frozen, and with it whatever the callers of this one look at.
        del done


def _run(work: Callable[[], Result], loop: asyncio.AbstractEventLoop, done: "asyncio.Future[Result]") -> None:
    result: Result | None = None
    failure: BaseException | None = None
    try:
        result = work()
    except BaseException as error:
        failure = error
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
        loop.call_soon_threadsafe(_deliver, done, result, failure)
    del done, result, failure  # as above: what was raised holds this frame, too


def _deliver(done: "asyncio.Future[Result]", result: Result | None, failure: BaseException | None) -> None:
    if done.done():  # nobody waits any more
        return
    if failure is None:
        done.set_result(result)  # type: ignore[arg-type]
    else:
        done.set_exception(failure)


class StillRunningError(Exception):
    """What was begun before, and nobody waits for any more, has not ended."""


class OneThread:
    """Runs work aside, one at a time: a file system that hangs gets no thread more from who asks again."""

    __slots__ = ("_is_running",)

    def __init__(self) -> None:
        self._is_running = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, or raise what it raises, as `run_aside`.

        Raises:
            StillRunningError: What was run before still is; `work` is not begun.
        """
        if self._is_running:
            raise StillRunningError
        self._is_running = True

        def run_and_tell() -> Result:
            try:
                return work()
            finally:
                self._is_running = False

        try:
            return await run_aside(run_and_tell)
        except RuntimeError:  # there may have been no thread to have
            self._is_running = False
            raise


def start_aside(work: Callable[[], object]) -> None:
    """Run `work` on a thread of its own; nobody waits for it."""
    # `threading.Thread.start` returns when the thread runs: on a busy machine the loop would stand still.
    _thread.start_new_thread(work, ())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While a configuration is loaded on a thread, disturb the loop as little as possible.

    The collector is off meanwhile (a full collection holds the loop for as long as there
    are objects), what is kept is then taken out of its sight, and the interpreter changes
    threads more often.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)
