"""Hold the response reader to tables of heads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.response import BadResponse, ResponseHead, ResponseReader, body_length, read_response_head


def read(head: bytes) -> ResponseHead:
    found = read_response_head(head + b"\r\n")
    assert isinstance(found, ResponseHead), found
    return found


@pytest.mark.parametrize(
    ("line", "status", "forwarded"),
    [
        (b"HTTP/1.1 200 OK", 200, b"HTTP/1.1 200 OK\r\n"),
        (b"HTTP/1.0 200 OK", 200, b"HTTP/1.1 200 OK\r\n"),
        (b"HTTP/1.1 404 Not \xc3\xa9", 404, b"HTTP/1.1 404 Not \xc3\xa9\r\n"),
        (b"HTTP/1.1 204 ", 204, b"HTTP/1.1 204 \r\n"),
        (b"HTTP/1.1 204", 204, b"HTTP/1.1 204 \r\n"),
        (b"HTTP/1.1 599 x", 599, b"HTTP/1.1 599 x\r\n"),
        (b"HTTP/1.1 100 Continue", 100, b"HTTP/1.1 100 Continue\r\n"),
    ],
)
def test_status_lines(line: bytes, status: int, forwarded: bytes) -> None:
    head = read(line + b"\r\n")
    assert (head.status, head.forward.split(b"\r\n")[0] + b"\r\n") == (status, forwarded)


REFUSED = [
    b"HTTP/1.1 099 x\r\n",
    b"HTTP/1.1 600 x\r\n",
    b"HTTP/1.1 20 x\r\n",
    b"HTTP/1.1 2000 x\r\n",
    b"HTTP/1.1 2x0 x\r\n",
    b"HTTP/1.1  200 OK\r\n",
    b"HTTP/1.1\t200 OK\r\n",
    b"HTTP/1.2 200 OK\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 200 O\x00K\r\n",
    b"HTTP/1.1 200 O\rK\r\n",
    b"HTTP/1.1 200 OK\n",
    b"ICY 200 OK\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n",
    b" HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nA : 1\r\n",
    b"HTTP/1.1 200 OK\r\nA\r\n",
    b"HTTP/1.1 200 OK\r\nA: 1\r\n b\r\n",
    b"HTTP/1.1 200 OK\r\nA: 1\nB: 2\r\n",
    b"HTTP/1.1 200 OK\r\nA: \x00\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length:\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
    b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n",
    b"HTTP/1.1 103 OK\r\nTransfer-Encoding: chunked\r\n",
    b"HTTP/1.1 103 OK\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 205 OK\r\nContent-Length: 1\r\n",
    b"HTTP/1.1 100 OK\r\nContent-Length: 5\r\n",
    b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n",
]


@pytest.mark.parametrize("head", REFUSED)
def test_refused(head: bytes) -> None:
    assert isinstance(read_response_head(head + b"\r\n"), BadResponse)


@pytest.mark.parametrize(
    ("head", "method", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", "GET", 7),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", "HEAD", 0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "GET", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "HEAD", 0),
        (b"HTTP/1.1 200 OK\r\n", "GET", None),
        (b"HTTP/1.1 204 x\r\nContent-Length: 7\r\n", "GET", 0),
        (b"HTTP/1.1 304 x\r\nContent-Length: 7\r\n", "GET", 0),
        (b"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n", "GET", 0),
        (b"HTTP/1.1 100 x\r\n", "GET", 0),
        (b"HTTP/1.1 205 x\r\nContent-Length: 0\r\n", "GET", 0),
    ],
)
def test_body_lengths(head: bytes, method: str, length: int | None) -> None:
    assert body_length(read(head), request_method=method) == length


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: a, Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: a\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_reuse(head: bytes, reusable: bool) -> None:
    assert read(head).reusable is reusable


def test_what_reaches_the_caller() -> None:
    head = read(
        b"HTTP/1.1 200 OK\r\nA: 1\r\nConnection: X-Hop, close\r\nx-hop: 1\r\nKeep-Alive: 5\r\nUpgrade: x\r\n"
        b"Sidegate-Reason: ok\r\nX-Request-Id: theirs\r\nProxy-Authenticate: x\r\nContent-Length: 3\r\n"
        b"a: \t2 \r\n"
        b"Set-Cookie: a\r\nSet-Cookie: b\r\nWWW-Authenticate: Basic\r\ndate: now\r\n"
    )
    assert head.forward == (
        b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nWWW-Authenticate: Basic\r\n"
        b"date: now\r\n"
    )
    assert head.framed == head.forward + b"Content-Length: 3\r\n"
    assert head.has_date
    assert not read(b"HTTP/1.1 200 OK\r\nConnection: date\r\nDate: now\r\n").has_date  # it ends here


@given(
    st.lists(
        st.sampled_from(
            [
                b"A: 1\r\n",
                b"Content-Length: 3\r\n",
                b"Connection: a\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"A : 1\r\n",
            ]
        ),
        max_size=4,
    ).map(b"".join)
    | st.binary(max_size=60)
)
def test_a_hit_of_the_memo_is_what_a_miss_would_be(lines: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n"
    reader = ResponseReader()
    reader.read(head)
    again, anew = reader.read(head), read_response_head(head)
    if isinstance(again, ResponseHead) and isinstance(anew, ResponseHead):
        assert (again.framed, again.content_length, again.chunked, again.reusable) == (
            anew.framed,
            anew.content_length,
            anew.chunked,
            anew.reusable,
        )
    else:
        assert again == anew


@given(st.binary(max_size=200))
def test_no_input_raises(head: bytes) -> None:
    read_response_head(head)
    read_response_head(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
