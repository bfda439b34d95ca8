"""Bound what logins with slow secrets can take."""

import asyncio
import hashlib

import pytest

from gateway.clients.registry import ScryptCost
from gateway.clients.scrypt_worker import OverloadedError, ScryptWorker
from gateway.settings.model import ScryptSecret

STORED = ScryptSecret(16, 8, 1, b"salt", hashlib.scrypt(b"right", salt=b"salt", n=16, r=8, p=1, dklen=32))


async def test_secrets_are_checked() -> None:
    worker = ScryptWorker()
    assert await worker.check(b"right", [STORED], [])
    assert not await worker.check(b"wrong", [STORED], [ScryptCost(16, 8, 1)])
    worker.close()


async def test_beyond_the_queue_callers_are_told_at_once_and_later_ones_are_served() -> None:
    worker = ScryptWorker(queue_size=2)
    outcomes = await asyncio.gather(
        *(worker.check(b"right", [STORED], []) for _ in range(5)), return_exceptions=True
    )
    assert outcomes[:3] == [True, True, True]
    assert [type(outcome) for outcome in outcomes[3:]] == [OverloadedError, OverloadedError]
    assert await worker.check(b"right", [STORED], [])
    worker.close()


async def test_a_caller_that_goes_away_leaves_its_place() -> None:
    worker = ScryptWorker(queue_size=0)
    gone = asyncio.create_task(worker.check(b"right", [STORED], []))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await worker.check(b"right", [STORED], [])
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert await worker.check(b"right", [STORED], [])
    worker.close()
