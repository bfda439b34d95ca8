"""Keep the background tasks of the process running, and tell which one does not.

A task that dies takes with it what nobody else does: a watch that is gone looks like a
configuration that never changes. So what raises is logged, started again after a pause that
doubles with each failure in a row, and told as degraded until it has run well for a while.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_S = 300.0
"""A task that ran for so long is well again: its failures before are no longer told."""

Work = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled."""


@dataclass(slots=True)
class _Health:
    failures: int = 0
    """In a row."""
    restarts: int = 0
    """Ever."""
    fault: str = ""
    """The kind of the last exception; its text might hold what a peer sent."""
    started_at: float = 0.0


class Supervisor:
    """The background tasks of one process.

    Args:
        clock: Monotonic seconds.
        first_pause_s: Before the first restart.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._clock = clock
        self._first_pause_s = first_pause_s
        self._health: dict[str, _Health] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Work) -> None:
        """Run `work` until `close`, again and again if need be."""
        self._health[name] = _Health()
        self._tasks.append(asyncio.get_running_loop().create_task(self._run(name, work), name=name))

    def amiss(self) -> Mapping[str, str]:
        """Return the tasks that had to be restarted lately, and why, under the names of conditions."""
        return {
            f"task {name}": f"failed {_times(health.failures)} ({health.fault}); see the log"
            for name, health in self._health.items()
            if health.failures and not self._is_steady(health)
        }

    @property
    def restarts(self) -> Mapping[str, int]:
        """Return how often each task had to be started again."""
        return {name: health.restarts for name, health in self._health.items()}

    async def close(self) -> None:
        """End all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, work: Work) -> None:
        health = self._health[name]
        while True:
            health.started_at = self._clock()
            try:
                await work()
                _log.error("the task %s ended by itself", name)
                fault = "it ended by itself"
            except Exception as error:
                # The rescue point of a task: what it is for must go on.
                _log.exception("the task %s failed inside the gateway", name)
                fault = type(error).__name__
            if self._is_steady(health):
                health.failures = 0
            health.failures += 1
            health.restarts += 1
            health.fault = fault
            pause_s = min(self._first_pause_s * 2 ** (health.failures - 1), LONGEST_PAUSE_S)
            _log.error("the task %s is started again in %g s", name, pause_s)
            health.started_at = float("inf")
            await asyncio.sleep(pause_s)

    def _is_steady(self, health: _Health) -> bool:
        return self._clock() - health.started_at >= STEADY_S


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times in a row"
