"""Name the routes that a service which decodes slashes would reach behind an `opaque_slash` route.

`opaque_slash` says that `/projects/group%2Fname` is one segment to the service. Where that
is wrong, the service serves `/projects/group/name`, past the rule that this path has. So
for each such route the rules are looked for that its paths would come under, decoded:
its `{x}` stands for one segment or several, and the `/**` of both for any number.

Each route is told with a request that shows it. Whether two templates meet is found by
walking both at once; what the walk finds is then held against the table, so nothing is
told that the gate would see otherwise. Bounded: of several long templates the first few
ways to meet are looked at, of thousands of such routes not every pair.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

from gateway.policy.evaluate import Located, locate
from gateway.policy.model import Route
from gateway.policy.table import RouteTable

MAX_STEPS = 200_000
"""Of all walks together: about a second."""
MAX_NAMED = 10
"""Routes named for one route."""
_MAX_WITNESSES = 8
_MAX_STEPS_PER_PAIR = 2000
_STEPS_OF_A_LOOKUP = 20
_ANY = "segment"
"""What a parameter is filled with in a witness."""


@dataclass(frozen=True, slots=True)
class OpaqueSlash:
    """One `opaque_slash` route and what a decoding service would serve behind it."""

    route: Route
    reached: tuple[str, ...]
    """Names of routes; at `MAX_NAMED` there may be more."""
    witness: str
    """A request that the gate lets through under `route` and that leads to the first of them."""
    is_complete: bool
    """All routes were compared; False when there are too many for that."""


class _Template(NamedTuple):
    segments: tuple[str | None, ...]
    """Literals as written; None for a parameter."""
    has_rest: bool
    before: tuple[str, ...]
    """What stands before each segment: a slash, or `%2F` inside of a literal that was split there."""


class _Walk(NamedTuple):
    """How far two templates were walked along one path."""

    at: int
    """Segments of the opaque route's template that are behind."""
    is_inside: bool
    """A parameter, or the rest, has taken a segment and may take more: the next is joined by `%2F`."""
    other_at: int
    raw: str
    """The path so far, as a caller would send it."""


class _Budget:
    """The steps that are left for all walks."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS


def find_opaque_slashes(table: RouteTable) -> Iterator[OpaqueSlash]:
    """Yield each `opaque_slash` route whose paths, decoded, would come under other routes' rules."""
    by_host: dict[str | None, list[tuple[Route, _Template]]] = {}
    for route in table.routes:
        by_host.setdefault(route.host, []).append((route, _read(route.path, splits=False)))
    budget = _Budget()
    for routes in by_host.values():
        for route, _ in routes:
            if route.allow_opaque_slash:
                found = _compare(table, route, _read(route.path, splits=True), routes, budget)
                if found.reached or not found.is_complete:
                    yield found
                if not found.is_complete:
                    return


def _compare(
    table: RouteTable,
    route: Route,
    template: _Template,
    routes: Sequence[tuple[Route, _Template]],
    budget: _Budget,
) -> OpaqueSlash:
    """Return what was found behind one `opaque_slash` route, comparing it with all of its host."""
    reached: dict[str, str] = {}
    for other, other_template in routes:
        if len(reached) >= MAX_NAMED or budget.left <= 0:
            break
        if other is not route and other.name not in reached:
            for name, request in _reached(table, route, other, _meet(template, other_template, budget)):
                budget.left -= _STEPS_OF_A_LOOKUP
                reached.setdefault(name, request)
                if name == other.name:
                    break
    names = tuple(reached)
    return OpaqueSlash(route, names, reached[names[0]] if names else "", budget.left > 0)


def _read(path: str, *, splits: bool) -> _Template:
    """Return a template as written; with `splits`, what `%2F` joins are segments of their own."""
    texts = path[1:].split("/")
    has_rest = texts[-1] == "**"
    if has_rest:
        texts.pop()
    segments: list[str | None] = []
    before: list[str] = []
    for text in texts:
        parts = re.split("%2[Ff]", text) if splits else [text]
        segments += [None if part.startswith("{") else part for part in parts]
        before += ["/", *["%2F"] * (len(parts) - 1)]
    return _Template(tuple(segments), has_rest, tuple(before))


def _reached(
    table: RouteTable, route: Route, other: Route, paths: Iterator[str]
) -> Iterator[tuple[str, str]]:
    """Yield the other routes that these paths of `route` lead to once decoded, each with a request."""
    for raw in islice(paths, _MAX_WITNESSES):
        for method in sorted(route.methods or other.methods or {"GET"}):
            before = _route_of(table, route.host, raw, method)
            after = _route_of(table, route.host, raw.replace("%2F", "/"), method)
            if before is route and after is not None and after is not route:
                yield after.name, f"{method} {raw}"


def _route_of(table: RouteTable, host: str | None, raw: str, method: str) -> Route | None:
    name = "" if host is None else host.replace("*", "any-label", 1)
    located = locate(table, name, raw.encode("ascii"), method)
    return located.route if isinstance(located, Located) else None


def _meet(mine: _Template, theirs: _Template, budget: _Budget) -> Iterator[str]:
    """Yield paths with a joining `%2F` of my template that, decoded, are of theirs; short ones first."""
    waiting = deque([_Walk(0, False, 0, "")])
    for _ in range(_MAX_STEPS_PER_PAIR):
        budget.left -= 1
        if not waiting:
            return
        walk = waiting.popleft()
        if (
            walk.at == len(mine.segments)
            and (not walk.is_inside or mine.has_rest)
            and walk.other_at == len(theirs.segments)
            and "%2F" in walk.raw
        ):
            yield walk.raw
        waiting.extend(_steps(mine, theirs, walk))


def _steps(mine: _Template, theirs: _Template, walk: _Walk) -> Iterator[_Walk]:
    """Yield the ways to go one decoded segment further along both templates."""
    if walk.other_at < len(theirs.segments):
        wanted, other_at = theirs.segments[walk.other_at], walk.other_at + 1
    elif theirs.has_rest:
        wanted, other_at = None, walk.other_at
    else:
        return
    if walk.at < len(mine.segments) and not walk.is_inside:
        literal = mine.segments[walk.at]
        if literal is not None:
            if wanted in (None, literal):
                raw = walk.raw + mine.before[walk.at] + _spell(literal)
                yield _Walk(walk.at + 1, False, other_at, raw)
            return
    elif walk.at == len(mine.segments) and not mine.has_rest:
        return
    segment = _ANY if wanted is None else _spell(wanted)
    raw = walk.raw + ("%2F" if walk.is_inside else "/") + segment
    if walk.at < len(mine.segments):
        yield _Walk(walk.at + 1, False, other_at, raw)
    elif walk.is_inside:  # behind `/**`, as a segment of its own, too
        yield _Walk(walk.at, True, other_at, f"{walk.raw}/{segment}")
    yield _Walk(walk.at, True, other_at, raw)


def _spell(literal: str) -> str:
    return quote(literal, safe="%!$&'()*+,=:@~")


def describe_opaque_slash(found: OpaqueSlash) -> str:
    """Return the finding as a sentence for the operator."""
    if not found.reached:
        return "which routes a service that decodes %2F would reach was not found out: too many routes"
    names = ", ".join(map(repr, found.reached))
    others = " and maybe others" if len(found.reached) >= MAX_NAMED or not found.is_complete else ""
    return f"a service that decodes %2F would reach {names}{others} instead, e.g. {found.witness}"
