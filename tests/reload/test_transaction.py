"""Break each step of a reload, and find everything as it was; the next good reload works."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.observe.metrics import Metrics
from gateway.policy.rate_limits import RateLimits
from gateway.proxy import pool as pooling
from gateway.proxy.gate import Gate
from gateway.proxy.pool import UpstreamPool
from gateway.reload import compile as compiling
from gateway.reload import configuration as configuring
from gateway.reload import keys as keying
from gateway.reload import plan as planning
from gateway.reload.apply import Live
from gateway.reload.source import Cause, Result
from gateway.tokens.jwks_client import RemoteKeySets
from gateway.tokens.keyfiles import generate_key
from tests.support.appliance import Appliance, configuration, running
from tests.support.upstream import Upstream

READ = b"GET /read/AUS HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %b\r\n\r\n"
FIRST = {"upstreams": {"country": {}, "spare": {"max_connections": 3}}}
SECOND = {
    "upstreams": {
        "country": {"max_connections": 7},
        "spare": {"max_connections": 4},
        "new": {},
    },
    "limits": {"header_count": 50, "bad_tokens": {"requests": 7, "per": "1m"}},
    "trusted_proxies": ["192.0.2.0/24"],
    "issuer": {"url": "http://127.0.0.1:8080", "token_lifetime": "2m"},
}

COMPILE = [
    (configuring, "compile_configuration"),
    (configuring, "run_configured_tests"),
    (configuring, "policy_test_problems"),
    (configuring, "snapshot_of"),
    (configuring, "describe_differences"),
    (compiling, "open_draft"),
    (compiling, "compile_routes"),
    (compiling, "load_new"),
    (compiling, "compile_registry"),
]
PLAN = [
    (configuring, "plan_snapshot"),
    (planning, "pool_settings"),
    (planning, "plan_upstream"),
    (planning, "Enforcer"),
    (planning, "read_networks"),
    (RateLimits, "choose"),
    (Gate, "new_pool"),
]
APPLY = [
    (UpstreamPool, "take"),
    (UpstreamPool, "_work_by"),
    (pooling, "_eligible"),
    (RateLimits, "take"),
    (Gate, "take"),
    (Gate, "_work_by"),
    (RemoteKeySets, "take"),
    (Metrics, "take_names"),
    (Live, "_take_plan"),
]
STEPS = [*COMPILE, *PLAN, *APPLY]


class InjectedError(Exception):
    """What a mistake of ours would raise."""


def inject(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, at_call: int) -> list[int]:
    """Let the call of that number raise; return the list in which calls are counted."""
    calls = [0]
    real = getattr(owner, name)

    def raising(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == at_call:
            raise InjectedError("with a text that no log of a request may show")
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, raising)
    return calls


def targets_of(upstream: Upstream) -> dict[str, list[int]]:
    return {name: [upstream.port] for name in ("country", "spare", "new")}


@pytest.fixture
async def appliance(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Appliance]:
    async with running(tmp_path, configuration(**FIRST), targets=targets_of(upstream)) as made:
        yield made


def in_force(appliance: Appliance) -> dict[str, Any]:
    """Return what the parts work by, for comparison by identity or value."""
    gate, live = appliance.gate, appliance.plane.live
    pools = {
        name: (pool, pool._settings, list(pool._targets), pool.gauges) for name, pool in gate.pools.items()
    }
    return {
        "plan": live.plan,
        "gate": (gate.snapshot, gate.limits, gate.reader, gate.longest_head_bytes),
        "pools": pools,
        "limits": appliance.plane.state.rate_limits.table,
        "key sets": dict(appliance.plane.key_sets._sets),
        "labels": appliance.metrics._names,
        "loaded at": appliance.sources.last["configuration"].good_at,
    }


def write_second(appliance: Appliance, upstream: Upstream) -> None:
    appliance.write(configuration(**SECOND), targets=targets_of(upstream))


@pytest.mark.parametrize("at_call", [1, 2])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[f"{owner.__name__}.{name}" for owner, name in STEPS])
async def test_a_step_that_raises_leaves_everything_as_it_was(
    appliance: Appliance,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    at_call: int,
) -> None:
    token = await appliance.token()
    assert (await appliance.ask(READ % token)).status == 200
    before = in_force(appliance)
    write_second(appliance, upstream)
    calls = inject(monkeypatch, owner, name, at_call=at_call)
    report = await appliance.sources.reload(Cause.API)
    monkeypatch.undo()
    if calls[0] < at_call:
        assert at_call > 1, "the step is no step of a reload"
        assert report.applied
        return
    assert not report.applied
    assert report.result is Result.INVALID
    assert [problem.message for problem in report.outcomes["configuration"].errors] == [
        "loading the configuration failed inside the gateway; see the log"
    ]
    assert in_force(appliance) == before
    assert (await appliance.ask(READ % token)).status == 200
    assert in_force(appliance)["pools"].keys() == {"country", "spare"}
    assert (await appliance.load()).applied
    assert appliance.gate.pools.keys() == {"country", "spare", "new"}
    assert appliance.gate.limits.header_count == 50
    assert (await appliance.ask(READ % await appliance.token())).status == 200


SETTLE = [
    (UpstreamPool, "settle"),
    (Gate, "settle"),
    (RemoteKeySets, "settle"),
]


@pytest.mark.parametrize(
    ("owner", "name"), SETTLE, ids=[f"{owner.__name__}.{name}" for owner, name in SETTLE]
)
async def test_what_raises_after_the_swap_strikes_nothing_else(
    appliance: Appliance,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: Any,
    name: str,
) -> None:
    caplog.set_level(logging.ERROR)
    token = await appliance.token()
    write_second(appliance, upstream)
    assert inject(monkeypatch, owner, name, at_call=1) == [0]
    report = await appliance.load()
    monkeypatch.undo()
    assert report.applied
    assert appliance.gate.limits.header_count == 50
    assert "InjectedError" in caplog.text
    assert (await appliance.ask(READ % token)).status == 200
    assert (await appliance.load()).applied


@pytest.mark.parametrize(
    ("owner", "name"),
    [(keying, "follow_keys"), (keying, "plan_keys"), (planning, "Enforcer"), (Gate, "take")],
)
async def test_keys_that_cannot_be_taken_leave_the_former(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    token = await appliance.token()
    generate_key(appliance.path.parent / "keys", "ES256", activate=True)
    before = in_force(appliance)
    calls = inject(monkeypatch, owner, name, at_call=1)
    report = await appliance.sources.reload(Cause.WATCH, only=("keys",))
    monkeypatch.undo()
    assert calls == [1]
    assert report.result is Result.INVALID
    assert in_force(appliance) == before
    assert appliance.sources.amiss().keys() == {"keys"}
    assert (await appliance.ask(READ % token)).status == 200
    assert (await appliance.sources.reload(Cause.WATCH, only=("keys",))).result is Result.OK
    assert appliance.sources.amiss() == {}
    assert appliance.plane.live.plan.snapshot.keys.ring is not before["plan"].snapshot.keys.ring


async def test_a_key_recompiles_nothing(appliance: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new key costs does not depend on how many routes and clients there are."""
    called = [
        inject(monkeypatch, owner, name, at_call=0) for owner, name in (*COMPILE, (RateLimits, "choose"))
    ]
    former = appliance.plane.live.plan
    generate_key(appliance.path.parent / "keys", "ES256", activate=False)
    assert (await appliance.sources.reload(Cause.WATCH, only=("keys",))).outcomes["keys"].swapped
    fresh = appliance.plane.live.plan
    assert [count for (count,) in called] == [0] * len(called)
    assert fresh.snapshot.configuration is former.snapshot.configuration
    assert fresh.pools is former.pools
    assert fresh.limits is former.limits
    assert fresh.gate.plans is former.gate.plans
    assert fresh.snapshot.issuer.registry is former.snapshot.issuer.registry


async def test_a_waiting_request_is_started_when_all_works_by_the_new_configuration(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to be started in the middle of the swap: new pools, old routes."""
    settings = configuration(upstreams={"country": {"max_connections": 1}})
    targets = {"country": [upstream.port]}
    seen: list[bool] = []
    real: Callable[[UpstreamPool], None] = UpstreamPool._serve_waiting

    async with running(tmp_path, settings, targets=targets) as appliance:

        def noting(pool: UpstreamPool) -> None:
            seen.append(appliance.gate.snapshot is appliance.plane.live.plan.gate)
            real(pool)

        monkeypatch.setattr(UpstreamPool, "_serve_waiting", noting)
        settings["limits"] = {"header_count": 60}
        await appliance.reload(settings, targets=targets)
        assert seen
        assert all(seen)


async def test_a_dry_run_changes_nothing_and_says_what_would(
    appliance: Appliance, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = in_force(appliance)
    write_second(appliance, upstream)
    report = await appliance.sources.reload(Cause.API, dry_run=True)
    assert report.applied
    assert report.changes == (
        "upstreams: 1 added: new",
        "upstreams: 2 changed: country, spare",
        "issuer: changed",
        "limits: changed",
        "trusted_proxies: changed",
    )
    assert in_force(appliance) == before
    assert appliance.sources.last_report is None
    assert caplog.records == []
    appliance.path.write_text("nonsense: [")
    refused = await appliance.sources.reload(Cause.API, dry_run=True)
    assert not refused.applied
    assert appliance.sources.amiss() == {}


async def test_a_problem_is_logged_once_for_as_long_as_it_stands(
    appliance: Appliance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sound = appliance.path.read_text()
    appliance.path.write_text(sound + "nonsense: true\n")
    for _ in range(3):
        assert not (await appliance.load()).applied
    assert sum("nonsense" in record.getMessage() for record in caplog.records) == 1
    kept = [record for record in caplog.records if "was not reloaded" in record.getMessage()]
    assert len(kept) == 3
    assert {record.__dict__["cause"] for record in kept} == {"api"}
    appliance.path.write_text(sound)
    assert (await appliance.load()).applied
    appliance.path.write_text(sound + "nonsense: true\n")
    assert not (await appliance.load()).applied
    assert sum("nonsense" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize("only", [(), ("keys", "configuration")], ids=["all", "what changed"])
async def test_files_that_the_new_configuration_names_no_more_are_missed_by_nobody(
    appliance: Appliance, upstream: Upstream, caplog: pytest.LogCaptureFixture, only: tuple[str, ...]
) -> None:
    """Keys come first: a configuration that hangs keeps no leaked key in use. They come twice then."""
    await appliance.sources.follow()
    former, moved = (appliance.path.parent / name for name in ("keys", "moved"))
    moved.mkdir()
    generate_key(moved, "ES256", activate=True)
    appliance.write(configuration(**FIRST, keys={"directory": "moved"}), targets=targets_of(upstream))
    former.rename(appliance.path.parent / "former")
    report = await appliance.sources.reload(Cause.WATCH, only=only)
    assert {outcome.result for outcome in report.outcomes.values()} == {Result.OK}
    assert appliance.sources.amiss() == {}
    assert [record.message for record in caplog.records if "not reloaded" in record.message] == []


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("owner", "name", "source"),
    [(keying, "follow_keys", "keys"), (configuring, "compile_configuration", "configuration")],
    ids=["keys", "configuration"],
)
async def test_a_file_system_that_hangs_holds_one_thread_of_a_source(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, source: str, dry_run: bool
) -> None:
    hold, begun, real = threading.Event(), [0], getattr(owner, name)

    def hang(*args: Any, **named: Any) -> Any:
        begun[0] += 1
        hold.wait()
        return real(*args, **named)

    monkeypatch.setattr(owner, name, hang)
    monkeypatch.setattr(appliance.sources, "_deadline_s", 0.05)
    for text in ("took more than 0.05 s and was given up", *["was given up before"] * 3):
        report = await appliance.sources.reload(Cause.API, only=(source,), dry_run=dry_run)
        outcome = report.outcomes[source]
        assert (outcome.result, text in outcome.problems[0].message) == (Result.TIMEOUT, True)
    assert begun == [1]
    hold.set()
    monkeypatch.setattr(owner, name, real)
    monkeypatch.setattr(appliance.sources, "_deadline_s", 30.0)

    async def works_again() -> bool:
        report = await appliance.sources.reload(Cause.API, only=(source,))
        return report.outcomes[source].result is Result.OK

    async with asyncio.timeout(10):
        while not await works_again():
            pass
