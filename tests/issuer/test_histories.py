"""Hold a revocation's 200 through random histories of clocks, keys, restarts and processes.

Each history is drawn from a seed, which is in the test's name: clocks up to a minute
wrong, clocks that jump by hours and back, keys that come and go, processes that start
anew, clients that lose everything, and tokens that nobody signed. After each step every
process is asked about every token.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from jwcrypto.jwk import JWK

from gateway.clients.registry import compile_registry
from gateway.clients.scrypt_worker import ScryptWorker
from gateway.enforce.verifier import verify_access_token
from gateway.issuer.context import IssuerContext
from gateway.issuer.snapshot import build_issuer_snapshot
from gateway.settings.model import RedisSettings
from gateway.state.interface import StateStore
from gateway.state.redis import open_redis
from gateway.state.revoke_client import revoke_client
from gateway.state.sqlite import open_sqlite
from gateway.tokens.claims import AccessToken
from gateway.tokens.key_ring import KeyRing, make_key_ring
from gateway.tokens.keys import make_signing_key, make_verification_key
from gateway.tokens.revocations import CLOCKS_APART_S, KEPT_S, Revocations
from tests.issuer.conftest import basic, make_settings
from tests.issuer.test_revocation_promises import unsigned
from tests.support.issuer_server import serving_issuer
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

FULL = "SIDEGATE_SOAK" in os.environ
STEPS = 120 if FULL else 40
SEEDS = range(40 if FULL else 4)
ISSUER = "https://issuer.example"
CLIENTS = {"reader": basic("reader", "reader-secret"), "writer": basic("writer", "writer-secret")}
KEYS = [JWK.generate(kty="EC", crv="P-256") for _ in range(2)]
SETTINGS = make_settings()
REGISTRY = compile_registry(SETTINGS)
START = 1_700_000_000.0


def ring(numbers: tuple[int, ...]) -> KeyRing:
    return make_key_ring(
        make_signing_key(KEYS[numbers[0]], "ES256"),
        [make_verification_key(KEYS[number], "ES256") for number in numbers],
    )


RINGS = {numbers: ring(numbers) for numbers in ((0,), (1,), (0, 1), (1, 0))}


@dataclass
class World:
    """The true time, and who opens a store."""

    open: Callable[[Callable[[], float]], Awaitable[StateStore]]
    now: float = START


@dataclass(eq=False)
class Process:
    """One issuer with a clock and keys of its own; between `start` and `stop` it serves."""

    world: World
    http: aiohttp.ClientSession
    off_s: float = 0.0
    numbers: tuple[int, ...] = (0, 1)
    url: str = ""
    revocations: Revocations = field(default_factory=Revocations)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    def clock(self) -> float:
        return self.world.now + self.off_s

    async def start(self) -> None:
        self.revocations = Revocations(clocks_apart_s=CLOCKS_APART_S, kept_s=KEPT_S)
        self.store = await self.world.open(self.clock)
        self._stack.push_async_callback(self.store.close)
        await self.store.follow(self.revocations)
        scrypt = ScryptWorker()
        self._stack.callback(scrypt.close)
        context = IssuerContext(
            snapshot=lambda: build_issuer_snapshot(SETTINGS, REGISTRY, RINGS[self.numbers]),
            revocations=self.revocations,
            store=self.store,
            scrypt=scrypt,
            clock=self.clock,
        )
        server = await self._stack.enter_async_context(serving_issuer(context))
        self.url = server.url

    async def stop(self) -> None:
        await self._stack.aclose()

    async def post(self, path: str, client: str, **form: str) -> tuple[int, bytes]:
        headers = {"Authorization": CLIENTS[client]}
        async with self.http.post(self.url + path, data=form, headers=headers) as answer:
            return answer.status, await answer.read()

    def judge(self, token: "Token") -> bool | None:
        """Return whether the token is let through here; None when that is not a matter of revocation."""
        read = verify_access_token(
            token.raw.encode(), keys=RINGS[self.numbers], issuer=ISSUER, now=self.clock()
        )
        return not self.revocations.refuses(read) if isinstance(read, AccessToken) else None


@dataclass(eq=False)
class Token:
    raw: str
    client: str
    jti: str
    is_revoked: bool = False


class History:
    """One random run."""

    def __init__(self, seed: int, processes: list[Process]) -> None:
        self.random = random.Random(seed)
        for each in processes:
            each.off_s = self.random.uniform(-60, 60)
        self.processes = processes
        self.world = processes[0].world
        self.tokens: list[Token] = []
        self.told: list[str] = []

    async def run(self) -> None:
        steps = [
            *([self.issue] * 5),
            *([self.revoke] * 5),
            *([self.pass_time] * 3),
            *([self.invent] * 2),
            *([self.revoke_all] * 2),
            *([self.move_a_clock] * 2),
            self.change_keys,
            self.restart,
            self.jump,
        ]
        for _ in range(STEPS):
            step = self.random.choice(steps)
            process = self.random.choice(self.processes)
            self.told.append(f"{step.__name__} at {self.processes.index(process)}")
            await step(process)
            await self.check()

    async def issue(self, process: Process) -> None:
        client = self.random.choice(list(CLIENTS))
        status, body = await process.post(
            "/oauth2/token", client, grant_type="client_credentials", audience="country-service"
        )
        assert status == 200, (self.told, body)
        raw = json.loads(body)["access_token"]
        read = verify_access_token(
            raw.encode(), keys=RINGS[process.numbers], issuer=ISSUER, now=process.clock()
        )
        assert isinstance(read, AccessToken)
        self.tokens.append(Token(raw, client, read.jti))

    async def revoke(self, process: Process) -> None:
        if self.tokens:
            token = self.random.choice(self.tokens)
            status, _ = await process.post("/oauth2/revoke", token.client, token=token.raw)
            assert status == 200, self.told
            token.is_revoked = True

    async def invent(self, process: Process) -> None:
        """Revoke a token that nobody signed, with the `jti` of another client's."""
        theirs = [token for token in self.tokens if token.client == "writer"]
        if theirs:
            kid = self.random.choice([None, "unknown", RINGS[0,].active.kid])
            invented = unsigned(
                self.random.choice(["none", "ES256"]),
                kid,
                jti=self.random.choice(theirs).jti,
                exp=int(self.world.now) + self.random.choice([5, 90, 86_400]),
            )
            assert (await process.post("/oauth2/revoke", "reader", token=invented))[0] == 200

    async def revoke_all(self, process: Process) -> None:
        client = self.random.choice(list(CLIENTS))
        second = await revoke_client(client, process.store, process.revocations, now=process.clock())
        for token in self.tokens:
            token.is_revoked |= token.client == client
        # Whoever has not heard of it within that second issues tokens that the others refuse.
        await until(
            lambda: all(each.revocations.client_revoked_until(client) >= second for each in self.processes)
        )
        if self.random.random() < 0.7:  # and goes on at once, and loses that, too
            await self.check()
            await self.issue(self.random.choice(self.processes))
            await self.check()
            if self.random.random() < 0.5:
                await self.revoke_all(self.random.choice(self.processes))

    async def pass_time(self, process: Process) -> None:
        self.world.now += self.random.choice([0.2, 1, 1, 30, 45, 600])
        process.revocations.prune(process.clock(), limit=100)

    async def move_a_clock(self, process: Process) -> None:
        process.off_s = self.random.uniform(-60, 60)

    async def change_keys(self, process: Process) -> None:
        process.numbers = self.random.choice(list(RINGS))

    async def restart(self, process: Process) -> None:
        await process.stop()
        process.off_s = self.random.uniform(-60, 60)
        await process.start()

    async def jump(self, process: Process) -> None:
        """Let a clock run hours ahead (or behind), clean up by it, start anew with it, and come back."""
        right = process.off_s
        process.off_s += self.random.choice([-20, -3, 3, 20]) * 3600
        process.revocations.prune(process.clock(), limit=1_000)
        await process.store.revoke(f"while it was wrong {len(self.told)}", int(process.clock()) + 60)
        if self.random.random() < 0.5:
            await process.stop()
            await process.start()
        process.off_s = right

    async def check(self) -> None:
        """Fail when a revoked token is let through anywhere, or another one is not."""

        def wrong() -> list[object]:
            return [
                (number, token.client, token.is_revoked)
                for number, process in enumerate(self.processes)
                for token in self.tokens
                if process.judge(token) is token.is_revoked
            ]

        deadline = asyncio.get_running_loop().time() + 10
        while found := wrong():  # what one process is told reaches the other within a second
            assert asyncio.get_running_loop().time() < deadline, (self.told, found)
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def processes(world: World, count: int) -> AsyncIterator[list[Process]]:
    async with aiohttp.ClientSession() as http:
        running = [Process(world, http) for _ in range(count)]
        for each in running:
            await each.start()
        try:
            yield running
        finally:
            for each in running:
                await each.stop()


@pytest.mark.parametrize("seed", SEEDS)
async def test_on_a_file_from_process_to_process(tmp_path: Path, seed: int) -> None:
    world = World(lambda clock: open_sqlite(tmp_path / "s.db", clock=clock))
    async with processes(world, 1) as running:
        await History(seed, running).run()


@pytest.mark.parametrize("strict", [False, True], ids=["cached", "strict"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_on_a_redis_that_three_share(tmp_path: Path, seed: int, strict: bool) -> None:
    server = RedisServer(tmp_path).start()
    settings = RedisSettings("127.0.0.1", server.port)
    world = World(lambda clock: open_redis(settings, issuer=ISSUER, strict=strict, clock=clock))
    try:
        async with processes(world, 3) as running:
            await History(seed, running).run()
    finally:
        server.stop()
