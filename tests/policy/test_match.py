"""Hold route lookup to the contract: the most specific wins, and an independent matcher agrees."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.compile import compile_routes
from gateway.policy.match import find_route
from gateway.policy.paths import CanonicalPath, canonical_path
from gateway.policy.table import Found, Match, MethodNotAllowed, NoRoute, PathNode, RouteTable
from gateway.settings.model import RouteSettings


def route(path: str, *, host: str | None = None, methods: str = "", **more: Any) -> RouteSettings:
    """Return a route named by what it matches."""
    return RouteSettings(
        name=f"{methods or '*'} {host or ''}{path}",
        path=path,
        upstream="u",
        host=host,
        methods=frozenset(methods.split()) or None,
        **more,
    )


def compiled(*routes: RouteSettings) -> RouteTable:
    result = compile_routes(routes, reserved_paths=())
    assert result.problems == ()
    return result.table


def canonical(path: str) -> CanonicalPath:
    result = canonical_path(path.encode())
    assert isinstance(result, CanonicalPath)
    return result


def name_of(match: Match) -> str:
    match match:
        case Found(route):
            return route.name
        case MethodNotAllowed(allowed):
            return "405 " + " ".join(allowed)
        case NoRoute():
            return "404"


SPECIFIC = compiled(
    route("/"),
    route("/a"),
    route("/a/"),
    route("/a/{x}", methods="GET HEAD"),
    route("/a/b", methods="POST"),
    route("/a/{x}/c"),
    route("/a/b/d"),
    route("/a/**"),
    route("/files/**", allow_encoded_slash=True),
    route("/café"),
    route("/jobs/{id}"),
    route("/jobs/all:run"),
    route("/{x}/deep/{y}"),
)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/", "* /"),
        ("GET", "/a", "* /a"),
        ("GET", "/a/", "* /a/"),
        ("GET", "/a/z", "GET HEAD /a/{x}"),
        ("POST", "/a/z", "405 GET HEAD"),
        ("POST", "/a/b", "POST /a/b"),
        ("GET", "/a/b", "405 POST"),
        ("GET", "/a/b/d", "* /a/b/d"),
        ("GET", "/a/b/c", "* /a/{x}/c"),
        ("GET", "/a/b/e", "* /a/**"),
        ("GET", "/a/b/", "* /a/**"),
        ("GET", "/a/deep/y", "* /a/**"),
        ("GET", "/b/deep/y", "* /{x}/deep/{y}"),
        ("GET", "/b/deep/", "404"),
        ("GET", "/b", "404"),
        ("GET", "/A", "404"),
        ("GET", "/files", "* /files/**"),
        ("GET", "/files/", "* /files/**"),
        ("GET", "/files/x%2Fy/z", "* /files/**"),
        ("GET", "/caf%c3%a9", "* /café"),
        ("GET", "/jobs/1", "* /jobs/{id}"),
        ("GET", "/jobs/all:run", "* /jobs/all:run"),
        ("GET", "/jobs/all%3Arun", "* /jobs/all:run"),
        ("GET", "/jobs/", "404"),
        ("get", "/a/z", "405 GET HEAD"),
    ],
)
def test_the_most_specific_path_wins(method: str, path: str, name: str) -> None:
    assert name_of(find_route(SPECIFIC, "any.example", canonical(path), method)) == name


HOSTS = compiled(
    route("/a", host="api.example.com"),
    route("/a", host="*.example.com"),
    route("/b", host="*.example.com"),
    route("/b", host="*.eu.example.com"),
    route("/a"),
    route("/c"),
)


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("api.example.com", "/a", "* api.example.com/a"),
        ("api.example.com", "/b", "404"),
        ("www.example.com", "/a", "* *.example.com/a"),
        ("x.y.example.com", "/a", "* *.example.com/a"),
        ("www.example.com", "/c", "404"),
        ("x.eu.example.com", "/b", "* *.eu.example.com/b"),
        ("x.eu.example.com", "/a", "404"),
        ("eu.example.com", "/a", "* *.example.com/a"),
        ("example.com", "/a", "* /a"),
        ("other", "/c", "* /c"),
        ("[::1]", "/c", "* /c"),
        ("", "/c", "* /c"),
    ],
)
def test_a_host_with_routes_never_falls_back(host: str, path: str, name: str) -> None:
    assert name_of(find_route(HOSTS, host, canonical(path), "GET")) == name


# --- an independent matcher -----------------------------------------------------------


def ranks(template: str, path: str) -> list[int] | None:
    """Return how specific each segment of a match is (0 literal, 1 parameter, 2 rest), or None."""
    wanted, given = template.split("/")[1:], path.split("/")[1:]
    rest = wanted[-1] == "**"
    if rest:
        wanted = wanted[:-1]
    if len(given) < len(wanted) or (len(given) > len(wanted) and not rest):
        return None
    found = []
    for want, segment in zip(wanted, given, strict=False):
        if want.startswith("{"):
            if not segment:
                return None
            found.append(1)
        elif want == segment:
            found.append(0)
        else:
            return None
    return [*found, 2] if rest else found


def reference(routes: list[RouteSettings], path: str, method: str) -> str:
    """Compare every route: the smallest rank list wins, then its methods speak."""
    ranked = [(rank, r) for r in routes if (rank := ranks(r.path, path)) is not None]
    if not ranked:
        return "404"
    best = min(rank for rank, _ in ranked)
    candidates = [r for rank, r in ranked if rank == best]
    for candidate in candidates:
        if candidate.methods is None or method in candidate.methods:
            return candidate.name
    return "405 " + " ".join(sorted(m for c in candidates for m in c.methods or ()))


SEGMENTS = st.sampled_from(["a", "b", "c", "{x}"])
TEMPLATES = st.builds(
    lambda segments, end: "/" + "/".join([*dict.fromkeys(segments), *end]) if segments or end else "/",
    st.lists(SEGMENTS, max_size=4),
    st.sampled_from([[], [""], ["**"]]),
)
METHODS = st.sampled_from(["", "GET", "POST", "GET POST"])
REQUEST_PATHS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=5).map(
    lambda s: "/" + "/".join(s)
) | st.lists(st.sampled_from(["a", "b", "d"]), min_size=1, max_size=3).map(lambda s: "/" + "/".join(s) + "/")


@given(st.lists(st.tuples(TEMPLATES, METHODS), max_size=14), st.lists(REQUEST_PATHS, min_size=1, max_size=8))
@settings(deadline=None)
def test_an_independent_matcher_agrees(rows: list[tuple[str, str]], paths: list[str]) -> None:
    all_routes = [route(path, methods=methods) for path, methods in rows]
    result = compile_routes(all_routes, reserved_paths=())
    sound = {r.name for r in result.table.routes}
    routes: list[RouteSettings] = []
    for r in all_routes:  # ties are dropped by both
        if r.name in sound and r.name not in {kept.name for kept in routes}:
            routes.append(r)
    for path in paths:
        for method in ("GET", "POST"):
            found = find_route(result.table, "h", canonical(path), method)
            assert name_of(found) == reference(routes, path, method), (path, method)


# --- cost: counted, not timed ----------------------------------------------------------


class CountingDict(dict[str, PathNode]):
    """Literals that count how often a lookup passes."""

    lookups: list[int]

    def get(self, *args: Any) -> Any:
        self.lookups[0] += 1
        return super().get(*args)


def nodes_of(node: PathNode) -> Iterator[PathNode]:
    yield node
    for child in (*node.literals.values(), node.parameter, node.rest):
        if child is not None:
            yield from nodes_of(child)


def count_steps(table: RouteTable, path: str) -> int:
    """Return how many literal lookups one search makes."""
    lookups = [0]
    roots = (table.any_host, *table.exact_hosts.values(), *table.wildcard_hosts.values())
    for node in [node for root in roots for node in nodes_of(root)]:
        counting = CountingDict(node.literals)
        counting.lookups = lookups
        node.literals = counting
    find_route(table, "h", canonical(path), "GET")
    return lookups[0]


@pytest.mark.parametrize("size", [10, 1000])
def test_the_number_of_routes_does_not_matter(size: int) -> None:
    table = compiled(*(route(f"/s{n}/a/{{x}}/b") for n in range(size)))
    assert count_steps(table, "/s7/a/1/b") == 4


def overlapping(depth: int) -> list[RouteSettings]:
    """Return routes with a literal and a parameter at each of `depth` places."""
    return [
        route(
            "/" + "/".join("a" if number >> place & 1 else f"{{p{place}}}" for place in range(depth)) + "/end"
        )
        for number in range(2**depth)
    ]


def test_backtracking_visits_a_node_once_and_stays_below_the_known_bound() -> None:
    table = compiled(*overlapping(6))
    steps = count_steps(table, "/a/a/a/a/a/a/no")
    assert steps == 2**7 - 1
    assert steps <= table.max_steps <= 200


def test_a_table_that_makes_lookups_expensive_is_a_problem() -> None:
    result = compile_routes(overlapping(10), reserved_paths=())
    assert [problem.path for problem in result.problems] == ["routes"]
    assert "steps" in result.problems[0].message


def test_a_long_path_costs_no_more_than_its_segments() -> None:
    table = compiled(route("/**"), route("/{a}/{b}/**"), route("/a/b/c"))
    assert count_steps(table, "/a" * 5000) <= 6
