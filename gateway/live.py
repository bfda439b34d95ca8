"""Compile configurations and keep the one that is live.

`load_configuration` does everything that can fail without touching the process: it
reads and checks the files, compiles routes and registry, and says all problems at
once. `Live.reload` does that on a thread, adds the keys, runs the policy tests, builds
the snapshot whole and swaps it in by assignments between two requests; any problem
keeps the old one.

State that outlives a snapshot (token cache, revocations, pools, counters) is passed in
and never owned here.
"""

import asyncio
import functools
import gc
import logging
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TypeVar

from gateway.clients.authorization import GrantRequest, resolve_grant
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import Registry, compile_registry
from gateway.enforce.enforcer import Enforcer, VerifyCounts
from gateway.enforce.token_cache import TokenCache
from gateway.issuer.endpoints import issuer_paths
from gateway.issuer.issue import build_claims
from gateway.issuer.snapshot import IssuerSnapshot, build_issuer_snapshot
from gateway.policy.compile import CompiledRoutes, RouteProblem, compile_routes
from gateway.policy.model import Reason
from gateway.policy.opaque_slashes import describe_opaque_slash, find_opaque_slashes
from gateway.policy.policy_tests import PolicyTestOutcome, TokenRefused, run_policy_tests
from gateway.policy.rate_limits import RateLimits
from gateway.policy.table import RouteTable
from gateway.proxy.certificates import CertificateError, find_doubt, load_certificate
from gateway.proxy.gate import Gate, GateSnapshot, UpstreamPlan, configure_pool, plan_upstream
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.targets import TlsFileError, UpstreamTls, read_upstream_tls
from gateway.settings.checks import Finding, check_file_limit
from gateway.settings.load import load
from gateway.settings.model import ClientCertificate, RemoteKeySource, Settings, TargetSettings
from gateway.settings.problems import (
    MOST_PROBLEMS,
    Problem,
    SettingsError,
    Severity,
    leave_out_beyond,
)
from gateway.tokens.claims import AccessToken, ClaimProblem, read_access_token
from gateway.tokens.jwks_client import find_unusable_authorities, find_unusable_token
from gateway.tokens.keyfiles import KeyDirectoryError, LoadedKeys, NoKeysError, load_keys
from gateway.tokens.revocations import Revocations

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

SWITCH_INTERVAL_S = 0.0005
"""How long the reloading thread may hold the interpreter before the loop gets its turn."""


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """What the files alone determine: checked settings and what is compiled from them."""

    path: Path
    settings: Settings
    table: RouteTable
    registry: Registry
    warnings: tuple[Problem, ...]
    patterns: frozenset[str]
    """Those of `policies` that match files."""
    upstream_tls: Mapping[str, UpstreamTls] = field(default_factory=dict)
    """By the names of the upstreams that have `https://` targets."""


def load_configuration(
    path: Path,
    *,
    environ: Mapping[str, str],
    now: float,
    with_certificates: bool = True,
    former_patterns: frozenset[str] = frozenset(),
    store_url: str | None = None,
) -> Configuration:
    """Return the configuration at `path`, compiled.

    Args:
        path: The main file.
        environ: The environment.
        now: Epoch seconds, by which `until` and certificates are judged.
        with_certificates: Whether the files of the listeners are tried, too. Not for a reload:
            these have their own (`gateway.proxy.certificates`), so that a pair that somebody is
            just writing does not keep a policy from taking effect.
        former_patterns: As `gateway.settings.load.load` takes it: of the configuration in force.
        store_url: The `issuer.url` under which the process has opened a store that keeps each URL's
            apart; with any other this configuration is in error. None at a start, and for other stores.

    Raises:
        SettingsError: With every problem that was found, those of the route table included.
    """
    compiled: list[CompiledRoutes] = []
    upstream_tls: dict[str, UpstreamTls] = {}

    def check_further(settings: Settings) -> Iterable[Finding]:
        yield from check_routes(settings)
        yield from check_file_limit(settings, _hard_file_limit())
        yield from _key_source_findings(settings)
        yield from _url_findings(settings, store_url)
        for name, upstream in settings.upstreams.items():
            if any(isinstance(target, TargetSettings) and target.tls for target in upstream.targets):
                try:
                    upstream_tls[name] = read_upstream_tls(upstream.tls)
                except TlsFileError as error:
                    steps = ("upstreams", name, "tls", error.key)
                    yield Finding(None, steps, error.message, quoted=True)

    def check_routes(settings: Settings) -> Iterable[Finding]:
        shares = any(listener.serves_issuer and listener.serves_gate for listener in settings.listeners)
        reserved = issuer_paths(settings) if shares else frozenset[str]()
        compiled.append(compile_routes(settings.routes, reserved_paths=reserved))
        yield from map(_route_finding, compiled[0].problems)
        yield from _opaque_slash_findings(settings, compiled[0].table)
        if with_certificates:
            yield from _certificate_findings(settings, now)

    try:
        loaded = load(
            path, environ=environ, now=now, further_checks=check_further, former_patterns=former_patterns
        )
    except SettingsError:
        # Freed apart from what the traceback holds: together they would hold the interpreter for 30 ms.
        compiled.clear()
        raise
    registry = compile_registry(loaded.settings)
    settings = loaded.settings
    tls_files = tuple(file for name in upstream_tls for file in settings.upstreams[name].tls.files)
    settings = replace(settings, watched=tuple(dict.fromkeys((*settings.watched, *tls_files))))
    return Configuration(
        path, settings, compiled[0].table, registry, loaded.warnings, loaded.patterns, upstream_tls
    )


def _certificate_findings(settings: Settings, now: float) -> Iterable[Finding]:
    """Yield what is wrong or doubtful with the files of the listeners."""
    for index, listener in enumerate(settings.listeners):
        tls = listener.tls
        if tls is None or Path() in (tls.certificate_file, tls.key_file):
            continue  # a path that is missing is said already
        if tls.client_ca_file is None:
            tls = replace(tls, client_certificate=ClientCertificate.OFF)
        steps = ("listeners", index, "tls")
        try:
            doubt = find_doubt(load_certificate(tls), now=now)
        except CertificateError as error:
            yield Finding(None, (*steps, error.key), str(error), quoted=True)
        else:
            if doubt:
                place = (*steps, "certificate_file")
                yield Finding(None, place, doubt, "replace it", Severity.WARNING, quoted=True)


def _key_source_findings(settings: Settings) -> Iterable[Finding]:
    """Yield the files without which the keys of other issuers cannot be fetched."""
    for name, token in settings.bearer_token_files.items():
        if token.file != Path() and (problem := find_unusable_token(token.file)) is not None:
            place = ("bearer_token_files", name, problem.key)
            yield Finding(None, place, problem.message, problem.hint, quoted=True)
    unusable = functools.cache(find_unusable_authorities)  # thousands of identities share a file
    for client in settings.clients.values():
        for index, identity in enumerate(client.assertions):
            source = identity.keys
            if not isinstance(source, RemoteKeySource) or source.ca_file is None:
                continue
            if (problem := unusable(source.ca_file)) is not None:
                steps = ("assertions", index, problem.key)
                yield Finding(client.origin, steps, problem.message, problem.hint, quoted=True)


def _url_findings(settings: Settings, store_url: str | None) -> Iterable[Finding]:
    """Yield that `issuer.url` is not the one of the store, which other processes may open under the new one.

    They would not hear of what is revoked or used here, nor would this process after its next start.
    """
    if store_url is not None and settings.issuer.url != store_url:
        yield Finding(
            None,
            ("issuer", "url"),
            "is not the URL that this process started with, under which it keeps its state in Redis",
            "restart every process that shares the state, or put the former URL back",
            quoted=True,
        )


def _hard_file_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _route_finding(problem: RouteProblem) -> Finding:
    return Finding(problem.origin, problem.keys, problem.message, problem.hint)


def _opaque_slash_findings(settings: Settings, table: RouteTable) -> Iterable[Finding]:
    """Yield a warning for each route whose `opaque_slash` would be a way past another if it is not true."""
    origins = {route.name: route.origin for route in settings.routes}
    for found in find_opaque_slashes(table):
        yield Finding(
            origins[found.route.name],
            ("allow_in_path", "opaque_slash"),
            describe_opaque_slash(found),
            "keep it only if the service takes %2F for a part of the segment; else write encoded_slash",
            Severity.WARNING,
        )


def run_configured_tests(configuration: Configuration, *, now: float) -> tuple[PolicyTestOutcome, ...]:
    """Return the outcome of every policy test of the configuration.

    The tests' tokens come from the issuer's own rules: what a client cannot get, no test can hold.
    """
    registry = configuration.registry
    issuer = configuration.settings.issuer

    def grant_token(
        client_id: str, audience: str | None, scopes: tuple[str, ...]
    ) -> AccessToken | TokenRefused:
        client = registry.clients.get(client_id)
        if client is None or client.disabled:
            return TokenRefused(Reason.CLIENT_DISABLED, "the client is unknown or disabled")
        asked = GrantRequest(audience=audience, scope=" ".join(scopes) or None)
        granted = resolve_grant(client, asked, default_lifetime_s=issuer.token_lifetime_s, now=now)
        if isinstance(granted, OAuthProblem):
            missing = granted.code is ErrorCode.INVALID_SCOPE
            reason = Reason.MISSING_SCOPE if missing else Reason.CLIENT_NOT_ALLOWED
            return TokenRefused(reason, granted.description)
        token = read_access_token(build_claims(client, granted, issuer, jti="policy-test", now=now), "")
        if isinstance(token, ClaimProblem):
            return TokenRefused(Reason.MALFORMED_TOKEN, f"the claim {token.claim} is not {token.expected}")
        return token

    return run_policy_tests(
        configuration.settings, configuration.table, registry.grants, grant_token=grant_token, now=now
    )


def policy_test_problems(outcomes: tuple[PolicyTestOutcome, ...], path: Path) -> tuple[Problem, ...]:
    """Return a problem for each policy test that failed."""
    problems = []
    for outcome in outcomes:
        if not outcome.passed:
            file, line, column = str(path), 1, 1
            if outcome.origin is not None:
                file, line, column = outcome.origin.file, outcome.origin.line, outcome.origin.column
            message = f"the policy test expected {outcome.expected} and found {outcome.found}"
            problems.append(Problem(file, line, column, f"tests[{outcome.name}]", message))
    return leave_out_beyond(MOST_PROBLEMS, problems, str(path))


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


def key_problems(configuration: Configuration) -> tuple[Problem, ...]:
    """Return what is wrong with the keys that are there, for `check`; none is made, and none need be."""
    settings = configuration.settings
    place = str(configuration.path)
    try:
        keys = load_keys(settings.keys.directory, settings.issuer.signing_algorithm, create=False)
    except NoKeysError:
        return ()  # the first start makes one
    except KeyDirectoryError as error:
        return (Problem(place, 1, 1, "keys.directory", str(error)),)
    return tuple(
        Problem(place, 1, 1, "keys.directory", warning, severity=Severity.WARNING)
        for warning in keys.warnings
    )


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
    plans = {}
    for name, upstream in settings.upstreams.items():
        pool = pools(name)
        configure_pool(upstream, pool, snapshot.configuration.upstream_tls.get(name))
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
        self.watched: tuple[Path, ...] = snapshot.settings.watched
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
            configuration = load_configuration(
                self._path,
                environ=os.environ,
                now=now,
                with_certificates=False,
                former_patterns=self.snapshot.configuration.patterns,
                store_url=self._store_url,
            )
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
        self.watched = fresh.settings.watched
        self._state.cache.forget_bad()


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
