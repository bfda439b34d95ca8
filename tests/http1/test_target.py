"""Split targets by table."""

import pytest

from gateway.http1.request import BadRequest
from gateway.http1.target import split_target


@pytest.mark.parametrize(
    ("target", "host", "parts"),
    [
        (b"/", b"a", (b"/", b"")),
        (b"/a/b", b"a", (b"/a/b", b"")),
        (b"/a?", b"a", (b"/a", b"?")),
        (b"/a?b?c=/../", b"a", (b"/a", b"?b?c=/../")),
        (b"//a/b", b"a", (b"//a/b", b"")),
        (b"/http://a/", b"a", (b"/http://a/", b"")),
        (b"http://a/b?c", b"a", (b"/b", b"?c")),
        (b"HTTPS://A.Example:8/b", b"a.example:8", (b"/b", b"")),
        (b"http://a", b"a", (b"/", b"")),
        (b"http://a?b", b"a", (b"/", b"?b")),
        (b"http://[::1]:80/b", b"[::1]:80", (b"/b", b"")),
    ],
)
def test_accepted(target: bytes, host: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_target(target, host) == parts


@pytest.mark.parametrize(
    ("target", "host", "reason"),
    [
        (b"*", b"a", "bad_path"),
        (b"a", b"a", "bad_path"),
        (b"a:443", b"a:443", "bad_path"),
        (b"?a", b"a", "bad_path"),
        (b"ftp://a/", b"a", "bad_path"),
        (b"http:/a/", b"a", "bad_path"),
        (b"http://u@a/", b"a", "bad_path"),
        (b"http://b/", b"a", "bad_framing"),
        (b"http://a:80/", b"a", "bad_framing"),
        (b"http:///b", b"a", "bad_framing"),
        (b"http://a/", None, "bad_framing"),
    ],
)
def test_refused(target: bytes, host: bytes | None, reason: str) -> None:
    problem = split_target(target, host)
    assert isinstance(problem, BadRequest)
    assert (problem.status, problem.reason) == (400, reason)
