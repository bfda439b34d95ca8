"""Wait for something to become true, and fail the test when it does not in time."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 10.0
"""How long a test waits for what must happen; only a failing test ever waits that long."""


async def until(is_true: Callable[[], object]) -> None:
    """Return once `is_true()`, letting the event loop work in between."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_true():  # noqa: ASYNC110 - the gate's state has no event to wait on
            await asyncio.sleep(0.001)


async def turns_of_the_loop(count: int = 50) -> None:
    """Let everything happen that is ready to happen, a few times over."""
    for _ in range(count):
        await asyncio.sleep(0)
