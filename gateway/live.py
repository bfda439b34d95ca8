"""Keep the configuration that is live.

`Live.reload` compiles on a thread, adds the keys, runs the policy tests, builds
the snapshot whole and swaps it in by assignments between two requests; any problem
keeps the old one.

State that outlives a snapshot (token cache, revocations, pools, counters) is passed in
and never owned here.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TypeVar

from gateway.enforce.enforcer import Enforcer, VerifyCounts
from gateway.enforce.token_cache import TokenCache
from gateway.issuer.endpoints import issuer_paths
from gateway.issuer.snapshot import IssuerSnapshot, build_issuer_snapshot
from gateway.policy.rate_limits import RateLimits
from gateway.proxy.gate import Gate, GateSnapshot, UpstreamPlan, configure_pool, plan_upstream
from gateway.proxy.pool import UpstreamPool
from gateway.reload.compile import (
    Configuration,
    InUse,
    compile_configuration,
    policy_test_problems,
    run_configured_tests,
)
from gateway.reload.material import is_of_listener, material_of, upstream_key
from gateway.settings.model import Settings
from gateway.settings.problems import (
    Problem,
    SettingsError,
    Severity,
)
from gateway.tokens.keyfiles import KeyDirectoryError, LoadedKeys, load_keys
from gateway.tokens.revocations import Revocations

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

SWITCH_INTERVAL_S = 0.0005
"""How long the reloading thread may hold the interpreter before the loop gets its turn."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One live configuration: immutable, whole."""

    configuration: Configuration
    keys: LoadedKeys
    issuer: IssuerSnapshot
    generation: int
    loaded_at: float
    """Epoch seconds."""

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        return self.configuration.settings


@dataclass(frozen=True, slots=True, eq=False)
class RuntimeState:
    """What outlives every snapshot."""

    cache: TokenCache
    revocations: Revocations
    counts: VerifyCounts
    observe_verification: Callable[[str, float], None]
    rate_limits: RateLimits = field(default_factory=RateLimits)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did."""

    applied: bool
    result: str
    """ok, invalid or io_error: the metric label."""
    problems: tuple[Problem, ...]
    """Errors when it was not applied, warnings otherwise."""


def build_snapshot(
    configuration: Configuration, *, generation: int, now: float, create_keys: bool
) -> Snapshot:
    """Return the snapshot of a configuration with the keys of its directory.

    Raises:
        SettingsError: The key directory cannot be used.
    """
    settings = configuration.settings
    try:
        keys = load_keys(settings.keys.directory, settings.issuer.signing_algorithm, create=create_keys)
    except KeyDirectoryError as error:
        problem = Problem(str(configuration.path), 1, 1, "keys.directory", str(error))
        raise SettingsError((problem,), watched=settings.watched) from error
    issuer = build_issuer_snapshot(settings, configuration.registry, keys.ring)
    return Snapshot(configuration, keys, issuer, generation, now)


def build_gate_snapshot(
    snapshot: Snapshot, state: RuntimeState, pools: Callable[[str], UpstreamPool], issuer_plan: UpstreamPlan
) -> GateSnapshot:
    """Return the data plane's view of `snapshot`. Configures the pools: call it right before the swap.

    Args:
        snapshot: The configuration that is about to be live.
        state: What outlives snapshots.
        pools: Returns the pool for an upstream's name.
        issuer_plan: The way to the issuer in this process.
    """
    settings = snapshot.settings
    material = snapshot.configuration.material
    plans = {}
    for name, upstream in settings.upstreams.items():
        pool = pools(name)
        configure_pool(upstream, pool, material.get(upstream_key(upstream.tls)))
        plans[name] = plan_upstream(upstream, pool)
    return GateSnapshot(
        enforcer=Enforcer(
            table=snapshot.configuration.table,
            grants=snapshot.configuration.registry.grants,
            keys=snapshot.keys.ring,
            issuer=settings.issuer.url,
            issuer_paths=issuer_paths(settings),
            cache=state.cache,
            revocations=state.revocations,
            counts=state.counts,
            generation=snapshot.generation,
            observe_verification=state.observe_verification,
            stopwatch=perf_counter,
            bad_tokens=state.rate_limits.select_bad_tokens(settings.limits.bad_tokens),
        ),
        plans=MappingProxyType(plans),
        issuer_plan=issuer_plan,
        limits=settings.limits,
        trusted_networks=tuple(ip_network(cidr) for cidr in settings.trusted_proxies),
        route_limits=state.rate_limits.select_routes(snapshot.configuration.table.routes),
    )


class Live:
    """The live snapshot, and how it is replaced.

    Args:
        path: The main configuration file.
        snapshot: The one to begin with.
        state: What outlives snapshots.
        gate: The data plane to swap under.
        issuer_plan: The way to the issuer in this process.
    """

    def __init__(
        self, path: Path, snapshot: Snapshot, state: RuntimeState, gate: Gate, issuer_plan: UpstreamPlan
    ) -> None:
        self._path = path
        self._state = state
        self._gate = gate
        self._issuer_plan = issuer_plan
        self._turn = asyncio.Lock()
        self._started_with = _fixed_at_start(snapshot.settings)
        shares_state = snapshot.settings.state.redis is not None
        self._store_url = snapshot.settings.issuer.url if shares_state else None
        self.snapshot = snapshot
        self.last_reload: ReloadResult | None = None
        self.last_reload_at = 0.0
        self.watched: tuple[Path, ...] = _watched(snapshot.settings)
        """What the last attempt read, successful or not: where a repair would show."""

    async def reload(self) -> ReloadResult:
        """Replace the snapshot by what the files say now, or keep it and say why. Never raises."""
        async with self._turn:
            result = await self._attempt()
            self.last_reload = result
            self.last_reload_at = time.time()
            return result

    async def _attempt(self) -> ReloadResult:
        generation = self.snapshot.generation + 1
        try:
            fresh = await _in_quiet_thread(lambda: self._prepare(generation))
        except OSError as error:
            problem = Problem(str(self._path), 1, 1, "", f"cannot be read: {error.strerror}")
            return ReloadResult(False, "io_error", (problem,))
        except Exception:
            # The rescue point of preparing: whatever happens, the old snapshot stays.
            return self._failed_inside("the reload failed inside the gateway")
        try:
            return await self._take(fresh)
        except Exception:
            # And of taking: one of the two is live, and it is said which.
            if self.snapshot is fresh:
                return self._failed_inside(
                    "the new configuration is live; a step after that failed", live=True
                )
            return self._failed_inside("taking the new configuration failed inside the gateway")

    def _failed_inside(self, message: str, *, live: bool = False) -> ReloadResult:
        """Log the exception being handled; return what is told of it."""
        _log.exception("the reload failed inside the gateway")
        severity = Severity.WARNING if live else Severity.ERROR
        problem = Problem(str(self._path), 1, 1, "", f"{message}; see the log", severity=severity)
        return ReloadResult(live, "ok" if live else "invalid", (problem,))

    async def _take(self, fresh: Snapshot | SettingsError) -> ReloadResult:
        """Make a sound snapshot the live one; say what became of it."""
        if isinstance(fresh, SettingsError):
            self.watched = fresh.watched or self.watched
            return ReloadResult(False, "invalid", fresh.problems)
        warnings = (*fresh.configuration.warnings, *_restart_warnings(self._started_with, fresh))
        retired = [self.snapshot]
        self._swap(fresh)
        await _in_quiet_thread(lambda: _release(retired))
        return ReloadResult(True, "ok", warnings)

    def _prepare(self, generation: int) -> Snapshot | SettingsError:
        """Return the next snapshot, or why there is none.

        The error is a fresh one without a traceback: that would hold all that was read until
        the loop's thread let go of it, at once.
        """
        now = time.time()
        try:
            former = self.snapshot.configuration
            in_use = InUse(
                former.patterns,
                {key: value for key, value in former.material.items() if is_of_listener(key)},
                self._store_url,
            )
            configuration = compile_configuration(self._path, environ=os.environ, now=now, in_use=in_use)
            failed = policy_test_problems(run_configured_tests(configuration, now=now), self._path)
            if failed:
                return SettingsError(failed, watched=configuration.settings.watched)
            return build_snapshot(configuration, generation=generation, now=now, create_keys=False)
        except SettingsError as error:
            return SettingsError(error.problems, watched=error.watched)

    def _swap(self, fresh: Snapshot) -> None:
        try:
            self._gate.swap(build_gate_snapshot(fresh, self._state, self._gate.pool, self._issuer_plan))
        except Exception:
            # Pools may be configured by then: they go back to what the snapshot that stays says of them.
            former = build_gate_snapshot(self.snapshot, self._state, self._gate.pool, self._issuer_plan)
            self._gate.swap(former)
            raise
        self.snapshot = fresh
        self.watched = _watched(fresh.settings)
        self._state.cache.forget_bad()


def _watched(settings: Settings) -> tuple[Path, ...]:
    named = (each for each in material_of(settings) if not is_of_listener(each.key))
    return tuple(dict.fromkeys((*settings.watched, *(file for each in named for file in each.files))))


def _pieces(snapshot: Snapshot) -> Iterator[object]:
    """Yield what a snapshot has many of, containers before their contents."""
    settings, configuration = snapshot.settings, snapshot.configuration
    yield from settings.clients.values()
    yield from settings.authorizations
    yield from settings.routes
    yield from configuration.registry.clients.values()
    yield from configuration.table.routes
    table = configuration.table
    waiting = [*table.exact_hosts.values(), *table.wildcard_hosts.values(), table.any_host]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.literals.values()
        waiting += (child for child in (node.parameter, node.rest) if child is not None)


def _release(retired: list[Snapshot]) -> None:
    """Take the one snapshot off the list, which nobody else holds, and free it piece by piece.

    Freed as a whole, the snapshot of ten thousand clients and routes holds the interpreter,
    and with it the loop, for 50 ms.
    """
    pieces = deque(_pieces(retired[0]))
    retired.clear()
    while pieces:
        pieces.popleft()


def _fixed_at_start(settings: Settings) -> Mapping[str, object]:
    """Return what a reload cannot change, by its path."""
    return {
        "listeners": settings.listeners,
        "admin.address": settings.admin.address,
        "state": settings.state,
        "logs": settings.logs,
        "metrics": settings.metrics,
    }


def _restart_warnings(started_with: Mapping[str, object], fresh: Snapshot) -> tuple[Problem, ...]:
    """Return a warning for each setting that is not what the process started with."""
    file = str(fresh.configuration.path)
    text = "changed, but takes effect only after a restart"
    return tuple(
        Problem(file, 1, 1, path, text, severity=Severity.WARNING)
        for path, value in _fixed_at_start(fresh.settings).items()
        if value != started_with[path]
    )


async def _in_quiet_thread(work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns, run on a thread with the least possible disturbance of the loop.

    The collector is off meanwhile (a full collection holds the loop for as long as there
    are objects), what the new snapshot keeps is then taken out of its sight, and the
    interpreter changes threads more often.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.disable()
    try:
        return await asyncio.to_thread(work)
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)
