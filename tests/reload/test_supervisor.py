"""Let background tasks die, and see them started again, and told."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from gateway.reload.supervisor import STEADY_S, Supervisor
from tests.support.waiting import until


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def supervisor(clock: Clock) -> AsyncIterator[Supervisor]:
    made = Supervisor(clock=clock, first_pause_s=0.001)
    yield made
    await made.close()


async def test_a_task_that_dies_is_logged_told_and_started_again(
    supervisor: Supervisor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    started: list[int] = []
    hold = asyncio.Event()

    async def work() -> None:
        started.append(1)
        if len(started) <= 2:
            raise PermissionError("a text that might hold what a peer sent")
        await (hold if len(started) == 3 else asyncio.Event()).wait()

    supervisor.start("watch", work)
    assert supervisor.amiss() == {}
    assert supervisor.restarts == {"watch": 0}
    await until(lambda: len(started) == 3)
    assert supervisor.restarts == {"watch": 2}
    assert supervisor.amiss() == {"task watch": "failed 2 times in a row (PermissionError); see the log"}
    assert caplog.text.count("the task watch failed inside the gateway") == 2
    clock.now += STEADY_S
    assert supervisor.amiss() == {}
    hold.set()
    await until(lambda: len(started) == 4)
    assert supervisor.amiss() == {"task watch": "failed once (it ended by itself); see the log"}
    assert supervisor.restarts == {"watch": 3}, "what is over is counted for good"


async def test_pauses_double_up_to_a_bound(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1
        raise OSError

    supervisor.start("sweep", work)
    await until(lambda: count >= 5)
    pauses = [record.args[1] for record in caplog.records if "is started again" in record.msg]
    assert pauses[:4] == [0.001, 0.002, 0.004, 0.008]


async def test_one_task_is_no_other_s_matter_and_all_end_at_once(clock: Clock) -> None:
    supervisor = Supervisor(clock=clock, first_pause_s=60)
    ended: list[str] = []

    async def good() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("good")

    async def bad() -> None:
        raise ValueError

    supervisor.start("good", good)
    supervisor.start("bad", bad)
    await until(lambda: bool(supervisor.amiss()))
    assert supervisor.amiss().keys() == {"task bad"}
    await supervisor.close()
    assert ended == ["good"]
