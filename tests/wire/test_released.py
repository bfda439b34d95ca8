"""Show that what is replaced or ended is freed by its reference count, without the collector.

The process freezes what exists after each load, so that a collection beside ten thousand
connections does not hold the loop: a cycle that was frozen is never freed. So the collector
is off here, and what is left of our own classes is counted.
"""

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.appliance import Appliance, configuration, running
from tests.support.upstream import Upstream
from tests.support.waiting import turns_of_the_loop, until

ROUTES = 40
TOKENS = 30
CONNECTIONS = 12


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(0)  # a reload switches the collector off and on again: this holds through it
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def ours() -> Counter[str]:
    """Return how many objects of each of our classes there are, those that were frozen included."""
    gc.unfreeze()
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    return Counter(name for name in names if name.startswith("gateway."))


def grown(before: Counter[str], after: Counter[str], *, by: int) -> dict[str, int]:
    return {name: count - before[name] for name, count in after.items() if count - before[name] >= by}


async def until_freed(before: Counter[str], *, by: int) -> None:
    """Return when no class has grown by so many: a thread may still be freeing what was replaced."""
    try:
        await until(lambda: not grown(before, ours(), by=by))
    except TimeoutError:
        assert grown(before, ours(), by=by) == {}


def with_text(number: int) -> dict:
    """Return a configuration of many routes that differs in one text."""
    settings = configuration()
    require = {"audience": "country-service", "scopes": ["country.read"]}
    settings["routes"] = [
        *settings["routes"],
        *(
            {"name": f"route-{index}", "path": f"/r{index}/{{x}}", "upstream": "country", "require": require}
            for index in range(ROUTES)
        ),
        {"name": "changed", "path": f"/changed-{number}", "upstream": "country", "access": "public"},
    ]
    return settings


async def call(appliance: Appliance, token: bytes, path: bytes) -> None:
    answer = await appliance.ask(
        b"GET %b HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %b\r\n\r\n" % (path, token)
    )
    assert answer.status == 200


async def test_a_replaced_configuration_is_freed(tmp_path, upstream: Upstream, without_collector) -> None:
    targets = {"country": [upstream.port]}
    async with running(tmp_path, with_text(0), targets=targets) as appliance:
        for number in (1, 2):
            await appliance.reload(with_text(number), targets=targets)
        before = ours()
        for number in range(3, 8):
            await appliance.reload(with_text(number), targets=targets)
        await until_freed(before, by=2)


async def test_tokens_that_were_used_before_a_reload_are_freed_when_they_leave_the_cache(
    tmp_path, upstream: Upstream, without_collector
) -> None:
    targets = {"country": [upstream.port]}
    async with running(tmp_path, with_text(0), targets=targets) as appliance:
        await call(appliance, appliance.sign(jti="first"), b"/read/x")
        before = ours()
        for number in range(1, 4):
            tokens = [appliance.sign(jti=f"{number}-{index}") for index in range(TOKENS)]
            for token in tokens:
                await call(appliance, token, b"/read/x")
                await call(appliance, token, b"/r1/x")
            await appliance.reload(with_text(number), targets=targets)
            for token in tokens:
                appliance.gate.snapshot.enforcer._cache.drop(token)
        after = ours()
        left = {name: count for name, count in grown(before, after, by=TOKENS).items() if ".enforce." in name}
        assert left == {}


async def test_connections_that_were_open_at_a_reload_are_freed_when_they_close(
    tmp_path, upstream: Upstream, without_collector
) -> None:
    targets = {"country": [upstream.port]}
    async with running(tmp_path, with_text(0), targets=targets) as appliance:
        token = await appliance.token()

        async def round_of_connections(number: int) -> None:
            async with contextlib.AsyncExitStack() as stack:
                callers = [await stack.enter_async_context(appliance.connect()) for _ in range(CONNECTIONS)]
                request = (
                    b"GET /read/x HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %b\r\n\r\n" % token
                )
                for answer in await asyncio.gather(*(caller.ask(request) for caller in callers)):
                    assert answer.status == 200
                await appliance.reload(with_text(number), targets=targets)
            await until(lambda: not appliance.gate.connections)
            await turns_of_the_loop()

        await round_of_connections(1)
        before = ours()
        for number in range(2, 5):
            await round_of_connections(number)
        await until_freed(before, by=CONNECTIONS)
