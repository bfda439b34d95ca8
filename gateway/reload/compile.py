"""Compile a configuration: files to one value, or every problem at once.

What comes out is everything that the files alone determine: checked settings, routes,
registry, and what the named certificates and tokens say. Signing keys are not needed,
and certificates in use are not read again: they are inputs of their own
(`gateway.reload.keys`, `gateway.reload.material`). Nothing of the process is touched.

Shell: reads files, so beside a live event loop it belongs on a thread.
"""

import resource
import sys
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.clients.registry import Registry, compile_registry
from gateway.issuer.endpoints import issuer_paths
from gateway.policy.compile import RouteProblem, compile_routes
from gateway.policy.opaque_slashes import describe_opaque_slash, find_opaque_slashes
from gateway.policy.table import RouteTable
from gateway.reload.material import load_new, material_of
from gateway.settings.checks import check_file_limit
from gateway.settings.findings import Finding
from gateway.settings.load import open_draft
from gateway.settings.model import Settings
from gateway.settings.problems import Problem, SettingsError, Severity


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """What the files alone determine: checked settings and what is compiled from them."""

    path: Path
    settings: Settings
    table: RouteTable
    registry: Registry
    warnings: tuple[Problem, ...]
    patterns: frozenset[str] = frozenset()
    """Those of `policies` that match files."""
    material: Mapping[Hashable, Any] = field(default_factory=dict, repr=False)
    """What the named certificates, authorities and tokens say, by `Material.key`."""


@dataclass(frozen=True, slots=True)
class InUse:
    """What a running process has, by which a new configuration is judged."""

    patterns: frozenset[str] = frozenset()
    """As `gateway.settings.load.open_draft` takes them."""
    material: Mapping[Hashable, Any] = field(default_factory=dict, repr=False)
    """Is not loaded again."""
    store_url: str | None = None
    """The `issuer.url` under which a store was opened that keeps each URL's apart; with any other a
    configuration is in error."""


def compile_configuration(
    path: Path, *, environ: Mapping[str, str], now: float, in_use: InUse | None = None
) -> Configuration:
    """Return the configuration at `path`, compiled.

    Args:
        path: The main file.
        environ: The environment.
        now: Epoch seconds, by which `until` and certificates are judged.
        in_use: What the running process has; None at a start.

    Raises:
        SettingsError: With every problem that was found, those of the route table included. It names
            the files to watch for a repair.
    """
    in_use = in_use or InUse()
    with open_draft(path, environ=environ, now=now, former_patterns=in_use.patterns) as draft:
        settings = draft.sound
        shares = any(listener.serves_issuer and listener.serves_gate for listener in settings.listeners)
        reserved = issuer_paths(settings) if shares else frozenset[str]()
        compiled = compile_routes(settings.routes, reserved_paths=reserved)
        draft.add(map(_route_finding, compiled.problems))
        draft.add(_opaque_slash_findings(settings, compiled.table))
        material, findings = load_new(settings, in_use.material, now=now)
        draft.add(check_file_limit(settings, _hard_file_limit()))
        draft.add(findings)
        draft.add(_url_findings(settings, in_use.store_url))
        try:
            loaded = draft.finish()
        except SettingsError as error:
            # Freed apart from what the traceback holds: together they would hold the interpreter for 30 ms.
            del compiled
            new = (each for each in material_of(settings) if each.key not in in_use.material)
            files = (file for each in new for file in each.files)
            raise SettingsError(error.problems, tuple(dict.fromkeys((*error.watched, *files)))) from None
    return Configuration(
        path,
        loaded.settings,
        compiled.table,
        compile_registry(loaded.settings),
        loaded.warnings,
        loaded.patterns,
        MappingProxyType(material),
    )


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
