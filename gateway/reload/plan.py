"""Plan what the process works by: a value made of a configuration, keys and certificates.

A plan is whole: whatever became of one of its three inputs, the next plan is made of that
and of what the plan in force says of the others. Planning reads what is in force (which pools
there are, what rate limits have counted) and changes nothing; it may fail, and then nothing
has happened. What follows from a plan is assignments (`gateway.reload.apply`).

No plan refers to a former one, and nothing in it refers back to it, so that the former is freed
by its reference count when it is let go.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from types import MappingProxyType
from typing import Any

from gateway.enforce.enforcer import Enforcer, VerifyCounts
from gateway.enforce.token_cache import TokenCache
from gateway.issuer.endpoints import issuer_paths
from gateway.issuer.snapshot import IssuerSnapshot, build_issuer_snapshot
from gateway.policy.peers import read_networks
from gateway.policy.rate_limits import LimitTable, RateLimits
from gateway.proxy.gate import Gate, GateSnapshot, plan_upstream, pool_settings
from gateway.proxy.pool import PoolSettings, UpstreamPool
from gateway.reload.compile import Configuration
from gateway.reload.material import upstream_key
from gateway.settings.model import Settings
from gateway.tokens.keyfiles import LoadedKeys
from gateway.tokens.revocations import Revocations


@dataclass(frozen=True, slots=True, eq=False)
class RuntimeState:
    """What outlives every plan."""

    cache: TokenCache
    revocations: Revocations
    counts: VerifyCounts
    observe_verification: Callable[[str, float], None]
    rate_limits: RateLimits = field(default_factory=RateLimits)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What is in force, whole: a configuration and the keys that it works with."""

    configuration: Configuration
    keys: LoadedKeys
    issuer: IssuerSnapshot
    generation: int
    """Verdicts and cached keys of another one are looked at again."""
    loaded_at: float
    """Epoch seconds at which the configuration was compiled."""

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        return self.configuration.settings


@dataclass(frozen=True, slots=True, eq=False)
class PoolPlan:
    """A pool and how it works."""

    pool: UpstreamPool
    settings: PoolSettings


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What the process works by, as data."""

    snapshot: Snapshot
    gate: GateSnapshot
    pools: Mapping[str, PoolPlan]
    """By the upstream's name."""
    limits: LimitTable


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts of the process that a plan is for."""

    gate: Gate
    state: RuntimeState


def snapshot_of(configuration: Configuration, keys: LoadedKeys, *, generation: int, now: float) -> Snapshot:
    """Return the snapshot of a configuration and keys, at epoch second `now`."""
    issuer = build_issuer_snapshot(configuration.settings, configuration.registry, keys.ring)
    return Snapshot(configuration, keys, issuer, generation, now)


def plan_snapshot(snapshot: Snapshot, parts: Parts) -> Plan:
    """Return the plan for a configuration that is compiled anew."""
    configuration, settings, state = snapshot.configuration, snapshot.settings, parts.state
    limits = state.rate_limits.choose(configuration.table.routes, settings.limits.bad_tokens)
    pools = {}
    for name, upstream in settings.upstreams.items():
        pool = parts.gate.pools.get(name) or parts.gate.new_pool(name)
        tls = configuration.material.get(upstream_key(upstream.tls))
        pools[name] = PoolPlan(pool, pool_settings(upstream, tls))
    plans = {name: plan_upstream(upstream, pools[name].pool) for name, upstream in settings.upstreams.items()}
    gate = GateSnapshot(
        enforcer=_enforcer(snapshot, limits, state),
        plans=MappingProxyType(plans),
        limits=settings.limits,
        trusted_networks=read_networks(settings.trusted_proxies),
        route_limits=limits.routes,
    )
    return Plan(snapshot, gate, MappingProxyType(pools), limits)


def plan_keys(former: Plan, keys: LoadedKeys, parts: Parts) -> Plan:
    """Return the plan in force with other keys. Costs the same however many routes and clients there are."""
    snapshot = former.snapshot
    issuer = snapshot.issuer.with_keys(keys.ring, snapshot.settings)
    fresh = replace(snapshot, keys=keys, issuer=issuer, generation=snapshot.generation + 1)
    gate = replace(former.gate, enforcer=_enforcer(fresh, former.limits, parts.state))
    return replace(former, snapshot=fresh, gate=gate)


def plan_material(former: Plan, material: Mapping[Hashable, Any]) -> Plan:
    """Return the plan in force with other certificates; only upstreams whose own changed are touched."""
    snapshot = former.snapshot
    known = snapshot.configuration.material
    pools = dict(former.pools)
    for name, upstream in snapshot.settings.upstreams.items():
        key = upstream_key(upstream.tls)
        if material.get(key) is not known.get(key):
            pools[name] = PoolPlan(former.pools[name].pool, pool_settings(upstream, material.get(key)))
    configuration = replace(snapshot.configuration, material=MappingProxyType({**known, **material}))
    return replace(
        former, snapshot=replace(snapshot, configuration=configuration), pools=MappingProxyType(pools)
    )


def pools_of(plan: Plan) -> dict[str, UpstreamPool]:
    """Return all pools of a plan by name."""
    return {name: planned.pool for name, planned in plan.pools.items()}


def _enforcer(snapshot: Snapshot, limits: LimitTable, state: RuntimeState) -> Enforcer:
    settings, configuration = snapshot.settings, snapshot.configuration
    return Enforcer(
        table=configuration.table,
        grants=configuration.registry.grants,
        keys=snapshot.keys.ring,
        issuer=settings.issuer.url,
        issuer_paths=issuer_paths(settings),
        cache=state.cache,
        revocations=state.revocations,
        counts=state.counts,
        generation=snapshot.generation,
        observe_verification=state.observe_verification,
        stopwatch=perf_counter,
        bad_tokens=limits.bad_tokens,
    )
