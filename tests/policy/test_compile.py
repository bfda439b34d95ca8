"""Hold the compiler to naming every route that could surprise, with a remedy."""

from typing import Any

import pytest

from gateway.policy.compile import MAX_METHODS, compile_routes
from gateway.settings.model import Origin, RequireSettings, RewriteSettings, RouteSettings

ENDPOINTS = ("/oauth2/token", "/v1/token", "/.well-known/jwks.json")


def route(path: str, *, name: str = "r", methods: str = "", line: int = 1, **more: Any) -> RouteSettings:
    return RouteSettings(
        name=name,
        path=path,
        upstream="u",
        methods=frozenset(methods.split()) or None,
        origin=Origin("p.yaml", line, 3),
        **more,
    )


def problems_of(*routes: RouteSettings, reserved: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    compiled = compile_routes(routes, reserved_paths=reserved)
    assert all(problem.hint for problem in compiled.problems)
    return [(problem.path, problem.message) for problem in compiled.problems]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/",
        "/**",
        "/a/**",
        "/{x}",
        "/{x_1}/{y-2}/**",
        "/caf%C3%A9",
        "/café",
        "/a:b",
        "/%7Bx%7D",
        "/a.b",
        "/%2A",
    ],
)
def test_a_sound_template_compiles(path: str) -> None:
    compiled = compile_routes([route(path)], reserved_paths=())
    assert compiled.problems == ()
    assert [r.path for r in compiled.table.routes] == [path]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "must begin with /"),
        ("a/b", "must begin with /"),
        ("//", "empty segment"),
        ("/a//b", "empty segment"),
        ("/a//**", "empty segment"),
        ("/a/../b", ". or .. segment"),
        ("/./a", ". or .. segment"),
        ("/%2e%2E", ". or .. segment"),
        ("/a\\b", "must be percent-encoded"),
        ("/a b", "must be percent-encoded"),
        ("/a?b=c", "must be percent-encoded"),
        ("/a#b", "must be percent-encoded"),
        ("/a\n", "must be percent-encoded"),
        ("/a%0a", "control character"),
        ("/a%", "hexadecimal"),
        ("/%ff", "not UTF-8"),
        ("/a;v=1", "holds a ;"),
        ("/a%3Bv", "holds a ;"),
        ("/a%2Fb", "encoded slash"),
        ("/**/a", "holds a *"),
        ("/a/*", "holds a *"),
        ("/a*", "holds a *"),
        ("/a**", "holds a *"),
        ("/{}", "is not a parameter"),
        ("/{x", "is not a parameter"),
        ("/a{x}", "is not a parameter"),
        ("/{x}{y}", "is not a parameter"),
        ("/{x}/a/{x}", "appears twice"),
        ("/a" * 101, "more than 100 segments"),
    ],
)
def test_a_flawed_template_is_a_problem_with_a_remedy(path: str, message: str) -> None:
    [(where, text)] = problems_of(route(path))
    assert where == "routes[r].path"
    assert message in text


def test_an_encoded_slash_may_be_written_where_the_service_never_decodes_it() -> None:
    assert problems_of(route("/a%2Fb", allow_opaque_slash=True)) == []
    # Decoded it leads elsewhere, so no request could ever come under this route.
    [(where, text)] = problems_of(route("/a%2Fb", allow_encoded_slash=True))
    assert where == "routes[r].path"
    assert "leads elsewhere once it is decoded" in text


TIES = [
    ("/a/{x}", "/a/{y}", "", "", "all methods"),
    ("/a/{x}", "/a/{x}", "GET HEAD", "HEAD POST", "take HEAD"),
    ("/a", "/a", "GET", "", "take GET"),
    ("/café", "/caf%c3%a9", "", "", "all methods"),
    ("/%61", "/a", "", "", "all methods"),
    ("/a:b", "/a%3Ab", "", "", "all methods"),
    ("/a/**", "/a/**", "", "GET", "take GET"),
]


@pytest.mark.parametrize(("one", "other", "methods", "other_methods", "common"), TIES)
def test_a_tie_names_both_places(one: str, other: str, methods: str, other_methods: str, common: str) -> None:
    first = route(one, name="first", methods=methods, line=4)
    second = route(other, name="second", methods=other_methods, line=9)
    compiled = compile_routes([first, second], reserved_paths=())
    [problem] = compiled.problems
    assert problem.path == "routes[second].path"
    assert problem.origin == second.origin
    assert "'first' (p.yaml:4:3)" in problem.message
    assert problem.message.endswith(common)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (route("/a", methods="GET"), route("/a", methods="POST")),
        (route("/a"), route("/a/")),
        (route("/a"), route("/a/**")),
        (route("/a/b"), route("/a/{x}")),
        (route("/a"), route("/a", host="x.example")),
        (route("/a", host="*.example"), route("/a", host="x.example")),
    ],
)
def test_routes_that_differ_do_not_tie(one: RouteSettings, other: RouteSettings) -> None:
    assert problems_of(one, other) == []


def test_hosts_tie_in_their_normal_form() -> None:
    assert len(problems_of(route("/a", host="x.example"), route("/a", host="X.example"))) == 1


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "a.*.b", "x.example:80", "x.example.", "a b", "*.*.b", "é.example"]
)
def test_a_host_that_is_no_pattern_is_a_problem(host: str) -> None:
    [(where, _)] = problems_of(route("/a", host=host))
    assert where == "routes[r].host"


@pytest.mark.parametrize(
    ("path", "conflict"),
    [
        ("/oauth2/token", True),
        ("/oauth2/{x}", True),
        ("/{x}/token", True),
        ("/{x}/{y}", True),
        ("/oauth2/**", True),
        ("/{x}/token/**", True),
        ("/v1/**", True),
        ("/.well-known/**", True),
        ("/**", False),
        ("/{tenant}/**", False),
        ("/oauth2/token/more", False),
        ("/oauth2/token/", False),
        ("/oauth2", False),
        ("/v1/users/**", False),
        ("/api/**", False),
    ],
)
def test_a_route_that_an_issuer_endpoint_would_hide_is_a_problem(path: str, conflict: bool) -> None:
    assert bool(problems_of(route(path), reserved=ENDPOINTS)) is conflict
    assert problems_of(route(path)) == []


@pytest.mark.parametrize(
    ("rewrite", "where"),
    [
        (RewriteSettings(strip_prefix="a"), "rewrite.strip_prefix"),
        (RewriteSettings(add_prefix="v2"), "rewrite.add_prefix"),
        (RewriteSettings(add_prefix="/../v2"), "rewrite.add_prefix"),
        (RewriteSettings(add_prefix="/v2;x"), "rewrite.add_prefix"),
    ],
)
def test_a_rewrite_that_cannot_work_is_a_problem(rewrite: RewriteSettings, where: str) -> None:
    [(path, _)] = problems_of(route("/a/{x}/c", rewrite=rewrite))
    assert path == f"routes[r].{where}"


def test_an_empty_list_of_methods_is_a_problem() -> None:
    settings = RouteSettings(name="r", path="/a", upstream="u", methods=frozenset())
    assert [where for where, _ in problems_of(settings)] == ["routes[r].methods"]


def test_all_problems_are_found_at_once_and_sound_routes_stay() -> None:
    compiled = compile_routes(
        [route("a"), route("/b", host="*"), route("/ok", name="ok"), route("/oauth2/token")],
        reserved_paths=ENDPOINTS,
    )
    assert [problem.path for problem in compiled.problems] == [
        "routes[r].path",
        "routes[r].host",
        "routes[r].path",
    ]
    assert [r.name for r in compiled.table.routes] == ["ok"]


@pytest.mark.parametrize(("audiences", "realm"), [([], ""), (["a"], "a"), (["b", "a"], "a")])
def test_the_realm_is_the_first_audience_by_name(audiences: list[str], realm: str) -> None:
    settings = route("/a", require=RequireSettings(audiences=frozenset(audiences)))
    assert compile_routes([settings], reserved_paths=()).table.routes[0].realm == realm


def test_one_path_takes_a_bounded_number_of_methods() -> None:
    """All of them are told to whoever sends another: an `Allow` of a policy's making must stay short."""
    names = [f"M{number}" for number in range(MAX_METHODS + 1)]
    whole = compile_routes([route("/a", methods=" ".join(names[:-1]))], reserved_paths=())
    assert whole.problems == ()
    for routes in (
        [route("/a", methods=" ".join(names))],
        [route("/{x}", name=name, methods=name) for name in names],
    ):
        (problem,) = compile_routes(routes, reserved_paths=()).problems
        assert problem.keys == ("methods",)
        assert f"more than {MAX_METHODS} methods" in problem.message
