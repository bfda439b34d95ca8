"""Show that work beside the loop leaves nothing behind, whatever became of it."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.reload import configuration as configuring
from gateway.reload.aside import run_aside
from gateway.reload.compile import Configuration
from gateway.reload.source import Cause, Result
from tests.support.appliance import Appliance, configuration, running
from tests.support.upstream import Upstream
from tests.support.waiting import turns_of_the_loop, until


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Leave garbage to its reference count: what a collection finds is what would be frozen."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def appliance(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Appliance]:
    targets = {"country": [upstream.port]}
    async with running(tmp_path, configuration(), targets=targets) as made:
        yield made


def fail() -> None:
    raise ValueError("as it was told")


async def look_at(big: object) -> object:
    """Have a local, as whoever waits for a load has the plan in force."""
    with pytest.raises(ValueError, match="as it was told"):
        await run_aside(fail)
    return big


async def test_what_is_raised_is_freed_with_all_that_its_frames_hold(uncollected: None) -> None:
    await look_at(object())
    gc.collect()
    for _ in range(3):
        await look_at([[]])
    await turns_of_the_loop()
    assert gc.collect() == 0


async def test_what_comes_too_late_is_freed(uncollected: None) -> None:
    hold, late = threading.Event(), threading.Event()

    def work() -> Any:
        hold.wait()
        late.set()
        raise ValueError("too late")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run_aside(work)
    gc.collect()
    hold.set()
    await until(late.is_set)
    await turns_of_the_loop()
    assert gc.collect() == 0


async def test_a_load_that_fails_holds_no_plan(appliance: Appliance, uncollected: None) -> None:
    """The next configuration freezes what is there: a plan in a cycle would stay for ever."""
    (key,) = appliance.path.parent.glob("keys/*.pem")
    key.write_text("half")
    await appliance.sources.reload(Cause.WATCH, only="keys")
    gc.collect()
    assert (await appliance.sources.reload(Cause.WATCH, only="keys")).result is Result.INVALID
    assert gc.collect() == 0


@pytest.mark.parametrize("dry_run", [True, False], ids=["a dry run's", "the former"])
async def test_no_snapshot_is_freed_by_the_loop(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """That of ten thousand routes would hold it for 50 ms."""
    freed_by: list[int] = []

    class Witness:
        def __del__(self) -> None:
            freed_by.append(threading.get_ident())

    real = configuring.compile_configuration

    def compile_with_witness(*args: Any, **named: Any) -> Configuration:
        made = real(*args, **named)
        return replace(made, material={**made.material, "witness": Witness()})

    monkeypatch.setattr(configuring, "compile_configuration", compile_with_witness)
    for _ in range(2):
        await appliance.sources.reload(Cause.API, dry_run=dry_run)
    await until(lambda: bool(freed_by))
    assert threading.get_ident() not in freed_by
