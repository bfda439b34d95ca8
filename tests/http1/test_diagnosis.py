"""Show that who is refused for its bytes is told which of them to change, and is quoted nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1 import grammar
from gateway.http1.diagnosis import (
    what_is_wrong_with_fields,
    what_is_wrong_with_line,
    what_is_wrong_with_start,
)

LINES = [
    (b'GET /x?data={"companyId":1} HTTP/1.1\r\n', "percent-encoded: a quotation mark as %22"),
    (b"GET /a b HTTP/1.1\r\n", "percent-encoded: a space as %20"),
    (b"GET /a?b= c  d HTTP/1.1\r\n", "percent-encoded: a space as %20"),
    (b"GET /?q=<b>#x HTTP/1.1\r\n", "percent-encoded: < as %3C, > as %3E, # as %23"),
    (b"GET /a\\b HTTP/1.0\r\n", "percent-encoded: a backslash as %5C"),
    ("GET /straße HTTP/1.1\r\n".encode(), "percent-encoded: what is not ASCII as its bytes in UTF-8"),
    (b"GET /\xe9 HTTP/1.1\r\n", "percent-encoded: what is not ASCII as its bytes in UTF-8"),
    (b"GET /a\tb HTTP/1.1\r\n", "percent-encoded: a control character by its number"),
    (b"GET /a\x00b HTTP/1.1\r\n", "percent-encoded: a control character by its number"),
    (b'GET /\x7f"\xc3\xa9 HTTP/1.1\r\n', "a quotation mark as %22, what is not ASCII"),
    (b"GET  /x HTTP/1.1\r\n", "more than one space"),
    (b"GET /x  HTTP/1.1\r\n", "more than one space"),
    (b"GET /x HTTP/1.1\n", "does not end in CRLF"),
    (b"GET /x\r\n", "does not end in HTTP/1.1"),
    (b"GET /x HTTP/1.1 \r\n", "one space between them"),
    (b"\x16\x03\x01\x02\x00\x01\n", "use http://, or a port that has TLS"),
    (b"\tGET /x HTTP/1.1\r\n", "does not begin with a method"),
]


@pytest.mark.parametrize(("line", "words"), LINES)
def test_request_lines(line: bytes, words: str) -> None:
    assert not grammar.REQUEST_LINE.match(line)
    assert words in what_is_wrong_with_line(line)
    assert what_is_wrong_with_line(line + b"Host: a\r\n\r\n") == what_is_wrong_with_line(line)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b"Host : a\r\n\r\n", "field line 1 is malformed: there is white space before the colon"),
        (b"A: 1\r\nHost: a\r\n b\r\n\r\n", "field line 3 is malformed: it begins with white space"),
        (b"A: 1\r\nnonsense\r\n\r\n", "field line 2 is malformed: it has no colon"),
        (b": 1\r\n\r\n", "it has no name"),
        (b"X(1): 1\r\n\r\n", "its name holds a character that no name may hold"),
        (b"X\xe9: 1\r\n\r\n", "its name holds a character that no name may hold"),
        (b"X y: 1\r\n\r\n", "its name holds a character that no name may hold"),
        (b"X: \x00\r\n\r\n", "its value holds a control character"),
        (b"X: a\rb\r\n\r\n", "a CR that ends no line"),
        (b"A: 1\r\nX: a\nY: b\r\n\r\n", "field line 2 does not end in CRLF"),
    ],
)
def test_fields(lines: bytes, words: str) -> None:
    assert not grammar.FIELD_LINES.fullmatch(lines)
    assert words in what_is_wrong_with_fields(lines)


def test_the_start_of_what_is_no_request() -> None:
    assert "TLS" in what_is_wrong_with_start(b"\x16\x03\x01\x00")
    assert "method" in what_is_wrong_with_start(b"\x00")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_comes_one_sentence_in_ascii_says_it(start: bytes, end: bytes) -> None:
    for data in (start + end, b"GET /" + start + b" HTTP/1.1\r\n" + end):
        for sentence in (what_is_wrong_with_line(data), what_is_wrong_with_fields(data)):
            assert sentence.isascii()
            assert sentence.isprintable()
            assert not sentence.endswith(".")
