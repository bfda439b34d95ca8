"""Hold what `check` says of `opaque_slash` to the table: each route it names, and none it does not."""

import pytest

from gateway.policy.compile import compile_routes
from gateway.policy.evaluate import Located, locate
from gateway.policy.opaque_slashes import MAX_NAMED, describe_opaque_slash, find_opaque_slashes
from gateway.policy.table import RouteTable
from gateway.settings.model import RouteSettings


def route(path: str, methods: str = "", host: str | None = None, **allow: bool) -> RouteSettings:
    name = f"{methods}{host or ''}{path}"
    return RouteSettings(name, path, "u", host=host, methods=frozenset(methods.split()) or None, **allow)


def opaque(path: str, methods: str = "", host: str | None = None) -> RouteSettings:
    return route(path, methods, host, allow_opaque_slash=True)


def compiled(*routes: RouteSettings) -> RouteTable:
    result = compile_routes(routes, reserved_paths=())
    assert result.problems == ()
    return result.table


@pytest.mark.parametrize(
    ("routes", "names"),
    [
        ([opaque("/p/{id}")], []),
        ([opaque("/p/{id}"), route("/p/{id}/secret")], ["/p/{id}/secret"]),
        ([opaque("/p/{id}"), route("/p/{id}/")], ["/p/{id}/"]),
        ([opaque("/p/{id}"), route("/p/{id}/**")], ["/p/{id}/**"]),
        ([opaque("/p/{id}"), route("/q/{id}/secret"), route("/p")], []),
        ([opaque("/p/{id}/edit"), route("/p/{a}/{b}/edit"), route("/p/{a}/{b}/view")], ["/p/{a}/{b}/edit"]),
        ([opaque("/p/{id}/edit"), route("/p/{a}/{b}/{c}")], ["/p/{a}/{b}/{c}"]),
        ([opaque("/f/**"), route("/f/private/**"), route("/**")], ["/f/private/**"]),
        ([opaque("/f/**"), route("/f/{x}")], []),  # one segment: nothing there to decode
        ([opaque("/f/**"), route("/f/{x}/y")], ["/f/{x}/y"]),
        ([opaque("/{a}/{b}"), route("/x/y/z"), route("/x/y")], ["/x/y/z"]),
        ([opaque("/p/{id}", "GET"), route("/p/{id}/x", "POST"), route("/p/{id}/y", "GET")], ["GET/p/{id}/y"]),
        ([opaque("/p/{id}"), route("/p/{id}/x", "POST")], ["POST/p/{id}/x"]),
        ([opaque("/p/{id}", host="a.example"), route("/p/{id}/x")], []),
        (
            [opaque("/p/{id}", host="*.example.com"), route("/p/{id}/x", host="*.example.com")],
            ["*.example.com/p/{id}/x"],
        ),
        ([opaque("/p/{id}"), opaque("/p/{id}/x")], ["/p/{id}/x"]),
        (
            [opaque("/p%2fx/{id}"), route("/p/x/{id}/caf%C3%A9"), route("/p/{y}/{id}")],
            ["/p/x/{id}/caf%C3%A9", "/p/{y}/{id}"],
        ),
    ],
)
def test_the_routes_a_decoding_service_would_reach_are_named(
    routes: list[RouteSettings], names: list[str]
) -> None:
    table = compiled(*routes)
    found = list(find_opaque_slashes(table))
    assert [name for each in found for name in each.reached] == names
    for each in found:
        method, raw = each.witness.split(" ")
        host = (each.route.host or "h").replace("*", "any")
        before = locate(table, host, raw.encode(), method)
        after = locate(table, host, raw.replace("%2F", "/").encode(), method)
        assert isinstance(before, Located)
        assert isinstance(after, Located)
        assert (before.route.name, after.route.name) == (each.route.name, each.reached[0])


def test_the_sentence_names_routes_and_a_request() -> None:
    [found] = find_opaque_slashes(compiled(opaque("/p/{id}"), route("/p/{id}/x")))
    assert describe_opaque_slash(found) == (
        "a service that decodes %2F would reach '/p/{id}/x' instead, e.g. GET /p/segment%2Fx"
    )


def test_only_some_of_many_are_named() -> None:
    [found] = find_opaque_slashes(compiled(opaque("/p/{id}"), *(route(f"/p/{{id}}/{n}") for n in range(50))))
    assert len(found.reached) == MAX_NAMED
    assert "and maybe others" in describe_opaque_slash(found)


def test_thousands_of_such_routes_are_compared_as_far_as_the_budget_goes() -> None:
    table = compiled(
        *(opaque(f"/{{x}}/l{n}") for n in range(3000)), *(route(f"/{{x}}/{{y}}/m{n}/z") for n in range(3000))
    )
    found = list(find_opaque_slashes(table))
    assert [each.is_complete for each in found] == [False]
    assert "too many routes" in describe_opaque_slash(found[0])
