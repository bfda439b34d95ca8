"""Serve a gate in front of a recording upstream, on the event loop that the product runs on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.appliance import Appliance, configuration, running
from tests.support.upstream import Upstream

Start = Callable[..., contextlib.AbstractAsyncContextManager[Appliance]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream().serving() as serving:
        yield serving


@pytest.fixture
async def appliance(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Appliance]:
    """Serve `configuration()` unchanged."""
    async with running(tmp_path, configuration(), targets={"country": [upstream.port]}) as appliance:
        yield appliance


@pytest.fixture
def start(tmp_path: Path, upstream: Upstream) -> Start:
    """Return what serves a changed configuration."""

    def start_with(**changes: Any) -> contextlib.AbstractAsyncContextManager[Appliance]:
        return running(tmp_path, configuration(**changes), targets={"country": [upstream.port]})

    return start_with
