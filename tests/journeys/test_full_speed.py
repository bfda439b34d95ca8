"""Let one client ask and revoke as fast as it can: nothing grows by much, and others are served."""

import asyncio
import os
import time
from pathlib import Path

import aiohttp
import pytest

from tests.journeys.conftest import Appliance, Make
from tests.support.redis_server import RedisServer

SECONDS = float(os.environ.get("SIDEGATE_FULL_SPEED_S", 60 if "SIDEGATE_SOAK" in os.environ else 2))
CONNECTIONS = 16
MIB = 1024 * 1024
GROWTH_BYTES = 20 * MIB


def resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def ask_and_revoke(appliance: Appliance, http: aiohttp.ClientSession, until: float) -> list[int]:
    """Take tokens and revoke them until that moment; return the statuses of the revocations."""
    auth = {"Authorization": aiohttp.encode_basic_auth("caller", "caller-secret")}
    url = f"http://127.0.0.1:{appliance.port}/oauth2/"
    statuses = []
    while time.monotonic() < until:
        async with http.post(
            url + "token", data={"grant_type": "client_credentials"}, headers=auth
        ) as answer:
            assert answer.status == 200
            token = (await answer.json())["access_token"]
        async with http.post(url + "revoke", data={"token": token}, headers=auth) as answer:
            statuses.append(answer.status)
            await answer.read()
    return statuses


async def act_as_another(appliance: Appliance, http: aiohttp.ClientSession, until: float) -> int:
    """Do now and then what another client does, each time with success; return how often."""
    auth = {"Authorization": aiohttp.encode_basic_auth("other", "other-secret")}
    url = f"http://127.0.0.1:{appliance.port}"
    turns = 0
    while time.monotonic() < until:
        form = {"grant_type": "client_credentials", "scope": "country.read"}
        async with http.post(f"{url}/oauth2/token", data=form, headers=auth) as answer:
            assert answer.status == 200
            token = (await answer.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for revoked, status in ((False, 200), (True, 401)):
            if revoked:
                async with http.post(f"{url}/oauth2/revoke", data={"token": token}, headers=auth) as answer:
                    assert answer.status == 200
            async with http.get(f"{url}/ms-system/country/code/AUS", headers=headers) as answer:
                assert answer.status == status
        turns += 1
        await asyncio.sleep(0.1)
    return turns


async def run(appliance: Appliance) -> tuple[list[int], int]:
    until = time.monotonic() + SECONDS
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        aiohttp.ClientSession() as other,
        asyncio.TaskGroup() as group,
    ):
        calls = [group.create_task(ask_and_revoke(appliance, http, until)) for _ in range(CONNECTIONS)]
        turns = group.create_task(act_as_another(appliance, other, until))
    return [status for call in calls for status in call.result()], turns.result()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_neither_process_nor_store_grow_and_others_are_served(
    make: Make, redis: RedisServer, kind: str
) -> None:
    state = "sqlite:state/sidegate.db" if kind == "sqlite" else redis.url
    more = "limits: {loop_lag: 0}\nlogs: {access: off}\n"
    policy = (
        make()
        .policy.read_text()
        .replace(
            "authorizations:\n",
            "authorizations:\n  - {client: other, audience: country-service, scopes: [country.read]}\n",
        )
    )
    appliance = make(state=state, more=more, policy=policy).start()
    assert appliance.process is not None
    assert redis.process is not None
    appliance.token("other")

    def store_bytes() -> int:
        if kind == "redis":
            assert redis.process is not None
            return resident_bytes(redis.process.pid)
        return sum(file.stat().st_size for file in (appliance.directory / "state").iterdir())

    before, stored = resident_bytes(appliance.process.pid), store_bytes()
    statuses, turns = asyncio.run(run(appliance))
    grown, more_stored = resident_bytes(appliance.process.pid) - before, store_bytes() - stored
    said = f"{len(statuses)} revocations, process +{grown / MIB:.1f} MiB, store +{more_stored / MIB:.1f} MiB"
    print(said)
    assert set(statuses) <= {200, 429}, said
    assert turns > SECONDS / 4, said
    assert grown < GROWTH_BYTES, said
    assert more_stored < GROWTH_BYTES, said
