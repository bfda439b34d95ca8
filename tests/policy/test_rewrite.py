"""Hold rewritten paths to whole segments and a leading slash."""

import pytest

from gateway.policy.compile import compile_routes
from gateway.policy.paths import CanonicalPath, canonical_path
from gateway.policy.rewrite import rewrite_path
from gateway.settings.model import RewriteSettings, RouteSettings


@pytest.mark.parametrize(
    ("strip", "add", "path", "rewritten"),
    [
        ("", "", "/a/b", "/a/b"),
        ("/a", "", "/a/b", "/b"),
        ("/a", "", "/a", "/"),
        ("/a", "", "/a/", "/"),
        ("/a", "", "/ab", "/ab"),
        ("/a", "", "/ab/c", "/ab/c"),
        ("/a", "", "/b/a/c", "/b/a/c"),
        ("/a/", "", "/a/b", "/b"),
        ("/a/b", "", "/a/b/c/", "/c/"),
        ("/a/b", "", "/a", "/a"),
        ("/", "", "/a", "/a"),
        ("", "/v2", "/a", "/v2/a"),
        ("", "/v2/", "/a", "/v2/a"),
        ("", "/v2", "/", "/v2/"),
        ("/a", "/v2", "/a", "/v2"),
        ("/a", "/v2", "/a/", "/v2/"),
        ("/a", "/v2", "/a/b", "/v2/b"),
        ("/café", "", "/caf%c3%a9/x", "/x"),
        ("/a:b", "", "/a%3Ab/x%3Ay", "/x%3Ay"),
        ("/a%3Ab", "", "/a:b/x", "/x"),
        ("/a", "", "/a;v=1/b;w=2", "/b;w=2"),
        ("/a", "", "/a%2Fb/c", "/a%2Fb/c"),
        ("/a", "", "/a/%2F%2Fx", "/%2F%2Fx"),
        ("", "/é", "/a", "/%C3%A9/a"),
    ],
)
def test_rewritten_path(strip: str, add: str, path: str, rewritten: str) -> None:
    settings = RouteSettings(
        name="r", path="/**", upstream="u", rewrite=RewriteSettings(strip_prefix=strip, add_prefix=add)
    )
    compiled = compile_routes([settings], reserved_paths=())
    assert compiled.problems == ()
    canonical = canonical_path(path.encode())
    assert isinstance(canonical, CanonicalPath)
    result = rewrite_path(compiled.table.routes[0], canonical)
    assert result.path == rewritten
    taken = compiled.table.routes[0].rewrite.strip_prefix if rewritten != add.rstrip("/") + path else ""
    if not add:
        assert result.stripped == taken
