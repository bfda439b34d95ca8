"""Hold the compiled routes in the shape in which they are looked up.

One tree of path segments per host pattern. `gateway.policy.compile` builds it,
`gateway.policy.match` reads it; nothing changes it in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.policy.model import Route


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The one route for a request."""

    route: Route


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """The path has routes, but none for this method."""

    allowed: tuple[str, ...]
    """Sorted, for the Allow field."""


@dataclass(frozen=True, slots=True)
class NoRoute:
    """No route has this host and path."""


Match = Found | MethodNotAllowed | NoRoute


@dataclass(frozen=True, slots=True, eq=False)
class MethodRules:
    """The routes of one path pattern, by method."""

    by_method: Mapping[str, Found]
    otherwise: Found | MethodNotAllowed
    """The answer for every other method: the route without a method list, or 405."""


@dataclass(slots=True, eq=False)
class PathNode:
    """What may follow one sequence of segments. Written only while the table is built."""

    literals: dict[str, "PathNode"] = field(default_factory=dict)
    """Next segment in match form -> node. A trailing slash is a last segment that is empty."""
    parameter: "PathNode | None" = None
    """The node behind `{name}`."""
    rest: "PathNode | None" = None
    """The leaf of `/**`."""
    rules: MethodRules | None = None
    """The routes whose template ends here."""


@dataclass(frozen=True, slots=True, eq=False)
class RouteTable:
    """All routes of one snapshot."""

    exact_hosts: Mapping[str, PathNode]
    wildcard_hosts: Mapping[str, PathNode]
    """Keyed by suffix with its dot: `.example.com` for `*.example.com`."""
    any_host: PathNode
    routes: tuple[Route, ...]
    """In the order of the files."""
    max_steps: int
    """The most nodes one lookup can visit, whatever the path."""
