"""Guess secrets from many addresses at once, while callers that logged in before go on logging in.

The guesses keep the queue for `scrypt:` secrets full: invented ids, and those of the callers.
Seconds by `SIDEGATE_FLOOD_S`; `make soak` takes a minute.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.journeys.conftest import POLICY

SECONDS = float(os.environ.get("SIDEGATE_FLOOD_S", 60 if "SIDEGATE_SOAK" in os.environ else 4))
ADDRESSES = [f"127.0.0.{number}" for number in range(101, 125)]
AT_ONCE = 4
"""Guesses that wait of each address: together more than are checked in 5 s."""
CALLERS = ["ann", "bob", "eve"]
AT_LEAST = 0.95
GRANT = {"grant_type": "client_credentials"}


def stored(secret: str) -> str:
    salt = b"0123456789abcdef"
    digest = hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32, maxmem=2**26)
    return f"scrypt:16384:8:1:{salt.hex()}:{digest.hex()}"


def policy() -> str:
    """Return the journeys' policy with callers whose secrets people chose."""
    clients = "".join(f'  {name}:\n    secrets: ["{stored(f"{name}-chosen-secret")}"]\n' for name in CALLERS)
    grants = "".join(
        f"  - {{client: {name}, audience: country-service, scopes: [country.read]}}\n" for name in CALLERS
    )
    before, after = POLICY.split("authorizations:\n")
    return f"{before}{clients}authorizations:\n{grants}{after}"


@dataclass
class Tally:
    """What was answered, by status."""

    guesses: Counter[int] = field(default_factory=Counter)
    logins: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def share(self) -> float:
        return self.logins[200] / self.logins.total()


def session(address: str) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))


async def guess(url: str, address: str, number: int, until: float, tally: Tally) -> None:
    """Guess one after the other: mostly at invented ids, now and then at a caller's."""
    async with session(address) as http:
        while time.monotonic() < until:
            number += 1
            name = CALLERS[number % 3] if number % 5 == 0 else f"invented-{address}-{number}"
            form = {**GRANT, "client_id": name, "client_secret": f"guess {number}"}
            async with http.post(f"{url}/oauth2/token", data=form) as answer:
                tally.guesses[answer.status] += 1
                if answer.status != 401:
                    await asyncio.sleep(0.05)  # as whoever is told to come back later


async def log_in(http: aiohttp.ClientSession, url: str, name: str, endpoint: str, tally: Tally) -> None:
    proof = {"client_id": name, "client_secret": f"{name}-chosen-secret"}
    form = {**proof, **(GRANT if endpoint == "token" else {"token": "x"})}
    begun = time.monotonic()
    async with http.post(f"{url}/oauth2/{endpoint}", data=form) as answer:
        tally.logins[answer.status] += 1
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - begun)


async def flooded(url: str, addresses: list[str], seconds: float) -> Tally:
    """Return how callers of these addresses fared during the flood; they logged in before it."""
    tally = Tally()
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session(address)) for address in addresses]
        pairs = list(zip(sessions, CALLERS, strict=True))
        for http, name in pairs:
            await log_in(http, url, name, "token", Tally())
        until = time.monotonic() + seconds
        guessers = [
            asyncio.create_task(guess(url, address, 1000 * index, until, tally))
            for address in ADDRESSES
            for index in range(AT_ONCE)
        ]
        while time.monotonic() < until:
            for endpoint in ("token", "introspect", "revoke"):
                await asyncio.gather(*(log_in(http, url, name, endpoint, tally) for http, name in pairs))
                await asyncio.sleep(0.1)
        await asyncio.gather(*guessers)
    return tally


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1", "127.0.0.2", "127.0.0.3"], ADDRESSES[:3]],
    ids=["from elsewhere", "from beside the guessers"],
)
def test_known_callers_log_in_beside_a_flood_of_guesses(make, record_property, addresses) -> None:
    appliance = make(policy=policy()).start()
    tally = asyncio.run(flooded(f"http://127.0.0.1:{appliance.port}", addresses, SECONDS))
    seen = {
        "guesses": dict(tally.guesses),
        "logins": dict(tally.logins),
        "slowest_login_s": round(tally.slowest_s, 3),
    }
    print(seen)
    record_property("flood", seen)
    assert tally.guesses[401], "nothing was guessed"
    assert tally.guesses[503], "the queue was never full"
    assert tally.share >= AT_LEAST, seen
    assert appliance.get("/.well-known/jwks.json").status == 200
