"""Hold a loop by one call into C, and find in the log where."""

import asyncio
import logging
import re
import time
from collections.abc import Iterator

import pytest

from gateway.observe import loop_watch
from gateway.observe.loop_watch import HELD_S, MAX_FRAMES, STACK_EVERY_S, TICK_S, LoopWatch, stack_of

QUADRATIC = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def hold_by_a_pattern(at_least_s: float) -> None:
    """Return after one search of at least this time, in which no other thread can run."""
    size, took_s = 500, 0.0
    while took_s < at_least_s:
        size = int(size * 1.5)
        started = time.perf_counter()
        QUADRATIC.sub("", '"' + '\\"' * size)
        took_s = time.perf_counter() - started


class Watched:
    """A watch on the running loop, and what it reported."""

    def __init__(self) -> None:
        self.reported: asyncio.Queue[float] = asyncio.Queue()
        self.offset_s = 0.0
        self.watch = LoopWatch(
            asyncio.get_running_loop(),
            self.reported.put_nowait,
            clock=lambda: time.monotonic() + self.offset_s,
        )


@pytest.fixture
async def watched() -> Iterator[Watched]:
    made = Watched()
    made.watch.start()
    yield made
    made.watch.stop()


def stacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["stack"] for record in caplog.records if record.name == loop_watch.__name__]


async def test_the_function_that_holds_the_loop_is_named(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    hold_by_a_pattern(0.3)
    assert await watched.reported.get() >= 0.3
    (stack,) = stacks(caplog)
    innermost, outer = stack.split(" < ")[:2]
    assert re.fullmatch(r".*/test_loop_watch\.py:[0-9]+ hold_by_a_pattern", innermost)
    assert outer.endswith(" test_the_function_that_holds_the_loop_is_named")
    (record,) = [record for record in caplog.records if record.name == loop_watch.__name__]
    assert re.fullmatch(r"the event loop stood still for [0-9]+ ms", record.getMessage())
    assert record.levelno == logging.WARNING


async def test_each_time_is_counted_and_one_in_ten_seconds_is_logged(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    async def hold() -> None:
        time.sleep(HELD_S + 2 * TICK_S)  # noqa: ASYNC251  # this is what is tested
        await watched.reported.get()

    for _ in range(3):
        await hold()
    assert len(stacks(caplog)) == 1
    watched.offset_s = STACK_EVERY_S
    await watched.reported.get()  # the jump of the clock, too, looks like a loop that is held
    await hold()
    assert len(stacks(caplog)) == 2
    assert caplog.records[-1].__dict__["times_not_logged"] >= 2


async def test_it_can_be_stopped_twice() -> None:
    made = Watched()
    made.watch.start()
    made.watch.stop()
    made.watch.stop()


DUMP = """\
Timeout (0:00:00.100000)!
Thread 0x00007f0000000002 (most recent call first):
  File "/a/b.py", line 7 in other

Current thread 0x00007f0000000001 [main] (most recent call first):
  File "/a/c d.py", line 3 in inner
  File "<frozen runpy>", line ??? in <lambda>
garbage
  File "/a/c.py", line 12 in outer
"""


def test_only_the_stack_of_the_loop_is_taken() -> None:
    assert (
        stack_of(0x7F0000000001, DUMP) == "/a/c d.py:3 inner < <frozen runpy>:??? <lambda> < /a/c.py:12 outer"
    )
    assert stack_of(0x7F0000000002, DUMP) == "/a/b.py:7 other"
    assert stack_of(0x7F0000000003, DUMP) == ""
    deep = "Thread 0x1 (most recent call first):\n" + '  File "f", line 1 in g\n' * 100
    assert stack_of(1, deep).count("f:1 g") == MAX_FRAMES
