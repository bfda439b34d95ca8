"""Serve the product in this process beside a scripted upstream."""

from collections.abc import AsyncIterator

import pytest

from tests.support.upstream import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream().serving() as serving:
        yield serving
