"""Hold canonical paths to the contract: one reading, or none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.policy.paths import MOST_ESCAPES, BadPath, CanonicalPath, canonical_path, escape_non_ascii

UNCHANGED = [
    b"/",
    b"/a",
    b"/a/",
    b"/a/b-c_d~e.f",
    b"/.well-known/jwks.json",
    b"/a/...",
    b"/a/.b",
    b"/a..b/c..",
    b"/a!$&'()*+,=:@b",
    b"/a|b^c[d]{e}`",
    b"/caf%C3%A9",
    b"/a%20b",
    b"/%23%3F",
]


@pytest.mark.parametrize("path", UNCHANGED)
def test_a_canonical_path_stays_as_it_is(path: bytes) -> None:
    canonical = canonical_path(path)
    assert isinstance(canonical, CanonicalPath)
    assert canonical.text.encode() == path
    assert not canonical.has_encoded_slash
    assert not canonical.has_parameters


def test_the_escapes_of_a_path_are_bounded() -> None:
    assert isinstance(canonical_path(b"/" + b"%C3%A9" * (MOST_ESCAPES // 2)), CanonicalPath)
    refused = canonical_path(b"/" + b"%C3%A9" * (MOST_ESCAPES // 2) + b"%41")
    assert refused == BadPath("the path holds more than 4096 percent-encoded octets")


@pytest.mark.parametrize(
    ("path", "text", "match_text"),
    [
        (b"/%61%2Db%5f%7E", "/a-b_~", "/a-b_~"),
        (b"/caf%c3%a9", "/caf%C3%A9", "/café"),
        (b"/jobs/all%3arun", "/jobs/all%3Arun", "/jobs/all:run"),
        (b"/%2541", "/%2541", "/%2541"),  # decoded once: this is the text %41, not A
        (b"/%252e%252e/x", "/%252e%252e/x", "/%252e%252e/x"),
        (b"/a%21", "/a%21", "/a!"),
        (b"/%7bx%7d", "/%7Bx%7D", "/{x}"),
    ],
)
def test_escapes_get_one_spelling(path: bytes, text: str, match_text: str) -> None:
    assert canonical_path(path) == CanonicalPath(text, match_text, False, False)


@pytest.mark.parametrize(
    ("path", "text", "match_text", "slash", "parameters"),
    [
        (b"/a%2fb", "/a%2Fb", "/a%2Fb", True, False),
        (b"/u/http%3A%2F%2Fx.example", "/u/http%3A%2F%2Fx.example", "/u/http:%2F%2Fx.example", True, False),
        (b"/a;v=1/b", "/a;v=1/b", "/a/b", False, True),
        (b"/a%3bv=1", "/a%3Bv=1", "/a", False, True),
        (b"/a;x%2fb/c", "/a;x%2Fb/c", "/a/c", True, True),
        (b"/admin;", "/admin;", "/admin", False, True),
    ],
)
def test_what_only_some_routes_allow_is_flagged(
    path: bytes, text: str, match_text: str, slash: bool, parameters: bool
) -> None:
    assert canonical_path(path) == CanonicalPath(text, match_text, slash, parameters)


REFUSED = {
    "empty": b"",
    "relative": b"a/b",
    "asterisk": b"*",
    "dot": b"/./a",
    "dot at the end": b"/a/.",
    "dots": b"/a/../b",
    "dots at the end": b"/a/..",
    "encoded dots": b"/a/%2e%2e/b",
    "half encoded dots": b"/a/.%2E",
    "encoded dot": b"/%2e/a",
    "dots behind parameters": b"/a/..;x=1/b",
    "dots behind bare semicolon": b"/..;/a",
    "dots behind encoded semicolon": b"/..%3b/a",
    "dots before an encoded slash": b"/a/..%2fb",
    "dots behind an encoded slash": b"/a%2f..",
    "dots between encoded slashes": b"/a%2F%2e%2e%2Fb",
    "double slash": b"//a",
    "double slash inside": b"/a//b",
    "double slash at the end": b"/a//",
    "parameters only": b"/a/;x=1/b",
    "encoded parameters only": b"/%3bx",
    "backslash": b"/a\\b",
    "encoded backslash": b"/a%5cb",
    "fragment": b"/a#b",
    "question mark": b"/a?b",
    "space": b"/a b",
    "quote": b'/a"b',
    "angle": b"/<a>",
    "NUL": b"/a\0",
    "newline": b"/a\n",
    "newline after a plain path": b"/a/b\n",
    "encoded NUL": b"/a%00",
    "encoded newline": b"/a%0a",
    "encoded delete": b"/a%7F",
    "raw byte": b"/caf\xc3\xa9",
    "raw byte 80": b"/\x80",
    "bare percent": b"/a%",
    "short escape": b"/a%4",
    "no hexadecimal": b"/a%zz",
    "unicode escape": b"/a%u002e",
    "not UTF-8": b"/%ff",
    "cut UTF-8": b"/%c3",
    "UTF-8 across a slash": b"/%c3/%a9",
    "overlong slash": b"/a%c0%afb",
    "overlong dots": b"/%c0%ae%c0%ae/a",
    "overlong NUL": b"/%e0%80%80",
    "surrogate": b"/%ed%a0%80",
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED.keys())
def test_a_path_with_two_readings_is_refused(path: bytes) -> None:
    refused = canonical_path(path)
    assert isinstance(refused, BadPath)
    assert refused.detail.isascii()


PIECES = st.sampled_from(
    [
        "/",
        "a",
        ".",
        "..",
        "%2e",
        "%2F",
        "%5c",
        ";",
        "%3b",
        "%25",
        "%41",
        "%C3%A9",
        "%c3",
        "%",
        "é",
        "\\",
        "#",
        "!",
    ]
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode()) | st.binary(
    max_size=20
)


@given(PATHS)
@example(b"/%25%34%31")
def test_canonicalising_twice_changes_nothing(path: bytes) -> None:
    once = canonical_path(path)
    if isinstance(once, CanonicalPath):
        assert canonical_path(once.text.encode("ascii")) == once


@given(PATHS)
def test_no_reading_of_an_accepted_path_climbs(path: bytes) -> None:
    """Decode as the most eager upstream would, and find no dots, backslashes or control characters."""
    canonical = canonical_path(path)
    if isinstance(canonical, BadPath):
        return
    from urllib.parse import unquote

    decoded = unquote(canonical.text, errors="strict")
    assert not set(decoded) & {chr(code) for code in (*range(32), 127)}
    assert "\\" not in decoded
    for segment in decoded.split("/"):
        assert segment.split(";")[0] not in {".", ".."}
    if not canonical.has_encoded_slash:
        assert "//" not in decoded
        assert decoded.count("/") == canonical.match_text.count("/")


def test_text_that_people_write_is_escaped_as_clients_do() -> None:
    assert escape_non_ascii("/café/%41") == b"/caf%C3%A9/%41"
