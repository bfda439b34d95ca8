"""Show that a held loop is measured."""

import asyncio
import time

from gateway.observe.loop_lag import LoopLag


async def test_a_held_loop_is_seen() -> None:
    reports: asyncio.Queue[float] = asyncio.Queue()
    lag = LoopLag(asyncio.get_running_loop(), reports.put_nowait, interval_s=0.005)
    lag.start()
    await reports.get()
    held_until = time.perf_counter() + 0.06
    while time.perf_counter() < held_until:
        pass
    measured = await reports.get()
    assert measured >= 0.05
    assert lag.last_s >= 0.0
    lag.stop()
    lag.stop()
    assert lag._timer is None


async def test_an_idle_loop_never_reports_less_than_nothing() -> None:
    reports: asyncio.Queue[float] = asyncio.Queue()
    lag = LoopLag(asyncio.get_running_loop(), reports.put_nowait, interval_s=0.001)
    lag.start()
    assert min([await reports.get() for _ in range(5)]) >= 0.0
    lag.stop()
