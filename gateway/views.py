"""Tell operators what the process is: readiness, status, metrics, and how a reload went.

Each view reads what the parts keep; none changes anything but what is counted since the last look.
`gateway.admin` shows them, `gateway.app` says of what.
"""

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from gateway.enforce.enforcer import VerifyCounts
from gateway.enforce.location import ISSUER, SERVES_GATE, SERVES_ISSUER
from gateway.lifecycle import notify_systemd
from gateway.observe import families
from gateway.observe.exposition import Exposition, Rendering
from gateway.observe.families import GaugeSample
from gateway.observe.metrics import Metrics
from gateway.proxy.downstream import STATES
from gateway.proxy.gate import Gate, ListenerInfo
from gateway.proxy.health import CircuitState
from gateway.proxy.listener import Listener
from gateway.readiness import Readiness
from gateway.reload.apply import Live
from gateway.reload.plan import RuntimeState, Snapshot
from gateway.reload.source import Cause, Result
from gateway.reload.sources import MAIN, Sources
from gateway.reload.supervisor import Supervisor
from gateway.settings.model import Settings, StateSettings
from gateway.state.interface import StateStore
from gateway.tokens.keyfiles import KeyState
from gateway.tokens.rotation import longest_token_lifetime, may_go_from
from gateway.version import VERSION


def note_load(metrics: Metrics, sources: Sources, live: Live, source: str, cause: Cause) -> None:
    """Count what became of the load of a source, and tell systemd what the process works by."""
    config_hash = live.plan.snapshot.settings.content_hash
    if source == MAIN:
        metrics.config_reload(str(sources.last[source].outcome.result), str(cause), config_hash, time.time())
    amiss = sources.amiss()
    degraded = f"; degraded: {', '.join(amiss)}" if amiss else ""
    notify_systemd(f"STATUS=serving configuration {config_hash[:12]}{degraded}")


def describe_start(snapshot: Snapshot) -> Mapping[str, object]:
    """Return what the log says of a process that begins to serve."""
    settings, active = snapshot.settings, snapshot.keys.ring.active
    return {
        "version": VERSION,
        "configuration": str(snapshot.configuration.path),
        "hash": settings.content_hash,
        "clients": len(settings.clients),
        "authorizations": len(settings.authorizations),
        "routes": len(settings.routes),
        "upstreams": len(settings.upstreams),
        "state": _kind(settings.state),
        "kid": "" if active is None else active.kid,
    }


def source_gauges(sources: Sources) -> Iterable[GaugeSample]:
    """Yield, for each source, whether its last load was good, and when what is in use was loaded."""
    for name, last in sources.last.items():
        yield GaugeSample(families.SOURCE_SUCCESSFUL, (name,), float(last.outcome.result is Result.OK))
        yield GaugeSample(families.SOURCE_TIMESTAMP, (name,), last.good_at)


def task_gauges(supervisor: Supervisor) -> Iterable[GaugeSample]:
    """Yield how often each background task had to be started again."""
    for name, count in supervisor.restarts.items():
        yield GaugeSample(families.TASK_RESTARTS, (name,), count)


def authorization_ends(settings: Settings) -> Iterable[tuple[str, str, float]]:
    """Yield (client, audience, epoch seconds) of every authorization that has an end."""
    for entry in settings.authorizations:
        if entry.until is not None:
            yield entry.client, entry.audience, entry.until


def readiness_gauges(readiness: Readiness) -> Iterable[GaugeSample]:
    """Yield what `/readyz` says."""
    yield GaugeSample(families.READY, (), float(readiness.is_ready))
    yield GaugeSample(families.STATE_UP, (), float(readiness.is_state_up))


def unready_conditions(gate: Gate, live: Live, listeners: Iterable[Listener]) -> Mapping[str, str]:
    """Return what must hold for traffic to be sent here, by name; the phrase is empty where it does."""
    closed = [listener.info.name for listener in listeners if not listener.is_bound]
    return {
        "keys": "" if live.plan.snapshot.keys.keys else "no signing key",
        "listeners": f"not bound: {', '.join(closed)}" if closed else "",
        "not_draining": "draining" if gate.stopping else "",
    }


def describe_process(
    gate: Gate,
    live: Live,
    sources: Sources,
    store: StateStore,
    listeners: Iterable[Listener],
    *,
    uptime_s: float,
) -> Mapping[str, object]:
    """Return the document of `/api/v1/status`: what runs, and since when."""
    snapshot = live.plan.snapshot
    settings = snapshot.settings
    return {
        "version": VERSION,
        "python": platform.python_version(),
        "uptime_s": round(uptime_s, 3),
        "draining": gate.stopping,
        "configuration": {
            "file": str(snapshot.configuration.path),
            "hash": settings.content_hash,
            "loaded_at": snapshot.loaded_at,
            "generation": snapshot.generation,
        },
        "last_reload": _describe_last(sources),
        "sources": [
            {
                "name": name,
                "result": str(last.outcome.result),
                "at": last.at,
                "loaded_at": last.good_at,
                "problems": [problem.as_object() for problem in last.outcome.problems],
            }
            for name, last in sources.last.items()
        ],
        "listeners": [
            {"address": listener.info.name, "serves": duties(listener.info), "scheme": listener.info.scheme}
            for listener in listeners
        ],
        "state": {"kind": _kind(settings.state), "doubts": list(store.doubts)},
        "counts": {
            "clients": len(settings.clients),
            "authorizations": len(settings.authorizations),
            "routes": len(settings.routes),
            "upstreams": len(settings.upstreams),
            "connections": len(gate.connections),
        },
        "keys": [{"kid": key.kid, "alg": key.alg, "state": str(key.state)} for key in snapshot.keys.keys],
    }


def _describe_last(sources: Sources) -> Mapping[str, object] | None:
    report = sources.last_report
    if report is None:
        return None
    return {
        "applied": report.applied,
        "result": str(report.result),
        "cause": str(sources.last_cause),
        "at": sources.last_reload_at,
        "problems": [problem.as_object() for problem in report.problems],
    }


def _kind(state: StateSettings) -> str:
    if state.redis is not None:
        return "redis"
    return "memory" if state.sqlite_path is None else "sqlite"


def duties(info: ListenerInfo) -> list[str]:
    """Return what a listener serves, in words."""
    return [name for bit, name in ((SERVES_ISSUER, "issuer"), (SERVES_GATE, "gate")) if info.serves & bit]


def render_metrics(
    exposition: Exposition, metrics: Metrics, gate: Gate, counts: VerifyCounts, accept: str
) -> Rendering:
    """Return the metrics, with what the gate and its enforcers counted since the last time."""
    for (route, limit), count in gate.admission.take_refused():
        metrics.rate_limited(route, limit, count)
    for (upstream, failure), count in gate.take_failed_attempts():
        metrics.upstream_failed(upstream, failure, count)
    for (upstream, cause), count in gate.claims.take_left_out():
        metrics.claims_left_out(upstream, cause, count)
    for (result, cache), count in counts.take():
        metrics.token_verify(result, cache, count)
    return exposition.render(accept)


def current_gauges(
    gate: Gate, live: Live, state: RuntimeState, listeners: Sequence[Listener], routes: Iterable[str]
) -> Iterable[GaugeSample]:
    """Yield the current value of every gauge that other parts keep; `routes` are there without requests."""
    for listener in listeners:
        yield from _listener_samples(listener)
    connections = gate.connections_by_state()
    of_listeners = product((each.info.name for each in listeners), STATES)
    for place in dict.fromkeys((*of_listeners, *connections)):
        yield GaugeSample(families.CONNECTIONS, place, connections.get(place, 0))
    in_flight = gate.in_flight_by_route()
    for route in dict.fromkeys((*routes, *in_flight)):
        yield GaugeSample(families.IN_FLIGHT, (route,), in_flight.get(route, 0))
    for name, pool in gate.pools.items():
        for pool_state, count in pool.gauges.items():
            yield GaugeSample(families.UPSTREAM_POOL, (name, pool_state), count)
        for target, in_use in pool.targets_in_use():
            yield GaugeSample(families.UPSTREAM_HEALTHY, (name, target), int(in_use))
        for circuit_state in CircuitState if pool.circuit_state else ():
            is_it = circuit_state is pool.circuit_state
            yield GaugeSample(families.UPSTREAM_CIRCUIT, (name, circuit_state), int(is_it))
    for call_state, count in gate.service_runner.gauges.items():
        yield GaugeSample(families.UPSTREAM_POOL, (ISSUER, call_state), count)
    main, probation, _ = state.cache.sizes
    yield GaugeSample(families.TOKEN_CACHE_ENTRIES, (), main + probation)
    yield from _key_samples(live.plan.snapshot)
    yield GaugeSample(families.RULES, (), len(live.plan.snapshot.settings.routes))
    yield GaugeSample(families.CLIENTS, (), len(live.plan.snapshot.settings.clients))
    yield GaugeSample(families.REVOCATIONS, (), len(state.revocations))


def _key_samples(snapshot: Snapshot) -> Iterable[GaugeSample]:
    for key in snapshot.keys.keys:
        yield GaugeSample(families.SIGNING_KEY_INFO, (key.kid, key.alg, str(key.state)), 1)
        yield GaugeSample(families.SIGNING_KEY_CREATED, (key.kid,), key.placed_at)
        if key.state is KeyState.RETIRING:
            at = may_go_from(key, longest_token_lifetime(snapshot.settings))
            yield GaugeSample(families.SIGNING_KEY_NOT_AFTER, (key.kid,), at)


def _listener_samples(listener: Listener) -> Iterable[GaugeSample]:
    name = listener.info.name
    yield GaugeSample(families.ACCEPT_PAUSES, (name,), listener.pauses)
    for reason, count in listener.refused.items():
        yield GaugeSample(families.CONNECTIONS_REFUSED, (name, reason), count)
    if listener.tls is not None:
        certificate = listener.tls.current
        yield GaugeSample(families.TLS_NOT_AFTER, (name, certificate.name), certificate.not_after)
        yield GaugeSample(families.TLS_CURRENT, (name,), float(not listener.tls.refusal))
