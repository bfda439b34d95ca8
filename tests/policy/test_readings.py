"""Hold the gate to one reading of a path, whoever reads it behind the gate."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.policy.compile import compile_routes
from gateway.policy.evaluate import Located, locate
from gateway.policy.table import RouteTable
from gateway.reasons import Reason
from gateway.settings.model import Access, RequireSettings, RouteSettings


def route(path: str, *, allow: str = "", scopes: str | None = None, methods: str = "") -> RouteSettings:
    """Return a route named by its path: public, or one that needs the scopes."""
    words = {f"allow_{word}": True for word in allow.split()}
    access: dict[str, Any] = {"access": Access.PUBLIC}
    if scopes is not None:
        access = {"require": RequireSettings(frozenset({"s"}), frozenset(scopes.split()))}
    return RouteSettings(
        f"{methods}{path}", path, "u", methods=frozenset(methods.split()) or None, **words, **access
    )


def compiled(*routes: RouteSettings) -> RouteTable:
    result = compile_routes(routes, reserved_paths=())
    assert result.problems == ()
    return result.table


def outcome(table: RouteTable, path: str, method: str = "GET") -> str:
    located = locate(table, "h", path.encode(), method)
    return located.route.name if isinstance(located, Located) else str(located.reason)


SLASH, BOTH, CUT, OPAQUE = "encoded_slash", "encoded_slash parameters", "parameters", "opaque_slash"
FILES = compiled(
    route("/files/**", allow=SLASH),
    route("/files/private/**", scopes="admin"),
    route("/files/list", methods="POST"),
    route("/{name}", allow=SLASH),
    route("/{name}/secret", scopes="admin"),
    route("/both/**", allow=BOTH),
    route("/both/x/{y}", allow=BOTH, scopes="admin"),
    route("/cut/**", allow=CUT),
    route("/cut/{id}/secret", allow=CUT, scopes="admin"),
    route("/cut/all", allow=CUT),
    route("/cut/{id}", allow=CUT, scopes="read"),
    route("/jobs/all", allow=CUT, scopes="read run"),
    route("/jobs/{id}", allow=CUT, scopes="read"),
    route("/jobs/new", allow=CUT, methods="POST"),
    route("/things/new", allow=CUT, methods="POST"),
    route("/things/{id}", allow=CUT, methods="GET"),
    route("/projects/{id}", allow=OPAQUE),
    route("/projects/{id}/secret", scopes="admin"),
    route("/opaque/{id}", allow="opaque_slash parameters"),
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        # an encoded slash passes where it makes no difference
        ("/files/a%2Fb", "/files/**"),
        ("/files/a%2fb/c", "/files/**"),
        ("/files/a%2F", "/files/**"),
        ("/files/xprivate%2Fx", "/files/**"),
        # and nowhere else: another route, another number of segments, no method, no path
        ("/files/private%2Fx", "bad_path"),
        ("/files/%70rivate%2fx", "bad_path"),
        ("/files/private%2F", "bad_path"),
        ("/files/private/a%2Fb", "bad_path"),
        ("/files%2Fprivate%2Fx", "bad_path"),
        ("/a%2Fsecret", "bad_path"),
        ("/a%2Fb", "bad_path"),
        ("/a%2F", "bad_path"),
        ("/%2Fa", "bad_path"),
        # what decoding makes of it must be a path
        ("/files/a%2F%2Fb", "bad_path"),
        ("/files/%2Fa", "bad_path"),
        ("/files/a%2F/b", "bad_path"),
        ("/files/a%2F..%2Fb", "bad_path"),
        ("/files/a%2F.", "bad_path"),
        ("/files/a%5Cb", "bad_path"),
        # an encoded slash and parameters, cut off before decoding or after
        ("/both/a;v%2Fb", "/both/**"),
        ("/both/x;v/y", "/both/x/{y}"),
        ("/both/x;v%2Fy", "bad_path"),
        ("/both/x%2Fy;v", "bad_path"),
        ("/both/x%2F;v", "bad_path"),
        ("/both/x%3Bv%2Fy", "bad_path"),
        ("/both/q;%2F..%2Fx", "bad_path"),
        # parameters that a service keeps make longer segments
        ("/cut/a;v/b", "/cut/**"),
        ("/cut/a;v/secret", "/cut/{id}/secret"),
        ("/cut/all;v", "bad_path"),
        ("/cut/all%3Bv", "bad_path"),
        ("/jobs/all;v=1", "/jobs/all"),
        ("/jobs/all%3bv=1", "/jobs/all"),
        # the service never decodes a slash
        ("/projects/group%2Fname", "/projects/{id}"),
        ("/projects/a%2Fsecret", "/projects/{id}"),
        ("/projects/a%2F..", "bad_path"),
        ("/opaque/a%2Fb;v=%2F", "/opaque/{id}"),
    ],
)
def test_what_other_readings_make_of_a_path(path: str, name: str) -> None:
    assert outcome(FILES, path) == name


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/files%2Flist", "bad_path"),
        ("POST", "/things/new", "POST/things/new"),
        ("POST", "/things/new;v", "bad_path"),  # kept, it is a thing that only GET may have
        ("POST", "/files/list", "POST/files/list"),
        ("GET", "/files/list", "method_not_allowed"),
        ("GET", "/files/x%2Flist", "/files/**"),
    ],
)
def test_methods_are_part_of_where_a_path_leads(method: str, path: str, name: str) -> None:
    assert outcome(FILES, path, method) == name


def test_the_refusal_tells_a_caller_no_route() -> None:
    refused = locate(FILES, "h", b"/files/private%2Fx", "GET")
    assert not isinstance(refused, Located)
    assert refused.reason is Reason.BAD_PATH
    assert "private" not in refused.found


# --- whatever the routes, no reader behind the gate finds a stricter rule ------------------

SEGMENTS = st.sampled_from(["a", "b", "a", "{x}", "{y}"])
ROUTES = st.builds(
    lambda segments, end, allow, scopes, methods: route(
        "/" + "/".join([*dict.fromkeys(segments), *end]), allow=allow, scopes=scopes, methods=methods
    ),
    st.lists(SEGMENTS, max_size=3),
    st.sampled_from([[], [""], ["**"]]),
    st.sampled_from(["", SLASH, BOTH, CUT, OPAQUE, "opaque_slash parameters", BOTH, SLASH]),
    st.sampled_from([None, None, "", "one", "two", "one two"]),
    st.sampled_from(["", "", "GET", "POST"]),
)
PATHS = st.lists(
    st.sampled_from(["a", "b", "%61", "/", "/", "%2F", "%2f", "%2F", ";", ";a", "%3B", "%3bb", ".", "c"]),
    min_size=1,
    max_size=9,
).map(lambda pieces: "/" + "".join(pieces))


def split_cut(path: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def decode(path: str, *, opaque: bool) -> str:
    return unquote(path.replace("%2F", "%252F") if opaque else path, errors="strict")


READERS: dict[str, Callable[[str, bool], str]] = {
    # name: what it routes by
    "wsgi": lambda path, opaque: decode(path, opaque=opaque),
    "servlet that cuts first": lambda path, opaque: decode(split_cut(path), opaque=opaque),
    "servlet that decodes first": lambda path, opaque: split_cut(decode(path, opaque=opaque)),
}


def ranked(routes: list[RouteSettings], path: str) -> Iterator[tuple[list[int], RouteSettings]]:
    given = path.split("/")[1:]
    for each in routes:
        wanted = each.path.split("/")[1:]
        rest = wanted[-1] == "**"
        wanted = wanted[: len(wanted) - rest]
        if len(given) == len(wanted) or (rest and len(given) > len(wanted)):
            pairs = list(zip(wanted, given, strict=False))
            if all(bool(got) if want.startswith("{") else want == got for want, got in pairs):
                yield [int(want.startswith("{")) for want, _ in pairs] + [2] * rest, each


def rule_of(routes: list[RouteSettings], path: str, method: str) -> RouteSettings | str:
    """Return the rule that the table has for what a reader routes by."""
    found = list(ranked(routes, path))
    if not found:
        return "none"
    best = min(rank for rank, _ in found)
    fitting = [r for rank, r in found if rank == best and (r.methods is None or method in r.methods)]
    return fitting[0] if fitting else "405"


def demanded(each: RouteSettings) -> frozenset[str]:
    """Return what a caller must show: nothing, a token, scopes."""
    return frozenset() if each.access is Access.PUBLIC else each.require.scopes | {"a token"}


@given(st.lists(ROUTES, min_size=1, max_size=8), st.lists(PATHS, min_size=1, max_size=8))
@example([route("/a/**", allow=SLASH), route("/a/b/**", scopes="one")], ["/a/b%2Fc"])
@example([route("/{x}", allow=SLASH), route("/{x}/a", scopes="one")], ["/b%2Fa"])
@example([route("/a/**", allow=CUT), route("/{x}/b", scopes="one")], ["/a;b/b"])
@example([route("/a/", allow=CUT)], ["/a%3B/"])
@settings(deadline=None, max_examples=400)
def test_no_reader_reaches_a_stricter_rule(rows: list[RouteSettings], paths: list[str]) -> None:
    rows = list({row.name: row for row in rows}.values())
    table = compile_routes(rows, reserved_paths=()).table
    sound = {each.name for each in table.routes}
    routes = [row for row in rows if row.name in sound]
    by_name = {row.name: row for row in routes}
    for path in paths:
        located = locate(table, "h", path.encode(), "GET")
        if not isinstance(located, Located):
            continue
        mine = by_name[located.route.name]
        for name, reader in READERS.items():
            read = reader(located.path.text, mine.allow_opaque_slash)
            theirs = rule_of(routes, read, "GET")
            if isinstance(theirs, str):
                # A reader that kept a `;`, written or encoded, finds no rule: no stricter one, that is.
                assert (theirs, ";" in read) == ("none", True), (name, path, mine.name)
            else:
                assert demanded(theirs) <= demanded(mine), (name, path, mine.name, theirs.name)
